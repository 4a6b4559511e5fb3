"""Wrong uses of data, shapes, dtypes, labels, and of what is called from Python."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2
from wrong_uses.case import FIT, Case, write

from lightframe import (
    CocoDetectionDataModule,
    LightFrameModule,
    SyntheticVideoDataModule,
    VideoDataModule,
    gpu_cnn_speed,
)
from lightframe.callbacks import EMA, EvalTotal, GPUSpeedBenchmark, LossGuard, PredictionWriter

Setup = Callable[[Path], Any]


def trainer(**arguments: Any) -> Trainer:
    """One that shows and writes nothing."""
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return Trainer(max_epochs=1, accelerator="cpu", **dict.fromkeys(quiet, False), **arguments)


# Data modules: their arguments, and what stands in their folders


def video(name: str, says: list[str], setup: Setup | None = None, loss: Any = "ce", **arguments: Any) -> Case:
    """A training on videos/ in Python."""
    given = {"root": "videos", "frames": 2, "size": 16, "batch_size": 2, "num_workers": 0} | arguments

    def run() -> None:
        data = VideoDataModule(**given)
        net = {"name": "tiny3d", "width": 2}
        trainer().fit(LightFrameModule(net, loss, lr=0.01, num_classes=data.num_classes), datamodule=data)

    return Case(name, run=run, says=says, setup=setup)


def typed(name: str, says: list[str], *words: str, setup: Setup | None = None) -> Case:
    """A training on videos/ from the command line."""
    return Case(name, [*FIT, *words], says=says, setup=setup)


SETTINGS = [
    typed("no frames", [r"frames must be at least 1", r"got 0"], "--data.frames=0"),
    typed("no clips in a batch", [r"batch_size must be at least 1", r"got 0"], "--data.batch_size=0"),
    typed("fewer workers than none", [r"num_workers must not be negative", r"0 decodes in"], "--data.num_workers=-1"),
    typed("a thousand workers", [r"num_workers=1000 processes", r"give at most \d+"], "--data.num_workers=1000"),
    typed("no threads", [r"threads must be at least 1", r"got 0"], "--data.threads=0"),
    typed("a share above one", [r"val_fraction must be .* below 1", r"as 0\.1"], "--data.val_fraction=1.5"),
    typed("two validation splits", [r"there is one already", r"leave val_fraction out"], "--data.val_fraction=0.2"),
    typed(
        "a decoder that is none", [r"decoder must be one of", r"did you mean 'torchcodec'"], "--data.decoder=trchcodec"
    ),
    typed("a decoding device that is none", [r"device must be cpu, or cuda", r"got 'cud'"], "--data.device=cud"),
    typed("speeds below zero", [r"speeds must be one or more numbers > 0", r"as \(0\.5"], "--data.speeds=[-1.0]"),
    typed("no epoch", [r"epoch_length must be at least 1", r"got 0"], "--data.epoch_length=0"),
    typed("clips that do not divide", [r"clips_per_video=3 does not divide a batch of 2"], "--data.clips_per_video=3"),
    typed("a mistyped sampling", [r"unknown sampling 'dens'", r"did you mean 'dense'"], "--data.sampling=dens"),
    typed(
        "speeds without random",
        [r"speeds=.* go with sampling='random'"],
        "--data.sampling=dense",
        "--data.speeds=[2.0]",
    ),
    typed("on_error mistyped", [r"on_error must be 'skip' or 'raise'", r"got 'ignore'"], "--data.on_error=ignore"),
    typed(
        "max_errors below zero", [r"max_errors must be at least 1", r"on_error='raise' stops"], "--data.max_errors=-1"
    ),
    typed(
        "an index that is not there", [r"there is no index 'a\.parquet'", r"lightframe scan"], "--data.index=a.parquet"
    ),
    typed(
        "an index that is none",
        [r"'a\.parquet' is no index", r"scan again"],
        "--data.index=a.parquet",
        setup=write("a.parquet", "PAR1"),
    ),
    typed("classes that are not there", [r"class file 'c\.txt' does not exist"], "--data.classes=c.txt"),
    typed(
        "classes of another set",
        [r"the list that classes gives has no class 'jump'", r"add it there, or leave"],
        "--data.classes=[run, swim]",
    ),
    typed("a class twice", [r"classes must be different names"], "--data.classes=[jump, jump]"),
    typed("enormous clips", [r"size=100000 pixels make a clip of .* GiB", r"as frames=32"], "--data.size=100000"),
    video("views that are a number", [r"views must be two numbers, clips and crops, as \(10, 3\), got 3"], views=3),
    video("views of a half", [r"views must be a whole number, got 1\.5"], views=(1.5, 1)),
    video("a size that is no square", [r"size must be a whole number, got \(64, 80\)"], size=(64, 80)),
    video("a rate in quotes", [r"fps must be above 0", r"got '15'"], fps="15"),
    video("a rate without end", [r"fps must be .* at most 1000 frames a second"], fps=1e9),
    video("half a clip", [r"batch_size must be a whole number, got 2\.5"], batch_size=2.5),
    video("colours of 255", [r"for pixels from 0 to 1, not to 255", r"divide them by 255"], mean=(123.7, 116.3, 103.5)),
    video("colours of a single channel", [r"mean and std must be three numbers each"], mean=0.5),
    video("colours that divide by zero", [r"std above 0, got"], std=(0.2, 0.2, 0)),
    video("a seed in letters", [r"seed must be a whole number, got 'a'"], seed="a"),
    video("a root that is a number", [r"give a path, or a list of paths, .* not 3"], root=3),
    video("classes as numbers", [r"classes must be different names", r"\[0, 1\]"], classes=[0, 1]),
    Case(
        "a device without CUDA",
        run=lambda: VideoDataModule("videos", device="cuda", decoder="pyav"),
        says=[r"device='cuda' needs decoder='torchcodec'"],
    ),
]

VIDEO = "videos/train/jump/0.mkv"
LABELLED = "".join(f"videos/train/{name}/{number}.mkv {name}\n" for name in ("jump", "wave") for number in range(4))


def remove(path: str) -> Setup:
    return lambda folder: shutil.rmtree(folder / path)


def make(path: str) -> Setup:
    return lambda folder: (folder / path).mkdir(parents=True)


def copy(path: str) -> Setup:
    def setup(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / VIDEO, folder / path)

    return setup


def several(*setups: Setup) -> Setup:
    return lambda folder: [setup(folder) for setup in setups]


def listed(name: str, says: list[str], text: str, file: str = "list.txt") -> Case:
    """Training videos of an annotation file."""

    def setup(folder: Path) -> None:
        (folder / file).write_bytes(text.encode("latin-1"))

    return typed(name, says, f"--data.train={file}", "--data.root=null", setup=setup)


FOLDERS = [
    typed("a root that is not there", [r"'vidoes' does not exist", r"did you mean 'videos'"], "--data.root=vidoes"),
    typed(
        "a root that is a file",
        [r"root 'videos/train/jump/0\.mkv' is a file", r"give the folder"],
        f"--data.root={VIDEO}",
    ),
    typed(
        "a root of class folders",
        [r"no 'videos/train/train'", r"give it as train, with val_fraction"],
        "--data.root=videos/train",
    ),
    typed(
        "a train of splits",
        [r"holds the splits and not the classes", r"give it as root"],
        "--data.train=videos",
        "--data.root=null",
    ),
    typed(
        "a train of one class",
        [r"holds videos but no class folders", r"<class name>"],
        "--data.train=videos/train/jump",
    ),
    typed(
        "a train that is a video",
        [r"neither a folder of class folders nor", r"give one of those"],
        f"--data.train={VIDEO}",
    ),
    typed(
        "a path longer than any", [r"root 'vvv.*\.\.\..*vvv' cannot be looked for: .*long"], f"--data.root={'v' * 5000}"
    ),
    typed(
        "a long name in a list",
        [r"line 9: no file .*'"],
        "--data.train=list.txt",
        "--data.root=null",
        setup=write("list.txt", LABELLED + "é" * 400 + ".mkv jump\n"),
    ),
    typed(
        "an empty class",
        [r"class folder 'videos/train/run' holds no videos", r"fill it or take it away"],
        setup=make("videos/train/run"),
    ),
    typed(
        "an empty split",
        [r"'videos/val' holds neither class folders nor videos", r"expected videos/val/<class"],
        setup=several(remove("videos/val"), make("videos/val")),
    ),
    typed(
        "a split of other files",
        [r"class folder 'videos/val/jump' holds no videos"],
        setup=several(remove("videos/val"), write("videos/val/jump/readme.txt", "no video")),
    ),
    typed(
        "a class in val alone",
        [r"videos/val/run: the training split has no class 'run'", r"add videos of it there, or"],
        setup=copy("videos/val/run/0.mkv"),
    ),
    typed(
        "a single class",
        [r"needs one output per class, at least two", r"for a single logit use 'bce'"],
        setup=several(remove("videos/train/wave"), remove("videos/val/wave")),
    ),
    video(
        "all videos damaged",
        [r"not one of the 8 train videos can be read", r"lightframe scan"],
        setup=several(
            *(
                write(f"videos/train/{name}/{number}.mkv", "no video")
                for name in ("jump", "wave")
                for number in range(4)
            )
        ),
    ),
    typed(
        "a damaged video that stops",
        [r"x\.mkv: Invalid data", r"repair or remove it, or give on_error=skip"],
        "--data.on_error=raise",
        setup=write("videos/train/jump/x.mkv", "no video"),
    ),
    video(
        "too many damaged videos",
        [r"of the 11 train videos cannot be read, more than max_errors=1", r"repair or remove them, or allow more"],
        setup=several(*(write(f"videos/train/jump/x{number}.mkv", "no video") for number in range(3))),
        max_errors=1,
    ),
    listed("a line without a label", [r"list\.txt, line 9: expected 'path label'"], LABELLED + VIDEO + "\n"),
    listed("a label below zero", [r"list\.txt, line 1: label -1 is out of range", r"begin at 0"], VIDEO + " -1\n"),
    listed(
        "an enormous label",
        [r"line 2: label 5000000 would make 5000001 classes of 2 videos", r"mend it, or give classes"],
        f"{VIDEO} 0\n{VIDEO} 5000000\n",
    ),
    listed(
        "a list of missing videos",
        [r"line 9: no file 'videos/a\.mkv' \(1 of 9", r"relative paths refer to"],
        LABELLED + "videos/a.mkv jump\n",
    ),
    listed("an empty list", [r"annotation file 'list\.txt' lists no video"], "# nothing\n"),
    listed("a list in Latin-1", [r"'list\.txt' is not UTF-8", r"save it as UTF-8"], LABELLED + "caf\xe9.mkv jump\n"),
    listed(
        "columns of another name",
        [r"line 1: no file 'clip'", r"begins with 'path'"],
        "clip,class\n" + LABELLED.replace(" ", ","),
        "list.csv",
    ),
    listed("semicolons", [r"line 1: expected 'path,label', got"], LABELLED.replace(" ", ";"), "list.csv"),
    listed(
        "several labels for ce",
        [r"takes one label for each video, and some have several", r"give loss=bce"],
        LABELLED + f"{VIDEO} jump|wave\n",
    ),
    typed(
        "a label that train has not",
        [r"val\.txt, line 1: label 7 is out of range", r"0 to 1"],
        "--data.train=list.txt",
        "--data.val=val.txt",
        "--data.root=null",
        setup=several(
            write("list.txt", LABELLED.replace(" jump", " 0").replace(" wave", " 1")), write("val.txt", f"{VIDEO} 7\n")
        ),
    ),
    Case(
        "a synthetic set in another folder",
        run=lambda: SyntheticVideoDataModule("videos").prepare_data(),
        says=[r"'videos' exists and was not written by lightframe", r"choose another root"],
    ),
    Case(
        "a synthetic set of no videos",
        run=lambda: SyntheticVideoDataModule("new", train_videos=0),
        says=[r"must be at least 1"],
    ),
]


def give_nothing(clip: Tensor) -> None:
    """A transform that forgets to return."""


AUGMENT = [
    typed("an unknown augmentation", [r"unknown augmentation 'flp'", r"did you mean 'flip'"], "--data.augment=[flp]"),
    typed(
        "an argument that flip has not",
        [r"augmentation 'flip': it takes no 'q'", r"signature: flip\(p"],
        "--data.augment={flip: {q: 1}}",
    ),
    typed("two flips", [r"'flip' and 'flip' exclude each other", r"keep one"], "--data.augment=[flip, flip]"),
    typed(
        "a flip into no class",
        [r"label_map names 'jmp', which is no class", r"did you mean 'jump'"],
        "--data.augment={flip: {label_map: {jmp: wave}}}",
    ),
    typed(
        "a crop that does not fit",
        [r"RandomCrop' cannot take a clip, .*16, 16", r"larger than input"],
        "--data.augment={torchvision.transforms.v2.RandomCrop: {size: 64}}",
    ),
    typed(
        "an augmentation that shrinks",
        [r"gave back torch\.uint8 \(2, 3, 8, 8\)", r"must give a clip as it gets one"],
        "--data.augment={torchvision.transforms.v2.Resize: {size: [8, 8]}}",
    ),
    typed("mixup of nothing", [r"mixup: alpha must be a number above 0"], "--data.augment={mixup: {alpha: 0}}"),
    video(
        "mixup for a loss of labels",
        [r"loss 'NLLLoss' cannot take outputs .* and targets", r"multi-target"],
        augment=["mixup"],
        loss=nn.NLLLoss(),
    ),
    video(
        "a transform that gives nothing",
        [r"train_transform must give back a uint8 clip", r"got NoneType"],
        train_transform=give_nothing,
    ),
    video(
        "an evaluation in floats",
        [r"eval_transform must give back a uint8 clip", r"got torch\.float32"],
        eval_transform=Tensor.float,
    ),
    video(
        "a transform that turns the clip",
        [r"train_transform must give back .*\(T, 3, H, W\)"],
        train_transform=lambda clip: clip.transpose(0, 1),
    ),
    video(
        "a transform larger than the video",
        [r"train_transform cannot take a clip", r"larger than"],
        train_transform=v2.RandomCrop(500),
    ),
    video("a transform that is no function", [r"transform 3 is not callable", r"give a function"], train_transform=3),
]

# Detection


def coco(
    name: str,
    says: list[str],
    change: Callable[[dict[str, Any]], Any] | None = None,
    text: str = "",
    damage: str = "",
    **arguments: Any,
) -> Case:
    """Two images with a box each; the annotation file, or an image, is made wrong."""

    def setup(folder: Path) -> None:
        (folder / "coco").mkdir()
        content: dict[str, Any] = {
            "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in (1, 2)],
            "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
            "annotations": [
                {"id": n, "image_id": n, "category_id": c, "bbox": [4, 4, 20, 16]} for n, c in ((1, 1), (2, 3))
            ],
        }
        for image in content["images"]:
            Image.new("RGB", (64, 48)).save(folder / "coco" / image["file_name"])
        if change is not None:
            change(content)
        (folder / "coco" / "a.json").write_text(text or json.dumps(content))
        if damage:
            (folder / "coco" / damage).write_bytes(b"no image")

    def run() -> None:
        data = CocoDetectionDataModule(**{"train": "coco/a.json", "batch_size": 2, "num_workers": 0, **arguments})
        net = {"name": "fcos_tiny", "width": 32, "min_size": 64, "max_size": 64}
        trainer().fit(LightFrameModule(net, metrics=None, num_classes=data.num_classes), datamodule=data)

    return Case(name, run=run, says=says, setup=setup)


def box(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][0].update(values)


FORMAT = [r"'coco/a\.json' is no annotation file of COCO's format", r"must list images, annotations and categories"]
DETECTION = [
    coco("annotations that are not there", [r"no annotation file 'coco/b\.json'"], train="coco/b.json"),
    coco("annotations that are no JSON", FORMAT, text="path,label"),
    coco("no annotations in them", [*FORMAT, r"has no 'annotations'"], lambda content: content.pop("annotations")),
    coco("no image in them", [*FORMAT, r"lists no image"], lambda content: content.update(images=[], annotations=[])),
    coco("a box of an unknown image", [*FORMAT, r"annotation 1 is of image 9"], box(image_id=9)),
    coco("a box of an unknown category", [*FORMAT, r"annotation 1 is of category 9"], box(category_id=9)),
    coco("a box of less than nothing", [*FORMAT, r"annotation 1 is negative"], box(bbox=[4, 4, -3, 5])),
    coco("a box that is nan", [*FORMAT, r"bbox of annotation 1 is"], box(bbox=[4, 4, float("nan"), 5])),
    coco(
        "boxes from corner to corner",
        [*FORMAT, r"are they x1, y1, x2, y2\?"],
        lambda content: content.update(
            annotations=[{"id": n, "image_id": 1, "category_id": 1, "bbox": [40, 30, 60, 46]} for n in range(1, 5)]
        ),
    ),
    coco(
        "an image that is damaged",
        [r"image 'coco/2\.png' cannot be read", r"repair it, or take it out"],
        damage="2.png",
    ),
    coco(
        "an image that is missing",
        [r"1 of the 2 images .* 'nothing\.png'", r"give the annotation file together with"],
        lambda content: content["images"][1].update(file_name="nothing.png"),
    ),
    coco("a folder of images alone", [r"train: 'coco' is a folder", r"\[annotations\.json, images\]"], train="coco"),
    coco("a list of classes too short", [r"category 'dog', which is none of the classes \(cat\)"], classes=["cat"]),
    coco(
        "a crop larger than the images",
        [r"augment cannot be applied to 'coco/\d\.png'", r"larger than"],
        augment={"torchvision.transforms.v2.RandomCrop": {"size": 500}},
    ),
]

# The adapter on tensors

X, LABELS = torch.arange(32.0).reshape(8, 4) / 32, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


class Then(nn.Module):
    """A linear net whose logits (B, 3) go through a function."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(4, 3), change

    def forward(self, features: Tensor) -> Any:
        return self.change(self.layer(features))


def fit(name: str, says: list[str], inputs: Any = X, targets: Any = LABELS, net: Any = None, **arguments: Any) -> Case:
    """A training on tensors: eight samples of four features, three classes."""

    def run() -> None:
        module = LightFrameModule(nn.Linear(4, 3) if net is None else net, **{"loss": "ce", "lr": 0.1, **arguments})
        batches = (
            DataLoader(TensorDataset(inputs, targets), batch_size=4)
            if isinstance(targets, Tensor)
            else [(inputs, targets)] * 2
        )
        trainer().fit(module, batches if isinstance(batches, DataLoader) else _Loaders(batches))

    return Case(name, run=run, says=says)


class _Loaders(LightningDataModule):
    """Ready batches: Lightning would take a list of them for several loaders."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Any:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


def monitored(name: str, says: list[str], scheduler_args: Any = None, **arguments: Any) -> Case:
    """A training on tensors that is validated."""

    def run() -> None:
        batches = DataLoader(TensorDataset(X, LABELS), batch_size=4)
        scheduler = None if scheduler_args is None else "plateau"
        module = LightFrameModule(nn.Linear(4, 3), "ce", lr=0.1, scheduler=scheduler, scheduler_args=scheduler_args)
        trainer(**arguments).fit(module, batches, batches)

    return Case(name, run=run, says=says)


def named(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, **arguments}


ONE_HOT = torch.eye(3)[LABELS]
TENSORS = [
    fit(
        "labels in floats",
        [r"loss 'ce': targets .* torch\.float32 do not fit", r"targets\.long\(\)"],
        targets=LABELS.float(),
    ),
    fit("labels in a column", [r"targets of shape \(4, 1\)", r"targets\.squeeze\(1\)"], targets=LABELS[:, None]),
    fit("labels from one", [r"label 3 is out of range: with 3 classes", r"give the net 4 outputs"], targets=LABELS + 1),
    fit("labels of minus one", [r"label -1 is out of range", r"leave such samples out"], targets=LABELS - 1),
    fit(
        "whole-number shares",
        [r"loss 'ce' takes torch\.int64 targets only as labels", r"use 'bce'"],
        targets=ONE_HOT.long(),
    ),
    fit(
        "shares above one",
        [r"loss 'bce' takes targets from 0 to 1", r"use 'mse' or 'l1'"],
        targets=ONE_HOT * 5,
        loss="bce",
    ),
    fit(
        "labels in a list",
        [r"take targets as one tensor, not list", r"torch\.tensor\(labels\)"],
        targets=LABELS.tolist(),
    ),
    fit(
        "labels for a loss of torch",
        [r"loss 'NLLLoss' cannot take outputs", r"Target 5 is out of bounds"],
        targets=LABELS + 5,
        loss="torch.nn.NLLLoss",
    ),
    fit(
        "logits with a dimension more",
        [r"outputs of shape \(4, 3, 1\)", r"outputs\.flatten\(1\)"],
        net=Then(lambda logits: logits[..., None]),
    ),
    fit(
        "logits in a tuple",
        [r"net's outputs as one tensor, not tuple", r"override compute_loss"],
        net=Then(lambda logits: (logits, logits)),
    ),
    fit(
        "a choice for logits",
        [r"take floating-point outputs, not torch\.int64", r"without argmax"],
        net=Then(lambda logits: logits.argmax(1)),
    ),
    fit("logits cut off from the net", [r"the loss depends on no weight", r"take detach\(\)"], net=Then(Tensor.detach)),
    fit(
        "logits that are nan",
        [r"first loss is nan: the net makes nan", r"look at its weights"],
        net=Then(lambda logits: logits * torch.nan),
    ),
    fit(
        "inputs that are nan",
        [r"first loss is nan: the batch holds numbers that are nan", r"mend the data"],
        inputs=X * torch.nan,
    ),
    fit(
        "inputs in bytes",
        [r"the net, a Linear, cannot take torch\.uint8", r"inputs\.float\(\) / 255"],
        inputs=(X * 255).byte(),
    ),
    fit(
        "inputs of another width",
        [r"the net, a Linear, cannot take torch\.float32 \(4, 3\)", r"shapes"],
        inputs=X[:, :3],
    ),
    Case(
        "a video of one channel",
        run=lambda: LightFrameModule("tiny3d", num_classes=2)(torch.zeros(2, 1, 4, 32, 32)),
        says=[r"the net, a Tiny3D, cannot take .*\(2, 1, 4, 32, 32\)", r"3 channels"],
    ),
    Case(
        "a batch in other words",
        run=lambda: LightFrameModule(nn.Linear(4, 3), "ce").step({"x": X, "y": LABELS}, "train"),
        says=[r"cannot tell inputs and targets of a batch of type dict", r"override unpack"],
    ),
    Case(
        "a batch without targets",
        run=lambda: LightFrameModule(nn.Linear(4, 3), "ce").step([X], "train"),
        says=[r"cannot tell inputs and targets", r"give \(inputs, targets"],
    ),
    fit("no loss for a plain net", [r"without loss the net gets the whole batch", r"give loss, as ce"], loss=None),
    fit("classes below one", [r"num_classes must be at least 1, got 0"], num_classes=0),
    fit(
        "classes of another net", [r"outputs of shape \(4, 3\) are not \(B, 5\)", r"make the two alike"], num_classes=5
    ),
    fit("a mistyped metric", [r"unknown metric 'top_5'", r"did you mean 'top5'"], metrics="top_5"),
    fit(
        "a function for a metric",
        [r"metrics may be .* not the function", r"EvalTotal takes functions"],
        metrics=[torch.mean],
    ),
    fit(
        "a metric of other shapes",
        [r"the metrics cannot take torch\.float32 \(4, 3\)"],
        metrics="torchmetrics.classification.BinaryAccuracy",
    ),
    fit("a loss twice", [r"two losses are named 'ce'", r"name them yourself"], loss=["ce", "ce"]),
    fit("a weight below zero", [r"weight of loss 'ce' must be a finite number >= 0"], loss={"ce": -1}),
    fit(
        "much smoothing",
        [r"label_smoothing must lie in \[0, 1\], not 2", r"0\.1 is usual"],
        loss=named("ce", label_smoothing=2),
    ),
    fit(
        "two weights for three classes",
        [r"2 class weights do not fit outputs of shape \(4, 3\)"],
        loss=named("ce", class_weights=[1, 2]),
    ),
    fit(
        "weights by name",
        [r"class_weights must be a list with a number for each class", r"'balanced'"],
        loss=named("ce", class_weights="balanced"),
    ),
    fit("a focus below zero", [r"focal: gamma must be a number at least 0, got -1"], loss=named("focal", gamma=-1)),
    fit(
        "a loss for each sample",
        [r"must be a scalar tensor, not one of shape \(4,\)", r"reduction='none'"],
        loss=nn.CrossEntropyLoss(reduction="none"),
    ),
    fit("a rate that is no number", [r"lr must be a finite number, as 0\.01, got 'abc'"], lr="abc"),
    fit("a rate that is nan", [r"lr must be a finite number, as 0\.01, got nan"], lr=float("nan")),
    fit("momentum without end", [r"momentum must be below 1, as 0\.9, got 2"], optimizer_args={"momentum": 2}),
    fit(
        "a single beta",
        [r"optimizer 'adam' cannot take", r"betas as two"],
        optimizer="adam",
        optimizer_args={"betas": [0.9]},
    ),
    fit(
        "an optimizer argument as a list",
        [r"optimizer_args must be names with values", r"as \{momentum"],
        optimizer_args=["momentum"],
    ),
    fit(
        "a key that larc has not",
        [r"'larc': it takes no 'trust'", r"trust_coefficient"],
        optimizer_args={"larc": {"trust": 1}},
    ),
    fit(
        "a scheduler without its steps",
        [r"scheduler 'torch.*StepLR': missing a required argument: 'step_size'", r"signature"],
        scheduler="torch.optim.lr_scheduler.StepLR",
    ),
    fit(
        "a warmup of half a step",
        [r"warmup_steps=2\.5 is a number of steps, or a fraction"],
        scheduler="cosine",
        scheduler_args={"warmup_steps": 2.5},
    ),
    fit(
        "milestones behind the end",
        [r"milestones=1\.5 must be", r"fraction of the run"],
        scheduler="multistep",
        scheduler_args={"milestones": [0.5, 1.5]},
    ),
    fit(
        "a plateau without validation",
        [r"goes by val/loss, and nothing is validated", r"val_fraction"],
        scheduler="plateau",
    ),
    fit("a frozen net", [r"nothing to train: all 2 parameters are frozen"], net=nn.Linear(4, 3).requires_grad_(False)),
    fit("a class for a net", [r"net must be an object", r"Linear\(\.\.\.\)"], net=nn.Linear),
    fit(
        "an adapter for a net",
        [r"net must be a net: a LightFrameModule trains by itself"],
        net=LightFrameModule(nn.Linear(4, 3), "ce"),
    ),
    monitored(
        "a plateau of an unknown metric",
        [r"the scheduler goes by 'val/top9', which is not logged", r"did you mean 'val/top\d'"],
        {"monitor": "val/top9"},
    ),
    monitored(
        "a stop by an unknown metric",
        [r"EarlyStopping monitors 'val/top9', which is not logged", r"logged: val/loss"],
        callbacks=[EarlyStopping("val/top9")],
    ),
    Case(
        "a net without width",
        run=lambda: LightFrameModule(named("tiny3d", width=0), num_classes=2),
        says=[r"width must be at least 1"],
    ),
]


def checkpoint(folder: Path) -> None:
    module, tuner = LightFrameModule(nn.Linear(4, 3), "ce", lr=0.1), trainer()
    tuner.fit(module, DataLoader(TensorDataset(X, LABELS), batch_size=4))
    tuner.save_checkpoint(folder / "net.ckpt")


def load(**arguments: Any) -> Callable[[], Any]:
    return lambda: LightFrameModule.load_from_checkpoint("net.ckpt", **arguments)


PYTHON = [
    Case(
        "a checkpoint without its net",
        run=load(),
        setup=checkpoint,
        says=[r"given net as an object of torch\.nn.*Linear", r"net=\.\.\."],
    ),
    Case(
        "a checkpoint for another net",
        run=load(net=nn.Linear(4, 7)),
        setup=checkpoint,
        says=[r"those of another net than this Linear", r"give the net"],
    ),
    Case("a callback that averages too much", run=lambda: EMA(decay=2), says=[r"decay is 2", r"such as 0\.9999"]),
    Case("a callback that averages letters", run=lambda: EMA(decay="a"), says=[r"decay is a", r"give one from 0 to 1"]),  # type: ignore[arg-type]
    Case(
        "an evaluation never",
        run=lambda: EvalTotal("top1", every_n_epochs=0),
        says=[r"every_n_epochs must be at least 1"],
    ),
    Case(
        "an unknown amount of memory",
        run=lambda: EvalTotal("top1", max_memory="4 XB"),
        says=[r"'4 XB' is no amount of memory", r"'4 GB'"],
    ),
    Case(
        "an unknown kind of table",
        run=lambda: EvalTotal("top1", predictions="jsn"),
        says=[r"predictions must be one of"],
    ),
    Case("predictions of no class", run=lambda: PredictionWriter(top=0), says=[r"top must be at least 1, got 0"]),
    Case(
        "a guard that does something else",
        run=lambda: LossGuard("skp"),
        says=[r"action must be one of stop, skip", r"did you mean 'skip'"],
    ),
    Case(
        "a benchmark of letters",
        run=lambda: GPUSpeedBenchmark("resnet18"),
        says=[r"nets must be a list of names, as \['resnet18'\]"],
    ),
    Case(
        "a benchmark of an unknown net",
        run=lambda: gpu_cnn_speed(["resnt18"]),
        says=[r"unknown net 'resnt18'", r"did you mean 'resnet18'"],
    ),
    Case(
        "a benchmark on no device",
        run=lambda: gpu_cnn_speed(["resnet18"], device="cud"),
        says=[r"there is no device 'cud'", r"give auto, cpu"],
    ),
]

CASES: list[Case] = [*SETTINGS, *FOLDERS, *AUGMENT, *DETECTION, *TENSORS, *PYTHON]
