"""Logged times by a clock that stands still but for what the test's own loader and net take."""

import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_rows import CLASSES, FEATURES, Data, as_batch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from recording import quiet_trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from typing_extensions import override

from lightframe import VideoBatch, VideoDataModule
from lightframe.callbacks import StepTimer, step_timer
from lightframe.step_times import HostClock, StepTimes

LOAD, STEP, VALIDATE, SAVE = 0.25, 1.0, 100.0, 1000.0


class Clock:
    time = 0.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(step_timer, "HostClock", lambda: HostClock(clock.now))
    monkeypatch.setattr(step_timer, "StepTimes", partial(StepTimes, now=clock.now))
    return clock


class Keeping(Logger):
    """Keeps the times that are logged, with their steps."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[int, dict[str, float]]] = []

    name = version = "kept"

    @override
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if any(name.startswith("time/") for name in metrics):
            self.kept.append((step, metrics))

    @override
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def values(self, name: str) -> list[float]:
        return [metrics[f"time/{name}"] for _, metrics in self.kept]


class Net(LightningModule):
    """Takes STEP for a training batch and VALIDATE for the validation."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.net, self.clock = nn.Linear(FEATURES, CLASSES), clock

    @override
    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        self.clock.time += STEP
        return F.cross_entropy(self.net(batch.video), batch.label)

    @override
    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self.clock.time += VALIDATE

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.clock.time += SAVE

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Slow(Data):
    """Takes LOAD for a batch of four rows; validates on one batch."""

    def __init__(self, clock: Clock, load: float = LOAD) -> None:
        super().__init__()
        self.clock, self.load = clock, load

    @override
    def train_dataloader(self) -> DataLoader[Any]:
        def collate(samples: Any) -> VideoBatch:
            self.clock.time += self.load
            return as_batch(samples)

        return DataLoader(self.rows, 4, collate_fn=collate)

    @override
    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, len(self.rows), collate_fn=as_batch)


def fit(clock: Clock, load: float = LOAD, **settings: Any) -> tuple[Keeping, Trainer]:
    """Of 6 batches an epoch."""
    logger, checkpoint = Keeping(), settings.pop("ckpt_path", None)
    usual = {"logger": logger, "log_every_n_steps": 2, "limit_val_batches": 0, "callbacks": [StepTimer()]}
    trainer = quiet_trainer(**{**usual, **settings})
    trainer.fit(Net(clock), datamodule=Slow(clock, load), ckpt_path=checkpoint)
    return logger, trainer


def test_the_values(clock: Clock) -> None:
    logger, _ = fit(clock, max_epochs=2)
    assert [step for step, _ in logger.kept] == [1, 3, 5, 7, 9, 11]  # as Lightning counts what it logs itself
    for name, value in {"step": STEP + LOAD, "data": LOAD, "samples_per_second": 4 / (STEP + LOAD)}.items():
        assert logger.values(name) == pytest.approx([value] * 6)
    left = [(STEP + LOAD) * steps / 60 for steps in (10, 8, 6, 4, 2, 0)]
    assert logger.values("eta_minutes") == pytest.approx(left)
    if sys.platform == "linux":
        (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        assert logger.values("peak_memory_gib")[-1] == pytest.approx(int(peak.split()[1]) / 2**20, rel=0.02)


def test_accumulated_batches_are_one_step(clock: Clock) -> None:
    logger, _ = fit(clock, max_epochs=2, accumulate_grad_batches=3, log_every_n_steps=1)
    assert [step for step, _ in logger.kept] == [0, 1, 2, 3]
    assert logger.values("step") == pytest.approx([3 * (STEP + LOAD)] * 4)
    assert logger.values("data") == pytest.approx([3 * LOAD] * 4)
    assert logger.values("samples_per_second") == pytest.approx([4 / (STEP + LOAD)] * 4)
    assert logger.values("eta_minutes") == pytest.approx([(STEP + LOAD) * batches / 60 for batches in (9, 6, 3, 0)])


def test_validation_and_saving_are_no_waiting(clock: Clock, tmp_path: Path) -> None:
    """In the middle of an epoch and at its end; of the time that is left they are a part."""
    keeper = ModelCheckpoint(tmp_path, every_n_train_steps=4, save_top_k=-1)
    settings = {"limit_val_batches": 1.0, "val_check_interval": 0.5, "enable_checkpointing": True}
    logger, _ = fit(clock, max_epochs=2, callbacks=[StepTimer(), keeper], **settings)
    saved = len(list(tmp_path.iterdir()))
    assert saved == 3
    for value in logger.values("step"):
        assert value in (pytest.approx(STEP + LOAD), pytest.approx(STEP + LOAD / 2))  # nothing is known behind a save
    # After 10 of 12 steps there were validations behind 3, 6 and 9 and saves behind 4 and 8.
    every = sum(step * 2 for step in logger.values("step")[:5])
    spent = every + 3 * VALIDATE + 2 * (SAVE + LOAD)
    assert logger.values("eta_minutes")[4] == pytest.approx(2 * spent / 10 / 60)


def test_a_resumed_run_counts_on(clock: Clock, tmp_path: Path) -> None:
    _, trainer = fit(clock, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    clock.time += 12345.0
    logger, _ = fit(clock, max_epochs=2, ckpt_path=tmp_path / "one.ckpt")
    assert [step for step, _ in logger.kept] == [7, 9, 11]
    assert logger.values("eta_minutes") == pytest.approx([(STEP + LOAD) * steps / 60 for steps in (4, 2, 0)])


def test_a_second_training_begins_anew(clock: Clock) -> None:
    timer = StepTimer()
    for _ in range(2):
        logger, _ = fit(clock, callbacks=[timer])
        clock.time += 1e6
        assert logger.values("step") == pytest.approx([STEP + LOAD] * 3)


def test_a_run_without_an_end_or_without_logging(clock: Clock) -> None:
    class Stopping(Callback):
        @override
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == 8

    logger, _ = fit(clock, max_epochs=-1, callbacks=[StepTimer(), Stopping()])
    assert logger.kept
    assert not any("time/eta_minutes" in metrics for _, metrics in logger.kept)
    assert fit(clock, log_every_n_steps=0)[0].kept == []
    fit(clock, logger=False)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "of the time" in record.getMessage()]


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (3.0, "input-bound: 75 % of the time is spent waiting for data; more num_workers (0 on"),
        (0.25, "input-bound: 20 % "),
        (0.01, "not input-bound: 1 % of the time is spent waiting for data"),
    ],
)
def test_the_sentence(clock: Clock, caplog: pytest.LogCaptureFixture, load: float, expected: str) -> None:
    """Once, after 50 batches; the first 20 of them say nothing of the long run."""
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        fit(clock, load, max_epochs=8)
        assert said(caplog) == []  # 48 batches
        fit(clock, load, max_epochs=20)
    (sentence,) = said(caplog)
    assert sentence.startswith(expected)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
def test_the_sentence_is_about_the_process_that_waits_longest(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Uneven(Slow):
        @override
        def setup(self, stage: str) -> None:
            self.load = 3.0 * torch.distributed.get_rank()

    def say(sentence: str) -> None:  # in the process of each rank
        with (tmp_path / f"rank{torch.distributed.get_rank()}.txt").open("a") as file:
            file.write(sentence)

    monkeypatch.setattr(step_timer, "rank_zero_info", rank_zero_only(say))
    trainer = quiet_trainer(
        devices=2, strategy="ddp_fork", callbacks=[StepTimer()], max_epochs=20, limit_val_batches=0, logger=False
    )
    trainer.fit(Net(clock), datamodule=Uneven(clock))
    assert [path.name for path in tmp_path.glob("rank*.txt")] == ["rank0.txt"]
    said = (tmp_path / "rank0.txt").read_text()
    assert said.startswith("input-bound: 75 %")
    assert said.endswith("(in the process that waits longest)")


def test_a_line_for_a_run_without_a_progress_bar(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        fit(clock, callbacks=[StepTimer(verbose=True)], log_every_n_steps=6)
    (line,) = [record.getMessage() for record in caplog.records if "a step (" in record.getMessage()]
    assert line.startswith("step 6/6, ETA 0:00:00, 1.250 s a step (0.250 s waiting for data), 3.2 samples/s")


class Telling(Data):
    """A loader that says itself how long it was waited for: half of what lies between the batches."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    @override
    def train_dataloader(self) -> DataLoader[Any]:
        clock = self.clock

        class Loader(DataLoader[Any]):
            waited = 7.0

            def __iter__(self) -> Iterator[VideoBatch]:  # type: ignore[override]
                for batch in super().__iter__():
                    clock.time += LOAD
                    self.waited += LOAD / 2
                    yield batch

        return Loader(self.rows, 4, collate_fn=as_batch)


def test_what_the_loader_says_counts(clock: Clock) -> None:
    logger = Keeping()
    trainer = quiet_trainer(logger=logger, log_every_n_steps=2, limit_val_batches=0, callbacks=[StepTimer()])
    trainer.fit(Net(clock), datamodule=Telling(clock))
    assert logger.values("data") == pytest.approx([LOAD / 2] * 3)


def test_videos(clock: Clock, make_folders: Any) -> None:
    """The loader of videos says how long it was waited for; by this clock nothing passes between its batches."""
    data = VideoDataModule(make_folders(train={"jump": 4, "run": 4}), frames=2, size=16, batch_size=2, num_workers=0)
    loader = data.train_dataloader()
    assert loader.waited == 0
    list(loader)
    once = loader.waited
    assert once > 0
    list(loader)
    assert loader.waited > once


def test_nothing_is_held_when_training_is_over(clock: Clock) -> None:
    timer = StepTimer()
    fit(clock, callbacks=[timer])
    assert timer._times is None
    assert timer._loader is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_events_on_a_gpu() -> None:
    """A kernel that sleeps is timed, and neither mark nor question waits for it."""
    clock = step_timer.CudaClock()
    torch.cuda.synchronize()
    start = clock.mark()
    torch.cuda._sleep(10**9)
    end = clock.mark()
    assert clock.seconds(start, end) is None
    torch.cuda.synchronize()
    assert clock.seconds(start, end) > 0.1
