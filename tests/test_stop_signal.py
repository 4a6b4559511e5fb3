import multiprocessing
import os
import pickle
import queue
import signal
import threading
from contextlib import suppress

import pytest

from lightframe import stop_signal
from lightframe.stop_signal import OutliveSigterm, StopSignals


def test_notes_and_restores() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        stop = StopSignals()
        stop.install([signal.SIGTERM, signal.SIGUSR1])
        assert stop.received is None
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR1)
        assert stop.received == signal.SIGUSR1
        assert came == []
        stop.restore()
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
        signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM]
        assert stop.received == signal.SIGUSR1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_installed_twice_it_restores_what_was_before_both() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = StopSignals()
    stop.install([signal.SIGTERM])
    stop.install([signal.SIGTERM])
    stop.restore()
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_another_thread_nothing_happens() -> None:
    stop, before = StopSignals(), signal.getsignal(signal.SIGTERM)

    def use() -> None:
        stop.install([signal.SIGTERM])
        stop.restore()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before


def test_pickles_without_its_handlers() -> None:
    stop = StopSignals()
    stop.install([signal.SIGTERM])
    again = pickle.loads(pickle.dumps(stop))
    stop.restore()
    again.restore()
    assert again.received is None


def _worker(outlive: OutliveSigterm, ready: "multiprocessing.Queue[str]", go_on: "multiprocessing.Queue[str]") -> None:
    outlive()
    ready.put("ready")
    while True:
        # As torch's own workers wait: a signal that comes just before a wait is heard only when the wait is over.
        with suppress(queue.Empty):
            go_on.get(timeout=0.2)
            ready.put("alive")


@pytest.mark.skipif(os.name != "posix", reason="Windows ends processes without asking")
@pytest.mark.parametrize("over", [False, True])
def test_a_worker_goes_on_for_a_while(monkeypatch: pytest.MonkeyPatch, over: bool) -> None:
    """Until its time is over, or nobody needs it any more."""
    monkeypatch.setattr(stop_signal, "GRACE", 60.0 if over else 2.0)
    context = multiprocessing.get_context("fork")
    ready, go_on = context.Queue(), context.Queue()
    outlive = OutliveSigterm()
    worker = context.Process(target=_worker, args=(outlive, ready, go_on))
    worker.start()
    try:
        assert ready.get(timeout=30) == "ready"
        for _ in range(2):
            worker.terminate()
            go_on.put("")
            assert ready.get(timeout=30) == "alive"
        if over:
            del outlive  # a started process has let go of its arguments
            worker.terminate()
        worker.join(timeout=30)
        assert worker.exitcode == (0 if over else -signal.SIGALRM)
    finally:
        worker.kill()
        worker.join()
        for each in (ready, go_on):
            each.close()


def test_a_worker_that_shares_no_memory() -> None:
    again = pickle.loads(pickle.dumps(OutliveSigterm()))
    assert again._over is None
