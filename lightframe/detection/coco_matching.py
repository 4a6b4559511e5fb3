"""COCO's greedy matching of the detections of one class, for all images, IoU thresholds and area ranges at once."""

from dataclasses import dataclass

import numpy as np

from lightframe.detection.overlaps import Overlaps


@dataclass(frozen=True)
class Matches:
    """What became of D detections, in A area ranges at T IoU thresholds.

    Attributes:
        matched: (D, A, T) bool; it has found an object.
        ignored: (D, A, T) bool; that object is one to ignore.
    """

    matched: np.ndarray
    ignored: np.ndarray


def match(
    overlaps: Overlaps, rank: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> Matches:
    """Match as `COCOeval.evaluateImg` does, image by image, in order of score.

    Each detection takes, of the objects of its image that are still free, the one of the highest IoU at or above the
    threshold; one to ignore only if there is no other. A crowd stays free. Of equal IoUs the last object counts.

    Detections of different images do not touch each other, nor do thresholds and area ranges: the first detections
    of all images are matched together, then all the second ones, and so on.

    Args:
        overlaps: pairs of detections and objects, ordered by detection, IoU and object.
        rank: (D,) place of each detection in its image by score, from 0.
        ignored: (G, A) bool; the object is one to ignore in this area range.
        crowd: (G,) bool.
        thresholds: (T,) IoU thresholds.

    >>> two_on_one = Overlaps(np.array([0, 1]), np.array([0, 0]), np.array([0.6, 0.9]))
    >>> no = np.zeros((1, 1), dtype=bool)
    >>> match(two_on_one, np.array([0, 1]), no, no[0], np.array([0.5, 0.75])).matched[:, 0].tolist()
    [[True, False], [False, True]]
    """
    areas, levels = ignored.shape[1], len(thresholds)
    taken = np.zeros((len(ignored), areas, levels), dtype=bool)
    result = Matches(*(np.zeros((len(rank), areas, levels), dtype=bool) for _ in range(2)))
    turn = rank[overlaps.detection]
    order = np.argsort(turn, kind="stable")
    starts = np.unique(turn[order], return_index=True)[1]
    for rows in np.split(order, starts[1:]) if len(order) else []:
        pairs = overlaps[rows]
        _match_one_each(pairs, taken, ignored[pairs.object], crowd[pairs.object], thresholds, result)
    return result


def _match_one_each(
    pairs: Overlaps, taken: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray, result: Matches
) -> None:
    """Match one detection of each image, and note in `taken` and `result` what it took."""
    free = ~taken[pairs.object] | crowd[:, None, None]
    possible = free & (pairs.iou[:, None, None] >= thresholds)  # (P, A, T)
    # The pairs of a detection stand together, the best at the end: the last possible one wins.
    detection, first = np.unique(pairs.detection, return_index=True)
    place = np.arange(len(pairs.iou))[:, None, None]
    regular, other = (
        np.maximum.reduceat(np.where(possible & kind[..., None], place, -1), first) for kind in (~ignored, ignored)
    )
    best = np.where(regular >= 0, regular, other)  # (detections, A, T), -1: none
    which, area, level = np.nonzero(best >= 0)
    pair = best[which, area, level]
    taken[pairs.object[pair], area, level] = True
    result.matched[detection[which], area, level] = True
    result.ignored[detection[which], area, level] = ignored[pair, area]
