"""The adapter, held against plain loops."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.tuner import Tuner
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lightframe import LightFrameModule, UsageError, VideoBatch, VideoDataModule

FEATURES, CLASSES = 5, 3


def make_trainer(**settings: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(**{**quiet, "logger": False, "accelerator": "cpu", "num_sanity_val_steps": 0, **settings})


def make_net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def make_data(count: int = 22, seed: int = 1) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return TensorDataset(inputs, torch.randint(CLASSES, (count,), generator=generator))


def loader(data: TensorDataset, batch_size: int = 4) -> DataLoader:
    return DataLoader(data, batch_size=batch_size)


def fit(module: LightFrameModule, epochs: int = 2, **settings: Any) -> Trainer:
    trainer = make_trainer(max_epochs=epochs, **settings)
    trainer.fit(module, loader(make_data()), loader(make_data(10, seed=2)))
    return trainer


class Recorder(Callback):
    """Keeps what was logged at each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_training_equals_a_plain_loop() -> None:
    """Two losses with weights, AdamW, cosine per step: the same weights as a loop in plain torch."""
    module = LightFrameModule(
        make_net(),
        loss={"ce": 1.0, "bce": {"weight": 0.5}},
        optimizer="adamw",
        lr=0.05,
        optimizer_args={"weight_decay": 0.1},
        scheduler="cosine",
    )
    fit(module, epochs=2)

    net, data = make_net(), make_data()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05, weight_decay=0.1)
    total = 2 * math.ceil(len(data) / 4)
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 + math.cos(math.pi * step / total)) / 2
        inputs, targets = list(loader(data))[step % (total // 2)]
        outputs = net(inputs)
        one_hot = F.one_hot(targets, CLASSES).float()
        loss = F.cross_entropy(outputs, targets) + 0.5 * F.binary_cross_entropy_with_logits(outputs, one_hot)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(module.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_logged_values_are_means_over_samples() -> None:
    """22 and 10 samples in batches of 4: the last batches are smaller, and must not count for more."""
    module = LightFrameModule(make_net(), loss={"ce": 2.0, "mse": 1.0}, lr=0.0, metrics=["top1", "top5"])
    recorder = Recorder()
    trainer = fit(module, epochs=1, callbacks=[recorder])
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def expected(data: TensorDataset) -> tuple[float, float, float]:
        inputs, targets = data.tensors
        outputs = make_net()(inputs).double()
        ce = sum(-outputs[i].log_softmax(0)[targets[i]].item() for i in range(len(data))) / len(data)
        mse = ((outputs - F.one_hot(targets, CLASSES)) ** 2).mean().item()
        return ce, mse, float((outputs.argmax(1) == targets).double().mean())

    for phase, data in (("train", make_data()), ("val", make_data(10, seed=2))):
        ce, mse, top1 = expected(data)
        assert logged[f"{phase}/top1"] == pytest.approx(top1)
        assert logged[f"{phase}/top5"] == 1.0  # clipped to the three classes
        total = "train/loss_epoch" if phase == "train" else "val/loss"
        assert logged[total] == pytest.approx(2 * ce + mse, rel=1e-5)
    assert logged["val/loss_ce"] == pytest.approx(expected(make_data(10, seed=2))[0], rel=1e-5)
    first = make_data().tensors[0][:4], make_data().tensors[1][:4]
    step_ce = F.cross_entropy(make_net()(first[0]), first[1]).item()
    assert recorder.steps[0]["train/loss_ce"] == pytest.approx(step_ce, rel=1e-5)


def test_each_phase_has_metrics_of_its_own() -> None:
    """Validation in the middle of an epoch must not spoil what training has counted so far."""
    module = LightFrameModule(make_net(), loss="ce", lr=0.0, metrics="top1")
    trainer = fit(module, epochs=1, val_check_interval=2)
    inputs, targets = make_data().tensors
    expected = float((make_net()(inputs).argmax(1) == targets).float().mean())
    assert float(trainer.callback_metrics["train/top1"]) == pytest.approx(expected)


class OwnLoss(nn.Module):
    """A net that computes its own loss, in one of the three forms."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net, self.kind = make_net(), kind

    def forward(self, batch: list[Tensor]) -> Any:
        outputs = self.net(batch[0])
        ce, size = F.cross_entropy(outputs, batch[1]), outputs.square().mean()
        kinds = {"tensor": ce + size, "dict": {"ce": ce, "size": size}}
        return kinds.get(self.kind) if self.kind in kinds else ({"ce": ce, "size": size}, {"largest": outputs.max()})


@pytest.mark.parametrize("kind", ["tensor", "dict", "pair"])
def test_a_net_may_compute_its_own_loss(kind: str) -> None:
    module = LightFrameModule(OwnLoss(kind), lr=0.1)
    trainer = fit(module, epochs=1)
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for inputs, targets in loader(make_data()):
        outputs = net(inputs)
        optimizer.zero_grad()
        (F.cross_entropy(outputs, targets) + outputs.square().mean()).backward()
        optimizer.step()
    for ours, theirs in zip(module.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    names = set(trainer.callback_metrics)
    parts = {"val/loss_ce", "val/loss_size", "train/loss_ce"} if kind != "tensor" else set()
    assert {"train/loss", "train/loss_epoch", "val/loss"} | parts <= names
    assert ("val/largest" in names) == (kind == "pair")


def test_a_net_that_only_predicts_in_evaluation() -> None:
    class Detector(OwnLoss):
        def forward(self, batch: list[Tensor]) -> Any:
            return super().forward(batch) if self.training else [{"boxes": torch.zeros(0, 4)}]

    trainer = fit(LightFrameModule(Detector("dict"), lr=0.1), epochs=1)
    assert "train/loss" in trainer.callback_metrics
    assert not any(name.startswith("val/") for name in trainer.callback_metrics)


@pytest.mark.parametrize(
    "loss",
    ["CE", ["ce"], {"ce": None}, {"name": "ce"}, "torch.nn.CrossEntropyLoss", F.cross_entropy, nn.CrossEntropyLoss()],
)
def test_every_form_of_loss_trains_alike(loss: Any) -> None:
    module = LightFrameModule(make_net(), loss=loss, lr=0.1, metrics=None)
    fit(module, epochs=1)
    reference = LightFrameModule(make_net(), loss="ce", lr=0.1, metrics=None)
    fit(reference, epochs=1)
    torch.testing.assert_close(module.net[0].weight, reference.net[0].weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer", ["SGD", "torch.optim.SGD", torch.optim.SGD, lambda params: torch.optim.SGD(params, lr=0.1)]
)
@pytest.mark.parametrize("scheduler", ["constant", "torch.optim.lr_scheduler.ConstantLR", None])
def test_every_form_of_optimizer_and_scheduler(optimizer: Any, scheduler: Any) -> None:
    lr = None if getattr(optimizer, "__name__", "") == "<lambda>" else 0.1
    args = {"factor": 1.0} if scheduler and "." in scheduler else None
    module = LightFrameModule(make_net(), "ce", optimizer, lr, scheduler=scheduler, scheduler_args=args, metrics=None)
    fit(module, epochs=1)
    reference = LightFrameModule(make_net(), loss="ce", lr=0.1, metrics=None)
    fit(reference, epochs=1)
    torch.testing.assert_close(module.net[0].weight, reference.net[0].weight)


def test_callable_scheduler() -> None:
    module = LightFrameModule(
        make_net(), "ce", lr=1.0, scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    )
    trainer = fit(module, epochs=1)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5**6)  # six steps


@pytest.mark.parametrize("metrics", ["top1", ["top1"], {"top1": None}, MulticlassAccuracy(CLASSES, average="micro")])
def test_every_form_of_metrics(metrics: Any) -> None:
    trainer = fit(LightFrameModule(make_net(), "ce", lr=0.0, metrics=metrics), epochs=1)
    name = "val/MulticlassAccuracy" if isinstance(metrics, MulticlassAccuracy) else "val/top1"
    inputs, targets = make_data(10, seed=2).tensors
    expected = float((make_net()(inputs).argmax(1) == targets).float().mean())
    assert float(trainer.callback_metrics[name]) == pytest.approx(expected)


def test_confusion_matrix_is_written_as_a_table(tmp_path: Any) -> None:
    module = LightFrameModule(make_net(), "ce", lr=0.0, metrics="confusion_matrix")
    fit(module, epochs=1, default_root_dir=tmp_path)
    inputs, targets = make_data(10, seed=2).tensors
    counts = [[0] * CLASSES for _ in range(CLASSES)]
    for row, column in zip(targets.tolist(), make_net()(inputs).argmax(1).tolist(), strict=True):
        counts[row][column] += 1
    expected = ["class,0,1,2", *(f"{n},{','.join(map(str, row))}" for n, row in enumerate(counts))]
    assert (tmp_path / "val-confusion_matrix.csv").read_text().splitlines() == expected


def test_steps_return_what_a_whole_set_evaluation_needs() -> None:
    batch = VideoBatch(torch.rand(2, 3, 4, 16, 16), torch.tensor([1, 0]), torch.tensor([7, 3]))
    module = LightFrameModule("tiny3d", "ce", num_classes=CLASSES).eval()
    module.trainer = make_trainer()
    returned = module.validation_step(batch, 0)
    assert returned is not None
    torch.testing.assert_close(returned["outputs"], module(batch.video).detach())
    assert returned["targets"] is batch.label
    assert returned["index"].tolist() == [7, 3]
    assert not returned["outputs"].requires_grad


def test_views_of_a_video_are_averaged_as_probabilities() -> None:
    videos = torch.rand(2, 3, 3, 4, 16, 16)  # two videos in three views
    batch = VideoBatch(videos, torch.tensor([1, 0]), torch.tensor([0, 1]))
    for loss, probability in (("ce", lambda x: x.softmax(-1)), ("bce", torch.sigmoid)):
        module = LightFrameModule("tiny3d", loss, num_classes=CLASSES).eval()
        returned = module.predict_step(batch, 0)
        assert returned is not None
        with torch.no_grad():
            each = torch.stack([probability(module(videos[:, view]).double()) for view in range(3)])
        torch.testing.assert_close(probability(returned["outputs"].double()), each.mean(0), rtol=1e-5, atol=1e-6)


class Boxes(nn.Module):
    """Gives its loss in training only, as detectors do; in evaluation a box for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch: dict[str, Any]) -> Any:
        if self.training:
            return {"box": self.weight * batch["video"].mean()}
        return [{"boxes": torch.zeros(1, 4)} for _ in batch["video"]]


def test_a_detector_in_evaluation() -> None:
    """Its predictions are returned with the targets; a classifier's metrics, the default, are not taken of them."""
    batch = {"video": torch.rand(2, 3, 8, 8), "label": torch.tensor([1, 0]), "index": torch.tensor([7, 3])}
    module = LightFrameModule(Boxes()).eval()
    returned = module.validation_step(batch, 0)
    assert returned is not None
    assert (len(returned["outputs"]), returned["loss"]) == (2, None)
    assert returned["targets"] is batch["label"]
    assert returned["index"].tolist() == [7, 3]
    assert module.epoch_values["val"].compute() == {}


@pytest.mark.parametrize("views", [2, 6])
def test_views_are_looked_at_one_after_the_other(views: int) -> None:
    """Thirty views of each video at once would not fit where training fits."""
    sizes: list[tuple[int, ...]] = []

    class Watched(LightFrameModule):
        def forward(self, inputs: Tensor) -> Tensor:
            sizes.append(tuple(inputs.shape))
            return super().forward(inputs)

    module = Watched("tiny3d", "ce", num_classes=CLASSES).eval()
    module.trainer = make_trainer()
    videos = torch.rand(2, views, 3, 4, 16, 16)
    batch = VideoBatch(videos, torch.tensor([1, 0]), torch.tensor([7, 3]))
    returned = module.test_step(batch, 0)
    assert sizes == [(2, 3, 4, 16, 16)] * views
    assert returned is not None
    assert returned["outputs"].shape == (2, CLASSES)
    with torch.no_grad():
        mean = sum(module.net(videos[:, view]).double().softmax(-1) for view in range(views)) / views
    expected = -mean[[0, 1], [1, 0]].log().mean()
    torch.testing.assert_close(returned["loss"].double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(module.predict_step(batch, 0)["outputs"], returned["outputs"])


def test_a_batch_of_which_nothing_could_be_read() -> None:
    module = LightFrameModule("tiny3d", "ce", num_classes=CLASSES)
    assert module.validation_step(None, 0) is None
    assert module.test_step(None, 0) is None
    assert module.predict_step(None, 0) == {"outputs": None, "index": None}  # Lightning warns of None


def test_videos_are_counted_where_there_are_videos() -> None:
    trainer = fit(LightFrameModule(make_net(), "ce", lr=0.1), epochs=1)
    assert "data/skipped" not in trainer.callback_metrics


def test_unpack_refuses_what_it_cannot_tell_apart() -> None:
    module = LightFrameModule(make_net(), "ce")
    assert module.unpack({"video": 1, "label": 2}) == (1, 2)
    with pytest.raises(UsageError, match="override unpack"):
        module.unpack(torch.zeros(3))


def test_frozen_parameters_are_left_out() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    module = LightFrameModule(net, "ce", lr=0.1)
    trainer = fit(module, epochs=1)
    assert sum(len(group["params"]) for group in trainer.optimizers[0].param_groups) == 2
    torch.testing.assert_close(net[0].weight, make_net()[0].weight)
    net.requires_grad_(False)
    with pytest.raises(UsageError, match="frozen"):
        LightFrameModule(net, "ce").parameter_groups()


def test_learning_rate_finder_works() -> None:
    module = LightFrameModule(make_net(), "ce", optimizer="adam", scheduler="cosine")
    trainer = make_trainer(max_epochs=1)
    found = Tuner(trainer).lr_find(module, loader(make_data(200)), num_training=20, update_attr=True)
    assert found is not None
    assert module.lr == found.suggestion()


class Data(LightningDataModule):
    """Says how many classes there are."""

    num_classes = CLASSES

    def train_dataloader(self) -> DataLoader:
        return loader(make_data())


def test_a_classifier_without_a_loss_is_noticed_before_training() -> None:
    with pytest.raises(UsageError, match="Tiny3D, computes no loss of its own: give loss"):
        make_trainer(max_epochs=1).fit(LightFrameModule("tiny3d", num_classes=CLASSES), datamodule=Data())


def test_several_labels_are_none_of_cross_entropy(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    """Rows of multi-hot targets that sum to 2 would be trained on in silence."""
    root = make_folders(train={"run": 2})
    (tmp_path / "list.txt").write_text("train/run/0.mkv jump|run\ntrain/run/1.mkv run\n")
    data = VideoDataModule(root, train=str(tmp_path / "list.txt"), frames=2, stride=1, size=16, num_workers=0)
    with pytest.raises(UsageError, match="takes one label for each video, and some have several: give loss=bce"):
        make_trainer(max_epochs=1).fit(LightFrameModule("tiny3d", "ce", num_classes=2), datamodule=data)
    make_trainer(fast_dev_run=True).fit(
        LightFrameModule("tiny3d", "bce", metrics="multilabel_map", num_classes=2), datamodule=data
    )


def test_a_head_of_the_wrong_size_is_noticed_before_training() -> None:
    with pytest.raises(UsageError, match="give num_classes=3"):
        make_trainer(max_epochs=1).fit(LightFrameModule("tiny3d", "ce", num_classes=4), datamodule=Data())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": "tiny4d"}, "unknown net 'tiny4d'; did you mean 'tiny3d'"),
        ({"net": {"name": "tiny3d", "witdh": 8}}, "did you mean 'width'"),
        ({"net": "tiny3d"}, "give num_classes"),
        ({"net": 3}, "net must be"),
        ({"net": {"width": 3}}, "without a name"),
        ({"net": "math.pi"}, "'math.pi' is a float, which cannot be called"),
        ({"net": "no_such_module.Net"}, "no module 'no_such_module'"),
        ({"net": "torch.nn.Lineal"}, "did you mean 'Linear'"),
        ({"loss": "cee"}, "unknown loss 'cee'; did you mean 'ce'"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'"),
        ({"optimizer_args": {"momentun": 0.9}}, "did you mean 'momentum'"),
        ({"lr": -1.0}, "learning rate"),
        ({"scheduler": "cosin"}, "unknown scheduler 'cosin'; did you mean 'cosine'"),
        ({"scheduler": "step", "scheduler_args": {"step_sise": 3}}, "did you mean 'step_size'"),
        ({"metrics": ["top_1"]}, "unknown metric 'top_1'; did you mean 'top1'"),
    ],
)
def test_mistakes_are_named_when_the_module_is_made(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        LightFrameModule(**{"net": make_net(), **arguments})
