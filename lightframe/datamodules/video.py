"""VideoDataModule: folders of videos as batches of clips."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightframe.datamodules import first_look, transforms
from lightframe.datamodules.augment import build_augmentations
from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.clips import ClipSettings, ClipTransform, EvaluationClips, TrainingClips
from lightframe.datamodules.dataset import VideoDataset
from lightframe.datamodules.decoding import check_decoder, describe_decoder
from lightframe.datamodules.loader import VideoLoader, default_workers, make_loader
from lightframe.datamodules.reader import VideoReader
from lightframe.datamodules.resumable import ResumableDataModule
from lightframe.datamodules.sampler import EpochSampler
from lightframe.datamodules.sampling import build_sampling
from lightframe.datamodules.settings import check_settings, read_classes, resolve_transform
from lightframe.datamodules.skipped import SkippedVideos, error_limit, without_broken
from lightframe.datamodules.sources import Source
from lightframe.datamodules.splits import Splits
from lightframe.datamodules.video_index import VideoIndex
from lightframe.errors import UsageError
from lightframe.gather import gather_for_checkpoint, gather_objects

if TYPE_CHECKING:
    TransformLike = str | ClipTransform
    Sources = Source
    AugmentLike = str | Sequence[Any] | Mapping[str, Any]
else:
    # What a config may hold: the command line reads its schema from these.
    TransformLike = str
    Sources = str | list[str]
    AugmentLike = str | list[Any] | dict[str, Any]


class VideoDataModule(ResumableDataModule):
    """Videos in class folders, or named by annotation files, as batches of clips.

    The batches are `VideoBatch(video, label, index)`: workers send uint8, and floats are made and normalised on the
    device. Everything random about a sample comes from (seed, epoch, index). The class list is made from the training
    split alone and holds for all splits.

    An annotation file has a line "path label" a video (.csv: path,label); several labels read "a|b", and a label may
    be a class name or an index from 0. Relative paths refer to `root` if it is given, else to the file's own folder.

    Args:
        root: folder, or several, with train/, val/ and test/ in it (any may be missing), each with class folders.
        train: the training split by itself: folder of class folders, annotation file, or a list of those.
        val: the validation split, likewise.
        test: the test split, likewise.
        predict: the videos to predict: folder, file, or annotation file. They need no labels.
        val_fraction: share of each class of the training split to validate on instead, when there is no validation
            split. The same videos are taken every time.
        classes: the class names in their order, or a text file with one a line. Default: made from the training split.
        frames: frames in a clip.
        stride: source frames from one frame of a clip to the next.
        speeds: factors on the stride; one is drawn for each training clip.
        fps: frames per second to which a video is resampled, by time, before `stride` counts. Null: its own rate.
        sampling: which frames make a clip: random (a clip from a random place), dense (likewise, but a short video
            begins again instead of repeating its last frame), uniform (one frame from each of `frames` equal parts of
            the video, as TSN does).
        size: height and width of a clip in pixels.
        clips_per_video: clips that a video is decoded for at once in training; they stand in the same batch.
        batch_size: clips per batch and device.
        global_batch_size: clips per step over all devices, in place of `batch_size`; they must divide it.
        epoch_length: videos in a training epoch, over all devices. Default: each once. In a longer epoch videos come
            again, as other clips; after a shorter one the next goes on with those that are left.
        num_workers: loader processes per device. Default: the CPU cores divided by the devices, at most 8.
        threads: that decode side by side in each loader process.
        views: clips and crops per video in testing and prediction; their scores are averaged.
        augment: what happens to training clips, by name, with arguments or without, as in
            {random_resized_crop: {scale: [0.25, 1.0]}, flip: {p: 0.5}}. Crops: random_resized_crop,
            short_side_jitter; flip (with `label_map`: {left: right}); on the device: color_jitter, rand_augment,
            trivial_augment, random_erasing, or the import path of any of torchvision's; mixup, cutmix. Leave flip out
            where left and right are different classes.
        eval_crop: side of the centre crop in evaluation, as a share of the frame's shorter side.
        train_transform: a callable, or its import path, in place of the training crop and flip: takes and gives a
            uint8 clip (T, 3, H, W), in the loader's process. What it draws from torch's generator is seeded for each
            sample.
        eval_transform: likewise for evaluation, in place of the centre crop.
        on_error: "skip" leaves a video out that cannot be read: in training the next one takes its place, in
            evaluation none does. It is logged, listed in the run folder and counted (`data/skipped`). "raise" stops.
        max_errors: training stops when more videos than these cannot be read. Default: a hundredth, at least 10.
        decoder: "auto", "pyav" (always there) or "torchcodec".
        device: where to decode: "cpu", or "cuda" with torchcodec, which then happens in the training process.
        index: what `lightframe scan` wrote: known-bad videos are left out, the others need no look before they are
            read. Default: the lightframe-scan.parquet that lies in the folder of the videos, if there is one.
        mean: mean of each channel, for values in [0, 1].
        std: standard deviation of each channel, likewise.
        seed: of the clips, their order and the validation split.

    Raises:
        UsageError: a folder that does not exist or is empty, a malformed annotation line, an unknown class, settings
            that make no clip. Each says where and what to do, before any training starts.

    Example::

        data = VideoDataModule(root="videos", frames=16, stride=4, size=112, batch_size=8)
        trainer.fit(module, datamodule=data)
    """

    def __init__(
        self,
        root: Sources | None = None,
        train: Sources | None = None,
        val: Sources | None = None,
        test: Sources | None = None,
        predict: Sources | None = None,
        val_fraction: float = 0.0,
        classes: str | list[str] | None = None,
        frames: int = 32,
        stride: int = 2,
        speeds: tuple[float, ...] | list[float] = (1.0,),
        fps: float | None = None,
        sampling: str = "random",
        size: int = 224,
        clips_per_video: int = 1,
        batch_size: int = 8,
        global_batch_size: int | None = None,
        epoch_length: int | None = None,
        num_workers: int | None = None,
        threads: int = 1,
        views: tuple[int, int] = (1, 1),
        augment: AugmentLike | None = ("random_resized_crop", "flip"),
        eval_crop: float = 0.875,
        train_transform: TransformLike | None = None,
        eval_transform: TransformLike | None = None,
        on_error: str = "skip",
        max_errors: int | None = None,
        decoder: str = "auto",
        device: str = "cpu",
        index: str | None = None,
        mean: tuple[float, float, float] = transforms.MEAN,
        std: tuple[float, float, float] = transforms.STD,
        seed: int = 0,
    ) -> None:
        check_settings(locals())
        super().__init__()
        self.frames, self.stride, self.fps, self.sampling = frames, stride, fps, sampling
        self.clips_per_video = clips_per_video
        self.batch_size, self.global_batch_size = batch_size, global_batch_size
        self.epoch_length = epoch_length
        self.num_workers, self.threads = num_workers, threads
        self.on_error, self.max_errors = on_error, max_errors
        self.mean, self.std = tuple(mean), tuple(std)
        self.seed = seed
        self.views = (views[0], views[1])
        check_decoder(decoder, device)
        if device != "cpu" and num_workers:
            raise UsageError(f"device='{device}' decodes in the training process: it goes with num_workers=0")
        self.clip = ClipSettings(build_sampling(sampling, frames, stride, tuple(speeds)), frames, size, fps, eval_crop)
        self.augmentations = build_augmentations(augment, size, eval_crop)
        self.train_transform = resolve_transform(train_transform)
        self.eval_transform = resolve_transform(eval_transform)
        given: dict[str, Source | None] = {"train": train, "val": val, "test": test, "predict": predict}
        self.splits = Splits(root, given, val_fraction, read_classes(classes), seed)
        self.decoder, self.device, self.index = decoder, device, index
        self._datasets: dict[str, VideoDataset] = {}
        self._indices: list[int] = []

    @property
    def classes(self) -> list[str]:
        """The class names in the order of their indices, from the training split."""
        return self.splits.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    # Lightning's hooks

    @override
    def setup(self, stage: str) -> None:
        """Find the videos and check their labels, so that nothing is noticed only after an epoch."""
        if stage == "fit":
            self.begin_fit()
            self._videos()
            self.augmentations.try_out(self.frames)
            self.dataset("train")
            if self.splits.has("val"):
                self.dataset("val")
            self._tell()
        else:
            # Lightning would take the empty list of `val_dataloader` and validate nothing.
            self.dataset({"validate": "val", "test": "test", "predict": "predict"}[stage])
        _say_once(describe_decoder(self.decoder, self.device))
        folder = self.trainer.log_dir if self.trainer else None  # on every rank: it is broadcast
        if folder and Path(folder).resolve() != Path.cwd():  # which is what a run without loggers has for a folder
            rank = self.trainer.global_rank if self.trainer else 0
            for dataset in self._datasets.values():
                dataset.skipped.file = Path(folder, f"skipped-rank{rank}.csv" if rank else "skipped.csv")
                if rank == 0:  # all ranks know the same
                    dataset.skipped.list_known()

    def _tell(self) -> None:
        train = self.dataset("train")
        first_look.tell_of_short_videos(train.paths, train.reader, self.clip)
        if self.splits.has("val"):
            first_look.tell_of_shared_videos(train.paths, self.dataset("val").paths)
            first_look.tell_of_absent_classes("val", self.dataset("val").labels, self.classes)

    def dataset(self, split: str) -> VideoDataset:
        """The clips of a split; index it by (epoch, index) for random training clips, by index for fixed ones."""
        if split not in self._datasets:
            index = VideoIndex.load(self.index) if self.index else VideoIndex.find(self.splits.folders(split))
            paths = [video.path for video in self.splits.videos(split)]
            strict = self.on_error == "raise"
            paths, labels, broken = without_broken(split, paths, self.splits.labels(split), index, strict)
            # Views multiply the cost of evaluation: they are for the final test, not for the curve during training.
            views = self.views if split in ("test", "predict") else (1, 1)
            flips = self.augmentations.flip is not None and self.train_transform is None and split == "train"
            self._datasets[split] = VideoDataset(
                paths,
                labels,
                TrainingClips(self.clip, self.augmentations, self.train_transform, self.clips_per_video, self.seed),
                EvaluationClips(self.clip, views, self.eval_transform),
                VideoReader(self.decoder, self.device, index),
                self.augmentations.mirrored_labels(labels, self.classes) if flips else None,
                SkippedVideos(split, len(paths), error_limit(split, len(paths), strict, self.max_errors), broken),
                # What a transform draws from torch's generator is seeded for one clip at a time.
                self.threads if self.train_transform is None else 1,
            )
        return self._datasets[split]

    @override
    def train_dataloader(self) -> VideoLoader:
        if (count := len(self.dataset("train"))) < self.ranks[1]:
            raise UsageError(
                f"{self.ranks[1]} devices cannot share {count} training video{'s' if count > 1 else ''}: give "
                f"--trainer.devices {count} or fewer, or more videos"
            )
        sampler = self.epoch_sampler(self.dataset("train"), self.seed, self._videos(), self.epoch_length)
        # A last batch of one clip breaks batch norm; what is left over comes first in some other epoch.
        drop_last = sampler.num_samples >= self._videos()
        return self._loader("train", self._videos(), sampler=sampler, drop_last=drop_last)

    @override
    def val_dataloader(self) -> VideoLoader | list[Any]:
        if self.splits.has("val"):
            return self._loader("val", self._device_batch_size())
        return self.no_loader()

    @override
    def test_dataloader(self) -> VideoLoader:
        return self._loader("test", self._videos_in_views())

    @override
    def predict_dataloader(self) -> VideoLoader:
        return self._loader("predict", self._videos_in_views())

    @override
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if isinstance(batch, VideoBatch) and self.augmentations.on_device_needed and self.trainer and self._sampler:
            indices = batch.index.tolist()  # read on the device, it would wait for all that is queued there
            self._indices = self._numbers(indices, self._sampler) if self.trainer.training else indices
        return batch

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not isinstance(batch, VideoBatch):
            return batch
        if self.trainer and self.trainer.training and self._sampler:
            batch = self._augment(batch, self._indices, self._sampler.round)
        return self.normalize(batch)

    def _numbers(self, indices: Sequence[int], sampler: EpochSampler) -> list[int]:
        """The indices of a training batch, other ones where a video comes again in the epoch."""
        assert self.trainer is not None
        each = self.clips_per_video
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready * self._videos()
        numbers = sampler.numbers(indices[::each], done)
        return [number for number in numbers for _ in range(each)]

    def augment(self, batch: VideoBatch, epoch: int) -> VideoBatch:
        """The batch of uint8 training clips with its pixels changed and its clips mixed, as `augment` asks for.

        During training this happens by itself, on the device.
        """
        return self._augment(batch, batch.index.tolist(), epoch)

    def _augment(self, batch: VideoBatch, indices: Sequence[int], epoch: int) -> VideoBatch:
        if not self.augmentations.on_device_needed or batch.video.dtype != torch.uint8:
            return batch
        # Clips of one video stand side by side; each has its own number, and so its own draws.
        each = self.clips_per_video
        numbers = torch.tensor([index * each + place % each for place, index in enumerate(indices)])
        classes = self.num_classes if self.augmentations.mixes else 0
        video, label = self.augmentations.on_device(batch.video, batch.label, numbers, self.seed, epoch, classes)
        return batch._replace(video=video, label=label)

    def normalize(self, batch: VideoBatch) -> VideoBatch:
        """The batch with its uint8 video as normalised floats, in the dtype of the module that is trained."""
        if batch.video.dtype != torch.uint8:
            return batch
        dtype = self.trainer.lightning_module.dtype if self.trainer else torch.float32
        assert isinstance(dtype, torch.dtype)
        return batch._replace(video=transforms.normalize(batch.video, self.mean, self.std, dtype))

    @override
    def state_dict(self) -> dict[str, Any]:
        """The classes, the place in training, and what could not be read."""
        classes = self.classes if self.splits.knows_classes else None
        own = {split: data.skipped.state(data.paths) for split, data in self._datasets.items()}
        everyone = gather_for_checkpoint(self.trainer, own)
        skipped = {split: dict(ChainMap(*(one.get(split, {}) for one in everyone))) for split in own}
        return {"classes": classes, **super().state_dict(), "skipped": skipped}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["classes"] is not None:
            self.splits.restore_classes(state_dict["classes"])
        super().load_state_dict(state_dict)
        for split, skipped in state_dict["skipped"].items():
            if split in self._datasets:
                self._datasets[split].skipped.restore(skipped, self._datasets[split].paths)

    def settings(self) -> dict[str, Any]:
        """The arguments, as plain values, with which evaluation sees what training saw."""
        clip = {name: getattr(self, name) for name in ("frames", "stride", "fps", "sampling")}
        classes = {"classes": self.classes} if self.splits.knows_classes else {}
        crop = {"size": self.clip.size, "eval_crop": self.clip.eval_crop}
        return {**clip, **crop, **classes, "mean": list(self.mean), "std": list(self.std)}

    # Videos that cannot be read

    def count_skipped(self) -> int:
        """How many videos could not be read so far, over all splits and processes, those that a scan found included.

        All processes must call it.

        Raises:
            VideoError: too many.
        """
        total = 0
        for _, dataset in sorted(self._datasets.items()):
            reasons = dict(ChainMap(*gather_objects(dataset.skipped.reasons)))
            dataset.skipped.check(reasons)
            total += len(reasons) + len(dataset.skipped.known)
        return total

    # Loaders

    def _loader(self, split: str, batch_size: int, **kwargs: Any) -> VideoLoader:
        on_cpu = self.device == "cpu"
        workers = self.num_workers
        if workers is None:
            workers = default_workers(self.trainer.num_devices if self.trainer else 1) if on_cpu else 0
        pin_memory = torch.cuda.is_available() and on_cpu
        return make_loader(self.dataset(split), batch_size, workers, pin_memory=pin_memory, **kwargs)

    def _videos(self) -> int:
        """Videos per training batch and device."""
        if self._device_batch_size() % self.clips_per_video:
            clips = self._device_batch_size()
            raise UsageError(f"clips_per_video={self.clips_per_video} does not divide a batch of {clips} clips")
        return self._device_batch_size() // self.clips_per_video

    def _videos_in_views(self) -> int:
        """Videos per batch in testing, where each comes in several views: about `batch_size` clips in all."""
        return max(self._device_batch_size() // (self.views[0] * self.views[1]), 1)

    def _device_batch_size(self) -> int:
        if self.global_batch_size is None:
            return self.batch_size
        devices = self.trainer.world_size if self.trainer else 1
        if self.global_batch_size % devices:
            raise UsageError(f"global_batch_size={self.global_batch_size} is not divisible by {devices} devices")
        return self.global_batch_size // devices


@cache
def _say_once(message: str) -> None:
    rank_zero_info(message)
