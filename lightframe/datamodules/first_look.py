"""What is said of a training's videos before it begins: nothing that is wrong, but that may not be meant."""

import logging
from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightframe.datamodules.clips import ClipSettings
from lightframe.datamodules.decoding import VideoError
from lightframe.datamodules.reader import VideoReader

log = logging.getLogger(__name__)

_LOOKED_AT = 3  # videos; each is opened unless a scan knows it


def tell_of_shared_videos(train: Sequence[str], val: Sequence[str]) -> None:
    """Log a warning where videos that are validated are trained on too."""
    if shared := set(train) & set(val):
        log.warning(
            "%d of the %d val videos are train videos too, %s for one: their metrics say nothing of other videos",
            *(len(shared), len(val), min(shared)),
        )


def absent_classes(labels: Tensor, classes: Sequence[str]) -> list[str]:
    """The classes that no video of a split has.

    Args:
        labels: (N,) class indices, or (N, classes) multi-hot.
        classes: the class names in the order of their indices.

    >>> absent_classes(torch.tensor([0, 2, 2]), ["jump", "run", "wave"])
    ['run']
    """
    counts = labels.sum(dim=0) if labels.ndim == 2 else torch.bincount(labels, minlength=len(classes))
    return [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]


def tell_of_absent_classes(split: str, labels: Tensor, classes: Sequence[str]) -> None:
    """Say which classes a split lacks: its metrics are of the others alone."""
    if absent := absent_classes(labels, classes):
        named = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        rank_zero_info(
            f"{len(absent)} of the {len(classes)} classes have no {split} video and no part in its metrics: {named}"
        )


def tell_of_short_videos(paths: Sequence[str], reader: VideoReader, clip: ClipSettings) -> None:
    """Log a warning where the clips of a few videos, looked at as examples, repeat most of their frames."""
    counts = []
    for path in paths[:: max(len(paths) // _LOOKED_AT, 1)][:_LOOKED_AT]:
        try:
            total = len(clip.frame_numbers(reader.info(path)))
        except VideoError:
            continue
        if total < 1 or 2 * len(set(clip.sampling.fixed(total, 1)[0])) > clip.frames:
            return
        counts.append(total)
    if counts:
        log.warning(
            "a clip of %d frames repeats most of them, since the videos looked at have %s: give a smaller stride, or "
            "fewer frames",
            *(clip.frames, " and ".join(map(str, sorted(set(counts))))),
        )
