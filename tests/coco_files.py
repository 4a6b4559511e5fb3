"""A small set in COCO's format whose every pixel and box is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}, {"id": 17, "name": "cat"}]
# Image 0: a car, a cat over the edge, a crowd of cars and a box without width; image 1: none; image 2: a toothbrush.
BOXES = [
    {"image": 0, "category_id": 3, "bbox": [4, 6, 10, 12], "area": 77.5, "iscrowd": 0},
    {"image": 0, "category_id": 17, "bbox": [20.5, 2.25, 12.0, 8.5]},
    {"image": 0, "category_id": 3, "bbox": [0, 0, 32, 10], "area": 320, "iscrowd": 1},
    {"image": 0, "category_id": 3, "bbox": [3, 3, 0, 5], "area": 0, "iscrowd": 0},
    {
        "image": 2,
        "category_id": 90,
        "bbox": [1, 2, 3, 4],
        "area": 12,
        "iscrowd": 0,
        "segmentation": [[1, 2, 4, 6, 1, 6]],
    },
]
SIZES = [(24, 32), (16, 20), (40, 30)]  # height, width


def pixels(number: int) -> np.ndarray:
    """Image `number`, uint8 (H, W, 3)."""
    return np.random.default_rng(number).integers(0, 256, size=(*SIZES[number % 3], 3), dtype=np.uint8)


def content(images: int = 3, first_id: int = 11) -> dict[str, Any]:
    """What stands in the annotation file; the boxes of images 0 to 2 again for 3 to 5, and so on."""
    listed = [
        {"id": first_id + 10 * number, "file_name": f"{number}.png", "height": SIZES[number % 3][0], "width": 0}
        for number in range(images)
    ]
    boxes = [{**box, "image": box["image"] + 3 * turn} for turn in range(images // 3 + 1) for box in BOXES]
    annotations = [
        {"id": place, "image_id": first_id + 10 * box["image"], **{k: v for k, v in box.items() if k != "image"}}
        for place, box in enumerate((box for box in boxes if box["image"] < images), start=1)
    ]
    return {"images": listed, "annotations": annotations, "categories": [dict(one) for one in CATEGORIES]}


def write_coco(annotations: Path, folder: Path, images: int = 3, **changes: Any) -> Path:
    """Write images and annotation file; `changes` replace keys of its content."""
    folder.mkdir(parents=True, exist_ok=True)
    annotations.parent.mkdir(parents=True, exist_ok=True)
    for number in range(images):
        Image.fromarray(pixels(number)).save(folder / f"{number}.png")
    annotations.write_text(json.dumps({**content(images), **changes}))
    return annotations


def write_coco_root(root: Path, train: int = 3, val: int = 3) -> Path:
    """A folder laid out as COCO's own, with train and val."""
    write_coco(root / "annotations" / "instances_train2017.json", root / "train2017", train)
    write_coco(root / "annotations" / "instances_val2017.json", root / "val2017", val)
    return root
