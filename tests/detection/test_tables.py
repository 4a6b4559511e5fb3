"""Boxes as columns."""

import numpy as np

from lightframe.detection.tables import Boxes


def test_widths_and_heights_are_not_rounded() -> None:
    corners = [[0.1, 0.2, 0.7, 123456.789], [1 / 3, 2e-5, 16777217.5, 2 / 3]]
    boxes = Boxes(np.zeros(2, dtype=int), np.array(corners), np.zeros(2, dtype=int))
    assert boxes.xywh.tolist() == [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
    assert len(boxes) == 2
    assert boxes[1:].box.tolist() == corners[1:]
