"""Reads off a clip of a numbered video which frames, columns and rows it has: they are its red, green and blue."""

import torch
from torch import Tensor


def frame_numbers(clip: Tensor) -> list[int]:
    """Of a clip (3, T, H, W); each frame must have its number all over."""
    red = clip[0].flatten(1)
    assert (red == red[:, :1]).all()
    return red[:, 0].tolist()


def columns(clip: Tensor) -> list[int]:
    """Of a clip's first row, the same in all rows and frames."""
    assert (clip[1] == clip[1, :1, :1]).all()
    return clip[1, 0, 0].tolist()


def rows(clip: Tensor) -> list[int]:
    """Of a clip's first column, the same in all columns and frames."""
    assert (clip[2] == clip[2, :1, :, :1]).all()
    return clip[2, 0, :, 0].tolist()


def equal(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    """Whether two batches are the same to the last bit."""
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
