"""2D convolutions into 3D ones.

Carreira, Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, https://arxiv.org/abs/1705.07750 (I3D).
"""

import torch
from torch import Tensor

from lightframe.errors import UsageError

WAYS = ("mean", "center")


def check_inflate(inflate: bool | str) -> str | None:
    """One of WAYS; None for False.

    Raises:
        UsageError: it is neither true, false nor one of them.
    """
    if isinstance(inflate, bool):
        return WAYS[0] if inflate else None
    if inflate not in WAYS:
        raise UsageError(f"inflate is true, false, {' or '.join(WAYS)}, not {inflate!r}")
    return inflate


def inflate_kernel(weight: Tensor, frames: int, way: str = "mean") -> Tensor:
    """A kernel (O, I, H, W) over `frames` frames (O, I, T, H, W): on equal frames it answers as on one.

    Args:
        weight: of a 2D convolution or patch embedding.
        frames: T, the length of the kernel in time.
        way: "mean", I3D's: the kernel at each frame, divided by T. "center": at the middle frame alone, zeros
            elsewhere: each frame by itself, until training finds what lies between them.

    >>> inflate_kernel(torch.ones(1, 1, 1, 1), frames=4).flatten()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if way == "mean":
        return weight.unsqueeze(2).expand(-1, -1, frames, -1, -1) / frames
    inflated = torch.zeros(*weight.shape[:2], frames, *weight.shape[2:], dtype=weight.dtype, device=weight.device)
    inflated[:, :, frames // 2] = weight
    return inflated
