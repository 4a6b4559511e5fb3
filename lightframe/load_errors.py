"""What is said where a checkpoint's weights go to another net than they came from, or to none."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightframe.errors import UsageError

_MISFIT = "Error(s) in loading state_dict"  # how torch begins; tests/test_load_errors.py notices when it changes


@contextmanager
def other_net_refused(net: str) -> Iterator[None]:
    """Inside, torch's list of keys that do not fit becomes one sentence.

    Raises:
        UsageError: the weights are those of another net.

    >>> import torch
    >>> with other_net_refused("Linear"):
    ...     torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 4).state_dict())
    Traceback (most recent call last):
    ...
    lightframe.errors.UsageError: the weights of the checkpoint are those of another net than this Linear ...
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(_MISFIT):
            raise
        first = str(error).splitlines()[1].strip().rstrip(".")[:200]
        raise UsageError(
            f"the weights of the checkpoint are those of another net than this {net} ({first}): give the net and the "
            "num_classes that it was trained with, or take its weights as a start, with init_from"
        ) from error


@contextmanager
def missing_objects_named(read: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Inside, an argument that a checkpoint could not keep, and that is missing now, is named with its class.

    Args:
        read: gives the checkpoint.

    Raises:
        UsageError: such an argument is missing.
    """
    try:
        yield
    except TypeError as error:
        if "missing" not in str(error):
            raise
        objects = read().get("lightframe", {}).get("objects", {})
        needed = {name: kind for name, kind in objects.items() if f"'{name}'" in str(error)}
        if not needed:
            raise
        which = " and ".join(f"{name} as an object of {kind}" for name, kind in needed.items())
        given = ", ".join(f"{name}=..." for name in needed)
        raise UsageError(
            f"the checkpoint does not hold all arguments: the training was given {which}; give it again, "
            f"load_from_checkpoint(path, {given})"
        ) from error
