"""The `net` argument of an adapter, in any of its forms, becomes a module."""

import inspect
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from lightframe.errors import UsageError
from lightframe.library_errors import explained
from lightframe.models import MODELS
from lightframe.registry import accepts, check_arguments, split_spec


def build_net(net: Any, num_classes: int | None) -> tuple[nn.Module, int | None]:
    """The net, and how many classes it was built for, where that is known.

    Args:
        net: a name in MODELS or an import path, either with arguments as {name: ..., argument: value}, or a module.
        num_classes: passed to a net built by name that takes it.

    Raises:
        UsageError: an unknown name, an argument that does not fit, or no net.

    >>> build_net({"name": "tiny3d", "width": 4}, num_classes=6)[1]
    6
    """
    if isinstance(net, LightningModule):
        raise UsageError(f"net must be a net: a {type(net).__name__} trains by itself; give it alone, or its net")
    if isinstance(net, nn.Module):
        return net, None
    if isinstance(net, type):
        raise UsageError(f"net must be an object: make one of the class {net.__name__}, as {net.__name__}(...)")
    if not isinstance(net, str | Mapping):
        raise UsageError(f"net must be a name, an import path or an nn.Module, not {type(net).__name__}")
    name, args = split_spec("net", net)
    factory, classes = MODELS[name], None
    if accepts(factory, "num_classes"):
        if num_classes is not None:
            args.setdefault("num_classes", num_classes)
        classes = args.get("num_classes", inspect.signature(factory).parameters["num_classes"].default)
    check_arguments("net", name, factory, (), args, partial=True)
    if classes is inspect.Parameter.empty:
        raise UsageError(f"net '{name}' needs the number of classes: give num_classes")
    with explained(lambda: f"net '{name}' cannot be built with {args}"):
        built = MODELS.build(name, **args)
    if not isinstance(built, nn.Module):
        raise UsageError(f"net '{name}' makes a {type(built).__name__}, not an nn.Module")
    return built, classes
