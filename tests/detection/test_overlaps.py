"""Overlaps against torchvision and a plain loop."""

from typing import Any

import numpy as np
import torch
from torchvision import ops

from lightframe.detection.overlaps import box_iou, find_overlaps
from lightframe.detection.tables import Detections, Objects


def columns(images: Any) -> dict[str, np.ndarray]:
    return {
        "image": np.concatenate([np.full(len(image["boxes"]), place) for place, image in enumerate(images)]),
        "box": torch.cat([image["boxes"] for image in images]).double().numpy(),
        "label": torch.cat([image["labels"] for image in images]).numpy(),
    }


def boxes(outputs: Any, targets: Any) -> tuple[Detections, Objects]:
    found, wanted = columns(outputs), columns(targets)
    none = np.zeros(len(wanted["image"]))
    return Detections(**found, score=np.zeros(len(found["image"]))), Objects(**wanted, ignored=none > 0, area=none)


def test_iou(make_set: Any) -> None:
    found, wanted = boxes(*make_set())
    expected = ops.box_iou(torch.from_numpy(found.box), torch.from_numpy(wanted.box))
    assert np.allclose(box_iou(found, wanted), expected, rtol=1e-14, atol=0)


def test_boxes_without_area() -> None:
    """As the same point is found twice; and a corner left of the other one is no overlap."""
    place, label = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
    flat = np.array([[3.0, 3, 3, 3], [5, 5, 1, 1]])
    assert box_iou(Detections(place, flat, label, label), Objects(place, flat, label, label, label)).tolist() == [
        [0, 0],
        [0, 0],
    ]


def test_pairs(make_set: Any) -> None:
    """In any order of the boxes: those of one image and class, ordered by detection, IoU and object."""
    found, wanted = boxes(*make_set(seed=3, grid=4))
    random = np.random.default_rng(0)
    found, wanted = (each[random.permutation(len(each))] for each in (found, wanted))
    table = box_iou(found, wanted)
    expected = sorted(
        (i, table[i, j], j)
        for i in range(len(found))
        for j in range(len(wanted))
        if found.image[i] == wanted.image[j] and found.label[i] == wanted.label[j] and table[i, j] >= 0.5
    )
    pairs = find_overlaps(found, wanted, box_iou, 0.5)
    assert list(zip(pairs.detection, pairs.iou, pairs.object, strict=True)) == expected
    assert len(expected) > 50
