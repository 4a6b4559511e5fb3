"""All boxes of a set as columns, in the order of their images."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from typing_extensions import Self


@dataclass(frozen=True)
class Boxes:
    """Columns of equal length.

    Attributes:
        image: (n,) place of the image in the set.
        box: (n, 4) x1, y1, x2, y2, float64.
        label: (n,) int64.
    """

    image: np.ndarray
    box: np.ndarray
    label: np.ndarray

    def __getitem__(self, rows: Any) -> Self:
        """Some rows: a slice, indices or a mask."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.image)

    @property
    def xywh(self) -> np.ndarray:
        """(n, 4) x, y, width, height, as COCO has them."""
        return np.concatenate([self.box[:, :2], self.box[:, 2:] - self.box[:, :2]], axis=1)


@dataclass(frozen=True)
class Detections(Boxes):
    """What the net found.

    Attributes:
        score: (n,) float64.
    """

    score: np.ndarray


@dataclass(frozen=True)
class Objects(Boxes):
    """What there is to find.

    Attributes:
        ignored: (n,) bool; it need not be found.
        area: (n,) float64; nan where it was not given.
    """

    ignored: np.ndarray
    area: np.ndarray


def read_tables(detections: np.ndarray, objects: np.ndarray, images: np.ndarray) -> tuple[Detections, Objects]:
    """The columns of rows as `lightframe.detection.boxes.to_rows` makes them, with the images in order.

    Images are ordered by `image_id` when all of them have one.

    >>> images = np.array([[0, 1, 9], [1, 0, 4]], dtype=float)  # ids 9 and 4
    >>> found, wanted = read_tables(np.array([[0, 0, 1, 1, 3, 0.5]]), np.array([[0, 0, 1, 1, 3, 0, np.nan]]), images)
    >>> found.image.tolist(), wanted.image.tolist(), found.label.tolist()
    ([0], [1], [3])
    """
    ids = images[:, 2]
    place = np.arange(len(images))
    if not np.isnan(ids).any():
        place[np.argsort(ids, kind="stable")] = np.arange(len(images))
    at_detections, at_objects = (np.repeat(place, images[:, kind].astype(np.int64)) for kind in (0, 1))
    found = Detections(at_detections, detections[:, :4], detections[:, 4].astype(np.int64), detections[:, 5])
    wanted = Objects(
        at_objects, objects[:, :4], objects[:, 4].astype(np.int64), objects[:, 5].astype(bool), objects[:, 6]
    )
    return found[np.argsort(at_detections, kind="stable")], wanted[np.argsort(at_objects, kind="stable")]
