"""The `loss` argument of an adapter, in any of its forms, becomes one module: the weighted sum of named losses."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lightframe.errors import UsageError
from lightframe.library_errors import explained, shown
from lightframe.loss_result import LossResult, check_scalar_loss
from lightframe.losses import LOSSES
from lightframe.registry import check_arguments, split_spec

_FORMS = "a name or import path, {name: ..., argument: value}, a function or an nn.Module, a list of these, or a dict"


class Losses(nn.Module):
    """Several losses of the same outputs and targets, and their weighted sum.

    Args:
        losses: name -> module; the names are those of the logged parts.
        weights: name -> weight in the sum; 1 where none is given.

    >>> import torch
    >>> result = build_losses({"ce": 1.0, "bce": 0.5})(torch.zeros(2, 4), torch.tensor([0, 3]))
    >>> result.total, result.parts
    (tensor(1.7329), {'ce': tensor(1.3863), 'bce': tensor(0.6931)})
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.weights = {name: (weights or {}).get(name, 1.0) for name in losses}

    def forward(self, outputs: Any, targets: Any) -> LossResult:
        """The parts, unweighted, and the total. A loss that gives no scalar tensor is a UsageError that names it."""
        parts = {name: check_scalar_loss(name, self._part(name, outputs, targets)) for name in self.losses}
        first, *others = (self.weights[name] * part for name, part in parts.items())
        return LossResult(sum(others, first), parts, {})

    def _part(self, name: str, outputs: Any, targets: Any) -> Any:
        with explained(lambda: f"loss '{name}' cannot take outputs {shown(outputs)} and targets {shown(targets)}"):
            return self.losses[name](outputs, targets)


class FunctionLoss(nn.Module):
    """A function as a module, which can stand beside the others."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, outputs: Any, targets: Any) -> Tensor:
        return self.function(outputs, targets)


def build_losses(loss: Any) -> Losses:
    """The losses that a config or a caller asks for.

    Args:
        loss: one of
            - a name in LOSSES or an import path: `"ce"`, `"torch.nn.SmoothL1Loss"`;
            - the same with arguments: `{"name": "focal", "gamma": 2}` or `{"class_path": ..., "init_args": {...}}`;
            - a function (outputs, targets) -> scalar tensor, or an nn.Module that is called so;
            - a list of these;
            - a dict of a name to its weight, to its arguments, or to None: `{"ce": 1.0, "focal": {"weight": 0.5,
              "gamma": 2}}`. A key may also be free, for a value that says itself what it is: a function, a module, or
              arguments with a `name` or a `class_path`.

            Beside arguments, `weight` is always the loss's weight in the sum, 1 by default; an argument `weight` of
            the loss itself goes into `init_args`.

    Returns:
        The losses under the names that are logged: a registered name in lower case, the last part of an import
        path, a function's or a module's class's `__name__` (of a lambda: `loss`), or the free key.

    Raises:
        UsageError: nothing asked for, two losses under one name, a weight that is not a finite number >= 0, or
            arguments that do not fit.
        UnknownNameError: neither a name in LOSSES nor an import path.

    >>> losses = build_losses(["CE", {"name": "focal", "gamma": 1, "weight": 0.5}])
    >>> losses.weights
    {'ce': 1.0, 'focal': 0.5}
    """
    if isinstance(loss, Losses):
        return loss
    losses: dict[str, nn.Module] = {}
    weights: dict[str, float] = {}
    for key, spec in _entries(loss):
        weight: Any = 1.0
        if isinstance(spec, Mapping):
            spec = dict(spec)
            weight = spec.pop("weight", 1.0)
        default_key, module = _build(spec)
        key = key or default_key
        if key in losses:
            raise UsageError(f"two losses are named '{key}'; name them yourself: {{my_{key}: {{name: {key}, ...}}}}")
        losses[key], weights[key] = module, _check_weight(key, weight)
    if not losses:
        raise UsageError(f"no loss is given; it may be {_FORMS} of names and weights")
    return Losses(losses, weights)


def _entries(loss: Any) -> list[tuple[str | None, Any]]:
    """(free key or None, spec) of each loss; a weight stands in the spec under `weight`."""
    if isinstance(loss, Mapping) and not _says_what(loss):
        return [_entry(key, value) for key, value in loss.items()]
    if isinstance(loss, Sequence) and not isinstance(loss, str):
        return [(None, spec) for spec in loss]
    return [(None, loss)]


def _entry(key: Any, value: Any) -> tuple[str | None, Any]:
    if not isinstance(key, str):
        raise UsageError(f"a loss's name must be a string, not {key!r}")
    if isinstance(value, Mapping):
        return (key, value) if _says_what(value) else (None, {"name": key, **value})
    if callable(value):
        return key, value
    return None, {"name": key, "weight": 1.0 if value is None else value}


def _says_what(spec: Mapping[str, Any]) -> bool:
    return "name" in spec or "class_path" in spec


def _check_weight(name: str, weight: Any) -> float:
    if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 <= weight < math.inf:
        raise UsageError(f"the weight of loss '{name}' must be a finite number >= 0, not {weight!r}")
    return float(weight)


def _build(spec: Any) -> tuple[str, nn.Module]:
    """Name and module of one loss."""
    if isinstance(spec, nn.Module):
        return type(spec).__name__, spec
    if isinstance(spec, (str, Mapping)):
        name, arguments = split_spec("loss", spec)
        key = name.rpartition(".")[2]
        return key.lower() if name.lower() in LOSSES.names() else key, _instantiate(name, LOSSES[name], arguments)
    if not callable(spec):
        raise UsageError(f"a loss may be {_FORMS} of names and weights, not {spec!r}")
    function = spec.func if isinstance(spec, functools.partial) else spec
    key = getattr(function, "__name__", type(function).__name__)
    return "loss" if key == "<lambda>" else key, _instantiate(key, spec, {})


def _instantiate(name: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> nn.Module:
    """A class is built with the arguments, a function gets them bound."""
    if not isinstance(factory, type):
        check_arguments("loss", name, factory, (None, None), arguments)
        return FunctionLoss(functools.partial(factory, **arguments) if arguments else factory)
    check_arguments("loss", name, factory, (), arguments)
    loss = factory(**arguments)
    return loss if isinstance(loss, nn.Module) else FunctionLoss(loss)
