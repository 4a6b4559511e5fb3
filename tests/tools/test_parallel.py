"""Work in processes that may die or hang. `eval` is the work: it is known to every process, and can do anything."""

import multiprocessing
import signal
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from lightframe.errors import UsageError
from lightframe.tools.encoding import TranscodeSettings
from lightframe.tools.parallel import Lost, in_processes


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_item_is_worked_on_once(workers: int) -> None:
    items = [f"{number} ** 2" for number in range(20)]
    results = list(in_processes(eval, items, workers))
    assert sorted(results) == sorted((item, number**2) for number, item in enumerate(items))
    assert multiprocessing.active_children() == []


def test_nothing_to_do() -> None:
    assert list(in_processes(eval, [], 2)) == []


def test_items_are_worked_on_at_the_same_time(tmp_path: Path) -> None:
    # Each of the two waits for what the other does.
    waiting = "[Path({0!r}).touch(), [0 for _ in iter(Path({1!r}).exists, True)]] and __import__('os').getpid()"
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    path = "(Path := __import__('pathlib').Path) and "
    items = [path + waiting.format(first, second), path + waiting.format(second, first)]
    processes = {result for _, result in in_processes(eval, items, 2, time_limit=30)}
    assert len(processes) == 2
    assert all(isinstance(process, int) for process in processes)


def test_a_worker_that_dies_costs_its_own_item_alone() -> None:
    crash, leave = "__import__('os').abort()", "__import__('os')._exit(3)"
    items = ["1", crash, "2", leave, "3", crash, "4"]
    results = list(in_processes(eval, items, 2))
    assert sorted(item for item, _ in results) == sorted(items)
    assert sorted(result for item, result in results if item.isdigit()) == [1, 2, 3, 4]
    for item, result in results:
        if not item.isdigit():
            assert isinstance(result, Lost)
            assert ("SIGABRT" if item == crash else "exit code 3") in result.reason
    assert multiprocessing.active_children() == []


def test_an_item_that_takes_too_long_is_given_up() -> None:
    for_ever = "[0 for _ in iter(int, 1)]"
    results = dict(in_processes(eval, ["1", for_ever, "2"], 1, time_limit=0.5))
    assert results == {"1": 1, for_ever: Lost("it took longer than 0.5 s"), "2": 2}


def test_a_users_mistake_comes_through_and_ends_the_others() -> None:
    with pytest.raises(UsageError, match="even number"):
        list(in_processes(TranscodeSettings, [64, 65, *[64] * 100], 2))
    assert multiprocessing.active_children() == []


def test_an_error_brings_the_traceback_from_the_worker() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)while working on 1/0.*Traceback.*ZeroDivisionError"):
        list(in_processes(eval, ["1/0"], 1))


def test_results_that_nobody_waits_for() -> None:
    results = in_processes(eval, ["1", "[0 for _ in iter(int, 1)]"], 2)
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("workers", "limit"), [(0, 1.0), (-1, 1.0), (1, 0.0)])
def test_numbers_that_make_no_sense(workers: int, limit: float) -> None:
    with pytest.raises(UsageError, match="must be"):
        list(in_processes(eval, ["1"], workers, limit))


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no server of forks here")
def test_ctrl_c_while_the_workers_start_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    start = forkserver.ensure_running
    # To this thread: another one may hear a signal to the process late, in the midst of whatever this one does then.
    monkeypatch.setattr(forkserver, "ensure_running", lambda: (signal.raise_signal(signal.SIGINT), start()))
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(eval, ["1"], 1))
    monkeypatch.undo()
    assert list(in_processes(eval, ["1"], 1)) == [("1", 1)]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no server of forks here")
def test_workers_do_not_hear_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """From their first moment: the server that forks them has it held back, and they inherit that."""
    fresh: Any = forkserver.ForkServer()
    for name in ("ensure_running", "connect_to_new_process", "set_forkserver_preload"):
        monkeypatch.setattr(forkserver, name, getattr(fresh, name))
    held_back = "(s := __import__('signal')).SIGINT in s.pthread_sigmask(s.SIG_BLOCK, [])"
    try:
        assert list(in_processes(eval, [held_back], 1)) == [(held_back, True)]
    finally:
        fresh._stop()  # as CPython's own tests do
