"""Loader processes that do not hear Ctrl-C."""

import signal
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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
