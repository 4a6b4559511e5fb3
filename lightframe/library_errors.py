"""What torch and its libraries say of arguments that a user gave them, told from errors in the user's own code."""

import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from lightframe.errors import UsageError

# What torch says of a loader's worker that died, wherever the main process is at that moment; how, in group 1.
DEAD_WORKER = re.compile(r"DataLoader worker \(pid.*\) (?:is )?(killed by signal: \w+|exited unexpectedly)")

_LIBRARIES = ("torch", "torchvision", "torchmetrics", "numpy", "PIL", "lightframe")
_OF_ARGUMENTS = (ValueError, TypeError, RuntimeError, LookupError, AssertionError)
# Of a device and not of arguments: what is to be read there is the traceback.
_OF_DEVICES = (torch.OutOfMemoryError, torch.AcceleratorError)


def raised_by_libraries(traceback: TracebackType | None) -> bool:
    """Whether torch and its libraries alone stand in a traceback."""
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            return False
        traceback = traceback.tb_next
    return True


class explained:  # used as the functions of contextlib are, at a tenth of their cost
    """Inside, what torch or its libraries refuse becomes a UsageError: `what`, and their first line of words.

    An error that comes through the user's own code is left as it is, for its traceback.

    Args:
        what: gives the beginning of the message; asked only when there is an error.

    Raises:
        UsageError: the libraries refused what they were given.

    >>> with explained(lambda: "the net cannot take this batch"):
    ...     torch.nn.Conv1d(2, 3, 1)(torch.zeros(1, 5, 4))
    Traceback (most recent call last):
    ...
    lightframe.errors.UsageError: the net cannot take this batch: Given groups=1, weight of size [3, 2, 1], ...
    """

    def __init__(self, what: Callable[[], str]) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        if not isinstance(error, _OF_ARGUMENTS) or isinstance(error, (UsageError, *_OF_DEVICES)):
            return
        words = str(error).strip().split("\n")[0][:240]
        if DEAD_WORKER.match(str(error)):  # no matter of what is done here
            return
        below = traceback.tb_next if traceback is not None else None  # behind the frame of the `with` itself
        if type(error).__module__ == "builtins" and not words.startswith("CUDA error") and raised_by_libraries(below):
            raise UsageError(f"{self.what()}: {words or type(error).__name__}") from error


def shown(value: Any) -> str:
    """Shape and type of what a net or a loss was given, in a few words.

    >>> shown([torch.zeros(2, 3), {"a": 1}])
    'list of torch.float32 (2, 3), dict of a'
    """
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} of {', '.join(map(str, list(value)[:8]))}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {', '.join(shown(one) for one in value[:3])}"
    return type(value).__name__


def floats_hint(inputs: Any) -> str:
    """A way out for inputs of a type that no net takes, else an empty string."""
    if not isinstance(inputs, Tensor) or inputs.dtype in (torch.float32, torch.float16, torch.bfloat16):
        return ""
    way = "inputs.float()" if inputs.is_floating_point() else "inputs.float() / 255"
    return f" (a net takes float32: convert them in the data set, as {way})"
