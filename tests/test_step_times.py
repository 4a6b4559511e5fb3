"""Times of steps by clocks that the test sets; the oracle is arithmetic by hand."""

from collections.abc import Callable

import pytest

from lightframe.step_times import WARM_UP, HostClock, StepTimes, Sums, input_verdict


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time


class Device:
    """A queue of work: what is queued begins when the host queues it and what was before is done."""

    def __init__(self, host: Clock) -> None:
        self.host, self.free_at = host, 0.0

    def work(self, seconds: float) -> None:
        self.free_at = max(self.free_at, self.host.time) + seconds

    def mark(self) -> float:
        return max(self.free_at, self.host.time)

    def seconds(self, start: float, end: float) -> float | None:
        assert start <= end
        return end - start if end <= self.host.time else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(clock: Clock, *do: float | Callable[[], object]) -> None:
    """Let seconds pass and call functions, in this order."""
    for one in do:
        if callable(one):
            one()
        else:
            clock.time += one


def test_waiting_and_working_on_the_host(clock: Clock) -> None:
    times = StepTimes(HostClock(clock.now), clock.now)
    for _ in range(2):
        run(clock, times.wait, 3.0, times.start, 1.0, lambda: times.end(8))
    assert times.take() == Sums(batches=2, steps=2, samples=16, seconds=8.0, waited=6.0)
    assert times.take() == Sums()


def test_the_wait_begins_where_a_batch_ends(clock: Clock) -> None:
    times = StepTimes(HostClock(clock.now), clock.now)
    run(clock, times.wait, times.start, 1.0, lambda: times.end(8), 0.5, times.start, 2.0, lambda: times.end(4))
    assert times.take() == Sums(batches=2, steps=2, samples=12, seconds=3.5, waited=0.5)


def test_accumulated_batches_make_one_step(clock: Clock) -> None:
    times = StepTimes(HostClock(clock.now), clock.now)
    times.wait()
    for number in range(6):
        run(clock, times.start, 1.0, lambda stepped=number % 3 == 2: times.end(2, stepped))
    assert times.take() == Sums(batches=6, steps=2, samples=12, seconds=6.0)


def test_pauses_are_neither_waiting_nor_training(clock: Clock) -> None:
    times = StepTimes(HostClock(clock.now), clock.now)
    run(clock, times.wait, times.start, 1.0, lambda: times.end(1))
    run(clock, 0.25, times.pause, 50.0, times.pause, 10.0, times.wait)  # validation, and a checkpoint in it
    run(clock, 0.5, times.start, 1.0, lambda: times.end(1))
    run(clock, times.pause, 7.0, times.start, 1.0, lambda: times.end(1))  # a checkpoint, of which no hook tells the end
    assert times.take() == Sums(batches=3, steps=3, samples=3, seconds=3.5, waited=0.5)
    assert times.other == 67.0


def test_a_loader_may_say_how_long_it_was_waited_for(clock: Clock) -> None:
    """What else is done between batches, as augmentation, is no waiting for data."""
    times = StepTimes(HostClock(clock.now), clock.now)
    run(clock, times.wait, 3.0, lambda: times.start(waited=1.0), 1.0, lambda: times.end(1))
    assert times.take().waited == 1.0
    run(clock, 3.0, lambda: times.start(waited=5.0), 1.0, lambda: times.end(1))
    assert times.take().waited == 3.0  # but it is no longer than the time between batches


def test_a_device_behind_the_host_is_asked_later(clock: Clock) -> None:
    """The host queues a batch in 1 s, the device works 4 s on it."""
    device = Device(clock)
    times = StepTimes(device, clock.now)
    times.wait()
    done = []
    for _ in range(5):
        run(clock, times.start, 1.0, lambda: device.work(4.0), lambda: times.end(1))
        done.append(times.every.batches)
    assert done == [0, 0, 0, 0, 1]  # the host was at 1 2 3 4 5 s, the device done with a batch at 5 9 13 17 21 s
    run(clock, 100.0, times.start, lambda: device.work(0.0), lambda: times.end(1))
    assert times.every.batches == 6
    # The first batch came to the device after 1 s, in which the host prepared it; then 5 batches of 4 s, and a pause.
    assert times.every.seconds == pytest.approx(5 * 4 + 1 + (105 - 21))


def test_what_the_host_waits_while_the_device_works_costs_nothing(clock: Clock) -> None:
    device = Device(clock)
    times = StepTimes(device, clock.now)
    times.wait()
    run(clock, times.start, lambda: device.work(4.0), lambda: times.end(1))
    run(clock, 3.0, times.start, lambda: device.work(4.0), lambda: times.end(1))  # waits 3 s; the device is busy
    run(clock, 6.0, times.start, lambda: device.work(4.0), lambda: times.end(1))  # waits 6 s; busy for 5 of them
    run(clock, 10.0, times.start, lambda: times.end(1))  # 10 s, of which it is busy for 4
    sums = times.take()
    assert (sums.batches, sums.waited, sums.seconds) == (4, 0 + 0 + 1 + 6, 19.0)


def test_the_first_steps_do_not_count_in_the_long_run(clock: Clock) -> None:
    times = StepTimes(HostClock(clock.now), clock.now)
    times.wait()
    for number in range(WARM_UP + 3):
        run(clock, 1.0, times.start, 60.0 if number < WARM_UP else 1.0, lambda: times.end(1))
    assert times.settled == Sums(batches=3, steps=3, samples=3, seconds=6.0, waited=3.0)
    assert times.seconds_per_step() == 2.0
    run(clock, times.pause, 230.0, times.wait)
    assert times.seconds_per_step() == 2.0 + 230 / (WARM_UP + 3)


def test_nothing_but_pauses() -> None:
    times = StepTimes()
    times.pause()
    times.wait()
    assert times.seconds_per_step() >= 0
    assert times.take() == Sums()


@pytest.mark.parametrize(
    ("waited", "workers", "cores", "expected"),
    [
        (0, 1, 2, "not input-bound: 0 % of the time"),
        (9, 1, 2, "not input-bound: 9 % of the time"),
        (38, 2, 8, "input-bound: 38 % of the time is spent waiting for data; more num_workers (2 on 8 cores), files"),
        (38, 8, 8, "input-bound: 38 % of the time is spent waiting for data; files that decode faster"),
        (38, None, 8, "input-bound: 38 % of the time is spent waiting for data; more num_workers, files"),
        (50, 2, 8, "up to 2.0 times as fast"),
        (99.9, 2, 8, "up to many times as fast"),
        (100, 2, 8, "up to many times as fast"),
    ],
)
def test_the_verdict(waited: float, workers: int | None, cores: int, expected: str) -> None:
    verdict = input_verdict(waited, 100.0, workers, cores)
    assert expected in verdict
    assert "\n" not in verdict
