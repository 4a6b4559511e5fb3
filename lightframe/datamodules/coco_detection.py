"""CocoDetectionDataModule: images with boxes, in COCO's format, as batches for torchvision's detectors."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from typing_extensions import override

from lightframe.arguments import check_whole
from lightframe.datamodules.box_augment import build_box_augment
from lightframe.datamodules.coco_annotations import category_labels, category_names, coco_of_folder, read_coco
from lightframe.datamodules.coco_dataset import CocoDataset
from lightframe.datamodules.coco_sources import Source, Split, find_splits
from lightframe.datamodules.detection_batch import DetectionBatch
from lightframe.datamodules.loader import StartWorker, WorkerLoader, as_it_is, default_workers
from lightframe.datamodules.resumable import ResumableDataModule
from lightframe.datamodules.settings import check_workers, read_classes
from lightframe.errors import UsageError

if TYPE_CHECKING:
    Sources = Source
    AugmentLike = str | Sequence[Any] | Mapping[str, Any]
else:
    # What a config may hold: the command line reads its schema from these.
    Sources = str | list[str]
    AugmentLike = str | list[Any] | dict[str, Any]

BACKGROUND = "background"


class DetectionLoader(WorkerLoader):
    """Yields `DetectionBatch`es; an error that a worker handed over in place of one is raised here, in one sentence."""

    # A generator, so that its workers begin when the first batch is asked for: Lightning makes the iterator of a
    # resumed run before it tells the sampler the epoch.
    def __iter__(self) -> Iterator[DetectionBatch]:  # type: ignore[override]
        for batch in self._begin():
            if isinstance(batch, UsageError):
                try:
                    raise batch
                finally:
                    del batch  # an error that holds itself holds the workers too, until they are killed
            yield batch


class CocoDetectionDataModule(ResumableDataModule):
    """Images with boxes, listed by annotation files of COCO's format, as `DetectionBatch(images, targets, index)`.

    Class 0 is the background, as torchvision's detectors count; the categories follow, in the order of their ids, so
    `num_classes` is one more than there are categories. Images are neither scaled nor normalised here: detectors do
    both, and give their boxes in pixels of the image as it is. Boxes round crowds are there in evaluation only.
    Everything random about a sample comes from (seed, epoch, index).

    Args:
        root: folder with `annotations/instances_train*.json`, `train*/` and the like for val and test, as COCO's own,
            or with `train/_annotations.coco.json` and `valid/_annotations.coco.json` beside their images.
        train: the training split by itself: an annotation file, whose images stand in its own folder, or
            [annotations.json, images].
        val: the validation split, likewise.
        test: the test split, likewise.
        predict: the images to predict: a folder, or likewise.
        classes: the names of the categories in their order, or a text file with one a line. Default: those of the
            training split.
        augment: what happens to training images, by name, with arguments or without: flip, scale_jitter, photometric,
            zoom_out, iou_crop, shortest_size, resize, or the import path of any of torchvision's transforms v2. As in
            {scale_jitter: {scale: [0.5, 2.0]}, flip: {p: 0.5}}.
        batch_size: images per batch and device.
        num_workers: loader processes per device. Default: the CPU cores divided by the devices, at most 8.
        seed: of the order of training and of what is random in `augment`.

    Raises:
        UsageError: a file or image that does not exist, a file that is not of COCO's format, an annotation of an
            unknown image or class. Each says where, before any training starts.

    Example::

        data = CocoDetectionDataModule(root="coco", augment=["scale_jitter", "flip"], batch_size=2)
        trainer.fit(LightFrameModule("fcos_resnet50_fpn", num_classes=data.num_classes, metrics=None), datamodule=data)
    """

    def __init__(
        self,
        root: Sources | None = None,
        train: Sources | None = None,
        val: Sources | None = None,
        test: Sources | None = None,
        predict: Sources | None = None,
        classes: str | list[str] | None = None,
        augment: AugmentLike | None = ("flip",),
        batch_size: int = 8,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        check_whole("batch_size", batch_size, 1)
        check_workers(num_workers)
        check_whole("seed", seed, 0)
        super().__init__()
        self.root = root
        self.given: dict[str, Source | None] = {"train": train, "val": val, "test": test, "predict": predict}
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.transforms = build_box_augment(augment)
        self._names = _without_background(read_classes(classes))
        self._found: dict[str, Any] = {}
        self._datasets: dict[str, CocoDataset] = {}

    @property
    def classes(self) -> list[str]:
        """The class names in the order of their labels, the background first."""
        if self._names is None:
            source = next((name for name in ("train", "val", "test") if self.has(name)), "train")
            self._names = category_names(self._read(source))
        return [BACKGROUND, *self._names]

    @property
    def num_classes(self) -> int:
        """How many classes there are, the background included."""
        return len(self.classes)

    def has(self, split: str) -> bool:
        """Whether there is such a split."""
        return split in self._splits

    @cached_property
    def _splits(self) -> dict[str, Split]:
        return find_splits(self.root, self.given)

    def _read(self, split: str) -> Any:
        """The split's images and annotations, read once."""
        if split not in self._found:
            if split not in self._splits:
                where = "" if self.root is None else f", and there is none in '{self.root}'"
                raise UsageError(f"there is no {split} split: give root, or {split}{where}")
            annotations, images = self._splits[split]
            self._found[split] = coco_of_folder(images) if annotations is None else read_coco(annotations, images)
        return self._found[split]

    def dataset(self, split: str) -> CocoDataset:
        """The images of a split; index it by (epoch, index) for random training samples, by index for fixed ones."""
        if split not in self._datasets:
            found = self._read(split)
            # A folder of images to predict has no categories, and needs no class list.
            labels = (
                category_labels(found, self.classes, str(self._splits[split].annotations)) if found.coco.cats else {}
            )
            self._datasets[split] = CocoDataset(found, labels, self.transforms, self.seed)
        return self._datasets[split]

    def categories(self, split: str) -> dict[int, dict[str, Any]]:
        """Of each label its category, `id` and `name`, as the split's file numbers them, or else as the labels."""
        own = {one["name"]: number for number, one in self._read(split).coco.cats.items()}
        named = enumerate(self.classes)
        return {label: {"id": own.get(name, label), "name": name} for label, name in named}

    # Lightning's hooks

    @override
    def setup(self, stage: str) -> None:
        """Read the annotations and look for the images, so that nothing is noticed only after an epoch."""
        if stage == "fit":
            self.begin_fit()
            self.dataset("train")
            if self.has("val"):
                self.dataset("val")
        else:
            self.dataset({"validate": "val", "test": "test", "predict": "predict"}[stage])

    @override
    def train_dataloader(self) -> DetectionLoader:
        sampler = self.epoch_sampler(self.dataset("train"), self.seed, self.batch_size)
        # What is left over comes first in some other epoch.
        return self._loader("train", sampler=sampler, drop_last=sampler.num_samples >= self.batch_size)

    @override
    def val_dataloader(self) -> DetectionLoader | list[Any]:
        if self.has("val"):
            return self._loader("val")
        return self.no_loader()

    @override
    def test_dataloader(self) -> DetectionLoader:
        return self._loader("test")

    @override
    def predict_dataloader(self) -> DetectionLoader:
        return self._loader("predict")

    def _loader(self, split: str, **kwargs: Any) -> DetectionLoader:
        workers = self.num_workers
        if workers is None:
            workers = default_workers(self.trainer.num_devices if self.trainer else 1)
        return DetectionLoader(
            dataset=self.dataset(split),
            batch_size=self.batch_size,
            num_workers=workers,
            collate_fn=as_it_is,
            worker_init_fn=StartWorker(),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            # Its own generator: without one each new iterator draws from the global state of the training process.
            generator=torch.Generator().manual_seed(0),
            **kwargs,
        )

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not isinstance(batch, DetectionBatch):
            return batch
        dtype = self.trainer.lightning_module.dtype if self.trainer else torch.float32
        assert isinstance(dtype, torch.dtype)
        return batch.to_floats(dtype)

    # Checkpoints

    @override
    def state_dict(self) -> dict[str, Any]:
        """The classes, and the place in training."""
        return {"classes": self.classes, **super().state_dict()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        known = self._names is not None or any(map(self.has, ("train", "val", "test")))
        if not known:
            self._names = state_dict["classes"][1:]
        elif state_dict["classes"] != self.classes:
            raise UsageError(
                f"the checkpoint was trained on other classes ({', '.join(state_dict['classes'][1:])}) than the data "
                f"has ({', '.join(self.classes[1:])}): give classes, in that order"
            )
        super().load_state_dict(state_dict)

    def settings(self) -> dict[str, Any]:
        """The arguments, as plain values, with which evaluation sees what training saw."""
        return {"classes": self.classes[1:]}


def _without_background(names: list[str] | None) -> list[str] | None:
    return names[1:] if names and names[0] == BACKGROUND else names
