"""One setting measured: warmed up, timed call by call, and the worst that can happen a row that says so."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities.memory import is_oom_error
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightframe.speed.clock import Clock, clock_of
from lightframe.speed.flags import set_cudnn, set_float32
from lightframe.speed.precision import find_precision, lacking
from lightframe.speed.preserve import preserved
from lightframe.speed.row import Row
from lightframe.speed.setting import Setting
from lightframe.speed.spread import Spread
from lightframe.speed.subject import NotMeasured, Subject

_FEWEST = 3  # calls of which quartiles can be told


@dataclass(frozen=True)
class Effort:
    """How long something is measured.

    Attributes:
        iterations: calls that are timed.
        warmup: calls before them that are not.
        warmup_seconds: at least so long; a GPU needs a while to come up to its clock rate.
        limit: seconds that the timed calls may take; slow ones are fewer, but at least three.

    >>> Effort(iterations=20, limit=10.0).calls(2.0), Effort(iterations=20).calls(1e-3)
    (5, 20)
    """

    iterations: int = 20
    warmup: int = 5
    warmup_seconds: float = 0.0
    limit: float = 30.0

    @classmethod
    def of(cls, device: torch.device, iterations: int | None = None) -> "Effort":
        """What suits a device."""
        if device.type == "cpu":
            return cls(iterations or 5, warmup=2, limit=10.0)
        return cls(iterations or 30, warmup=10, warmup_seconds=0.5)

    def calls(self, seconds: float) -> int:
        """How many calls are timed when one takes so long."""
        return min(self.iterations, max(int(self.limit / seconds), _FEWEST)) if seconds > 0 else self.iterations

    def more_warmup(self, times: list[float]) -> int:
        """How many calls of warm-up have to follow those that took these times."""
        missing = self.warmup_seconds - sum(times)
        return min(int(missing / max(times[-1], 1e-6)), 1000) if missing > 0 else 0


def measure(
    make: Callable[[], Subject], setting: Setting, device: torch.device, effort: Effort, clock: Clock | None = None
) -> Row:
    """Measure one setting, and leave the process as it was (see `preserved`).

    What the device cannot do, too little memory, and any other error of the net make a row that says so.

    Args:
        make: gives a fresh net with a batch, on the device.
        setting: what is measured; its `parameters` are filled in.
        device: where.
        effort: how long.
        clock: by default the device's own.
    """
    with preserved(device):
        return _try(make, setting, device, effort, clock or clock_of(device))


def time_calls(work: Callable[[], object], clock: Clock, effort: Effort) -> tuple[float, Spread]:
    """Seconds of the first call, and of the calls after the warm-up."""
    (first,) = clock.times(work, 1)
    warm = clock.times(work, effort.warmup)
    if more := effort.more_warmup(warm):
        warm = clock.times(work, more)
    return first, Spread.of(clock.times(work, effort.calls(warm[-1])))


def _try(make: Callable[[], Subject], setting: Setting, device: torch.device, effort: Effort, clock: Clock) -> Row:
    try:
        if reason := lacking(setting.precision, device):
            raise NotMeasured(reason)
        with _on(device):
            return _measure(make, setting, device, effort, clock)
    except NotMeasured as reason:
        return Row(setting, f"skipped: {reason}")
    # Whatever a net does, the next one is measured, and a training that only asked how fast it would be goes on.
    except Exception as error:
        return Row(setting, "out of memory" if out_of_memory(error) else f"failed: {_first_line(error)}")


def _measure(make: Callable[[], Subject], setting: Setting, device: torch.device, effort: Effort, clock: Clock) -> Row:
    before = _memory(device)
    subject = make()
    setting = replace(setting, parameters=subject.parameters)
    if setting.memory_format == "channels_last" and not subject.to_channels_last():
        raise NotMeasured("there is no image and no clip in the batch to be channels_last")
    if setting.compiled:
        # Dynamo counts compilations of the same code, of whatever net, and falls back to eager after eight.
        torch.compiler.reset()
        subject.net.compile()
    step = _step(subject, setting, device)
    first, time = time_calls(lambda: step(subject.batch), clock, effort)
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else None
    copied = None
    if device.type != "cpu":
        host = apply_to_collection(subject.batch, Tensor, lambda tensor: _on_host(tensor, device))
        copied = time_calls(lambda: step(move_data_to_device(host, device)), clock, effort)[1]
    return Row(setting, time=time, with_copy=copied, peak_memory=peak, first_call=first)


def _step(subject: Subject, setting: Setting, device: torch.device) -> Callable[[Any], None]:
    """What is timed, as a function of the batch."""
    precision = find_precision(setting.precision)
    set_float32(precision.matmul_tf32, precision.conv_tf32)
    if device.type == "cuda":
        set_cudnn(setting.cudnn)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, dtype=precision.autocast, enabled=precision.autocast is not None)

    def forward(batch: Any) -> None:
        with torch.inference_mode(), autocast():
            subject.predict(batch)

    if setting.mode == "forward":
        subject.module.eval()
        return forward

    subject.module.train()
    optimizer = subject.optimizer()
    # From a scale at which nothing overflows: the optimizer's step would be left out, and the call be a quick one.
    scaler = torch.amp.GradScaler(device.type, init_scale=1024.0, enabled=precision.autocast is torch.float16)

    def train(batch: Any) -> None:
        with torch.enable_grad():
            with autocast():
                loss = subject.loss(batch)
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return train


def _on(device: torch.device) -> Any:
    """Events, streams and questions about memory go to the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _memory(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _on_host(tensor: Tensor, device: torch.device) -> Tensor:
    host = tensor.cpu()
    return host.pin_memory() if device.type == "cuda" else host


def out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory left.

    >>> out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"))
    True
    """
    return isinstance(error, torch.OutOfMemoryError) or is_oom_error(error) or "out of memory" in str(error)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]
