"""A clock that tells the times it is told to."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from typing_extensions import override

from lightframe.speed.clock import Clock


class ToldClock(Clock):
    """Calls the work and gives the next of its times.

    Attributes:
        asked: how many calls were timed together, each time it was asked.
    """

    def __init__(self, times: Sequence[float]) -> None:
        self.left: Iterator[float] = iter(times)
        self.asked: list[int] = []

    @override
    def times(self, work: Callable[[], object], count: int) -> list[float]:
        self.asked.append(count)
        for _ in range(count):
            work()
        return [next(self.left) for _ in range(count)]


@pytest.fixture
def told_clock() -> type[ToldClock]:
    return ToldClock
