"""Which part of a frame becomes the clip: boxes, drawn before decoding, so that only they are decoded to pixels.

Boxes lie on even pixels, as far as the frame has two: compressed video stores one colour for 2 x 2 pixels, and a box
between them would shift the colours against the brightness.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from lightframe.datamodules.augment.arguments import check_interval
from lightframe.datamodules.augment.registry import AUGMENTATIONS
from lightframe.datamodules.decoding import Box
from lightframe.errors import UsageError


class Crop(ABC):
    """Draws the box of a frame that is scaled to the clip's size."""

    def check_size(self, size: int) -> None:
        """Raise a UsageError if clips of `size` x `size` pixels cannot be cut so."""
        return

    @abstractmethod
    def box(self, rng: np.random.Generator, height: int, width: int, size: int) -> Box:
        """A box (top, left, height, width) in pixels of the frame.

        Args:
            rng: the generator of this sample.
            height: of the frame as it is shown, pixels.
            width: likewise.
            size: height and width of the clip.
        """


@AUGMENTATIONS.register("random_resized_crop")
class RandomResizedCrop(Crop):
    """A random share of the area at a random aspect ratio, stretched to the clip's square (Szegedy et al. 2015).

    Args:
        scale: smallest and largest share of the frame's area.
        ratio: smallest and largest width / height.

    Raises:
        UsageError: not two numbers in order, a share outside (0, 1].
    """

    def __init__(self, scale: Sequence[float] = (0.25, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)) -> None:
        self.scale = check_interval("random_resized_crop: scale", scale, 0, 1)
        self.ratio = check_interval("random_resized_crop: ratio", ratio, 0)

    def box(self, rng: np.random.Generator, height: int, width: int, size: int) -> Box:
        return random_resized_crop_box(rng, height, width, self.scale, self.ratio)


@AUGMENTATIONS.register("short_side_jitter")
class ShortSideJitter(Crop):
    """The frame scaled until its short side has a random length, then a square cut anywhere (VGG, SlowFast).

    Scaling by s and cutting `size` pixels is cutting `size / s` pixels and scaling them, which decodes less.

    Args:
        min_size: smallest length of the short side, pixels. 256 and 320 are the field's choice for clips of 224.
        max_size: largest.

    Raises:
        UsageError: not 0 < min_size <= max_size, or (once the size is known) clips larger than min_size.
    """

    def __init__(self, min_size: int = 256, max_size: int = 320) -> None:
        self.min_size, self.max_size = check_interval(
            "short_side_jitter: min_size and max_size", (min_size, max_size), 0
        )

    def check_size(self, size: int) -> None:
        if self.min_size < size:
            raise UsageError(
                f"short_side_jitter: a short side of min_size={self.min_size:g} pixels has no room for clips of "
                f"size={size}; choose a min_size of {size} or more"
            )

    def box(self, rng: np.random.Generator, height: int, width: int, size: int) -> Box:
        short = rng.uniform(self.min_size, self.max_size)
        side = min(_even(size / short * min(height, width)), _whole(height), _whole(width))
        return _place(rng, height, side), _place(rng, width, side), side, side


class CentreSquare(Crop):
    """The square in the middle, as in evaluation.

    Args:
        share: its side as a share of the frame's short side.

    >>> CentreSquare(0.5).box(np.random.default_rng(0), height=100, width=201, size=64)
    (24, 74, 50, 50)
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def box(self, rng: np.random.Generator, height: int, width: int, size: int) -> Box:
        side = min(_even(self.share * min(height, width)), _whole(height), _whole(width))
        return _centre(height, side), _centre(width, side), side, side


def random_resized_crop_box(
    rng: np.random.Generator, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
    """A box with a random share of the frame's area and a random aspect ratio (Szegedy et al. 2015).

    The share is drawn evenly, the ratio evenly on a log scale. After ten boxes that do not fit, the largest centred
    box within `ratio` is taken, as in torchvision's RandomResizedCrop. Sides are rounded to even pixels.

    Args:
        rng: the generator of this sample.
        height: of the frame, pixels.
        width: likewise.
        scale: smallest and largest share of the area.
        ratio: smallest and largest width / height.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_width, box_height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        # What fits is decided before rounding to even pixels: in a frame of odd size the whole of it must fit too.
        if round(box_width) <= width and round(box_height) <= height:
            box_height, box_width = min(_even(box_height), _whole(height)), min(_even(box_width), _whole(width))
            return _place(rng, height, box_height), _place(rng, width, box_width), box_height, box_width
    aspect = min(max(width / height, ratio[0]), ratio[1])
    box_width = min(_even(height * aspect), _whole(width))
    box_height = min(_even(width / aspect), _whole(height))
    return _centre(height, box_height), _centre(width, box_width), box_height, box_width


def _even(length: float) -> int:
    """The even number nearest to `length`, at least 2."""
    return max(2 * round(length / 2), 2)


def _whole(length: int) -> int:
    """The largest even number of pixels in `length`; a single pixel is taken as it is."""
    return length - length % 2 if length > 1 else length


def _place(rng: np.random.Generator, length: int, part: int) -> int:
    """Where `part` pixels of `length` begin: drawn evenly from the even places."""
    return 2 * int(rng.integers((length - part) // 2 + 1))


def _centre(length: int, part: int) -> int:
    return (length - part) // 4 * 2
