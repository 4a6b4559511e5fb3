"""What targets mean: class indices (B,), or one number per class (B, C), soft or multi-hot."""

import torch
from torch import Tensor

from lightframe.errors import UsageError


def are_integers(targets: Tensor) -> bool:
    """Whether the tensor can hold class indices: integers, not booleans."""
    return not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Raise a UsageError if a label lies outside 0 .. num_classes - 1; on the CPU only.

    On a GPU the answer would have to be waited for at each step.
    """
    if labels.device.type != "cpu" or labels.numel() == 0:
        return
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= num_classes:
        raise UsageError(
            f"label {low if low < 0 else high} is out of range: "
            f"with {num_classes} classes the labels are 0 to {num_classes - 1}; mend the labels, or "
            f"{'leave such samples out' if low < 0 else f'give the net {high + 1} outputs'}"
        )


def to_multi_hot(targets: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Targets as one number per class, (B, C) in `dtype`.

    Args:
        targets: integer class indices (B,), which become one-hot, or (B, C) of any type, kept as it is.
        num_classes: C. With a single class the targets (B,) are the binary labels, 0 or 1, themselves.
        dtype: of the result.

    Raises:
        UsageError: another shape, or (on the CPU) a label out of range.

    >>> to_multi_hot(torch.tensor([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if targets.ndim == 2 and targets.shape[1] == num_classes:
        return targets.to(dtype)
    if targets.ndim == 1 and num_classes == 1:
        if are_integers(targets):
            check_labels(targets, 2)
        return targets.to(dtype).unsqueeze(1)
    if targets.ndim == 1 and are_integers(targets):
        check_labels(targets, num_classes)
        one_hot = torch.zeros(len(targets), num_classes, dtype=dtype, device=targets.device)
        return one_hot.scatter_(1, targets.long().unsqueeze(1), 1)
    raise UsageError(
        f"targets of shape {tuple(targets.shape)} and type {targets.dtype} fit outputs of shape "
        f"{(len(targets) if targets.ndim else 1, num_classes)} neither as integer labels (B,) nor as (B, C)"
    )


def to_indices(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets as one class index per row, (B,) int64, for metrics that count hits.

    Of soft or multi-hot targets (B, C), the classes at the row's maximum are right, and the one of them that
    `outputs` scores highest is taken: a row of MixUp targets is a top-k hit when its major class is in the top k, a
    multi-hot row when any of its positives is. A row without positives gets its lowest score: it cannot be a hit.

    Args:
        outputs: scores (B, C).
        targets: integer class indices (B,), returned unchanged, or (B, C).

    Raises:
        UsageError: other shapes, or (on the CPU) a label out of range.

    >>> outputs = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    >>> to_indices(outputs, torch.tensor([[0.6, 0.0, 0.4], [0.0, 1.0, 1.0]])).tolist()
    [0, 1]
    """
    if outputs.ndim == 2 and targets.shape == outputs.shape[:1] and are_integers(targets):
        check_labels(targets, outputs.shape[1])
        return targets.long()
    if outputs.ndim != 2 or targets.shape != outputs.shape:
        raise UsageError(
            f"targets of shape {tuple(targets.shape)} and type {targets.dtype} do not fit outputs of shape "
            f"{tuple(outputs.shape)}: integer labels (B,) or one number per class (B, C) beside outputs (B, C)"
        )
    highest = targets.amax(dim=1, keepdim=True)
    scores = torch.where(highest > 0, outputs, -outputs)
    # A masked logit of -inf must still win over the classes that are not among the right ones.
    scores = scores.clamp(min=torch.finfo(scores.dtype).min)
    return scores.masked_fill(targets != highest, -torch.inf).argmax(dim=1)
