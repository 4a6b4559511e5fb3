from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from recording import quiet_trainer
from torch.utils.data import DataLoader
from typing_extensions import override

from lightframe.callbacks import Checkpointer
from lightframe.errors import UsageError


class Scored(LightningModule):
    """Logs a given value in each epoch."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.values = values

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.weight

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/a|b", self.values[self.current_epoch], on_epoch=True)

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Nothing(LightningDataModule):
    @override
    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.zeros(2, 1))  # type: ignore[arg-type]

    val_dataloader = train_dataloader


def fit(
    folder: Path, callback: Checkpointer, values: list[float], checkpoint: Path | None = None, **settings: Any
) -> Trainer:
    trainer = quiet_trainer(
        max_epochs=len(values),
        default_root_dir=folder,
        callbacks=[callback],
        enable_checkpointing=True,
        **settings,
    )
    trainer.fit(Scored(values), datamodule=Nothing(), ckpt_path=checkpoint)
    return trainer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("max", ["best-epoch=001-a_b=0.9000.ckpt", "best-epoch=003-a_b=0.7000.ckpt"]),
     ("min", ["best-epoch=000-a_b=0.1000.ckpt", "best-epoch=002-a_b=0.2000.ckpt"])],
)  # fmt: skip
def test_the_best(tmp_path: Path, mode: str, kept: list[str]) -> None:
    fit(tmp_path, Checkpointer("val/a|b", mode, keep=2), [0.1, 0.9, 0.2, 0.7])
    assert names(tmp_path) == kept


def test_the_newest_of_every_n_epochs(tmp_path: Path) -> None:
    fit(tmp_path, Checkpointer(every_n_epochs=2, keep=2), [0.0] * 7)
    assert names(tmp_path) == ["epoch=003-step=8.ckpt", "epoch=005-step=12.ckpt"]


def test_all(tmp_path: Path) -> None:
    fit(tmp_path, Checkpointer(keep=None), [0.0] * 3)
    assert names(tmp_path) == [f"epoch=00{epoch}-step={2 * epoch + 2}.ckpt" for epoch in range(3)]


def test_both(tmp_path: Path) -> None:
    trainer = quiet_trainer(
        max_epochs=3,
        default_root_dir=tmp_path,
        callbacks=[Checkpointer("val/a|b", "max"), Checkpointer()],
        enable_checkpointing=True,
    )
    trainer.fit(Scored([0.5, 0.9, 0.1]), datamodule=Nothing())
    assert names(tmp_path) == ["best-epoch=001-a_b=0.9000.ckpt", "epoch=002-step=6.ckpt"]


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val/loss", "min"), ("val/loss_ce", "min"), ("val/Error", "min"), ("val/top1", "max"), ("glossy", "max")],
)
def test_which_values_are_better(monitor: str, mode: str) -> None:
    assert Checkpointer(monitor).mode == mode
    assert Checkpointer(monitor, mode="max").mode == "max"


def test_a_metric_that_cannot_stand_in_a_pattern() -> None:
    name = Checkpointer("val/IoU:0.5").format_checkpoint_name({"epoch": 3, "step": 7, "val/IoU:0.5": 0.25})
    assert name == "best-epoch=003-step=7.ckpt"


def test_a_name_of_ones_own(tmp_path: Path) -> None:
    fit(tmp_path, Checkpointer("val/a|b", filename="{epoch} {step}"), [0.5])
    assert names(tmp_path) == ["epoch=0 step=2.ckpt"]
    callback = Checkpointer(filename="{epoch}-{val/top1:.2f}", dirpath="a b")
    name = callback.format_checkpoint_name({"epoch": 3, "val/top1": 0.5})
    assert Path(name).name == "epoch=3-val_top1=0.50.ckpt"
    assert Path(name).parent.name == "a b"  # the folder is the user's


def test_a_resumed_run_remembers_what_was_best(tmp_path: Path) -> None:
    fit(tmp_path / "one", Checkpointer("val/a|b", "max"), [0.5, 0.9])
    (best,) = (tmp_path / "one" / "checkpoints").iterdir()
    callback = Checkpointer("val/a|b", "max")
    fit(tmp_path / "two", callback, [0.5, 0.9, 0.7], best)
    assert callback.best_model_path == str(best)
    assert callback.best_model_score == pytest.approx(0.9)
    assert not (tmp_path / "two" / "checkpoints").exists()
    better = Checkpointer("val/a|b", "max")
    fit(tmp_path / "three", better, [0.5, 0.9, 0.95], best)
    assert names(tmp_path / "three") == ["best-epoch=002-a_b=0.9500.ckpt"]
    assert best.exists()  # a file of another run is never removed


def test_a_best_one_that_is_gone_is_no_match(tmp_path: Path) -> None:
    fit(tmp_path / "one", Checkpointer("val/a|b", "max"), [0.5, 0.9])
    (best,) = (tmp_path / "one" / "checkpoints").iterdir()
    moved = best.rename(tmp_path / "moved.ckpt")
    fit(tmp_path / "two", Checkpointer("val/a|b", "max"), [0.5, 0.9, 0.7], moved)
    assert names(tmp_path / "two") == ["best-epoch=002-a_b=0.7000.ckpt"]


def test_a_second_training_begins_anew(tmp_path: Path) -> None:
    callback = Checkpointer("val/a|b", "max")
    fit(tmp_path / "one", callback, [0.9])
    fit(tmp_path / "two", callback, [0.5])
    assert names(tmp_path / "two") == ["best-epoch=000-a_b=0.5000.ckpt"]


def test_weights_only(tmp_path: Path) -> None:
    fit(tmp_path, Checkpointer(weights_only=True), [0.5])
    (path,) = (tmp_path / "checkpoints").iterdir()
    assert "optimizer_states" not in torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "mode must be min or max, got 'best'"),
        ({"keep": 0}, "keep=0: give how many"),
        ({"every_n_epochs": 0}, "every_n_epochs=0: give a number"),
        ({"filename": "{epoch}-{val/loss:.3f"}, r"filename '{epoch}-{val/loss:.3f': .*; give one such as"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Checkpointer("val/loss", **arguments)
