"""What computing a loss gives: the total to back-propagate, its parts, and metrics to log."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightframe.errors import UsageError

_KINDS = "a scalar tensor, a dict of scalar losses, or a pair (losses, metrics) of either and a dict of numbers"


def check_scalar_loss(name: str, value: Any) -> Tensor:
    """The value itself, or a UsageError naming the loss unless it is a floating-point tensor of shape ()."""
    if not isinstance(value, Tensor):
        raise UsageError(f"loss '{name}' must be a scalar tensor, not {type(value).__name__}")
    if value.ndim:
        raise UsageError(
            f"loss '{name}' must be a scalar tensor, not one of shape {tuple(value.shape)}; "
            "take its mean (is it built with reduction='none'?)"
        )
    if not value.is_floating_point():
        raise UsageError(f"loss '{name}' must be a floating-point tensor, not {value.dtype}")
    return value


def check_has_gradient(result: "LossResult") -> None:
    """Raise a UsageError where a loss to train with depends on no weight, for which torch has no plain words."""
    if not result.total.requires_grad and torch.is_grad_enabled():
        raise UsageError(
            "the loss depends on no weight that is trained: take detach(), argmax(), .item() and no_grad() out of the "
            "net and the loss, and unfreeze some of the net"
        )


class LossResult(NamedTuple):
    """A loss and what is logged beside it.

    Attributes:
        total: what is back-propagated, shape ().
        parts: each loss by name, unweighted, shape (); empty when there is only the total.
        metrics: numbers and detached tensors of shape (), by name.
    """

    total: Tensor
    parts: dict[str, Tensor]
    metrics: dict[str, Tensor | float]

    @classmethod
    def of(cls, result: Any) -> "LossResult":
        """The result of a net that computes its own loss, or of an overridden `compute_loss`, in one form.

        Args:
            result: a scalar tensor; a dict of scalar losses, whose sum is the total; or a pair (losses, metrics),
                losses being either of these. A LossResult is returned unchanged.

        Raises:
            UsageError: anything else; a loss that is not a scalar tensor; a loss named `total_loss`.

        >>> import torch
        >>> result = LossResult.of(({"cls": torch.tensor(1.0), "box": torch.tensor(0.5)}, {"recall": 0.25}))
        >>> result.total, list(result.parts), result.metrics
        (tensor(1.5000), ['cls', 'box'], {'recall': 0.25})
        """
        if isinstance(result, cls):
            return result
        metrics: Any = {}
        if isinstance(result, (tuple, list)) and len(result) == 2:
            result, metrics = result
        if not isinstance(result, (Tensor, Mapping)) or not isinstance(metrics, Mapping):
            raise UsageError(f"a loss must be {_KINDS}; got {_describe(result, metrics)}")
        logged = {_name("metric", name): _detached(name, value) for name, value in metrics.items()}
        if isinstance(result, Tensor):
            return cls(check_scalar_loss("loss", result), {}, logged)
        if "total_loss" in result:
            raise UsageError("the sum of the losses is the total: leave 'total_loss' out, or return that tensor alone")
        parts = {_name("loss", name): check_scalar_loss(name, value) for name, value in result.items()}
        if not parts:
            raise UsageError(f"a loss must be {_KINDS}; got an empty dict")
        first, *others = parts.values()
        return cls(sum(others, first), parts, logged)


def _describe(result: Any, metrics: Any) -> str:
    shown = type(result).__name__
    return f"({shown}, {type(metrics).__name__})" if metrics != {} else shown


def _name(kind: str, name: Any) -> str:
    if not isinstance(name, str):
        raise UsageError(f"a {kind}'s name must be a string, not {name!r}")
    return name


def _detached(name: str, value: Any) -> Tensor | float:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.detach().reshape(())
    if isinstance(value, Real):
        return float(value)
    shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise UsageError(f"metric '{name}' must be a number or a scalar tensor, not {shown}")
