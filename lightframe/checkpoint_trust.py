"""A checkpoint may name classes to build: only those of nets and the like are, whoever wrote it."""

import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightframe.errors import UsageError
from lightframe.registry import import_path

_KINDS = (nn.Module, Optimizer, LRScheduler, Tensor)
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def check_names(arguments: Mapping[str, Any], path: str | Path, section: str = "model") -> None:
    """Raise a UsageError where arguments from a checkpoint name something that is not a part of a net or a training.

    An import path becomes a call when a module is built of a checkpoint's hyperparameters: `{net: {name: os.system,
    command: ...}}` would run what a stranger wrote, without any pickle. So an import path from a file may stand for a
    class of modules, optimizers or schedulers, or for a function that is annotated to give one of these or a tensor.
    What the user types may stand for anything.

    Args:
        arguments: of a module, its `hyper_parameters`, or of its data.
        path: of the file, for the message.
        section: "model" or "data".

    >>> check_names({"net": {"name": "os.system", "command": "rm -rf /"}}, "stranger.ckpt")
    Traceback (most recent call last):
        ...
    lightframe.errors.UsageError: 'stranger.ckpt' names os.system as its net, which is no class of nn.Module ...
    """
    for key, value in arguments.items():
        for name in _names(value) if key != "classes" else ():  # which may have any names
            if not _harmless(name):
                raise UsageError(
                    f"'{path}' names {name} as its {key}, which is no class of nn.Module or the like, and building it "
                    f"could run any code: if you trust the file, give {key} yourself, --{section}.{key} {name} or in "
                    f"Python {key}=..., or annotate the function as `-> nn.Module`"
                )


def _names(value: Any) -> Iterator[str]:
    """Everything in a value that may be an import path."""
    if isinstance(value, str) and _PATH.fullmatch(value):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _names(key)
            yield from _names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _names(item)


def _harmless(name: str) -> bool:
    try:
        found = import_path(name)
    except Exception:  # the name of a file, say: nothing to call. What cannot be imported says so when it is built
        return True
    if name.startswith("torch.nn.functional.") or not callable(found):
        return True
    if isinstance(found, type):
        return issubclass(found, _KINDS) or (hasattr(found, "draw") and hasattr(found, "fixed"))  # a Sampling
    try:
        given = typing.get_type_hints(found).get("return")
    except Exception:  # no function, or annotated with what is not there
        return False
    return isinstance(given, type) and issubclass(given, _KINDS)
