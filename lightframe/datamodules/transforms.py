"""Where to crop, and pixels into what a net eats. Boxes are drawn here; torchvision moves the pixels."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lightframe.datamodules.decoding import Box

# The mean and standard deviation with which the SlowFast and MViT families were trained on Kinetics.
MEAN = (0.45, 0.45, 0.45)
STD = (0.225, 0.225, 0.225)


def random_resized_crop_box(
    rng: np.random.Generator, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
    """A box with a random share of the frame's area and a random aspect ratio (Szegedy et al. 2015).

    The ratio is drawn evenly on a log scale. After ten boxes that do not fit, the largest centred box within `ratio`
    is taken, as in torchvision's RandomResizedCrop.

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
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return top, left, box_height, box_width
    aspect = min(max(width / height, ratio[0]), ratio[1])
    box_width, box_height = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def square_boxes(height: int, width: int, share: float, crops: int) -> list[Box]:
    """Square boxes spread evenly along the longer side, centred across it; one box stands in the centre.

    Args:
        height: of the frame, pixels.
        width: likewise.
        share: side of the square as a share of the shorter side of the frame.
        crops: how many.

    >>> square_boxes(height=100, width=200, share=0.5, crops=1)
    [(25, 75, 50, 50)]
    >>> [left for _, left, _, _ in square_boxes(height=100, width=200, share=1.0, crops=3)]
    [0, 50, 100]
    """
    side = max(round(min(height, width) * share), 1)
    boxes = []
    for number in range(crops):
        place = number / (crops - 1) if crops > 1 else 0.5
        down, right = (0.5, place) if width >= height else (place, 0.5)
        boxes.append((int((height - side) * down), int((width - side) * right), side, side))
    return boxes


def normalize(video: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
    """`(video / 255 - mean) / std`, folded into one multiplication and one addition.

    Args:
        video: uint8 (..., 3, T, H, W), on any device.
        mean: of each channel, for values in [0, 1].
        std: likewise.
        dtype: of the result.

    >>> normalize(torch.zeros((1, 3, 1, 1, 1), dtype=torch.uint8), (0.5,) * 3, (0.5,) * 3).flatten()
    tensor([-1., -1., -1.])
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=video.device).view(3, 1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=video.device).view(3, 1, 1, 1)
    return torch.addcmul(shift, video.float(), scale).to(dtype)
