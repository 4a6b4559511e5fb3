"""How long training steps take, and how much of it they wait for data; the clocks are given."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import torch

# The first batches come from queues that were filled while the first of all was waited for; nets are compiled and
# kernels chosen in the first steps. None of that says how the run will go on.
WARM_UP = 20
# From which share of the time on it is worth a word.
_INPUT_BOUND = 0.1


class DeviceClock(Protocol):
    """Tells moments of a device that works behind the host."""

    def mark(self) -> Any:
        """The moment at which the device has done all that is queued now."""

    def seconds(self, start: Any, end: Any) -> float | None:
        """From one mark to a later one; None while the device has not come there."""


class HostClock:
    """For a device that works in step with the host.

    Args:
        now: seconds from any origin.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.mark = now

    def seconds(self, start: float, end: float) -> float:
        """From one mark to another."""
        return end - start


class CudaClock:
    """Events in the device's stream: to set one or to ask whether it is over, nothing waits."""

    def mark(self) -> torch.cuda.Event:
        """An event behind all that is queued in the current stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float | None:
        """From one event to a later one of the stream, None while that is to come."""
        return start.elapsed_time(end) / 1000 if end.query() else None


@dataclass
class Sums:
    """What some batches took.

    Attributes:
        batches: how many.
        steps: of the optimizer, that they made.
        samples: in them.
        seconds: from the end of the batch before to their end; validation and saving are left out.
        waited: seconds of that in which the device had nothing to do and the host waited for data.
    """

    batches: int = 0
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, other: "Sums") -> None:
        """Add those of other batches."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class _Batch(NamedTuple):
    """A batch whose end the device may not have reached; `wait` is None where what was before it was no waiting."""

    wait: Any
    start: Any
    end: Any
    waited: float  # by the host
    samples: int
    stepped: bool


class StepTimes:
    """Sums up the batches of a training; told where each begins and ends, it never waits for the device.

    The time from the end of a batch to the start of the next is a wait for data as far as the host waited for them
    and the device was idle: what the host waits while the device still works costs nothing.

    Args:
        clock: of the device.
        now: of the host, seconds.

    Attributes:
        interval: the batches since `take`.
        every: all batches.
        settled: all but the first `WARM_UP`.
        other: seconds of the host in pauses, as for validation.

    >>> times = StepTimes(HostClock(iter([0.0, 1.0, 3.0]).__next__), now=iter([0.0, 1.0, 3.0]).__next__)
    >>> times.wait()
    >>> times.start()
    >>> times.end(samples=8)
    >>> times.take()
    Sums(batches=1, steps=1, samples=8, seconds=3.0, waited=1.0)
    """

    def __init__(self, clock: DeviceClock | None = None, now: Callable[[], float] = time.perf_counter) -> None:
        self._clock: DeviceClock = clock or HostClock(now)
        self._now = now
        self._wait: Any = None
        self._start: Any = None
        self._since = 0.0
        self._waited = 0.0
        self._paused: float | None = None
        self._pending: deque[_Batch] = deque()
        self.interval, self.every, self.settled = Sums(), Sums(), Sums()
        self.other = 0.0

    def wait(self) -> None:
        """The next batch is asked for."""
        self._resume()
        self._wait, self._since = self._clock.mark(), self._now()

    def pause(self) -> None:
        """What comes now, up to the next `wait` or `start`, is no waiting for data."""
        if self._paused is None:
            self._wait, self._paused = None, self._now()

    def start(self, waited: float | None = None) -> None:
        """The batch is there.

        Args:
            waited: how many seconds the host waited for it, where the loader says so. None: since `wait`.
        """
        self._resume()
        self._start = self._clock.mark()
        self._waited = waited if waited is not None else 0.0 if self._wait is None else self._now() - self._since

    def end(self, samples: int, stepped: bool = True) -> None:
        """All work on the batch is queued; the next one is asked for.

        Args:
            samples: in it.
            stepped: whether the optimizer made its step.
        """
        end = self._clock.mark()
        self._pending.append(_Batch(self._wait, self._start, end, self._waited, samples, stepped))
        self._wait, self._since = end, self._now()
        self._collect()

    def take(self) -> Sums:
        """What came to its end since the last time; a device may be some batches behind."""
        taken, self.interval = self.interval, Sums()
        return taken

    def seconds_per_step(self) -> float:
        """Of the optimizer, with what was done in pauses, and without the first steps if there are more."""
        sums = self.settled if self.settled.steps else self.every
        return sums.seconds / max(sums.steps, 1) + self.other / max(self.every.steps, 1)

    def _resume(self) -> None:
        if self._paused is not None:
            self.other += self._now() - self._paused
            self._paused = None

    def _collect(self) -> None:
        while self._pending:
            batch = self._pending[0]
            seconds = self._clock.seconds(batch.start if batch.wait is None else batch.wait, batch.end)
            if seconds is None:
                return
            self._pending.popleft()
            idle = 0.0 if batch.wait is None else self._clock.seconds(batch.wait, batch.start) or 0.0
            sums = Sums(1, int(batch.stepped), batch.samples, seconds, min(idle, batch.waited))
            self.interval.add(sums)
            self.every.add(sums)
            if self.every.batches > WARM_UP:
                self.settled.add(sums)


def input_verdict(waited: float, seconds: float, workers: int | None = None, cores: int | None = None) -> str:
    """One sentence on whether a training is input-bound, and what would help.

    Args:
        waited: seconds in which it waited for data.
        seconds: in all.
        workers: processes of the loader, where that is known.
        cores: of the CPU, for those.

    >>> input_verdict(1.0, 50.0)
    'not input-bound: 2 % of the time is spent waiting for data'
    >>> input_verdict(19.0, 50.0, workers=2, cores=8).split("; ")[0]
    'input-bound: 38 % of the time is spent waiting for data'
    """
    share = waited / seconds
    spent = f"{100 * share:.0f} % of the time is spent waiting for data"
    if share < _INPUT_BOUND:
        return f"not input-bound: {spent}"
    ways = ["files that decode faster (lightframe transcode)", "smaller clips"]
    if workers is None or cores is None:
        ways.insert(0, "more num_workers")
    elif workers < cores:
        ways.insert(0, f"more num_workers ({workers} on {cores} cores)")
    gain = f"{1 / (1 - share):.1f} times" if share < 0.9 else "many times"
    return f"input-bound: {spent}; {', '.join(ways[:-1])} or {ways[-1]} make training up to {gain} as fast"
