"""A small world of images with shapes on them, written once in COCO's format."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich.progress import track
from typing_extensions import override

from lightframe.arguments import check_whole
from lightframe.datamodules.coco_detection import AugmentLike, CocoDetectionDataModule
from lightframe.datamodules.written_once import write_json, write_once
from lightframe.errors import UsageError

SHAPES = ("circle", "square", "triangle")
_SPLITS = ("train", "val", "test")
_EMPTY = 0.1  # share of images without any shape
_OVERLAP = 0.3  # of the boxes of two shapes, as intersection over union, at most


class Shape(NamedTuple):
    """One shape of an image.

    Attributes:
        name: one of SHAPES.
        box: x, y, width and height of its outermost pixels.
        area: how many pixels it has.
    """

    name: str
    box: tuple[int, int, int, int]
    area: int


def draw_image(rng: np.random.Generator, size: int, max_shapes: int) -> tuple[np.ndarray, list[Shape]]:
    """An image with shapes of random place, size, turn and colour on a smooth background; one in ten has none.

    Colours, sizes and places are drawn evenly whatever the shape: nothing but its outline tells the class. A shape may
    cover others in part; their boxes reach round what is covered too.

    Args:
        rng: source of everything random.
        size: height and width, pixels.
        max_shapes: on one image.

    Returns:
        uint8 RGB (size, size, 3), and the shapes in the order in which they were painted.

    >>> pixels, shapes = draw_image(np.random.default_rng(2), size=64, max_shapes=3)
    >>> pixels.shape, [shape.name for shape in shapes]
    ((64, 64, 3), ['circle', 'circle'])
    """
    pixels = _background(rng, size)
    shapes: list[Shape] = []
    if rng.random() < _EMPTY:
        return np.rint(pixels).astype(np.uint8), shapes
    for _ in range(int(rng.integers(1, max_shapes + 1))):
        for _attempt in range(20):
            name = SHAPES[int(rng.integers(len(SHAPES)))]
            cover = _cover(name, rng, size)
            shape = Shape(name, _bounds(cover), int((cover >= 0.5).sum()))
            if all(_iou(shape.box, other.box) <= _OVERLAP for other in shapes):
                colour = _colour(rng, pixels[cover >= 0.5].mean(axis=0))
                pixels = cover[..., None] * colour + (1 - cover[..., None]) * pixels
                shapes.append(shape)
                break
    return np.rint(pixels).astype(np.uint8), shapes


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Few random colours, blended into each other: floats (size, size, 3) from 0 to 255."""
    few = Image.fromarray(rng.integers(0, 256, size=(5, 5, 3), dtype=np.uint8))
    return np.asarray(few.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def _cover(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """How much of each pixel the shape covers, (size, size) from 0 to 1; it lies inside the image."""
    radius = size * rng.uniform(0.08, 0.22)
    centre = rng.uniform(radius + 1, size - radius - 1, size=2)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] + 0.5
    right, down = x - centre[0], y - centre[1]
    if name == "circle":
        return np.clip(radius - np.hypot(right, down) + 0.5, 0, 1)
    # A regular polygon whose corners lie on the circle: the pixels behind none of its sides.
    corners = 4 if name == "square" else 3
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    outwards = np.max([right * np.cos(angle) + down * np.sin(angle) for angle in angles], axis=0)
    return np.clip(radius * np.cos(np.pi / corners) - outwards + 0.5, 0, 1)


def _bounds(cover: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = (np.flatnonzero((cover >= 0.5).any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def _colour(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """A colour that can be told from what is behind: one channel at least differs by 80 of 255."""
    while True:
        colour = rng.uniform(0, 255, size=3)
        if np.abs(colour - behind).max() >= 80:
            return colour


def _iou(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes x, y, width, height.

    >>> _iou((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


class SyntheticCocoDataModule(CocoDetectionDataModule):
    """Circles, squares and triangles, written once as images with COCO's annotations; then a data module on them.

    Args:
        root: the folder to write to and read from. It is not written again while it stands complete, and written
            anew when a run was killed half-way.
        train_images: to train on.
        eval_images: in each of val and test.
        image_size: height and width of the images in pixels.
        max_shapes: on one image.
        augment: what happens to training images, see CocoDetectionDataModule.
        batch_size: images per batch and device.
        num_workers: loader processes per device. Default: the CPU cores divided by the devices, at most 8.
        seed: of the images and their order.

    Raises:
        UsageError: `root` holds something else, or a synthetic set with other settings.
    """

    def __init__(
        self,
        root: str = "synthetic_coco",
        train_images: int = 600,
        eval_images: int = 150,
        image_size: int = 128,
        max_shapes: int = 4,
        augment: AugmentLike | None = ("flip",),
        batch_size: int = 16,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        # Named one by one: a root is asked what is in it, and before `prepare_data` it need not exist.
        splits = {name: [str(_annotations(root, name)), str(Path(root, name))] for name in _SPLITS}
        super().__init__(
            **splits, classes=list(SHAPES), augment=augment, batch_size=batch_size, num_workers=num_workers, seed=seed
        )
        counts = {"train_images": train_images, "eval_images": eval_images, "max_shapes": max_shapes}
        for name, count in {**counts, "image_size": image_size}.items():
            check_whole(name, count, -math.inf)
        if min(train_images, eval_images, max_shapes) < 1 or image_size < 32:
            raise UsageError("train_images, eval_images and max_shapes must be at least 1, image_size at least 32")
        self.folder = Path(root)
        self.world = {
            "train_images": train_images,
            "eval_images": eval_images,
            "image_size": image_size,
            "max_shapes": max_shapes,
            "seed": seed,
        }

    @override
    def prepare_data(self) -> None:
        """Write the images, unless they stand complete."""
        write_once(self.folder, self.world, self._write)

    def _write(self) -> Iterator[Path]:
        for split in _SPLITS:
            (self.folder / split).mkdir(exist_ok=True)
            content: dict[str, list[dict[str, Any]]] = {
                "images": [],
                "annotations": [],
                "categories": [{"id": number, "name": name} for number, name in enumerate(SHAPES, start=1)],
            }
            count = self.world["train_images" if split == "train" else "eval_images"]
            for number in track(range(count), description=f"Writing synthetic images to {self.folder / split}"):
                yield self._write_image(split, number, content)
            path = _annotations(self.folder, split)
            path.parent.mkdir(exist_ok=True)
            write_json(path, content)
            yield path

    def _write_image(self, split: str, number: int, content: dict[str, list[dict[str, Any]]]) -> Path:
        rng = np.random.default_rng([self.world["seed"], _SPLITS.index(split), number])
        size = self.world["image_size"]
        pixels, shapes = draw_image(rng, size, self.world["max_shapes"])
        path = self.folder / split / f"{number:05d}.png"
        Image.fromarray(pixels).save(path)
        content["images"].append({"id": number, "file_name": path.name, "width": size, "height": size})
        for shape in shapes:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,  # pycocotools takes 0 for none
                    "image_id": number,
                    "category_id": SHAPES.index(shape.name) + 1,
                    "bbox": list(shape.box),
                    "area": shape.area,
                    "iscrowd": 0,
                }
            )
        return path


def _annotations(root: str | Path, split: str) -> Path:
    return Path(root, "annotations", f"instances_{split}.json")
