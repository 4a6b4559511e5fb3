"""One video in, its clips out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.clips import EvaluationClips, TrainingClips
from lightframe.datamodules.decoding import VideoError
from lightframe.datamodules.reader import VideoReader
from lightframe.datamodules.skipped import Skipped, SkippedVideos
from lightframe.errors import UsageError

Key = int | tuple[int, int]


class Sample(NamedTuple):
    """What became of one key.

    Attributes:
        clips: of one video: (clips, 3, T, H, W) with a label and an index for each; None when it cannot be read and no
            other may take its place.
        skipped: the videos that could not be read on the way.
    """

    clips: VideoBatch | None
    skipped: list[Skipped]


class VideoDataset(Dataset[VideoBatch | None]):
    """Clips of the videos of one split.

    Indexed by (epoch, index) it gives a random clip to train on; indexed by a number, the clip or views to evaluate
    on, or None where the video cannot be read.

    Args:
        paths: the files.
        labels: (len(paths),) class indices or (len(paths), classes) multi-hot.
        training: the clips to train on. A video that cannot be read is replaced by the next one that can.
        evaluation: the clips to evaluate on.
        reader: of the files.
        mirrored_labels: the labels of mirrored clips, where they differ.
        skipped: hears of the videos that cannot be read.
        threads: that decode the videos of a batch side by side.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Tensor,
        training: TrainingClips,
        evaluation: EvaluationClips,
        reader: VideoReader,
        mirrored_labels: Tensor | None = None,
        skipped: SkippedVideos | None = None,
        threads: int = 1,
    ) -> None:
        self.paths, self.labels = paths, labels
        self.training, self.evaluation, self.reader = training, evaluation, reader
        self.mirrored_labels = labels if mirrored_labels is None else mirrored_labels
        self.skipped = skipped or SkippedVideos("", len(paths), limit=len(paths))
        self.threads = threads

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Key) -> VideoBatch | None:
        batch, skipped = self.batch([key])
        self.skipped.record(skipped)
        return None if batch is None else VideoBatch(*(part[0] for part in batch))

    def batch(self, keys: Sequence[Key]) -> tuple[VideoBatch | None, list[Skipped]]:
        """The batch of these keys, and the videos that could not be read for it.

        It is None when not one of its videos could be read. Several clips to train on of one video become several of
        the batch; the views to evaluate on stay together, (B, views, 3, T, H, W).

        The videos are channels last in memory, as decoders give them: to turn (T, H, W, 3) into (3, T, H, W) on the
        CPU costs as much as to decode a fast file.

        Raises:
            UsageError: a transform gives clips of several sizes.
        """
        clips = self.training if isinstance(keys[0], tuple) else self.evaluation
        on_cpu = self.reader.device == "cpu"
        room = _memory((len(keys), *clips.shape)) if clips.shape is not None and on_cpu else None
        rooms: Sequence[Tensor | None] = [None] * len(keys) if room is None else list(room)
        if self.threads == 1 or len(keys) == 1:
            samples = [self._sample(*each) for each in zip(keys, rooms, strict=True)]
        else:
            # A pool for each batch: one that outlived it would be inherited by forked workers without its threads.
            with ThreadPoolExecutor(min(self.threads, len(keys))) as pool:
                samples = list(pool.map(self._sample, keys, rooms))
        skipped = [one for sample in samples for one in sample.skipped]
        read = [sample.clips for sample in samples if sample.clips is not None]
        if not read:
            return None, skipped
        labels, indices = torch.stack([one.label for one in read]), torch.stack([one.index for one in read])
        if room is None:
            _check_sizes([one.video for one in read])
            # Here the clips are copied; their channels stay last on the way.
            video = default_collate([one.video.movedim(1, -1) for one in read])
        else:
            video = room if len(read) == len(keys) else room[[sample.clips is not None for sample in samples]]
        video = video.movedim(-1, 2)
        if isinstance(keys[0], tuple):
            return VideoBatch(video.flatten(0, 1), labels.flatten(0, 1), indices.flatten()), skipped
        return VideoBatch(video[:, 0] if video.shape[1] == 1 else video, labels[:, 0], indices[:, 0]), skipped

    def _sample(self, key: Key, room: Tensor | None) -> Sample:
        skipped: list[Skipped] = []
        if not isinstance(key, tuple):
            return Sample(self._attempt(key, partial(self._evaluation_clips, key, room), skipped), skipped)
        epoch, index = key
        for number in [*range(index, len(self)), *range(index)]:
            # Tried anew each time: what a worker has met before must not decide what it gives now.
            clips = self._attempt(number, partial(self._training_clips, epoch, number, room), skipped)
            if clips is not None or len(skipped) > self.skipped.limit:
                return Sample(clips, skipped)
        return Sample(None, skipped)

    def _attempt(self, index: int, read: Callable[[], VideoBatch], skipped: list[Skipped]) -> VideoBatch | None:
        try:
            return read()
        except VideoError as error:
            skipped.append(Skipped(index, self.paths[index], str(error)))
            return None

    def _training_clips(self, epoch: int, index: int, room: Tensor | None) -> VideoBatch:
        clips, mirrored = self.training.read(self.reader, self.paths[index], epoch, index, room)
        labels = torch.stack([(self.mirrored_labels if one else self.labels)[index] for one in mirrored])
        return VideoBatch(clips, labels, torch.full((len(clips),), index))

    def _evaluation_clips(self, index: int, room: Tensor | None) -> VideoBatch:
        views = self.evaluation.read(self.reader, self.paths[index], room)
        return VideoBatch(views, self.labels[index : index + 1], torch.tensor([index]))


def _check_sizes(videos: Sequence[Tensor]) -> None:
    sizes = {tuple(video.shape[-3:]) for video in videos}
    if len(sizes) > 1:
        shown = " and ".join(" x ".join(map(str, size)) for size in sorted(sizes)[:2])
        raise UsageError(f"a transform must give all clips one size (frames x height x width), not {shown}")


def _memory(shape: Sequence[int]) -> Tensor:
    """Room for a batch; in a loader's worker shared with the training process, so that decoding is the only copy."""
    room = torch.empty(tuple(shape), dtype=torch.uint8)
    return room.share_memory_() if get_worker_info() is not None else room
