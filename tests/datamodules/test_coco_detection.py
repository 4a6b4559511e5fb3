import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from coco_files import BOXES, content, pixels, write_coco, write_coco_root
from recording import quiet_trainer
from torch import Tensor
from typing_extensions import override

from lightframe import CocoDetectionDataModule, LightFrameModule
from lightframe.callbacks import EvalTotal
from lightframe.datamodules.detection_batch import DetectionBatch
from lightframe.detection import CocoMAP
from lightframe.errors import UsageError

NAMES = ["background", "car", "cat", "toothbrush"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco_root(tmp_path / "coco", train=6)


def data(root: Path | None = None, **settings: Any) -> CocoDetectionDataModule:
    return CocoDetectionDataModule(root, **{"num_workers": 0, "batch_size": 2, "augment": None, **settings})


def image(number: int) -> Tensor:
    return torch.from_numpy(pixels(number)).permute(2, 0, 1)


def jitter(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """A transform of the user's own that draws from torch's generator."""
    return (image.float() + torch.rand(())).to(torch.uint8), target


# What a sample is


def test_classes_are_numbered_from_one_in_the_order_of_their_ids(root: Path) -> None:
    module = data(root)
    assert module.classes == NAMES
    assert module.num_classes == 4
    assert module.settings() == {"classes": NAMES[1:]}
    assert data(root, classes=NAMES).classes == data(root, classes=NAMES[1:]).classes == NAMES


def test_a_sample_to_evaluate_on_is_what_the_file_says(root: Path) -> None:
    first, target, index = data(root).dataset("val")[0]
    assert torch.equal(first, image(0))
    assert (first.dtype, index) == (torch.uint8, 0)
    kept = BOXES[:3]  # all but the one without width
    corners = [[x, y, x + w, y + h] for x, y, w, h in (box["bbox"] for box in kept)]
    assert torch.equal(target["boxes"], torch.tensor(corners))
    assert target["labels"].tolist() == [1, 2, 1]
    assert target["iscrowd"].tolist() == [0, 0, 1]
    assert target["area"].tolist() == [77.5, 12.0 * 8.5, 320.0]
    assert target["image_id"].item() == 11
    assert {name: value.dtype for name, value in target.items()} == {
        "boxes": torch.float32,
        "labels": torch.int64,
        "iscrowd": torch.int64,
        "area": torch.float32,
        "image_id": torch.int64,
    }
    assert all(type(value) is Tensor for value in (first, *target.values()))


def test_a_sample_to_train_on_has_no_crowds_and_no_box_over_the_edge(root: Path) -> None:
    first, target, index = data(root).dataset("train")[0, 3]  # as image 0
    assert torch.equal(first, image(3))
    assert target["boxes"].tolist() == [[4, 6, 14, 18], [20.5, 2.25, 32, 10.75]]
    assert target["labels"].tolist() == [1, 2]
    assert target["iscrowd"].tolist() == [0, 0]
    assert target["area"].tolist() == [120, 11.5 * 8.5]
    assert (target["image_id"].item(), index) == (41, 3)
    assert all(type(value) is Tensor for value in (first, *target.values()))


@pytest.mark.parametrize("key", [1, (0, 1)])
def test_an_image_without_objects(root: Path, key: Any) -> None:
    _, target, _ = data(root, augment=["iou_crop", "scale_jitter", "flip"]).dataset("train")[key]
    assert target["boxes"].shape == (0, 4)
    assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
    assert [len(target[name]) for name in ("labels", "area", "iscrowd")] == [0, 0, 0]


def test_images_of_other_modes_become_rgb(tmp_path: Path) -> None:
    from PIL import Image

    annotations = write_coco(tmp_path / "images" / "boxes.json", tmp_path / "images", images=2)
    grey = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
    Image.fromarray(grey).save(tmp_path / "images" / "0.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "images" / "1.png")
    samples = data(val=annotations).dataset("val")
    for number in (0, 1):
        assert torch.equal(samples[number][0], torch.from_numpy(grey).expand(3, 20, 30))


# Augmentation


def test_mirrored_images_have_mirrored_boxes(root: Path) -> None:
    mirrored, target, _ = data(root, augment={"flip": {"p": 1.0}}).dataset("train")[0, 0]
    assert torch.equal(mirrored, image(0).flip(-1))
    assert target["boxes"].tolist() == [[32 - 14, 6, 32 - 4, 18], [0, 2.25, 32 - 20.5, 10.75]]


def test_scale_jitter_keeps_the_size_of_the_image(tmp_path: Path) -> None:
    """A white rectangle on black is found again in its box, twice as large or half as large."""
    from PIL import Image

    annotations = write_coco(tmp_path / "i" / "a.json", tmp_path / "i", images=1)
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[28:36, 24:44] = 255
    Image.fromarray(picture).save(tmp_path / "i" / "0.png")
    box = {"id": 1, "image_id": 11, "category_id": 3, "bbox": [24, 28, 20, 8]}
    annotations.write_text(json.dumps({**content(1), "annotations": [box]}))
    for factor in (0.5, 1.5):
        augment = {"scale_jitter": {"scale": [factor, factor], "translate": [0.1, 0.1]}}
        seen, target, _ = data(train=annotations, augment=augment).dataset("train")[0, 0]
        assert seen.shape == (3, 64, 64)
        white = (seen > 200).all(dim=0).nonzero()
        top, left, bottom, right = *white.amin(0).tolist(), *(white.amax(0) + 1).tolist()
        torch.testing.assert_close(
            target["boxes"], torch.tensor([[left, top, right, bottom]], dtype=torch.float32), rtol=0, atol=1.5
        )
        width, height = (target["boxes"][0, 2:] - target["boxes"][0, :2]).tolist()
        assert (width, height) == (pytest.approx(20 * factor), pytest.approx(8 * factor))


@pytest.mark.parametrize("name", ["photometric", "zoom_out", "iou_crop", "shortest_size", "resize"])
def test_the_others_give_boxes_inside_their_images(root: Path, name: str) -> None:
    arguments: Any = {"shortest_size": {"min_size": [12, 16], "max_size": 24}, "resize": {"size": [16, 20]}}.get(name)
    samples = data(root, augment={name: arguments}).dataset("train")
    changed = 0
    for epoch in range(8):
        seen, target, _ = samples[epoch, 0]
        changed += not torch.equal(seen, image(0))
        sides = torch.tensor([seen.shape[2], seen.shape[1]] * 2)
        assert (target["boxes"] >= 0).all()
        assert (target["boxes"] <= sides).all()
        assert len(target["boxes"]) == len(target["labels"])
    assert changed >= 2


def test_what_is_random_depends_on_seed_epoch_and_index_alone(root: Path) -> None:
    settings = {"augment": ["photometric", jitter]}

    def sample(epoch: int, index: int, draws: int, **more: Any) -> Tensor:
        torch.rand(draws)
        before = torch.get_rng_state()
        drawn = data(root, **settings, **more).dataset("train")[epoch, index][0]
        assert torch.equal(before, torch.get_rng_state())
        return drawn

    one = sample(1, 0, draws=0)
    assert torch.equal(one, sample(1, 0, draws=3))
    assert not torch.equal(one, sample(2, 0, draws=0))
    assert not torch.equal(one, sample(1, 0, draws=0, seed=1))
    assert not torch.equal(one - image(0), sample(1, 3, draws=0) - image(3))


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ("flop", "unknown augmentation of images with boxes 'flop'; did you mean 'flip'"),
        ({"flip": {"probability": 1}}, "it takes no 'probability'"),
        ({"flip": 0.5}, "give {name: {argument: value}}"),
        ({"scale_jitter": {"scale": [-1, 2]}}, "augmentation 'scale_jitter': scale values should be positive"),
        ("builtins.dict", "makes a dict, which cannot be called"),
        (3, "augment: give names"),
    ],
)
def test_augmentations_that_are_none(augment: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        data(augment=augment)


def test_an_augmentation_that_is_switched_off(root: Path) -> None:
    samples = data(root, augment={"flip": False, "torchvision.transforms.v2.RandomGrayscale": {"p": 1.0}})
    grey = samples.dataset("train")[0, 0][0]
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(samples.dataset("val")[0][0], image(0))


# Batches


class Recorder(pl.LightningModule):
    """Trains one number and keeps the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen: dict[str, list[DetectionBatch]] = {"train": [], "val": []}

    @override
    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        self.seen["train"].append(batch)
        return self.weight * batch.images[0].mean()

    @override
    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        self.seen["val"].append(batch)

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def trained(self) -> list[tuple[list[int], float]]:
        return [
            (batch.index.tolist(), float(sum(image.sum() for image in batch.images))) for batch in self.seen["train"]
        ]


def test_the_batches_of_a_run(root: Path) -> None:
    net = Recorder()
    quiet_trainer(max_epochs=2).fit(net, data(root))
    epochs = [
        [i for batch in part for i in batch.index.tolist()] for part in (net.seen["train"][:3], net.seen["train"][3:])
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(6))
    assert epochs[0] != epochs[1]
    for batch in net.seen["train"]:
        assert isinstance(batch, DetectionBatch)
        for seen, target, index in zip(batch.images, batch.targets, batch.index.tolist(), strict=True):
            torch.testing.assert_close(seen, image(index).float() / 255)
            assert target["image_id"].item() == 11 + 10 * index
    assert [batch.index.tolist() for batch in net.seen["val"]] == [[0, 1], [2], [0, 1], [2]]


def test_the_same_whatever_the_workers(root: Path) -> None:
    seen = []
    for workers in (0, 2):
        net = Recorder()
        quiet_trainer(max_epochs=2).fit(net, data(root, num_workers=workers, augment=["photometric", "flip"]))
        seen.append(net.trained())
    assert seen[0] == seen[1]
    assert len({total for _, total in seen[0]}) > 5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_where_it_was_stopped(root: Path, tmp_path: Path, workers: int) -> None:
    settings = {"num_workers": workers, "augment": ["photometric", "flip"]}

    class Saving(Recorder):
        @override
        def on_train_batch_end(self, *_: Any) -> None:
            self.trainer.save_checkpoint(tmp_path / f"{self.trainer.global_step}.ckpt")

    whole = Saving()
    quiet_trainer(max_epochs=2).fit(whole, data(root, **settings))
    for step in (2, 3, 4):
        rest = Recorder()
        trainer = quiet_trainer(max_epochs=2)
        trainer.fit(rest, data(root, **settings), ckpt_path=tmp_path / f"{step}.ckpt", weights_only=True)
        assert rest.trained() == whole.trained()[step:]


def test_a_checkpoint_of_other_classes(root: Path, tmp_path: Path) -> None:
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(Recorder(), data(root))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    other = data(root, classes=["cat", "car", "toothbrush"])
    with pytest.raises(UsageError, match=r"trained on other classes \(car, cat, toothbrush\) than .* \(cat, car"):
        quiet_trainer(max_epochs=2).fit(Recorder(), other, ckpt_path=tmp_path / "one.ckpt", weights_only=True)


def test_no_validation(root: Path) -> None:
    net = Recorder()
    module = data(train=[str(root / "annotations" / "instances_train2017.json"), str(root / "train2017")])
    quiet_trainer().fit(net, module)
    assert len(net.seen["train"]) == 3
    assert net.seen["val"] == []


def test_without_a_trainer(root: Path) -> None:
    module = data(root)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch.images[0].dtype == torch.uint8
    floats = module.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(floats.images[1], batch.images[1].float() / 255)
    assert floats.targets is batch.targets


# Where the files stand


def test_layouts(tmp_path: Path) -> None:
    write_coco(tmp_path / "a" / "annotations" / "instances_train.json", tmp_path / "a" / "train")
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        write_coco(tmp_path / "b" / folder / "_annotations.coco.json", tmp_path / "b" / folder)
        assert len(data(tmp_path / "b").dataset(split)) == 3
    assert len(data(tmp_path / "a").dataset("train")) == 3
    assert not data(tmp_path / "a").has("val")
    given = data(
        tmp_path / "b", val=[tmp_path / "a" / "annotations" / "instances_train.json", tmp_path / "a" / "train"]
    )
    assert given.dataset("val").paths[0] == str(tmp_path / "a" / "train" / "0.png")
    assert given.dataset("train").paths[2] == str(tmp_path / "b" / "train" / "2.png")


def test_a_folder_of_images_to_predict(root: Path) -> None:
    (root / "train2017" / "notes.txt").write_text("no image")
    samples = data(predict=root / "train2017").dataset("predict")
    assert len(samples) == 6
    assert samples.paths[3] == str(root / "train2017" / "3.png")
    seen, target, index = samples[3]
    assert torch.equal(seen, image(3))
    assert (len(target["boxes"]), index) == (0, 3)


def drop(key: str, where: str = "annotations", place: int = 0) -> Callable[[dict[str, Any]], Any]:
    return lambda found: found[where][place].pop(key)


def change(key: str, value: Any, where: str = "annotations", place: int = 0) -> Callable[[dict[str, Any]], Any]:
    return lambda found: found[where][place].update({key: value})


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda found: found.pop("images"), "something in it has no 'images'"),
        (lambda found: found.pop("annotations"), "something in it has no 'annotations'"),
        (lambda found: found.pop("categories"), "something in it has no 'categories'"),
        (lambda found: found.update(images={}), "'images' is no list"),
        (drop("bbox"), "something in it has no 'bbox'"),
        (drop("id"), "something in it has no 'id'"),
        (drop("file_name", "images"), "something in it has no 'file_name'"),
        (change("bbox", [1, 2, 3]), r"the bbox of annotation 1 is \[1, 2, 3\], not x, y, width, height"),
        (change("bbox", [1, 2, 3, None]), "is no annotation file of COCO's format"),
        (change("image_id", 12), "annotation 1 is of image 12, which is not listed"),
        (change("category_id", 4), "annotation 1 is of category 4, which is not listed"),
        (change("id", 2), "id 2 occurs twice in 'annotations'"),
        (change("id", 21, "images"), "id 21 occurs twice in 'images'"),
        (change("id", "11", "images"), "is no annotation file of COCO's format"),
        (change("name", "cat", "categories", 1), "two categories have one name"),
        (change("file_name", "sub/9.png", "images"), "1 of the 3 images of '.*' are not in '.*', 'sub/9.png' for one"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, break_it: Callable[[dict[str, Any]], Any], said: str) -> None:
    annotations = write_coco(tmp_path / "images" / "boxes.json", tmp_path / "images")
    found = content()
    break_it(found)
    annotations.write_text(json.dumps(found))
    with pytest.raises(UsageError, match=said) as raised:
        data(train=annotations).setup("fit")
    assert str(annotations) in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "no json", "\xff\xfe"])
def test_files_that_are_no_annotations(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"boxes\.json' is no annotation file of COCO's format"):
        data(train=path).setup("fit")


def test_files_that_are_missing(root: Path, tmp_path: Path) -> None:
    annotations = root / "annotations" / "instances_train2017.json"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"root": tmp_path / "none"}, "root: there is no folder '.*none'"),
        ({"train": tmp_path / "none.json"}, "there is no annotation file '.*none.json'"),
        ({"train": [annotations, tmp_path / "none"]}, "there is no folder '.*none' for the images of"),
        ({"train": [annotations]}, r"train: give \[annotations.json, images\], not 1 paths"),
        ({"train": annotations}, "6 of the 6 images of '.*' are not in '.*annotations', '0.png' for one"),
        ({"train": root}, "train: '.*coco' is a folder; give the annotation file"),
        ({"root": tmp_path}, "there is no train split: give root, or train, and there is none in"),
        ({}, "there is no train split: give root, or train"),
    ]
    for settings, said in cases:
        with pytest.raises(UsageError, match=said):
            data(**settings).setup("fit")
    with pytest.raises(UsageError, match="there is no image in"):
        data(predict=root / "annotations").setup("predict")
    write_coco(root / "annotations" / "instances_train2014.json", root / "train2014")
    with pytest.raises(UsageError, match=r"instances_train2014.json and instances_train2017.json: say which, train="):
        data(root).setup("fit")


def test_a_category_that_is_no_class(root: Path) -> None:
    """One without annotations is no matter."""
    assert len(data(root, classes=["car", "cat", "toothbrush", "dog"]).dataset("train")) == 6
    with pytest.raises(
        UsageError, match=r"annotation 5 of '.*' is of category 'toothbrush', which is none of the classe"
    ):
        data(root, classes=["car", "cat"]).setup("fit")


@pytest.mark.parametrize("workers", [0, 1])
# torchvision leaves the file open whose pixels it cannot read.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO")
def test_a_damaged_image_is_named(root: Path, workers: int) -> None:
    path = root / "train2017" / "4.png"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UsageError, match=r"the image '.*4.png' cannot be read") as raised:
        quiet_trainer().fit(Recorder(), data(root, num_workers=workers))
    assert "Traceback" not in str(raised.value)
    del raised
    gc.collect()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1.5}, r"batch_size must be a whole number, got 1\.5"),
        ({"num_workers": -1}, "num_workers must not be negative"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"train": 3}, r"train: give paths, \[annotations\.json, images\], not 3"),
    ],
)
def test_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CocoDetectionDataModule(**settings).setup("fit")


# With a detector


def test_a_metric_as_an_object(root: Path) -> None:
    """The adapter's own metrics may be a detector's, too."""
    module = LightFrameModule({"name": "fcos_tiny", "width": 32}, metrics=CocoMAP(), num_classes=4)
    (logged,) = quiet_trainer().validate(module, datamodule=data(root), verbose=False)
    assert -1 <= logged["val/AP50"] <= 1


@pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders")
def test_two_processes_train_and_evaluate(root: Path, tmp_path: Path) -> None:
    """With an image without objects on one of them; every parameter has a gradient on both."""

    class Telling(LightFrameModule):
        @override
        def on_train_end(self) -> None:
            weights = [parameter.double().sum().item() for parameter in self.parameters()]
            told = [weights, self.trainer.callback_metrics["val/AP"].item()]
            (tmp_path / f"{self.trainer.global_rank}.json").write_text(json.dumps(told))

    module = Telling({"name": "fcos_tiny", "width": 32}, lr=0.01, num_classes=4)
    trainer = quiet_trainer(devices=2, strategy="ddp_fork", max_epochs=2, callbacks=[EvalTotal("coco_map")])
    trainer.fit(module, data(root, batch_size=1))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
