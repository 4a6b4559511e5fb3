"""last.ckpt: from where a run goes on that was stopped."""

import contextlib
import copy
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from typing_extensions import override

from lightframe.errors import UsageError
from lightframe.gather import gather_objects
from lightframe.resuming import repeat_validation
from lightframe.stop_signal import StopSignals


class StoppedBySignal(SystemExit):
    """A signal asked the training to leave, and its work is saved; the exit code is 128 plus the signal's number."""


class LastCheckpoint(Checkpoint):
    """Keeps `checkpoints/last.ckpt`, and saves it before a cluster takes the machine away.

    It is written at the end of each validation, of each epoch and of the training, every `every_minutes` in between,
    and when the process gets SIGTERM, or on Slurm the signal before a time limit (`sbatch --signal=SIGUSR1@90`). Then
    training ends with the step that it is at: all processes agree on it, so one of them may be signalled or all. On
    Slurm a job that got SIGUSR1 is put back into the queue, as Lightning does.

    It is saved only where a run goes on exactly: behind an optimizer step or in a validation, never between the last
    batch before a validation and that validation, which Lightning would leave out. A validation that is broken off is
    made again.

    Args:
        every_minutes: how old it may become within an epoch; null: any age.
        dirpath: the folder. Null: that of the run's ModelCheckpoint, or else `checkpoints` in the run's folder. Where
            another run has left its last.ckpt, this one's is last-v1.ckpt.

    Raises:
        UsageError: `every_minutes` is below 0.
        StoppedBySignal: after a signal, when everything is saved.
    """

    def __init__(self, every_minutes: float | None = 15.0, dirpath: str | None = None) -> None:
        super().__init__()
        if every_minutes is not None and not every_minutes >= 0:
            raise UsageError(f"every_minutes is {every_minutes}: give minutes from 0 on, or null for none")
        self.every_minutes, self.dirpath = every_minutes, dirpath
        self.path: Path | None = None
        self._stop = StopSignals()
        self._forget()

    def _forget(self) -> None:
        self._stop.restore()
        self._saved_step, self._saved_at = -1, time.monotonic()
        self._validates = self._asks = self._leaves = self._requeues = False
        self._due: dict[str, Any] | None = None  # Lightning's loops behind the step that is to be saved

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        folder = self.dirpath or _folder(trainer)
        if self.path is None or not trainer.global_step:
            self.path = trainer.strategy.broadcast(_new_name(Path(folder)))

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()
        # In place of Lightning's handlers, which save in the middle of a step and talk to the other processes there.
        signals = [signal.SIGTERM]
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, SLURMEnvironment) and hasattr(signal, "SIGUSR1"):
            signals.append(environment.requeue_signal or signal.SIGUSR1)
            self._requeues = environment.auto_requeue
        self._stop.install(signals)

    # Within an epoch

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if _in_mid_epoch(trainer, batch_idx):
            limit = None if self.every_minutes is None else 60 * self.every_minutes
            old = limit is not None and time.monotonic() - self._saved_at >= limit
            stop, old = self._agree(trainer, old)
            if stop or old:
                self._due, self._leaves = copy.deepcopy(trainer.fit_loop.state_dict()), stop

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Only now is the last step logged: a run that goes on from it does not log it again.
        if self._due is not None:
            self._save(trainer)
            if self._leaves:
                self._leave(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _fitting(trainer):
            # Processes can only agree where each of them comes by equally often.
            batches = gather_objects(list(trainer.num_val_batches))
            self._asks = all(one == batches[0] and sum(one) != float("inf") for one in batches)

    @override
    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        if _fitting(trainer) and self._asks and self._agree(trainer)[0]:
            self._validates = True
            self._save(trainer)
            self._leave(trainer)

    # Ends of validations and epochs

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _fitting(trainer):
            self._save(trainer)
            if self._agree(trainer)[0]:
                self._leave(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._saved_step:
            self._save(trainer)
        if self._agree(trainer)[0]:
            self._leave(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)  # with nothing left to do
        self._forget()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._forget()

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._validates:
            repeat_validation(checkpoint)
        elif self._due is not None:
            checkpoint["loops"]["fit_loop"] = self._due

    def _agree(self, trainer: Trainer, old: bool = False) -> tuple[bool, bool]:
        """Whether any process got a signal, and whether the file is too old by the first one's clock."""
        stop = self._stop.received is not None
        if trainer.world_size == 1:
            return stop, old
        # One number a step: Lightning, too, asks in each whether SIGTERM came, and waits for the device.
        flags = torch.tensor(
            [stop, old and trainer.is_global_zero], dtype=torch.int32, device=trainer.strategy.root_device
        )
        stop, old = trainer.strategy.reduce(flags, reduce_op="max").bool().tolist()
        return stop, old

    def _save(self, trainer: Trainer) -> None:
        assert self.path is not None
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_step, self._saved_at, self._due = trainer.global_step, time.monotonic(), None

    def _leave(self, trainer: Trainer) -> None:
        received = self._stop.received or signal.SIGTERM  # which another process got
        rank_zero_info(
            f"{received.name}: training stops at step {trainer.global_step}. It is saved in {self.path}, and goes on "
            "with --ckpt_path last"
        )
        if received != signal.SIGTERM and self._requeues and trainer.is_global_zero:
            _requeue()
        # In ranks that were forked Lightning does not come to do so, and they would wait for the loader's workers.
        with contextlib.suppress(RuntimeError):  # of a worker that was ended by the signal
            trainer.fit_loop.teardown()
        # Lightning, which has started the other processes, takes another code of theirs for a crash.
        raise StoppedBySignal(128 + received if trainer.is_global_zero else 0)


def _fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _folder(trainer: Trainer) -> str:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            return str(callback.dirpath)
    return f"{trainer.log_dir or trainer.default_root_dir}/checkpoints"


def _new_name(folder: Path) -> Path:
    """last.ckpt, or last-v1.ckpt and so on where another run has left its own."""
    names = ("last.ckpt", *(f"last-v{number}.ckpt" for number in range(1, 1000)))
    return next(folder / name for name in names if not (folder / name).exists())


def _in_mid_epoch(trainer: Trainer, batch_idx: int) -> bool:
    """Whether after this batch, with which an optimizer step was made, the next one comes and nothing else."""
    steps_end = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    if (batch_idx + 1) % trainer.accumulate_grad_batches or trainer.is_last_batch or steps_end or trainer.should_stop:
        return False
    every = getattr(trainer, "val_check_batch", None)
    if not every or every == float("inf"):
        return True
    # Counted within the epoch or, without check_val_every_n_epoch, from the first batch on.
    done = batch_idx + 1 if trainer.check_val_every_n_epoch else trainer.fit_loop.total_batch_idx + 1
    return bool(done % every)


def _requeue() -> None:
    """Put this Slurm job back into the queue."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        rank_zero_warn(f"the job could not be put back into the queue ({error}): submit it again")
