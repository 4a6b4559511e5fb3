"""Clocks, before devices whose time is a number that the test moves."""

from collections.abc import Callable

import pytest
import torch

from lightframe.speed.clock import EventClock, WallClock, clock_of


class Device:
    """A device that works through a queue while the host goes on.

    Attributes:
        host: the host's time, seconds.
        done: when the device will be done with all that it has been given.
        waits: how often the host has waited for it.
    """

    def __init__(self) -> None:
        self.host = self.done = 0.0
        self.waits = 0

    def launch(self, host: float, device: float) -> None:
        """Give it work, which takes the host a while too."""
        self.host += host
        self.done = max(self.done, self.host) + device

    def synchronize(self) -> None:
        self.waits += 1
        self.host = max(self.host, self.done)


class Event:
    def __init__(self, device: Device) -> None:
        self.device = device

    def record(self) -> None:
        self.at = self.device.done = max(self.device.done, self.device.host)

    def elapsed_time(self, later: "Event") -> float:
        return (later.at - self.at) * 1000


@pytest.fixture
def device() -> Device:
    return Device()


def works(device: Device, host: float, *seconds: float) -> Callable[[], None]:
    left = iter(seconds)
    return lambda: device.launch(host, next(left))


def test_events_tell_the_devices_time(device: Device) -> None:
    clock = EventClock(device.synchronize, lambda: Event(device))
    assert clock.times(works(device, 0.125, 2.0, 1.0, 4.0), 3) == [2.125, 1.0, 4.0]  # the first had to be prepared
    assert device.waits == 2, "nothing waits between the calls"


def test_events_count_the_time_in_which_the_device_waits_for_the_host(device: Device) -> None:
    clock = EventClock(device.synchronize, lambda: Event(device))
    assert clock.times(works(device, 0.5, 0.25, 0.25, 0.25), 3) == [0.75, 0.5, 0.5]


def test_events_begin_when_earlier_work_is_done(device: Device) -> None:
    device.launch(0.0, 100.0)
    assert EventClock(device.synchronize, lambda: Event(device)).times(works(device, 0.0, 1.0), 1) == [1.0]


def test_a_clock_waits_for_the_device(device: Device) -> None:
    device.launch(0.0, 100.0)
    clock = WallClock(device.synchronize, lambda: device.host)
    assert clock.times(works(device, 0.125, 2.0, 1.0, 4.0), 3) == [2.125, 1.125, 4.125]


def test_each_kind_of_device_has_its_clock() -> None:
    assert isinstance(clock_of(torch.device("cuda")), EventClock)
    assert isinstance(clock_of(torch.device("mps")), WallClock)
    assert isinstance(clock_of(torch.device("cpu")), WallClock)


def test_the_cpus_clock_is_the_real_one() -> None:
    (seconds,) = clock_of(torch.device("cpu")).times(lambda: sum(range(100_000)), 1)
    assert 1e-5 < seconds < 10
