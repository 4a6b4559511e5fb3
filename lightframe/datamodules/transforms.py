"""The crops of evaluation, and uint8 pixels into what a net eats."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightframe.datamodules.decoding import Box

# The mean and standard deviation with which the SlowFast and MViT families were trained on Kinetics.
MEAN = (0.45, 0.45, 0.45)
STD = (0.225, 0.225, 0.225)


def square_boxes(height: int, width: int, share: float, crops: int) -> list[Box]:
    """Square boxes spread evenly along the longer side, centred across it; one box stands in the centre.

    They lie on even pixels where the frame has them, as chroma is stored for 2 x 2 pixels.

    Args:
        height: of the frame, pixels.
        width: likewise.
        share: side of the square as a share of the shorter side of the frame.
        crops: how many.

    >>> square_boxes(height=100, width=200, share=0.5, crops=1)
    [(24, 74, 50, 50)]
    >>> [left for _, left, _, _ in square_boxes(height=100, width=200, share=1.0, crops=3)]
    [0, 50, 100]
    """
    side = max(round(min(height, width) * share) // 2 * 2, 1)
    boxes = []
    for number in range(crops):
        place = number / (crops - 1) if crops > 1 else 0.5
        down, right = (0.5, place) if width >= height else (place, 0.5)
        boxes.append((int((height - side) * down) // 2 * 2, int((width - side) * right) // 2 * 2, side, side))
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
    # The workers' batches are channels last in memory; as bytes they are turned round at a quarter of the cost.
    return torch.addcmul(shift, video.contiguous().float(), scale).to(dtype)
