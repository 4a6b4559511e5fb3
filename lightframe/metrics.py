"""METRICS: the metrics that a config may name, each called with raw outputs and targets.

A factory makes a torchmetrics Metric, which sums or concatenates exactly over processes. Outputs are logits (B, C), or
one logit (B, 1) for two classes; targets are class indices (B,), or soft or multi-hot (B, C) (see `targets.py`). The
metrics of detectors, coco_map and voc_map, take lists of dicts instead (see `detection/boxes.py`).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassStatScores,
)
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from lightframe.errors import UsageError
from lightframe.registry import Registry
from lightframe.targets import to_indices, to_multi_hot


def _detection_metrics() -> Mapping[str, Callable[..., Metric]]:
    from lightframe.detection import CocoMAP, VocMAP  # only for those who ask for metrics by name

    return {"coco_map": CocoMAP, "voc_map": VocMAP}


METRICS = Registry("metric", more=_detection_metrics)


class _OnIndices(Metric):
    """Before a multiclass metric of torchmetrics: any outputs and targets become logits (B, C) and indices (B,)."""

    num_classes: Any  # torchmetrics' classes differ in whether it may be None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        super().update(*as_multiclass(outputs, targets, self.num_classes))  # type: ignore[safe-super]


class TopK(_OnIndices, MulticlassAccuracy):
    """The share of samples whose class is among the k highest outputs; k is at most the number of classes.

    >>> TopK(num_classes=3, k=2)(torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), torch.tensor([1, 2]))
    tensor(0.5000)
    """

    def __init__(self, num_classes: int, k: int = 1) -> None:
        num_classes = max(num_classes, 2)
        super().__init__(num_classes=num_classes, top_k=min(k, num_classes), average="micro")


for _k in (1, 3, 5):
    METRICS.register(f"top{_k}")(functools.partial(TopK, k=_k))


@METRICS.register("mean_class_accuracy")
class MeanClassAccuracy(_OnIndices, MulticlassStatScores):
    """The mean, over the classes that occur in the targets, of the share of their samples that is right.

    torchmetrics' macro accuracy counts a class that is predicted but never occurs as one with accuracy 0.

    >>> MeanClassAccuracy(num_classes=3)(torch.eye(3)[[0, 0, 2]], torch.tensor([0, 1, 0]))
    tensor(0.2500)
    """

    higher_is_better = True

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes=max(num_classes, 2), average=None)

    def compute(self) -> Tensor:
        stats = super().compute()  # (C, 5): tp, fp, tn, fn, support
        hits, support = stats[:, 0], stats[:, 4]
        occurs = support > 0
        return (hits[occurs] / support[occurs]).mean()


@METRICS.register("f1")
class F1(_OnIndices, MulticlassF1Score):
    """The mean of 2 tp / (2 tp + fp + fn) over the classes that occur or are predicted.

    >>> F1(num_classes=3)(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 0]))
    tensor(0.6667)
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes=max(num_classes, 2), average="macro")


@METRICS.register("confusion_matrix")
class ConfusionMatrix(_OnIndices, MulticlassConfusionMatrix):
    """Counts (C, C): rows are the true classes, columns the predicted ones.

    >>> ConfusionMatrix(num_classes=2)(torch.eye(2)[[0, 1, 1]], torch.tensor([0, 1, 0])).tolist()
    [[1, 1], [0, 1]]
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes=max(num_classes, 2))


class _OneVersusRest(Metric):
    """Keeps all scores and labels; the mean of a binary metric, each class against the rest, where it is defined."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    scores: list[Tensor]
    positives: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # Rows are kept end to end in float32: that is the shape and type which torchmetrics lets a process without
        # samples contribute; (N, C) beside its empty (0,) breaks the exchange.
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("positives", [], dist_reduce_fx="cat")

    def append(self, scores: Tensor, positives: Tensor) -> None:
        """Keep scores (B, C) and labels (B, C)."""
        self.scores.append(scores.detach().float().flatten())
        self.positives.append(positives.float().flatten())

    def mean(self, metric: Callable[..., Tensor], *, needs_negatives: bool) -> Tensor:
        """The mean over classes with positives (and negatives); nan when there is none."""
        scores = dim_zero_cat(self.scores).view(-1, self.num_classes)
        positives = dim_zero_cat(self.positives).view(-1, self.num_classes).long()
        counts = positives.sum(dim=0)
        defined = (counts > 0) & (counts < len(positives)) if needs_negatives else counts > 0
        values = [
            metric(_ranks(scores[:, c]), positives[:, c], validate_args=False)
            for c in defined.nonzero().flatten().tolist()
        ]
        return torch.stack(values).mean() if values else scores.new_tensor(torch.nan)


@METRICS.register("auroc")
class AUROC(_OneVersusRest):
    """The area under the ROC curve of each class's softmax probability, one against the rest; their mean.

    Exact (no binning). Over the classes that have positives and negatives: torchmetrics' mean counts the others as 0.

    >>> AUROC(num_classes=3)(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 0]))
    tensor(0.7500)
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(max(num_classes, 2))

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        outputs, targets = as_multiclass(outputs, targets, self.num_classes)
        # The softmax is always taken, while torchmetrics takes it of those batches alone that leave [0, 1]; its
        # logarithm orders the samples alike and does not underflow.
        self.append(outputs.float().log_softmax(dim=1), to_multi_hot(targets, self.num_classes))

    def compute(self) -> Tensor:
        return self.mean(binary_auroc, needs_negatives=True)


@METRICS.register("multilabel_map")
class MultilabelMAP(_OneVersusRest):
    """The average precision of each class's score over all samples; its mean over the classes that have positives.

    torchmetrics' mean counts a class without positives as 0. Of soft targets, those from 0.5 up are positive. The
    order of the scores is all that matters, so logits and probabilities give the same.

    >>> MultilabelMAP(num_classes=3)(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 0]))
    tensor(0.6667)
    """

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        outputs = _as_rows(outputs)
        if outputs.ndim != 2 or outputs.shape[1] != self.num_classes:
            raise _wrong_outputs(outputs, self.num_classes)
        positives = to_multi_hot(targets, self.num_classes)
        if positives.shape != outputs.shape:
            raise UsageError(f"{len(targets)} targets beside {len(outputs)} outputs")
        self.append(outputs, positives >= 0.5)

    def compute(self) -> Tensor:
        return self.mean(binary_average_precision, needs_negatives=False)


def as_multiclass(outputs: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Logits (B, C) and class indices (B,) of any outputs and targets.

    A single logit x, (B, 1) or (B,), is read as the two logits (0, x), whose softmax is x's sigmoid; its targets are
    0 or 1, or probabilities of 1.

    Raises:
        UsageError: shapes that do not fit each other or `num_classes`.

    >>> as_multiclass(torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 0]), 2)
    (tensor([[ 0.,  2.],
            [ 0., -1.]]), tensor([1, 0]))
    """
    given, outputs = outputs, _as_rows(outputs)
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        targets = (to_multi_hot(targets, 1).squeeze(1) >= 0.5).long()
        outputs = F.pad(outputs, (1, 0))
    if outputs.ndim != 2 or outputs.shape[1] != num_classes:
        raise _wrong_outputs(given, num_classes)
    return outputs, to_indices(outputs, targets)


def _as_rows(outputs: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise UsageError(f"the metrics listed by name take outputs as one tensor, not {type(outputs).__name__}")
    return outputs.unsqueeze(1) if outputs.ndim == 1 else outputs


def _wrong_outputs(outputs: Tensor, num_classes: int) -> UsageError:
    return UsageError(
        f"outputs of shape {tuple(outputs.shape)} are not (B, {num_classes}) as num_classes says: make the two alike"
    )


def _ranks(scores: Tensor) -> Tensor:
    """Scores (N,) as their ranks over N, in [0, 1): the same order and ties.

    torchmetrics takes a sigmoid of what leaves [0, 1], which would make large logits equal.
    """
    return torch.unique(scores, return_inverse=True)[1] / len(scores)
