"""What a clip is, and which clips of a video are wanted in training and in evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightframe.datamodules.augment import Augmentations
from lightframe.datamodules.augment.seeding import seeded_torch
from lightframe.datamodules.decoding import ClipRequest, VideoInfo
from lightframe.datamodules.reader import VideoReader
from lightframe.datamodules.sampling import Sampling
from lightframe.datamodules.transforms import square_boxes
from lightframe.errors import UsageError
from lightframe.library_errors import explained, shown

ClipTransform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ClipSettings:
    """What a clip is.

    Attributes:
        sampling: which frames.
        frames: how many.
        size: height and width in pixels.
        fps: frames per second to which a video is resampled before frames are counted; None: its own rate.
        eval_crop: side of the centre crop in evaluation, as a share of the frame's shorter side.
    """

    sampling: Sampling
    frames: int
    size: int
    fps: float | None = None
    eval_crop: float = 0.875

    def shape(self, clips: int) -> tuple[int, int, int, int, int]:
        """(clips, T, H, W, 3): how clips lie in memory."""
        return clips, self.frames, self.size, self.size, 3

    def frame_numbers(self, info: VideoInfo) -> np.ndarray:
        """The frames that are counted: all of them, or those on the screen at the rate `fps`."""
        if self.fps is None:
            return np.arange(info.frames)
        numbers = info.timeline.resample(self.fps)
        return numbers[numbers < info.frames]  # fewer than the time line has, when the video ends too soon


class TrainingClips:
    """Random clips, every choice drawn from a generator seeded by (seed, epoch, index).

    Args:
        settings: what a clip is.
        augmentations: where to crop, and whether to mirror.
        transform: in place of both: takes and gives a uint8 clip (T, 3, H, W).
        per_video: clips of each video.
        seed: of everything random.
    """

    def __init__(
        self,
        settings: ClipSettings,
        augmentations: Augmentations,
        transform: ClipTransform | None = None,
        per_video: int = 1,
        seed: int = 0,
    ) -> None:
        self.settings, self.augmentations, self.transform = settings, augmentations, transform
        self.per_video, self.seed = per_video, seed

    @property
    def shape(self) -> tuple[int, int, int, int, int] | None:
        """(per_video, T, H, W, 3) of what is read; None if a transform decides."""
        return None if self.transform is not None else self.settings.shape(self.per_video)

    def read(
        self, reader: VideoReader, path: str, epoch: int, index: int, out: Tensor | None = None
    ) -> tuple[Tensor, list[bool]]:
        """Clips (per_video, 3, T, H, W), and which of them are mirrored.

        Args:
            reader: of the file.
            path: the file.
            epoch: of the training.
            index: of the video.
            out: memory of that `shape` which becomes the clips.
        """
        mirrored: list[bool] = []

        def choose(info: VideoInfo) -> list[ClipRequest]:
            # Seeded in here: a second call, with the true frame count, must make the same draws as the first.
            rng = np.random.default_rng([self.seed, epoch, index])
            requests = [self._draw(rng, info) for _ in range(self.per_video)]
            mirrored[:] = [request.mirror for request in requests]
            return requests

        clips = reader.read(path, choose, None if out is None else list(out))
        if out is not None:
            return _channels_first(out), mirrored
        if self.transform is not None:
            # A stream of its own beside the one of `choose`.
            stream = np.random.SeedSequence([self.seed, epoch, index], spawn_key=(3,))
            seeds = stream.generate_state(self.per_video, np.uint64)
            clips = [self._transformed(clip, int(seed)) for clip, seed in zip(clips, seeds, strict=True)]
        return torch.stack(clips).transpose(1, 2), mirrored

    def _draw(self, rng: np.random.Generator, info: VideoInfo) -> ClipRequest:
        numbers = self.settings.frame_numbers(info)
        indices = numbers[self.settings.sampling.draw(rng, len(numbers))].tolist()
        if self.transform is not None:
            return ClipRequest(indices)
        box, mirror = self.augmentations.draw(rng, info.height, info.width)
        return ClipRequest(indices, box, (self.settings.size, self.settings.size), mirror)

    def _transformed(self, clip: Tensor, seed: int) -> Tensor:
        assert self.transform is not None
        with seeded_torch(seed):
            return _changed(clip, self.transform, "train_transform")


class EvaluationClips:
    """The clips on which a video is judged, always the same.

    Args:
        settings: what a clip is.
        views: clips and crops of each video.
        transform: in place of the crops: takes and gives a uint8 clip (T, 3, H, W).
    """

    def __init__(
        self, settings: ClipSettings, views: tuple[int, int] = (1, 1), transform: ClipTransform | None = None
    ) -> None:
        self.settings, self.views, self.transform = settings, views, transform

    @property
    def shape(self) -> tuple[int, int, int, int, int] | None:
        """(clips * crops, T, H, W, 3) of what is read; None if a transform decides."""
        return None if self.transform is not None else self.settings.shape(self.views[0] * self.views[1])

    def read(self, reader: VideoReader, path: str, out: Tensor | None = None) -> Tensor:
        """Views (clips * crops, 3, T, H, W); the clips one after the other, each in all its crops.

        Args:
            reader: of the file.
            path: the file.
            out: memory of that `shape` which becomes the views.
        """
        views = reader.read(path, self._choose, None if out is None else list(out))
        if out is not None:
            return _channels_first(out)
        if self.transform is not None:
            views = [_changed(view, self.transform, "eval_transform") for view in views]
        return torch.stack(views).transpose(1, 2)

    def _choose(self, info: VideoInfo) -> Sequence[ClipRequest]:
        clips, crops = self.views
        numbers = self.settings.frame_numbers(info)
        all_indices = [numbers[clip].tolist() for clip in self.settings.sampling.fixed(len(numbers), clips)]
        if self.transform is not None:
            return [ClipRequest(indices) for indices in all_indices]
        share = self.settings.eval_crop if crops == 1 else 1.0
        boxes, size = square_boxes(info.height, info.width, share, crops), (self.settings.size, self.settings.size)
        return [ClipRequest(indices, box, size) for indices in all_indices for box in boxes]


def _channels_first(clips: Tensor) -> Tensor:
    """(clips, 3, T, H, W) of (clips, T, H, W, 3); no pixel is moved."""
    return clips.permute(0, 4, 1, 2, 3)


def _changed(given: Tensor, transform: ClipTransform, name: str) -> Tensor:
    """The clip that a user's transform gives back, or an error that says what it must give."""
    with explained(lambda: f"{name} cannot take a clip, {shown(given)}: (frames, 3, height, width)"):
        clip: Any = transform(given)
    if isinstance(clip, Tensor) and clip.dtype == torch.uint8 and clip.ndim == 4 and clip.shape[1] == 3:
        return clip
    got = f"{clip.dtype} {tuple(clip.shape)}" if isinstance(clip, Tensor) else type(clip).__name__
    raise UsageError(f"{name} must give back a uint8 clip (T, 3, H, W), as it gets one; got {got}")
