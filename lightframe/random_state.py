"""The states of all random number generators of a process, as plain values that a checkpoint may hold."""

import random
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, and of the one of the process's own `device`.

    Numpy's keys are a tensor: numpy objects do not survive `torch.load(weights_only=True)`.

    >>> state = random_state()
    >>> first = torch.rand(1), random.random(), np.random.rand()
    >>> restore_random_state(state)
    >>> first == (torch.rand(1), random.random(), np.random.rand())
    True
    """
    name, keys, *rest = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (str(name), torch.tensor(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    device = torch.device(device)
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any], device: torch.device | str = "cpu") -> None:
    """Put all generators where `random_state` found them; that of a device only where it is of the same kind."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    device = torch.device(device)
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())
