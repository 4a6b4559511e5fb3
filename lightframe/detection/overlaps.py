"""Which detections lie on which objects of their class and image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightframe.detection.tables import Detections, Objects

PairwiseIoU = Callable[[Detections, Objects], np.ndarray]


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and an object.

    Attributes:
        detection: (p,) row of the detection.
        object: (p,) row of the object.
        iou: (p,) intersection over union.
    """

    detection: np.ndarray
    object: np.ndarray
    iou: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> "Overlaps":
        return Overlaps(self.detection[rows], self.object[rows], self.iou[rows])


def find_overlaps(detections: Detections, objects: Objects, iou: PairwiseIoU, at_least: float) -> Overlaps:
    """The pairs of one class and image that overlap by `at_least`, ordered by detection, IoU and object.

    Args:
        detections: in any order.
        objects: in any order.
        iou: gives (n, m) for the n detections and m objects of one image.
        at_least: the least IoU.
    """
    by_image, by_image_objects = (np.argsort(boxes.image, kind="stable") for boxes in (detections, objects))
    detections, objects = detections[by_image], objects[by_image_objects]
    images = np.intersect1d(detections.image, objects.image)
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    # Pairs of different classes are cheaper computed in one go and dropped than told apart beforehand.
    for d0, d1, o0, o1 in zip(*_bounds(detections.image, images), *_bounds(objects.image, images), strict=True):
        some, others = detections[d0:d1], objects[o0:o1]
        table = iou(some, others)
        row, column = np.nonzero((table >= at_least) & (some.label[:, None] == others.label))
        pairs.append((row + d0, column + o0, table[row, column]))
    detection, wanted, value = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    found = Overlaps(by_image[detection], by_image_objects[wanted], value)
    return found[np.lexsort((found.object, found.iou, found.detection))]


def _bounds(image: np.ndarray, images: np.ndarray) -> tuple[list[int], list[int]]:
    """First row of each image, and the one after its last."""
    return np.searchsorted(image, images).tolist(), np.searchsorted(image, images, side="right").tolist()


def box_iou(detections: Detections, objects: Objects) -> np.ndarray:
    """Intersection over union (n, m) of boxes with continuous corners; 0 for two boxes without area."""
    a, b = detections.box[:, None], objects.box[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    union = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
