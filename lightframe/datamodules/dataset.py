"""One video in, one clip (or several views) out."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.decoding import Box, FramesOutOfRangeError, VideoError, VideoInfo, probe, read_frames
from lightframe.datamodules.sampling import clip_indices, clip_length, even_starts, random_start
from lightframe.datamodules.transforms import random_resized_crop_box, square_boxes
from lightframe.errors import UsageError

ClipTransform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ClipSettings:
    """What a clip is. The fields are explained at VideoDataModule, whose arguments they are."""

    frames: int
    stride: int
    size: int
    speeds: tuple[float, ...] = (1.0,)
    views: tuple[int, int] = (1, 1)
    flip: float = 0.5
    crop_scale: tuple[float, float] = (0.25, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    eval_crop: float = 0.875


class VideoDataset(Dataset[VideoBatch | None]):
    """Clips of the videos of one split.

    Indexed by (epoch, index) it gives a random clip, every choice drawn from a generator seeded by
    (seed, epoch, index); indexed by a number, the evaluation clip or views, which are always the same.

    Args:
        paths: the files.
        labels: (len(paths),) class indices or (len(paths), classes) multi-hot.
        clip: what a clip is.
        train_transform: takes and gives a uint8 clip (T, 3, H, W), in place of the random crop and flip.
        eval_transform: likewise, in place of the centre crop.
        skip_errors: leave out what cannot be read, with a warning. In training the next video that can be read
            takes its place; in evaluation no other video ever does.
        seed: of the random clips.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Tensor,
        clip: ClipSettings,
        train_transform: ClipTransform | None = None,
        eval_transform: ClipTransform | None = None,
        skip_errors: bool = True,
        seed: int = 0,
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.clip = clip
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.skip_errors = skip_errors
        self.seed = seed
        self._infos: dict[int, VideoInfo] = {}
        self._counted: dict[int, int] = {}
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int]) -> VideoBatch | None:
        if isinstance(key, tuple):
            return self._training_sample(*key)
        return self._attempt(key, partial(self._evaluation_views, key))

    def _training_sample(self, epoch: int, index: int) -> VideoBatch:
        for step in range(len(self)):
            number = (index + step) % len(self)
            sample = self._attempt(number, partial(self._random_clip, epoch, number))
            if sample is not None:
                return sample
        raise VideoError(f"not one of the {len(self)} training videos can be read; the first is {self.paths[0]}")

    def _attempt(self, index: int, read: Callable[[], Tensor]) -> VideoBatch | None:
        # Tried anew each time: what a worker has met before must not decide what it gives now.
        try:
            return VideoBatch(read(), self.labels[index], torch.tensor(index))
        except VideoError as error:
            if not self.skip_errors:
                raise
            if index not in self._reported:
                self._reported.add(index)
                warnings.warn(f"left out: {error}", stacklevel=2)
            return None

    def _with_frame_count(self, index: int, read: Callable[[VideoInfo], Tensor]) -> Tensor:
        """Call `read` with what the video says of itself, once more if it turns out to be shorter than that."""
        if index not in self._infos:
            self._infos[index] = probe(self.paths[index])
        try:
            return read(self._infos[index])
        except FramesOutOfRangeError as error:
            if not error.frames:
                raise
            # Kept beside the info, not in it: the first draw must not depend on what was read before.
            self._counted[index] = error.frames
            return read(self._infos[index]._replace(frames=error.frames))

    def _read(self, index: int, numbers: Sequence[int], crop: Box | None = None, size: int | None = None) -> Tensor:
        """`read_frames`, but a video that is known to be shorter is not decoded to its end again."""
        count = self._counted.get(index)
        if count is not None and max(numbers) >= count:
            raise FramesOutOfRangeError(f"{self.paths[index]}: the video has {count} frames", count)
        return read_frames(self.paths[index], numbers, crop, size)

    def _random_clip(self, epoch: int, index: int) -> Tensor:
        clip = self.clip

        def read(info: VideoInfo) -> Tensor:
            # Seeded in here: a second call, with the true frame count, must make the same draws as the first.
            rng = np.random.default_rng([self.seed, epoch, index])
            stride = clip.stride * clip.speeds[rng.integers(len(clip.speeds))]
            start = random_start(rng, info.frames, clip_length(clip.frames, stride))
            numbers = clip_indices(start, info.frames, clip.frames, stride)
            if self.train_transform is not None:
                with torch.random.fork_rng(devices=[]):
                    # Not torch.manual_seed, which would seed the GPU too, and nothing would restore that.
                    torch.default_generator.manual_seed(int(rng.integers(2**63)))
                    return _checked(self.train_transform(self._read(index, numbers)), "train_transform")
            box = random_resized_crop_box(rng, info.height, info.width, clip.crop_scale, clip.crop_ratio)
            video = self._read(index, numbers, box, clip.size)
            return video.flip(-1) if rng.random() < clip.flip else video

        return self._with_frame_count(index, read).transpose(0, 1)

    def _evaluation_views(self, index: int) -> Tensor:
        clip = self.clip

        def read(info: VideoInfo) -> Tensor:
            clips, crops = clip.views
            views = []
            for start in even_starts(info.frames, clip_length(clip.frames, clip.stride), clips):
                numbers = clip_indices(start, info.frames, clip.frames, clip.stride)
                if self.eval_transform is not None:
                    video = self.eval_transform(self._read(index, numbers))
                    views.append(_checked(video, "eval_transform"))
                    continue
                for box in square_boxes(info.height, info.width, clip.eval_crop if crops == 1 else 1.0, crops):
                    views.append(self._read(index, numbers, box, clip.size))
            return torch.stack(views)

        views = self._with_frame_count(index, read).transpose(1, 2)
        return views[0] if len(views) == 1 else views


def _checked(video: Any, name: str) -> Tensor:
    """The clip that a user's transform gave back, or an error that says what it must give."""
    if isinstance(video, Tensor) and video.dtype == torch.uint8 and video.ndim == 4 and video.shape[1] == 3:
        return video
    got = f"{video.dtype} {tuple(video.shape)}" if isinstance(video, Tensor) else type(video).__name__
    raise UsageError(f"{name} must give back a uint8 clip (T, 3, H, W), as it gets one; got {got}")


def collate(samples: Sequence[VideoBatch | None]) -> VideoBatch | None:
    """Stack the samples that could be read; None when there is not one."""
    read = [sample for sample in samples if sample is not None]
    return default_collate(read) if read else None
