"""MixUp and CutMix: clips of a batch are mixed with their neighbours, and their labels in the same proportion."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightframe.datamodules.augment.registry import AUGMENTATIONS
from lightframe.datamodules.augment.seeding import seeded_torch
from lightframe.errors import UsageError
from lightframe.targets import to_multi_hot

Mixer: TypeAlias = v2.MixUp | v2.CutMix

# Frames that are floats at a time: a whole batch of floats, several times over, could fill the device.
_FRAMES_AT_ONCE = 4


@AUGMENTATIONS.register("mixup")
def mixup(alpha: float = 0.2) -> v2.MixUp:
    """MixUp (Zhang et al. 2018): `lam * clip + (1 - lam) * neighbour`, lam from Beta(alpha, alpha) (`v2.MixUp`).

    Args:
        alpha: above 0; the larger, the more even the mixtures.
    """
    return v2.MixUp(alpha=_check_alpha("mixup", alpha))


@AUGMENTATIONS.register("cutmix")
def cutmix(alpha: float = 1.0) -> v2.CutMix:
    """CutMix (Yun et al. 2019): a box is filled from the neighbour, its size from Beta(alpha, alpha) (`v2.CutMix`).

    Args:
        alpha: above 0; 1 draws all sizes alike.
    """
    return v2.CutMix(alpha=_check_alpha("cutmix", alpha))


def _check_alpha(name: str, alpha: float) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < float("inf"):
        raise UsageError(f"{name}: alpha must be a number above 0, not {alpha!r}")
    return float(alpha)


def mix_batch(
    video: Tensor, label: Tensor, mixers: Sequence[Mixer], seed: int, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Mix a batch by one of the mixers, drawn at random.

    Args:
        video: uint8 (B, 3, T, H, W) in any memory layout; it is not changed. A batch of one stays as it is.
        label: (B,) class indices, or (B, classes) multi-hot or soft.
        mixers: at least one.
        seed: of the draws.
        num_classes: of the soft targets.

    Returns:
        The mixed video, uint8 in the layout of `video`, and soft targets (B, num_classes), float32.

    Raises:
        UsageError: labels that are no class indices.
    """
    soft = to_multi_hot(label, num_classes)
    if len(video) == 1:
        return video, soft
    mix = mixers[int(np.random.default_rng(seed).integers(len(mixers)))]
    mixed, mixed_soft = torch.empty_like(video), soft
    for frames, into in zip(video.split(_FRAMES_AT_ONCE, 2), mixed.split(_FRAMES_AT_ONCE, 2), strict=True):
        part = frames.transpose(1, 2)
        if isinstance(mix, v2.MixUp):
            part = part.float()  # MixUp of torchvision cannot do uint8
        with seeded_torch(seed, video.device):  # the same draws for all frames
            part, mixed_soft = mix(tv_tensors.Video(part), soft)
        into.copy_(part.transpose(1, 2).round())
    return mixed, mixed_soft
