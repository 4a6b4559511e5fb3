"""How fast training is, what it waits for, and when it ends."""

import math
import sys
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightframe.cores import cores
from lightframe.evaluation.counting import batch_size
from lightframe.gather import gather_objects
from lightframe.step_times import WARM_UP, CudaClock, HostClock, StepTimes, input_verdict

# After how many batches it is said whether the run is input-bound.
_VERDICT = 50


class StepTimer(Callback):
    """Times training steps, and says after 50 batches whether the run is input-bound and by how much.

    Logged every `log_every_n_steps`, as means over the steps since the last time. On a GPU, events in its stream tell
    the times a few steps later; nothing ever waits for them. With several processes the values are those of the first
    and the sentence is about the one that waits longest.

    | logged key              | what                                                          | unit      |
    |-------------------------|---------------------------------------------------------------|-----------|
    | time/step               | a step of the optimizer with all its batches, without          | s         |
    |                         | validation and saving                                         |           |
    | time/data               | the part of it in which the device waited for data            | s         |
    | time/samples_per_second | over all processes                                            | 1/s       |
    | time/eta_minutes        | until the end, with validation and saving as they took so far | min       |
    | time/peak_memory_gib    | the most that tensors took on the GPU, or else this process   | GiB       |
    |                         | in memory (not on Windows)                                    |           |

    Lightning's ThroughputMonitor waits for the GPU in every step and does not see the data, its Timer knows the run as
    a whole alone, and DeviceStatsMonitor tells of memory and no times.

    Args:
        verbose: print these values too each time, for a run without a progress bar.
    """

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self._times: StepTimes | None = None
        self._loader: Any = None
        self._loader_waited: float | None = None
        self._global_step = 0
        self._batches: int | None = None  # None once the sentence is said

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        on_cuda = trainer.strategy.root_device.type == "cuda"
        self._times = StepTimes(CudaClock() if on_cuda else HostClock())
        self._global_step, self._batches = trainer.global_step, 0

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._loader = trainer.train_dataloader
        self._loader_waited = getattr(self._loader, "waited", None)
        if self._times:
            self._times.wait()

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert self._times is not None
        if self._loader_waited is None:
            self._times.start()
        else:
            before, self._loader_waited = self._loader_waited, self._loader.waited
            self._times.start(self._loader.waited - before)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self._times is not None
        stepped = trainer.global_step != self._global_step
        self._global_step = trainer.global_step
        self._times.end(batch_size(batch), stepped)
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if stepped and every and self._global_step % every == 0 and trainer.is_global_zero:
            self._log(trainer, self._times)
        if self._batches is not None:
            self._batches += 1
            if self._batches >= _VERDICT:
                self._judge(trainer, self._times)

    # What lies between batches and is no waiting for data

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pause()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._times:
            self._times.wait()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pause()

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._pause()  # when it is written, no hook tells: up to the next batch nothing counts as waiting

    def _pause(self) -> None:
        if self._times:
            self._times.pause()

    # Events belong to a process and its device: none outlives the training

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._times = self._loader = None

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._times = self._loader = None

    def _log(self, trainer: Trainer, times: StepTimes) -> None:
        sums = times.take()
        if not (sums.steps and sums.seconds):  # a GPU that is further behind than this
            return
        values = {
            "time/step": sums.seconds / sums.steps,
            "time/data": sums.waited / sums.steps,
            "time/samples_per_second": sums.samples * trainer.world_size / sums.seconds,
        }
        steps = trainer.estimated_stepping_batches
        if math.isfinite(steps):
            values["time/eta_minutes"] = max(steps - trainer.global_step, 0) * times.seconds_per_step() / 60
        memory = peak_memory(trainer.strategy.root_device)
        if memory is not None:
            values["time/peak_memory_gib"] = memory / 2**30
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step - 1)  # the number that Lightning gives this step
        if self.verbose:
            rank_zero_info(describe(values, trainer.global_step, steps))

    def _judge(self, trainer: Trainer, times: StepTimes) -> None:
        # All processes must come here at the same step. Lightning keeps several in step with their devices, so that
        # there are times by then; one alone may be ahead of its GPU.
        if trainer.world_size == 1 and times.settled.batches < _VERDICT - WARM_UP:
            return
        self._batches = None
        waited, seconds = max(gather_objects((times.settled.waited, times.settled.seconds)))
        workers = getattr(self._loader, "num_workers", None)
        if seconds:
            where = " (in the process that waits longest)" if trainer.world_size > 1 else ""
            rank_zero_info(input_verdict(waited, seconds, workers, cores()) + where)


def peak_memory(device: torch.device) -> int | None:
    """Bytes: the most that torch held on a GPU, else that this process held; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe(values: dict[str, float], step: int, steps: float) -> str:
    """The logged values in a line.

    >>> values = {"time/step": 0.123, "time/data": 0.012, "time/samples_per_second": 65.0, "time/eta_minutes": 83.75}
    >>> describe(values, 120, 5000)
    'step 120/5000, ETA 1:23:45, 0.123 s a step (0.012 s waiting for data), 65.0 samples/s'
    """
    parts = [f"step {step}/{steps:.0f}" if math.isfinite(steps) else f"step {step}"]
    if "time/eta_minutes" in values:
        parts.append(f"ETA {timedelta(seconds=round(60 * values['time/eta_minutes']))}")
    parts.append(f"{values['time/step']:.3f} s a step ({values['time/data']:.3f} s waiting for data)")
    parts.append(f"{values['time/samples_per_second']:.1f} samples/s")
    if "time/peak_memory_gib" in values:
        parts.append(f"{values['time/peak_memory_gib']:.1f} GiB")
    return ", ".join(parts)
