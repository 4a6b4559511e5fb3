"""Work on many files in several processes, none of which a file can take down or hold up."""

import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, Generic, NamedTuple, TypeVar

from lightframe.cores import cores
from lightframe.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lost(NamedTuple):
    """In place of a result: the process that was to give it has died, or was too slow.

    Attributes:
        reason: which of them.
    """

    reason: str


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None, time_limit: float = math.inf
) -> Generator[tuple[Item, Result | Lost], None, None]:
    """Call a function on every item, in worker processes that have one item each at a time.

    A damaged file may crash a decoder or send it round in circles. Its item is lost then, and a new process goes on
    with the others; the executor of the standard library would break, and not say at which item.

    Args:
        function: one that can be imported, whose arguments and results can be pickled.
        items: what to call it on.
        workers: number of processes; None: one per core.
        time_limit: seconds that one item may take.

    Yields:
        Each item with its result, in the order in which they are done. The processes end with the iterator: close it
        (`contextlib.closing`) where the loop over it may be left early.

    Raises:
        UsageError: `workers` or `time_limit` is not positive, or the function raised it on some item; the others are
            given up.
        RuntimeError: the function raised anything else; the message has the traceback.
    """
    check_limits(workers, time_limit)
    waiting = deque(items)
    left, workers = len(items), workers or cores()
    team: list[_Worker[Item, Result]] = []
    try:
        while left:
            while len(team) < min(workers, left):
                team.append(_Worker(function))
            first = min(worker.deadline for worker in team)
            ready = wait(
                [worker.connection for worker in team],
                None if first == math.inf else max(first - time.monotonic(), 0.0),
            )
            for worker in list(team):
                result: Result | Lost | None = None
                if worker.connection in ready:
                    result = worker.receive()
                elif worker.deadline <= time.monotonic():
                    result = Lost(f"it took longer than {time_limit:g} s")
                else:
                    continue
                finished = worker.item
                if isinstance(result, Lost) or not waiting:
                    team.remove(worker)
                    worker.end()
                else:
                    worker.give(waiting.popleft(), time_limit)
                if finished is not None:
                    left -= 1
                    yield finished, result
    finally:
        for worker in team:
            worker.end()


def check_limits(workers: int | None, time_limit: float) -> None:
    """Raise a UsageError unless both are positive."""
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be 1 or more, got {workers}: leave it out for one per core")
    if not time_limit > 0:
        raise UsageError(f"time_limit must be a positive number of seconds, got {time_limit:g}")


def _start_forkserver() -> None:
    """Start the process that workers are forked from, so that Ctrl-C, which goes to all, is not for it or for them.

    They would end with tracebacks of their own, even while they are importing; here they end with this process.
    """
    from multiprocessing import forkserver, resource_tracker  # not there on every system

    # The fork server would start it too, and the tracker's start ends with SIGINT let through.
    resource_tracker.ensure_running()
    # They inherit that it is held back. For this process it is so for a moment only: then it is heard, not lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker(Generic[Item, Result]):
    """A process, and what it works on.

    It is no fork of this process, whose other threads (a progress bar's) might hold locks at that moment.
    """

    def __init__(self, function: Callable[[Item], Result]) -> None:
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:  # what all workers need is imported once, in the process that they are forked from
            context.set_forkserver_preload(["__main__", __name__, function.__module__])
            _start_forkserver()
        self.item: Item | None = None
        self.deadline = math.inf
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()  # the worker's alone now: its death closes it

    def give(self, item: Item, time_limit: float) -> None:
        self.item = item
        self.deadline = time.monotonic() + time_limit
        self.connection.send(item)

    def receive(self) -> Result | Lost:
        """The result; nothing of meaning when there was no item yet: the worker says that it is ready."""
        try:
            done, answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            how = _ending(self.process.exitcode)
            if self.item is None:
                raise RuntimeError(f"a worker process could not start: {how}") from None
            return Lost(f"the process that worked on it {how}")
        if not done:
            raise answer
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()


def _ending(exitcode: int) -> str:
    return f"was ended by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"ended with exit code {exitcode}"


def _work(connection: Any, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # the main process is gone
        connection.send((True, None))
        while True:
            item = connection.recv()
            connection.send(_answer(function, item))


def _answer(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """Whether there is a result, and the result or the error."""
    try:
        return True, function(item)
    except UsageError as error:
        return False, error
    except Exception:
        return False, RuntimeError(f"while working on {item}:\n{traceback.format_exc()}")


def _end_with_parent() -> None:
    # A worker left behind by a killed command would go on writing beside the command that is started next.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
