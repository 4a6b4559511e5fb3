"""A process of several that train together takes the others with it when it dies, and only its own error is shown.

Lightning starts a process for each further device. Left alone, one of them waits for a dead other until the network
notices, which then shows an error of its own; and Lightning ends the first with SIGKILL where another has died.
"""

import functools
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from lightframe.run_folder import release_run_folder

_PARENT = "LIGHTFRAME_FIRST_PROCESS"
_EVERY = 0.3  # seconds between looks at the others
_GRACE = 30.0  # seconds for what others that leave after a signal have to save
_PATIENCE = 3.0  # seconds in which another process may turn out to be the cause of an error
_LOST_PEER = re.compile(r"peer|gloo|NCCL|TCPStore|socket|broken pipe", re.IGNORECASE)


def end_with_first() -> None:
    """Make this process end as soon as the one that started it for a further device is gone; else do nothing."""
    if is_further():  # the first may have died while this one was starting
        threading.Thread(target=_watch, args=(int(os.environ[_PARENT]),), name="end-with-first", daemon=True).start()


def is_further() -> bool:
    """Whether this process was started for a further device by another of this package."""
    return _PARENT in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY)
    end_workers()
    os._exit(1)


class FurtherProcesses:
    """The processes that Lightning starts for further devices, seen from the first one.

    Args:
        trainer: whose launcher starts them.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._launcher = trainer.strategy.launcher
        # Processes that are forked, by another launcher, are looked after by torch.
        self._starts = isinstance(self._launcher, _SubprocessScriptLauncher)
        self._processes: list[subprocess.Popen[Any]] = []
        self._done = threading.Event()

    @property
    def may_have_begun(self) -> bool:
        """Whether a step was made, as far as this process knows: in forked ones it cannot be seen from here."""
        return bool(self._trainer.global_step) or not (self._launcher is None or self._starts)

    def watch(self) -> None:
        """End this process too when one of them has died."""
        if self._launcher is not None and not self._starts:
            # What torch sees end first is told as the cause.
            launch = self._launcher.launch
            self._launcher.launch = lambda function, *args, **kwargs: launch(
                functools.partial(_patiently, function), *args, **kwargs
            )
        if self._starts:
            os.environ[_PARENT] = str(os.getpid())
            threading.Thread(target=self._watch, name="further-processes", daemon=True).start()

    def stop(self) -> None:
        """They may end now as they like."""
        self._done.set()
        os.environ.pop(_PARENT, None)

    def _watch(self) -> None:
        first_left = math.inf
        while not self._done.wait(_EVERY):
            # They are taken from Lightning, whose observer would end this process with SIGKILL in the middle of what
            # is done here. A test with processes that die notices when they stand elsewhere.
            self._processes += self._launcher.procs
            self._launcher.procs.clear()
            for rank, process in enumerate(self._processes, start=1):
                if not (code := process.poll()):
                    continue
                # All of them leave so when they were asked to by a signal, each when it has saved.
                first_left = min(first_left, time.monotonic())
                if code < 128 or time.monotonic() > first_left + _GRACE:
                    self._end(rank, code)

    def _end(self, rank: int, code: int) -> None:
        if code != 2:  # else it was refused, and has said so in its one line
            how = f"ended with exit code {code}: see what it says above"
            if code < 0:
                how = (
                    f"was ended by {signal.Signals(-code).name}: by hand, or the memory is full (a smaller batch_size)"
                )
            print(f"lightframe: error: the process of rank {rank} {how}", file=sys.stderr)
        for process in self._processes:
            process.kill()
        end_workers()
        if not self.may_have_begun:
            release_run_folder()
        sys.stderr.flush()
        os._exit(code if code > 0 else 1)


def _patiently(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a forked process does; one that has lost another lets that one end first."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        if _LOST_PEER.search(str(error)):
            time.sleep(_PATIENCE)
        raise


def wait_for_cause(error: BaseException) -> None:
    """Leave it to another process to end this one, where that one's error came first.

    Args:
        error: that this process has met.
    """
    if is_further() or (os.environ.get(_PARENT) == str(os.getpid()) and _LOST_PEER.search(str(error))):
        time.sleep(_PATIENCE)


def end_workers() -> None:
    """End the processes that this one has for its loaders, as a process that leaves in order does."""
    for worker in multiprocessing.active_children():
        worker.kill()
