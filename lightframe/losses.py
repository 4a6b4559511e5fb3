"""LOSSES: the losses that a config may name, each `loss(outputs, targets)` -> a tensor of shape ().

A class listed in LOSSES (or named by an import path) is built with the config's arguments; a plain function
`f(outputs, targets, **arguments)` is itself the loss. Outputs are logits, or predicted values, (B, C).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from lightframe.arguments import check_number, is_number
from lightframe.errors import UsageError
from lightframe.library_errors import shown
from lightframe.registry import Registry
from lightframe.targets import are_integers, check_labels, to_multi_hot

LOSSES = Registry("loss")

_IGNORED = -100  # the label that torch's cross entropy leaves out


@LOSSES.register("ce", "cross_entropy", "CrossEntropyLoss")
class CrossEntropy(nn.Module):
    """Softmax cross entropy, as `torch.nn.functional.cross_entropy`.

    Targets are class indices (B,), or class probabilities (B, C) in floating point, such as MixUp's. With class
    weights the mean over index targets is weighted by the targets' weights, as in torch. The label -100 is ignored.

    Args:
        label_smoothing: the share of each target that is spread evenly over all classes.
        class_weights: one factor per class.

    Raises:
        UsageError: shapes that do not fit, or integer (B, C) targets.

    >>> CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3]))  # log 4
    tensor(1.3863)
    """

    class_weights: Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.label_smoothing = _check_smoothing(label_smoothing)
        self.register_buffer("class_weights", _to_weights("class_weights", class_weights), persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        outputs = _widen(outputs, targets)
        if outputs.ndim < 2 or outputs.shape[1] < 2:
            raise UsageError(
                f"loss 'ce' needs one output per class, at least two, but the outputs have shape "
                f"{tuple(outputs.shape)}; for a single logit use 'bce'"
            )
        if _are_indices(outputs, targets):
            targets = targets.long()
            check_labels(targets.masked_fill(targets == _IGNORED, 0), outputs.shape[1])
        elif targets.shape != outputs.shape:
            raise _mismatch("ce", outputs, targets)
        elif not targets.is_floating_point():
            raise UsageError(
                f"loss 'ce' takes {targets.dtype} targets only as labels (B,), not of shape {tuple(targets.shape)}; "
                "for multi-hot targets use 'bce', class probabilities must be floating-point"
            )
        else:
            _check_shares("ce", targets)
            targets = targets.to(outputs.dtype)
        weights = _per_class(self.class_weights, outputs)
        return F.cross_entropy(outputs, targets, weight=weights, label_smoothing=self.label_smoothing)


@LOSSES.register("bce", "binary_cross_entropy", "BCEWithLogitsLoss")
class BinaryCrossEntropy(nn.Module):
    """Sigmoid cross entropy on logits, the mean over samples and classes.

    Targets are class indices (B,), made one-hot, or multi-hot or soft ones of the outputs' shape. With a single
    output, (B, 1), targets (B,) are the binary labels 0 and 1.

    Args:
        pos_weight: factor of the positives, one for all or one per class.
        class_weights: one factor per class.
        label_smoothing: s, which makes of a target t: t (1 - s) + s / 2.

    Raises:
        UsageError: shapes that do not fit.

    >>> BinaryCrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3]))  # log 2
    tensor(0.6931)
    """

    pos_weight: Tensor | None
    class_weights: Tensor | None

    def __init__(
        self,
        pos_weight: float | Sequence[float] | None = None,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = _check_smoothing(label_smoothing)
        one = is_number(pos_weight)
        self.register_buffer("pos_weight", _to_weights("pos_weight", pos_weight, one=one), persistent=False)
        self.register_buffer("class_weights", _to_weights("class_weights", class_weights), persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        outputs = _widen(outputs, targets)
        targets = _like_outputs("bce", outputs, targets)
        _check_shares("bce", targets)
        if self.label_smoothing:
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        factors = [_per_class(weights, outputs) for weights in (self.class_weights, self.pos_weight)]
        # The classes are dimension 1, also where more dimensions follow.
        weight, pos_weight = (w if w is None else w.view(-1, *[1] * (outputs.ndim - 2)) for w in factors)
        return F.binary_cross_entropy_with_logits(outputs, targets, weight=weight, pos_weight=pos_weight)


@LOSSES.register("focal")
class Focal(nn.Module):
    """Focal loss, which plays down what is classified well already (Lin et al., 2017, arXiv:1708.02002).

    - Class indices (B,): over the softmax, the mean over samples of -alpha_t (1 - p_t)^gamma log p_t.
    - (B, C) targets, multi-hot or soft, and a single output (B, 1): over the sigmoid, the mean over samples and
      classes, as `torchvision.ops.sigmoid_focal_loss`.

    Args:
        gamma: how strongly; 0 is (binary) cross entropy.
        alpha: over the softmax a factor for all, or one per class. Over the sigmoid the share of the positives in
            [0, 1], negatives having 1 - alpha. None: no weighting.

    Raises:
        UsageError: shapes that do not fit, or a list of alphas over the sigmoid.

    >>> Focal(gamma=1)(torch.zeros(2, 4), torch.tensor([0, 3]))  # 3/4 log 4
    tensor(1.0397)
    """

    alpha: Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: float | Sequence[float] | None = None) -> None:
        super().__init__()
        self.gamma = check_number("focal: gamma", gamma, low=0)
        self._sigmoid_alpha = -1.0 if alpha is None else alpha  # torchvision's word for no weighting is -1
        self.register_buffer("alpha", _to_weights("focal: alpha", alpha, one=is_number(alpha)), persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        outputs = _widen(outputs, targets)
        if outputs.ndim < 2 or outputs.shape[1] < 2 or not _are_indices(outputs, targets):
            targets = _like_outputs("focal", outputs, targets)
            if isinstance(self._sigmoid_alpha, Sequence):
                raise UsageError("loss 'focal' takes a list for alpha with class indices (B,) only, else one number")
            if self._sigmoid_alpha > 1:
                raise UsageError(
                    "loss 'focal': over the sigmoid alpha is the share of the positives, from 0 to 1, not "
                    f"{self._sigmoid_alpha}"
                )
            _check_shares("focal", targets)
            return sigmoid_focal_loss(outputs, targets, self._sigmoid_alpha, self.gamma, reduction="mean")
        check_labels(targets, outputs.shape[1])
        targets = targets.long()
        log_p = outputs.log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        # 1 - p without cancellation; above zero, where the power has a finite gradient for gamma < 1 too
        missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        loss = -(missing**self.gamma) * log_p
        alpha = _per_class(self.alpha, outputs)
        if alpha is not None:
            loss = loss * (alpha.flatten()[targets] if alpha.ndim else alpha)
        return loss.mean()


@LOSSES.register("mse")
def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error between tensors of one shape; of class indices (B,) beside (B, C), to their one-hot form.

    >>> mse(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    outputs = _widen(outputs, targets)
    return F.mse_loss(outputs, _like_outputs("mse", outputs, targets, binary=False))


@LOSSES.register("l1")
def l1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error; shapes as for `mse`.

    >>> l1(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
    tensor(1.)
    """
    outputs = _widen(outputs, targets)
    return F.l1_loss(outputs, _like_outputs("l1", outputs, targets, binary=False))


def _widen(outputs: Tensor, targets: Any) -> Tensor:
    """Outputs of 16 bits in float32: a mean of exponentials and squares needs its range and precision.

    Raises:
        UsageError: outputs that are no tensor of floats, or targets that are none at all.
    """
    if not isinstance(outputs, Tensor):
        raise UsageError(
            f"the losses listed by name take a net's outputs as one tensor, not {type(outputs).__name__}; "
            "override compute_loss, or give a loss of your own"
        )
    if not outputs.is_floating_point():
        raise UsageError(
            f"the losses listed by name take floating-point outputs, not {outputs.dtype}: let the net return its "
            "logits, without argmax"
        )
    if not isinstance(targets, Tensor):
        raise UsageError(
            f"the losses listed by name take targets as one tensor, not {shown(targets)}: give class indices from 0, "
            "as torch.tensor(labels)"
        )
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def _are_indices(outputs: Tensor, targets: Tensor) -> bool:
    """Whether targets are integers of the outputs' shape without the class dimension."""
    return are_integers(targets) and outputs.ndim > 1 and targets.shape == outputs.shape[:1] + outputs.shape[2:]


def _like_outputs(loss: str, outputs: Tensor, targets: Tensor, *, binary: bool = True) -> Tensor:
    """Targets in the outputs' shape and type: nothing is broadcast silently.

    With `binary`, integers beside a single output must be 0 or 1; without, they are values.
    """
    if targets.shape == outputs.shape:
        return targets.to(outputs.dtype)
    if not binary and {targets.shape, outputs.shape} == {outputs.shape[:1], (*outputs.shape[:1], 1)}:
        return targets.to(outputs.dtype).reshape(outputs.shape)
    if outputs.ndim == 2 and targets.shape == outputs.shape[:1] and (outputs.shape[1] == 1 or are_integers(targets)):
        return to_multi_hot(targets, outputs.shape[1], outputs.dtype)
    raise _mismatch(loss, outputs, targets)


def _mismatch(loss: str, outputs: Tensor, targets: Tensor) -> UsageError:
    return UsageError(
        f"loss '{loss}': targets of shape {tuple(targets.shape)} and type {targets.dtype} "
        f"do not fit outputs of shape {tuple(outputs.shape)}: {_way_out(outputs, targets)}"
    )


def _way_out(outputs: Tensor, targets: Tensor) -> str:
    if len(outputs) != len(targets) if outputs.ndim and targets.ndim else True:
        return "there must be a target for each sample"
    if targets.ndim == 1 and outputs.ndim == 2:
        return "give class indices as whole numbers, targets.long()"
    if targets.shape == (len(outputs), 1):
        return "give targets (B,), targets.squeeze(1)"
    if outputs.ndim > 2 and outputs.shape[2:].numel() == 1:
        return "let the net return (B, C), outputs.flatten(1)"
    return "give class indices (B,), or one number per class (B, C), beside outputs (B, C)"


def _check_shares(loss: str, targets: Tensor) -> None:
    """Raise a UsageError unless all lie in [0, 1], but for rounding; on the CPU only, as `check_labels`."""
    if targets.device.type != "cpu" or not targets.numel() or not targets.is_floating_point():
        return
    low, high = targets.aminmax()
    if not (low >= -1e-3 and high <= 1.001):  # neither is nan
        raise UsageError(
            f"loss '{loss}' takes targets from 0 to 1 for each class, not {low:g} to {high:g}; for other values use "
            "'mse' or 'l1'"
        )


def _to_weights(name: str, values: Any, *, one: bool = False) -> Tensor | None:
    """Factors >= 0, one for each class, or with `one` a single one."""
    if values is None:
        return None
    form = "a list with a number for each class, none below 0 and one above it"
    try:
        weights = torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{name} must be {form}, not {values!r}") from None
    finite = bool(weights.isfinite().all() and (weights >= 0).all())
    if weights.ndim != (0 if one else 1) or not finite or not (one or weights.sum() > 0):
        raise UsageError(f"{name} must be {form}, not {values!r}")
    return weights


def _per_class(weights: Tensor | None, outputs: Tensor) -> Tensor | None:
    """Weights, () or (C,), in the outputs' type."""
    if weights is None:
        return None
    if weights.ndim and weights.shape != outputs.shape[1:2]:
        raise UsageError(f"{len(weights)} class weights do not fit outputs of shape {tuple(outputs.shape)}")
    return weights.to(outputs.dtype)


def _check_smoothing(label_smoothing: float) -> float:
    if not (is_number(label_smoothing) and 0 <= label_smoothing <= 1):
        raise UsageError(f"label_smoothing must lie in [0, 1], not {label_smoothing!r}; 0.1 is usual")
    return label_smoothing
