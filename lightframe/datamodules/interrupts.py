"""Loader processes that do not hear Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Inside, Ctrl-C waits for the end of it; a process that is started inside never hears of it.

    A terminal sends it to all processes of a command. The one that trains ends its workers; those that end by
    themselves before are an error to it, which stands in the terminal instead of the run's last words.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    heard: list[int] = []
    # The system gives a signal that this thread holds back to any other one, such as a progress bar's, and Python then
    # runs its handler in the main thread all the same.
    main = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not None
    handler = signal.signal(signal.SIGINT, lambda signum, frame: heard.append(signum)) if main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if main:
            signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)
