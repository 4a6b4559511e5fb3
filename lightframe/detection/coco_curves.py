"""Precision and recall of a whole set as COCO defines them."""

from dataclasses import dataclass

import numpy as np

from lightframe.detection.coco_matching import match
from lightframe.detection.overlaps import Overlaps, PairwiseIoU, find_overlaps
from lightframe.detection.tables import Boxes, Detections, Objects


@dataclass(frozen=True)
class Settings:
    """Where the curves are taken; pycocotools' Params have the values of COCO.

    Attributes:
        iou_thresholds: (T,).
        recalls: (R,) recalls at which the precision is read.
        area_ranges: (A, 2) least and greatest area of the objects that count.
        max_detections: (M,) how many detections of a class in an image count, ascending.
    """

    iou_thresholds: np.ndarray
    recalls: np.ndarray
    area_ranges: np.ndarray
    max_detections: np.ndarray


@dataclass(frozen=True)
class Curves:
    """Precision and recall of K classes, -1 where there is no object that counts.

    Attributes:
        labels: (K,) of the classes that have objects, ascending.
        precision: (T, R, K, A), with the greatest number of detections.
        recall: (T, K, A, M), the greatest one.
    """

    labels: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def coco_curves(detections: Detections, objects: Objects, iou: PairwiseIoU, settings: Settings) -> Curves:
    """The numbers that `COCOeval.accumulate` gives, to the last bit, without its loops over images.

    Args:
        detections: in the order of their images; of equal scores in an image the first counts as higher.
        objects: in the order of their images; `ignored` marks crowds, and all have an area.
        iou: of the boxes of one image. pycocotools' own, since another one's rounding could cross a threshold.
        settings: where the curves are taken.
    """
    labels = np.unique(objects.label)
    objects = objects[np.argsort(objects.label, kind="stable")]
    detections = detections[np.isin(detections.label, labels)]
    detections = detections[np.lexsort((-detections.score, detections.image, detections.label))]
    rank = _rank(detections)
    counts = rank < settings.max_detections[-1]
    detections, rank = detections[counts], rank[counts]
    overlaps = find_overlaps(detections, objects, iou, at_least=settings.iou_thresholds.min())
    levels, areas = len(settings.iou_thresholds), len(settings.area_ranges)
    precision = np.full((levels, len(settings.recalls), len(labels), areas), -1.0)
    recall = np.full((levels, len(labels), areas, len(settings.max_detections)), -1.0)
    for k, label in enumerate(labels):
        found, wanted = (_rows_of(boxes, label) for boxes in (detections, objects))
        pairs = overlaps[slice(*np.searchsorted(overlaps.detection, (found.start, found.stop)))]
        pairs = Overlaps(pairs.detection - found.start, pairs.object - wanted.start, pairs.iou)
        precision[:, :, k], recall[:, k] = _class_curves(
            detections[found], rank[found], objects[wanted], pairs, settings
        )
    return Curves(labels, precision, recall)


def _rank(detections: Detections) -> np.ndarray:
    """Place (D,) of each detection among those of its class and image, which stand together."""
    place = np.arange(len(detections))
    starts = np.ones(len(detections), dtype=bool)
    starts[1:] = (np.diff(detections.label) != 0) | (np.diff(detections.image) != 0)
    return place - np.maximum.accumulate(np.where(starts, place, 0))


def _rows_of(boxes: Boxes, label: int) -> slice:
    """Where the boxes of a class are, which stand together."""
    return slice(*np.searchsorted(boxes.label, (label, label + 1)).tolist())


def _class_curves(
    detections: Detections, rank: np.ndarray, objects: Objects, overlaps: Overlaps, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, R, A) and recall (T, A, M) of one class."""
    least, most = np.asarray(settings.area_ranges, dtype=float).T
    wanted_area, area = objects.area[:, None], np.prod(detections.xywh[:, 2:], axis=1)[:, None]
    ignored = objects.ignored[:, None] | (wanted_area < least) | (wanted_area > most)  # (G, A)
    outside = (area < least) | (area > most)  # (D, A)
    matches = match(overlaps, rank, ignored, objects.ignored, settings.iou_thresholds)
    counts = ~np.where(matches.matched, matches.ignored, outside[..., None])
    order = np.argsort(-detections.score, kind="stable")
    rank = rank[order]
    right, wrong = ((counts & kind)[order].transpose(1, 2, 0) for kind in (matches.matched, ~matches.matched))
    positives = (~ignored).sum(axis=0)
    precision = np.full((len(settings.iou_thresholds), len(settings.recalls), len(least)), -1.0)
    recall = np.full((len(settings.iou_thresholds), len(least), len(settings.max_detections)), -1.0)
    for a in np.nonzero(positives)[0]:
        precision[..., a] = _precision_at(right[a], wrong[a], positives[a], settings.recalls)
        for m, most_detections in enumerate(settings.max_detections):
            recall[:, a, m] = right[a][:, rank < most_detections].sum(axis=1) / positives[a]
    return precision, recall


def _precision_at(right: np.ndarray, wrong: np.ndarray, positives: int, recalls: np.ndarray) -> np.ndarray:
    """The greatest precision (T, R) at each recall or beyond it, 0 where none gets there.

    Args:
        right: (T, D) bool, in order of score.
        wrong: (T, D) bool; what is neither right nor wrong does not count.
        positives: how many objects there are to find.
        recalls: (R,).
    """
    true, false = np.cumsum(right, axis=1).astype(float), np.cumsum(wrong, axis=1).astype(float)
    recall = true / positives
    precision = true / (false + true + np.spacing(1))  # as pycocotools has it
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.pad(precision, ((0, 0), (0, 1)))  # what is beyond the last detection
    return np.stack([p[np.searchsorted(r, recalls)] for p, r in zip(precision, recall, strict=True)])
