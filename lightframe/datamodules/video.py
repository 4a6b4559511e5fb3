"""VideoDataModule: folders of videos as batches of clips."""

import os
import shutil
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler
from typing_extensions import override

from lightframe.datamodules import sources, transforms
from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.dataset import ClipSettings, ClipTransform, VideoDataset, collate
from lightframe.datamodules.sampler import EpochSampler
from lightframe.datamodules.sources import Source
from lightframe.datamodules.splits import Splits
from lightframe.errors import UsageError
from lightframe.registry import import_path

if TYPE_CHECKING:
    TransformLike = str | ClipTransform
    Sources = Source
else:
    # What a config may hold: the command line reads its schema from these.
    TransformLike = str
    Sources = str | list[str]


class VideoDataModule(LightningDataModule):
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
        size: height and width of a clip in pixels.
        batch_size: clips per batch and device.
        global_batch_size: clips per step over all devices, in place of `batch_size`; they must divide it.
        num_workers: loader processes per device. Default: the CPU cores divided by the devices, at most 8.
        views: clips and crops per video in testing and prediction; their scores are averaged.
        flip: chance that a training clip is mirrored left to right. Set 0 where left and right are different classes.
        crop_scale: smallest and largest share of the frame's area in a training crop.
        eval_crop: side of the centre crop in evaluation, as a share of the frame's shorter side.
        train_transform: a callable, or its import path, in place of the training crop and flip: takes and gives a
            uint8 clip (T, 3, H, W). What it draws from torch's generator is seeded for each sample.
        eval_transform: likewise for evaluation, in place of the centre crop.
        on_error: "skip" leaves a video out that cannot be read, with a warning (in training the next one takes its
            place); "raise" stops.
        decoder: "auto" or "pyav".
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
        size: int = 224,
        batch_size: int = 8,
        global_batch_size: int | None = None,
        num_workers: int | None = None,
        views: tuple[int, int] = (1, 1),
        flip: float = 0.5,
        crop_scale: tuple[float, float] = (0.25, 1.0),
        eval_crop: float = 0.875,
        train_transform: TransformLike | None = None,
        eval_transform: TransformLike | None = None,
        on_error: str = "skip",
        decoder: str = "auto",
        mean: tuple[float, float, float] = transforms.MEAN,
        std: tuple[float, float, float] = transforms.STD,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.clip = ClipSettings(frames, stride, size, tuple(speeds), views, flip, crop_scale, eval_crop=eval_crop)
        self.batch_size = batch_size
        self.global_batch_size = global_batch_size
        self.num_workers = num_workers
        self.train_transform = _resolve_transform(train_transform)
        self.eval_transform = _resolve_transform(eval_transform)
        self.on_error = on_error
        self.mean, self.std = tuple(mean), tuple(std)
        self.seed = seed
        _check_settings(self, val_fraction, decoder)
        given: dict[str, Source | None] = {"train": train, "val": val, "test": test, "predict": predict}
        self.splits = Splits(root, given, val_fraction, _read_classes(classes), seed)
        self._datasets: dict[str, VideoDataset] = {}
        self._epoch = 0

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
            self._device_batch_size()
            self.dataset("train")
            if self.splits.has("val"):
                self.dataset("val")
        elif stage == "validate":
            self.dataset("val")  # Lightning would take the empty list of `val_dataloader` and validate nothing

    def dataset(self, split: str) -> VideoDataset:
        """The clips of a split; index it by (epoch, index) for random training clips, by index for fixed ones."""
        if split not in self._datasets:
            # Views multiply the cost of evaluation: they are for the final test, not for the curve during training.
            clip = self.clip if split in ("test", "predict") else replace(self.clip, views=(1, 1))
            self._datasets[split] = VideoDataset(
                [video.path for video in self.splits.videos(split)],
                self.splits.labels(split),
                clip,
                self.train_transform,
                self.eval_transform,
                skip_errors=self.on_error == "skip",
                seed=self.seed,
            )
        return self._datasets[split]

    @override
    def train_dataloader(self) -> DataLoader[VideoBatch]:
        dataset = self.dataset("train")
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(dataset, self.seed, rank, world_size, self._epoch)
        # A last batch of one clip breaks batch norm; what is left over comes first in some other epoch.
        return self._loader(dataset, sampler, drop_last=sampler.num_samples >= self._device_batch_size())

    @override
    def val_dataloader(self) -> DataLoader[VideoBatch] | list[Any]:
        if self.splits.has("val"):
            return self._loader(self.dataset("val"))
        # Lightning takes an empty list for "no validation", and warns that this may be a mistake; here it is none.
        warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
        return []

    @override
    def test_dataloader(self) -> DataLoader[VideoBatch]:
        return self._loader(self.dataset("test"))

    @override
    def predict_dataloader(self) -> DataLoader[VideoBatch]:
        return self._loader(self.dataset("predict"))

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.normalize(batch) if isinstance(batch, VideoBatch) else batch

    def normalize(self, batch: VideoBatch) -> VideoBatch:
        """The batch with its uint8 video as normalised floats, in the dtype of the module that is trained."""
        if batch.video.dtype != torch.uint8:
            return batch
        dtype = self.trainer.lightning_module.dtype if self.trainer else torch.float32
        assert isinstance(dtype, torch.dtype)
        return batch._replace(video=transforms.normalize(batch.video, self.mean, self.std, dtype))

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "classes": self.classes if self.splits.knows_classes else None,
            "epoch": self.trainer.current_epoch if self.trainer else self._epoch,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["classes"] is not None:
            self.splits.restore_classes(state_dict["classes"])
        self._epoch = state_dict["epoch"]

    def settings(self) -> dict[str, Any]:
        """The arguments, as plain values, with which evaluation sees what training saw."""
        clip = {
            key: value for key, value in asdict(self.clip).items() if key in ("frames", "stride", "size", "eval_crop")
        }
        classes = {"classes": self.classes} if self.splits.knows_classes else {}
        return {**clip, **classes, "mean": list(self.mean), "std": list(self.std)}

    # Loaders

    def _loader(
        self, dataset: VideoDataset, sampler: Sampler[Any] | None = None, drop_last: bool = False
    ) -> DataLoader:
        workers = self._workers()
        if workers:
            self._check_shared_memory(dataset.clip, workers)
        return DataLoader(
            dataset=dataset,
            batch_size=self._device_batch_size(),
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
            persistent_workers=workers > 0,
            # Its own generator: without one each new iterator draws from the global state of the training process.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _device_batch_size(self) -> int:
        if self.global_batch_size is None:
            return self.batch_size
        devices = self.trainer.world_size if self.trainer else 1
        if self.global_batch_size % devices:
            raise UsageError(f"global_batch_size={self.global_batch_size} is not divisible by {devices} devices")
        return self.global_batch_size // devices

    def _workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        devices = self.trainer.num_devices if self.trainer else 1
        return min(max(cores // devices, 1), 8)

    def _check_shared_memory(self, clip: ClipSettings, workers: int) -> None:
        """Workers hand batches over in /dev/shm; where it is too small (a container's 64 MB) they just die."""
        shared = Path("/dev/shm")
        if not shared.is_dir():
            return
        views = clip.views[0] * clip.views[1]
        batch = self._device_batch_size() * views * 3 * clip.frames * clip.size**2
        needed, free = 2 * workers * batch, shutil.disk_usage(shared).free  # a loader prefetches two batches a worker
        if needed > free:
            raise UsageError(
                f"{workers} loader workers need about {needed / 2**20:.0f} MiB of shared memory and {shared} has "
                f"{free / 2**20:.0f} MiB free: use num_workers=0 or fewer, or give the container more (docker run "
                "--shm-size=8g or --ipc=host)"
            )


def _resolve_transform(transform: str | ClipTransform | None) -> ClipTransform | None:
    found = import_path(transform, "transform") if isinstance(transform, str) else transform
    if isinstance(found, type):
        found = found()
    if found is not None and not callable(found):
        raise UsageError(f"transform {transform!r} is not callable")
    return found


def _read_classes(classes: str | list[str] | None) -> list[str] | None:
    if isinstance(classes, str):
        classes = [line.strip() for line in sources.read_lines(Path(classes), "class file") if line.strip()]
    if classes is not None and (not classes or len(set(classes)) < len(classes)):
        raise UsageError(f"classes must be different names, at least one, got {classes}")
    return classes


def _check_settings(data: VideoDataModule, val_fraction: float, decoder: str) -> None:
    clip = data.clip
    whole = {
        "frames": clip.frames,
        "stride": clip.stride,
        "size": clip.size,
        "batch_size": data.batch_size,
        "views": min(clip.views, default=0),
        "global_batch_size": 1 if data.global_batch_size is None else data.global_batch_size,
    }
    for name, value in whole.items():
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    rules = {
        "num_workers must not be negative": data.num_workers is None or data.num_workers >= 0,
        "views must be two numbers, clips and crops": len(clip.views) == 2,
        "speeds must be one or more numbers > 0": bool(clip.speeds) and min(clip.speeds) > 0,
        "val_fraction must be at least 0 and below 1": 0 <= val_fraction < 1,
        "flip must lie between 0 and 1": 0 <= clip.flip <= 1,
        "crop_scale must be two shares, 0 < low <= high <= 1": len(clip.crop_scale) == 2
        and 0 < clip.crop_scale[0] <= clip.crop_scale[1] <= 1,
        "eval_crop must lie above 0 and at most 1": 0 < clip.eval_crop <= 1,
        "on_error must be 'skip' or 'raise'": data.on_error in ("skip", "raise"),
        "decoder must be 'auto' or 'pyav'": decoder in ("auto", "pyav"),
        "mean and std must be three numbers each, std above 0": len(data.mean) == len(data.std) == 3
        and min(data.std) > 0,
    }
    for rule, holds in rules.items():
        if not holds:
            raise UsageError(rule)
