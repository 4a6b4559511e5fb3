"""Everything that measuring changes outside of itself, put back as it was."""

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from lightframe.speed.flags import flags_restorer


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Put back random numbers, torch's flags and the device's memory when the block ends, also by an error.

    - The states of the generators of Python, numpy, torch and the device. (Lightning's `isolate_rng` leaves them
      where they are when there is an error.)
    - cuDNN's `benchmark` and `deterministic`, and in which precision float32 is multiplied.
    - What the block has let go of is given back to the device, and peaks of memory are counted from there on: those
      of before are lost, which torch has no way to set.

    >>> state = torch.get_rng_state()
    >>> with preserved(torch.device("cpu")):
    ...     _ = torch.manual_seed(0)
    >>> torch.equal(torch.get_rng_state(), state)
    True
    """
    undo = [*_generators(device), flags_restorer()]
    try:
        yield
    finally:
        for restore in undo:
            restore()
        free(device)


def free(device: torch.device) -> None:
    """Give back memory of the device that nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        # Pinned memory of the host too, where this torch has a public way to it.
        getattr(torch.accelerator, "empty_host_cache", lambda: None)()
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "mps":
        torch.mps.empty_cache()


def _generators(device: torch.device) -> list[Callable[[], object]]:
    python, numpy, host = random.getstate(), np.random.get_state(), torch.get_rng_state()
    undo: list[Callable[[], object]] = [
        lambda: random.setstate(python),
        lambda: np.random.set_state(numpy),
        lambda: torch.set_rng_state(host),
    ]
    if device.type == "cuda":
        cuda = torch.cuda.get_rng_state(device)
        undo.append(lambda: torch.cuda.set_rng_state(cuda, device))
    elif device.type == "mps":
        mps = torch.mps.get_rng_state()
        undo.append(lambda: torch.mps.set_rng_state(mps))
    return undo
