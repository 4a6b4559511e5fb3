"""Signals by which a cluster asks a process to leave; the process goes on until it has saved its work."""

import mmap
import os
import signal
import threading
from collections.abc import Iterable
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any


class StopSignals:
    """Notes that a signal came, in place of what it would do, from `install` until `restore`.

    A signal that comes again changes nothing: srun, for one, passes on its own to tasks that got theirs already.

    >>> stop = StopSignals()
    >>> stop.install([signal.SIGTERM])
    >>> signal.raise_signal(signal.SIGTERM)
    >>> stop.received
    <Signals.SIGTERM: 15>
    >>> stop.restore()
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def install(self, signals: Iterable[signal.Signals]) -> None:
        """Begin to listen; only the main thread may, elsewhere nothing happens."""
        self.received = None
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signals:
            before = signal.signal(number, self._note)
            self._before.setdefault(number, before)

    def restore(self) -> None:
        """Stop listening: signals do again what they did before."""
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                # None: a handler that was not set from Python, which cannot be set from here either.
                signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)

    def __getstate__(self) -> dict[str, Any]:
        return {"received": None, "_before": {}}  # a handler belongs to one process


# Seconds for which a worker goes on: long enough for a step to end.
GRACE = 15.0


class OutliveSigterm:
    """Makes a process, a loader's worker, go on for `GRACE` seconds after SIGTERM.

    Who stops a job signals all of its processes, some more than once, and a training that ends with its step and is
    saved still needs its workers. They end with it: when the process that made this object ends, or lets go of it,
    SIGTERM ends them at once.
    """

    def __init__(self) -> None:
        self._over: mmap.mmap | None = mmap.mmap(-1, 1)  # shared with processes that are forked
        self._ends = False
        # Not documented, but the one way to be called before multiprocessing sends SIGTERM to its children and waits
        # for them, also in a process that is forked; a test notices when it is not.
        Finalize(self, self._over.__setitem__, args=(0, 1), exitpriority=0)

    def __call__(self) -> None:
        """To be called in the worker."""
        if os.name == "posix":
            signal.signal(signal.SIGTERM, self._end_later)

    def _end_later(self, number: int, frame: FrameType | None) -> None:
        if self._over is not None and self._over[0]:
            os._exit(0)  # as torch's own workers do when their process sends it
        elif not self._ends:
            self._ends = True
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends a process
            signal.setitimer(signal.ITIMER_REAL, GRACE)

    def __getstate__(self) -> dict[str, Any]:
        return {"_over": None, "_ends": False}  # for a worker that is not forked, and shares no memory
