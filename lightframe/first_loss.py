"""Why the loss of the very first step is not finite, when no training can have spoilt anything yet."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightframe.errors import UsageError


def check_first_loss(loss: Tensor, batch: Any, outputs: Any) -> None:
    """Raise a UsageError that says where it begins, unless the loss is finite.

    Args:
        loss: shape ().
        batch: tensors, or lists, tuples and dicts with tensors in them.
        outputs: likewise; None where they are not known.

    >>> check_first_loss(torch.tensor(torch.nan), torch.tensor([1.0, torch.inf]), None)
    Traceback (most recent call last):
    ...
    lightframe.errors.UsageError: the first loss is nan: the batch holds numbers that are nan or infinite, mend the ...
    """
    if bool(torch.isfinite(loss)):
        return
    if not _finite(batch):
        cause = "the batch holds numbers that are nan or infinite, mend the data that gives them"
    elif not _finite(outputs):
        cause = "the net makes nan or infinite numbers of a finite batch, look at its weights and divisions"
    else:
        cause = "the batch and the outputs are finite, look at the loss, its arguments and what it divides by"
    raise UsageError(f"the first loss is {loss.item():g}: {cause}")


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_finite, value))
