"""Optimizers by name, import path or callable."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from lightframe.arguments import is_number
from lightframe.errors import UsageError
from lightframe.larc import LARC
from lightframe.parameters import check_grouping
from lightframe.registry import Factory, Registry, accepts, check_arguments

NAMED = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "nadam": torch.optim.NAdam,
}
GROUPING = ("no_decay_norm_bias", "layer_decay", "head_lr")


def _others() -> dict[str, Factory]:
    """The further optimizers of torch, by the names of their classes."""
    found = {name: value for name, value in vars(torch.optim).items() if inspect.isclass(value)}
    return {
        name: value
        for name, value in found.items()
        if issubclass(value, Optimizer) and value is not Optimizer and name.lower() not in NAMED
    }


OPTIMIZERS = Registry("optimizer", more=_others)
for _name, _class in NAMED.items():
    OPTIMIZERS.register(_name)(_class)


def _default(factory: Factory, argument: str) -> Any:
    """The factory's own default, None where its signature tells none."""
    if not accepts(factory, argument):
        return None
    default = inspect.signature(factory).parameters[argument].default
    return None if default is inspect.Parameter.empty else default


def _split(lr: float | None, args: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """What goes to the optimizer, what to `parameter_groups`, and the settings of LARC."""
    if args is not None and not isinstance(args, Mapping):
        raise UsageError(f"optimizer_args must be names with values, as {{momentum: 0.9}}, not {args!r}")
    own = dict(args or {})
    larc = own.pop("larc", None)
    grouping = {key: own.pop(key) for key in GROUPING if key in own}
    if lr is not None:
        if not is_number(lr) or not math.isfinite(lr):
            raise UsageError(f"lr must be a finite number, as 0.01, got {lr!r}")
        if "lr" in own:
            raise UsageError(f"lr is given twice: {lr} and, among the optimizer's arguments, {own['lr']}")
        own["lr"] = lr
    return own, grouping, larc


def _larc_settings(larc: Any) -> dict[str, Any] | None:
    if larc is None or larc is False:
        return None
    if larc is not True and not isinstance(larc, Mapping):
        raise UsageError(f"larc is true or {{trust_coefficient: ..., clip: ..., eps: ...}}, not {larc!r}")
    settings = {} if larc is True else dict(larc)
    check_arguments("optimizer argument", "larc", LARC, (None,), settings)
    return settings


def build_optimizer(
    optimizer: str | Factory,
    groups: list[dict[str, Any]],
    lr: float | None = None,
    args: Mapping[str, Any] | None = None,
) -> Optimizer:
    """The optimizer over these parameter groups.

    Args:
        optimizer: a name in OPTIMIZERS, an import path, or a callable that is given the groups.
        groups: what `parameter_groups` returns, or any list of groups that torch takes.
        lr: None for the optimizer's own default.
        args: its other arguments; `larc: true` or `larc: {trust_coefficient, clip, eps}` wraps it in LARC;
            `no_decay_norm_bias`, `layer_decay` and `head_lr` shaped the groups (see `group_options`).

    Raises:
        UsageError: an unknown name, an argument that does not fit, or a value that the optimizer refuses.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> build_optimizer("SGD", [{"params": [weight]}], lr=0.5, args={"larc": True}).param_groups[0]["lr"]
    0.5
    """
    name, factory = OPTIMIZERS.resolve(optimizer)
    own, _, larc = _split(lr, args)
    settings = _larc_settings(larc)
    check_arguments("optimizer", name, factory, (groups,), own)
    try:
        built = factory(groups, **own)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"optimizer '{name}': {error}") from error
    except (TypeError, IndexError) as error:  # torch compares and indexes before it looks what it is given
        shown = ", ".join(f"{key}={value!r}" for key, value in own.items())
        raise UsageError(f"optimizer '{name}' cannot take {shown} ({error}): give numbers, betas as two") from error
    if not isinstance(built, Optimizer):
        raise UsageError(f"optimizer '{name}' made a {type(built).__name__}, which is no torch.optim.Optimizer")
    return built if settings is None else LARC(built, **settings)


def check_optimizer(optimizer: str | Factory, lr: float | None = None, args: Mapping[str, Any] | None = None) -> None:
    """Raise the UsageErrors of `build_optimizer` and `group_options` that can be known before there are parameters.

    >>> check_optimizer("sgdd")
    Traceback (most recent call last):
        ...
    lightframe.errors.UnknownNameError: unknown optimizer 'sgdd'; did you mean 'sgd'? (known: ...
    """
    name, factory = OPTIMIZERS.resolve(optimizer)
    own, _, larc = _split(lr, args)
    for key, value in own.items():
        if is_number(value) and not math.isfinite(value):
            raise UsageError(f"optimizer '{name}': {key} must be a finite number, got {value}")
    if name.lower() == "sgd" and is_number(own.get("momentum")) and own["momentum"] >= 1:
        raise UsageError(
            f"optimizer '{name}': momentum must be below 1, as 0.9, got {own['momentum']}: it would never fade"
        )
    check_arguments("optimizer", name, factory, (None,), own)
    _larc_settings(larc)
    group_options(optimizer, lr, args)
    if getattr(factory, "__module__", "").startswith("torch.optim"):
        # torch itself knows which values are right. Two dimensions, as Muon takes no others.
        build_optimizer(optimizer, [{"params": [torch.nn.Parameter(torch.zeros(1, 1))]}], lr, args)


def group_options(
    optimizer: str | Factory, lr: float | None = None, args: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The keyword arguments of `parameters.parameter_groups` for this choice of optimizer.

    `lr` and `weight_decay` are the values given, or else the defaults in the optimizer's signature.

    >>> group_options("adamw", args={"layer_decay": 0.75})
    {'lr': 0.001, 'weight_decay': 0.01, 'layer_decay': 0.75}
    """
    name, factory = OPTIMIZERS.resolve(optimizer)
    own, grouping, _ = _split(lr, args)
    check_grouping(**grouping)
    values = {key: own[key] if key in own else _default(factory, key) for key in ("lr", "weight_decay")}
    if grouping.get("layer_decay") is not None and values["lr"] is None:
        raise UsageError(f"layer_decay needs a learning rate, and optimizer '{name}' has no default: give lr")
    if grouping.get("no_decay_norm_bias") and isinstance(factory, type) and not accepts(factory, "weight_decay"):
        raise UsageError(f"no_decay_norm_bias: optimizer '{name}' takes no weight_decay")
    return {**values, **grouping}
