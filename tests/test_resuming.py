"""A training that goes on from a checkpoint, saved anywhere, ends as the one that is not stopped, bit for bit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from flat_values import flat
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from recording import quiet_trainer
from torch import Tensor, nn
from typing_extensions import override

from lightframe import LightFrameModule, UsageError, VideoDataModule
from lightframe.callbacks import EMA, LastCheckpoint

pytestmark = [
    # Among 6 videos of a batch there need not be one of each class.
    pytest.mark.filterwarnings("ignore:No (positive|negative) samples:UserWarning"),
]

Row = tuple[int, str, float]  # step, key, value


class Memory(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    name = version = None

    @override
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows += [(step or 0, key, value) for key, value in metrics.items()]


class Net(nn.Module):
    """All that has a state of its own in training: dropout, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(self.conv(video)).relu().mean((2, 3, 4))))


class Saver(LastCheckpoint):
    """Saves wherever a LastCheckpoint does or may, and keeps every file, and what was logged before it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(every_minutes=0)
        self.folder = folder
        self.logged: dict[Path, set[tuple[int, str]]] = {}

    @override
    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if not trainer.sanity_checking:
            self._validates = True
            self._save(trainer)
            self._validates = False

    @override
    def _save(self, trainer: Trainer) -> None:
        where = "validation_batch" if self._validates else "validation_end" if trainer.validating else "training"
        self.path = self.folder / f"{len(list(self.folder.iterdir())):03d}-{where}-{trainer.global_step}.ckpt"
        assert isinstance(trainer.logger, Memory)
        self.logged[self.path] = {(step, key) for step, key, _ in trainer.logger.rows}
        super()._save(trainer)


def data(root: Path, **settings: Any) -> VideoDataModule:
    augment = {"random_resized_crop": {}, "flip": {}, "color_jitter": {"brightness": 0.4}, "mixup": {}}
    small = {"frames": 2, "stride": 1, "size": 8, "batch_size": 2, "num_workers": 0, "augment": augment}
    return VideoDataModule(root, **{**small, **settings})


def run(root: Path, checkpoint: Path | None = None, saver: Saver | None = None, **settings: Any) -> dict[str, Any]:
    """Everything a training leaves behind."""
    schedule = settings.pop("schedule", {"scheduler": "cosine", "scheduler_args": {"warmup_steps": 3}})
    workers = settings.pop("num_workers", 0)
    torch.manual_seed(1)
    module = LightFrameModule(
        Net(), loss="ce", optimizer="adamw", lr=0.01, metrics=["top1", "auroc"], num_classes=2, **schedule
    )
    ema, memory = EMA(0.9, ramp=5), Memory()
    callbacks: list[Callback] = [ema] if saver is None else [ema, saver]
    trainer = quiet_trainer(
        **{
            "max_epochs": 2,
            "enable_checkpointing": saver is not None,
            "logger": memory,
            "log_every_n_steps": 1,
            "callbacks": callbacks,
            **settings,
        }
    )
    trainer.fit(module, datamodule=data(root, num_workers=workers), ckpt_path=checkpoint)
    assert ema._weights is not None
    ema._weights.restore(module)  # the raw weights, which the average has taken the place of
    return {
        "rows": memory.rows,
        "weights": {name: value.clone() for name, value in module.state_dict().items()},
        "average": {name: value.clone() for name, value in ema.average.items()},
        "n": ema.n,
        "optimizer": trainer.optimizers[0].state_dict(),
        "step": trainer.global_step,
    }


def check(whole: dict[str, Any], resumed: dict[str, Any], logged: set[tuple[int, str]]) -> None:
    """Raise unless `resumed` ended as `whole`, and logged what that did but for what was logged before it."""
    for key in ("step", "n", "weights", "average", "optimizer"):
        assert flat(resumed[key]) == flat(whole[key]), key
    rows = {(at, key): str(value) for at, key, value in whole["rows"]}  # str: NaN is equal to NaN
    again = {(at, key): str(value) for at, key, value in resumed["rows"]}
    assert again.items() <= rows.items(), sorted(again.items() - rows.items())
    missing = rows.keys() - again.keys() - logged
    assert not missing, sorted(missing)


@pytest.fixture
def root(make_folders: Callable[..., Path]) -> Path:
    return make_folders(train={"jump": 6, "run": 5}, val={"jump": 2, "run": 2})


PLATEAU = {"scheduler": "plateau", "scheduler_args": {"patience": 0, "threshold": 10.0, "factor": 0.5}}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate_grad_batches": 2},
        {"limit_val_batches": 0},
        {"val_check_interval": 0.5},
        {"val_check_interval": 3, "accumulate_grad_batches": 2},  # between two optimizer steps
        {"schedule": PLATEAU, "max_epochs": 3},
        {"check_val_every_n_epoch": 2, "max_epochs": 3},
        {"max_epochs": -1, "max_steps": 8},
        {"max_epochs": -1, "max_steps": 8, "limit_val_batches": 0},
    ],
    ids=str,
)
def test_from_any_checkpoint(root: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = run(root, **settings)
    folder = tmp_path / "saved"
    folder.mkdir()
    saver = Saver(folder)
    check(whole, run(root, saver=saver, **settings), set())
    bad = []
    for path in sorted(folder.iterdir()):
        try:
            check(whole, run(root, path, **settings), saver.logged[path])
        except AssertionError as error:
            bad.append(f"{path.name}: {str(error)[:300]}")
    assert not bad, "\n".join(bad)


def test_a_training_that_averages_no_more(root: Path, tmp_path: Path) -> None:
    """It would go on from the average, with the optimizer's state for other weights."""
    saver = Saver(tmp_path)
    run(root, saver=saver, max_epochs=1)
    assert saver.path is not None
    module = LightFrameModule(Net(), loss="ce", optimizer="adamw", num_classes=2)
    with pytest.raises(UsageError, match=r"averaged its weights, and this one does not.*EMA.*init_from"):
        quiet_trainer(max_epochs=2).fit(module, datamodule=data(root), ckpt_path=saver.path)
