"""How long work takes, by the device's own events or by a clock that waits for the device."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import torch
from typing_extensions import override


class Clock(Protocol):
    """Tells how long each of several calls took."""

    def times(self, work: Callable[[], object], count: int) -> list[float]:
        """Seconds of each of `count` calls of `work`, one after the other."""
        ...


class WallClock(Clock):
    """Looks at a clock before and after each call, when the device has done all that it was given.

    Args:
        synchronize: waits for the device; not needed on a CPU, which is done when the call returns.
        now: seconds, from any beginning.

    >>> ticks = iter([0.0, 1.5, 2.0, 2.25])
    >>> WallClock(now=lambda: next(ticks)).times(lambda: None, 2)
    [1.5, 0.25]
    """

    def __init__(
        self, synchronize: Callable[[], object] = lambda: None, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.synchronize = synchronize
        self.now = now

    @override
    def times(self, work: Callable[[], object], count: int) -> list[float]:
        seconds = []
        self.synchronize()
        for _ in range(count):
            start = self.now()
            work()
            self.synchronize()
            seconds.append(self.now() - start)
        return seconds


class EventClock(Clock):
    """Puts an event between the calls into the device's queue, which notes the time when it comes to it.

    Nothing waits between the calls, as nothing does in training: the host prepares a call while the device works on
    the one before. Where the host is too slow for the device, the device's waiting counts.

    Args:
        synchronize: waits for the device.
        event: makes an event with `record()` and `elapsed_time(later event)`, in milliseconds; on the current stream
            of the current device.
    """

    def __init__(
        self,
        synchronize: Callable[[], object] = torch.cuda.synchronize,
        event: Callable[[], Any] = lambda: torch.cuda.Event(enable_timing=True),
    ) -> None:
        self.synchronize = synchronize
        self.event = event

    @override
    def times(self, work: Callable[[], object], count: int) -> list[float]:
        events = [self.event() for _ in range(count + 1)]
        self.synchronize()
        events[0].record()
        for event in events[1:]:
            work()
            event.record()
        self.synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in pairwise(events)]


def clock_of(device: torch.device) -> Clock:
    """Events on CUDA; elsewhere a clock that waits for the device.

    >>> type(clock_of(torch.device("cpu"))).__name__
    'WallClock'
    """
    if device.type == "cuda":
        return EventClock()
    if device.type == "cpu":
        return WallClock()
    return WallClock(lambda: torch.accelerator.synchronize(device))
