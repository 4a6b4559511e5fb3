"""Pascal VOC's mean average precision of boxes."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from torch import Tensor
from typing_extensions import override

from lightframe.detection.box_metric import BoxMetric
from lightframe.detection.overlaps import box_iou, find_overlaps
from lightframe.detection.tables import Detections, Objects
from lightframe.errors import UsageError, did_you_mean

Method = Literal["area", "11point"]


class VocMAP(BoxMetric):
    """Pascal VOC's mean average precision.

    | key         | what                                                                                     |
    |-------------|------------------------------------------------------------------------------------------|
    | mAP         | mean of the average precision over the classes that have objects to find; nan: none has  |
    | mAP/<class> | with `class_metrics`, of each class that occurs in the targets; nan: it has none to find |

    As in VOC's development kit, detections are taken in order of score, and each looks at the object of its class and
    image on which it lies best. Below the IoU threshold it is wrong, at or above it right, unless an earlier one had
    the object: then it is wrong, even if it lies on another object, too. An object marked `difficult` in the target
    need not be found, and a detection on it counts neither way.

    Corners are continuous, as torchvision's are. The kit has pixels, of which a box includes the last: to get its
    figures for such boxes, add 1 to the x2 and y2 of objects and detections.

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, and the kit of VOC 2012.

    Args:
        iou_threshold: least IoU of a detection that is right.
        method: `area` under the curve of the greatest precision at each recall or beyond it (VOC 2010 and later), or
            the mean of that precision at the `11point`s 0, 0.1, ..., 1 of recall (VOC 2007).
        class_metrics: give mAP/<class>, too.
        classes: `classes[label]` is what a label is called; one without a name of its own is called by its number.

    >>> import torch
    >>> target = {"boxes": torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]]), "labels": torch.tensor([1, 1])}
    >>> output = {**target, "scores": torch.tensor([0.9, 0.8])}
    >>> output["boxes"] = torch.tensor([[50.0, 0, 60, 10], [0, 0, 10, 10]])  # first a wrong one, then a right one
    >>> for method in ("area", "11point"):
    ...     metric = VocMAP(method=method)
    ...     metric.update([output], [target])
    ...     metric.compute()
    {'mAP': tensor(0.2500, dtype=torch.float64)}
    {'mAP': tensor(0.2727, dtype=torch.float64)}
    """

    figure = "mAP"
    ignore = "difficult"

    def __init__(
        self,
        iou_threshold: float = 0.5,
        method: Method = "area",
        class_metrics: bool = False,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(class_metrics, classes)
        if method not in get_args(Method):
            raise UsageError(
                f"method is 'area' or '11point', not {method!r}{did_you_mean(str(method), get_args(Method))}"
            )
        if not 0 < iou_threshold <= 1:
            raise UsageError(f"iou_threshold is above 0 and at most 1, not {iou_threshold}")
        self.iou_threshold = iou_threshold
        self.method: Method = method

    @override
    def compute(self) -> dict[str, Tensor]:
        """The figures of the set, each a tensor without dimensions."""
        detections, objects = self.tables()
        precisions = voc_average_precisions(detections, objects, self.iou_threshold, self.method)
        defined = [value for value in precisions.values() if not np.isnan(value)]
        figures = {"mAP": float(np.mean(defined)) if defined else float("nan")}
        if self.class_metrics:
            figures |= {f"mAP/{self.class_name(label)}": value for label, value in precisions.items()}
        return self.values(figures)


def voc_average_precisions(
    detections: Detections, objects: Objects, iou_threshold: float, method: Method
) -> dict[int, float]:
    """Average precision of each class that has objects, by label; nan where all of them are to be ignored.

    Args:
        detections: in the order of their images; of equal scores the first counts as higher.
        objects: `ignored` marks those that need not be found.
        iou_threshold: least IoU of a detection that is right.
        method: how the curve becomes a number.
    """
    detections = detections[np.argsort(-detections.score, kind="stable")]
    target = _best_object(detections, objects, iou_threshold)
    hits = np.nonzero(target >= 0)[0]
    right = np.zeros(len(detections), dtype=bool)
    right[hits[np.unique(target[hits], return_index=True)[1]]] = True  # the first on each object
    counts = np.ones(len(detections), dtype=bool)
    counts[hits] = ~objects.ignored[target[hits]]
    precisions = {}
    for label in np.unique(objects.label).tolist():
        positives = int((~objects.ignored[objects.label == label]).sum())
        of_class = right[counts & (detections.label == label)]
        precisions[label] = average_precision(of_class, positives, method) if positives else float("nan")
    return precisions


def _best_object(detections: Detections, objects: Objects, iou_threshold: float) -> np.ndarray:
    """The object (D,) on which each detection lies best, if well enough, else -1; the first of several."""
    overlaps = find_overlaps(detections, objects, box_iou, iou_threshold)
    best = np.full(len(detections), -1)
    order = np.lexsort((-overlaps.object, overlaps.iou, overlaps.detection))
    best[overlaps.detection[order]] = overlaps.object[order]  # the last one written stays
    return best


def average_precision(right: np.ndarray, positives: int, method: Method) -> float:
    """The area under the precision over recall, or its mean at 11 recalls.

    Args:
        right: (D,) bool, the detections in order of score.
        positives: how many objects there are to find.
        method: `area` or `11point`.

    >>> average_precision(np.array([True, False, False, True]), 4, "area")  # 1/4 at precision 1, 1/4 at 2/4
    0.375
    """
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the greatest here or later
    if method == "area":
        return float(precision[right].sum() / positives)
    # In whole numbers: 3 of 10 have reached a recall of 0.3, whatever 0.3 is in binary.
    first = np.searchsorted(10 * found, positives * np.arange(11))
    return float(np.append(precision, 0.0)[np.minimum(first, len(right))].sum() / 11)
