import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_rows import BATCH, CLASSES, FEATURES, Data, as_batch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment
from recording import quiet_trainer
from torch import nn
from torch.utils.data import DataLoader
from typing_extensions import override

from lightframe import LightFrameModule
from lightframe.callbacks import LastCheckpoint, last_checkpoint
from lightframe.callbacks.last_checkpoint import StoppedBySignal
from lightframe.errors import UsageError

STEPS = 6  # in an epoch


class Rows(Data):
    @override
    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, batch_size=BATCH, collate_fn=as_batch)


class Sender(Callback):
    """Sends this process a signal in a hook, at the n-th time."""

    def __init__(self, hook: str, number: int, signum: int = signal.SIGTERM) -> None:
        self.left, self.signum = number, signum
        setattr(self, hook, self.send)

    def send(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if not trainer.sanity_checking:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(self.signum)


def fit(folder: Path, *callbacks: Callback, **settings: Any) -> Trainer:
    module = LightFrameModule(nn.Linear(FEATURES, CLASSES), loss="ce", lr=0.1, metrics=["top1"], num_classes=CLASSES)
    trainer = quiet_trainer(
        **{"max_epochs": 2, "enable_checkpointing": True, "default_root_dir": folder, **settings},
        callbacks=list(callbacks),
    )
    trainer.fit(module, datamodule=Rows())
    return trainer


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


class Saves(LastCheckpoint):
    """Remembers at which steps it saved."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.steps: list[int] = []

    @override
    def _save(self, trainer: Trainer) -> None:
        super()._save(trainer)
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize(
    ("minutes", "settings", "steps"),
    [
        # The clock below goes on by one minute in each batch.
        (None, {}, [6, 12, 12]),
        (2.5, {}, [3, 6, 9, 12, 12]),
        (1, {"limit_val_batches": 0}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12]),
        (1, {"accumulate_grad_batches": 4}, [1, 2, 3, 4, 4]),
        (1, {"val_check_interval": 3}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12]),
        (100, {"check_val_every_n_epoch": 2}, [6, 12, 12]),
    ],
    ids=str,
)
def test_when_it_is_saved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minutes: float | None,
    settings: dict[str, Any],
    steps: list[int],
) -> None:
    now = [0.0]
    monkeypatch.setattr(last_checkpoint.time, "monotonic", lambda: now[0])

    class Clock(Callback):
        @override
        def on_train_batch_end(self, *_: Any) -> None:
            now[0] += 60

    callback = Saves(every_minutes=minutes)
    fit(tmp_path, Clock(), callback, **settings)
    assert callback.steps == steps
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == steps[-1]
    assert len(list(tmp_path.rglob("*.ckpt"))) == 1


def test_it_stands_beside_the_others(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(tmp_path / "best"), LastCheckpoint())
    assert (tmp_path / "best" / "last.ckpt").exists()
    fit(tmp_path, ModelCheckpoint(tmp_path / "best2"), LastCheckpoint(dirpath=str(tmp_path / "elsewhere")))
    assert (tmp_path / "elsewhere" / "last.ckpt").exists()


def test_another_run_loses_nothing(tmp_path: Path) -> None:
    callback = LastCheckpoint(dirpath=str(tmp_path))
    for expected in ("last.ckpt", "last-v1.ckpt", "last-v2.ckpt"):
        fit(tmp_path, callback, max_epochs=1)
        assert callback.path == tmp_path / expected
    assert len(list(tmp_path.glob("last*.ckpt"))) == 3


@pytest.mark.parametrize(
    ("hook", "number", "settings", "step"),
    [
        ("on_train_batch_start", 3, {}, 3),
        ("on_train_batch_end", 3, {}, 3),
        ("on_train_batch_start", 5, {"accumulate_grad_batches": 3}, 2),
        ("on_train_batch_end", 6, {}, 6),  # a validation comes next
        ("on_validation_batch_start", 2, {}, 6),
        ("on_validation_end", 1, {}, 6),
        ("on_train_epoch_end", 1, {}, 6),
        ("on_train_batch_end", 6, {"limit_val_batches": 0}, 6),
        ("on_before_optimizer_step", 8, {}, 8),
    ],
)
def test_sigterm(tmp_path: Path, hook: str, number: int, settings: dict[str, Any], step: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedBySignal) as stopped:
        fit(tmp_path, Sender(hook, number), LastCheckpoint(), **settings)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == step
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("array", "requeue"), [(False, True), (True, True), (False, False)])
def test_slurm_puts_the_job_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: bool, requeue: bool, caplog: pytest.LogCaptureFixture
) -> None:
    told = make_scontrol(tmp_path, monkeypatch)
    for name in ("NODEID", "PROCID", "LOCALID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # which Lightning sets: put back afterwards
        monkeypatch.delenv(name)
    if array:
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "16")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    slurm = SLURMEnvironment(auto_requeue=requeue)
    with caplog.at_level("INFO"), pytest.raises(StoppedBySignal) as stopped:
        fit(
            tmp_path,
            Sender("on_train_batch_end", 3, signal.SIGUSR1),
            LastCheckpoint(),
            plugins=[slurm],
            strategy="ddp",
            devices=1,
        )
    torch.distributed.destroy_process_group()
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert told() == (None if not requeue else "requeue 16_3" if array else "requeue 17")
    assert step_of(tmp_path / "checkpoints" / "last.ckpt") == 3
    assert "SIGUSR1: training stops at step 3. It is saved in" in caplog.text


def make_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str | None]:
    """A scontrol that writes down what it is asked for."""
    script = folder / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked.txt\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    asked = folder / "asked.txt"
    return lambda: asked.read_text().strip() if asked.exists() else None


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="every_minutes is -1: give minutes from 0 on"):
        LastCheckpoint(every_minutes=-1)
