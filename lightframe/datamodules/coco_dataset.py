"""One image in, its tensor and its boxes out."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightframe.datamodules.augment.seeding import clip_seed, seeded_torch
from lightframe.datamodules.detection_batch import DetectionBatch, Target
from lightframe.errors import UsageError
from lightframe.library_errors import explained, shown

if TYPE_CHECKING:
    from torchvision.datasets import CocoDetection

Key = int | tuple[int, int]


class CocoDataset(Dataset[tuple[Tensor, Target, int]]):
    """Images of one split with their boxes.

    Indexed by (epoch, index) it gives a sample to train on: changed by `transforms`, without boxes round crowds, and
    each box inside the image. Indexed by a number it gives the image and its boxes as they are, to evaluate on. Boxes
    without width or height are left out of both.

    Args:
        found: the images and annotations, as `read_coco` gives them.
        labels: the label of each category's id.
        transforms: in training; each takes and gives (image, {boxes, labels}), as torchvision's `transforms.v2` do.
        seed: of what they draw from torch's generator, with the epoch and the index.
    """

    def __init__(
        self,
        found: "CocoDetection",
        labels: Mapping[int, int],
        transforms: Sequence[Callable[..., Any]] = (),
        seed: int = 0,
    ) -> None:
        from torchvision.datasets import wrap_dataset_for_transforms_v2
        from torchvision.transforms import v2

        self.found = found
        self.wrapped = wrap_dataset_for_transforms_v2(found, ("image_id", "boxes", "labels", "area", "iscrowd"))
        self.labels, self.seed = labels, seed
        # First too: COCO's boxes reach over the edge by parts of a pixel, which crops need not expect.
        inside = (v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes())
        self.transform = v2.Compose([*inside, *transforms, *inside])

    def __len__(self) -> int:
        return len(self.wrapped)

    def image(self, index: int) -> Mapping[str, Any]:
        """An image as the annotation file lists it: `id`, `file_name` and so on."""
        return self.found.coco.imgs[self.found.ids[index]]

    @cached_property
    def paths(self) -> list[str]:
        """The image files."""
        folder = Path(self.found.root)
        return [str(folder / self.image(index)["file_name"]) for index in range(len(self))]

    def __getitem__(self, key: Key) -> tuple[Tensor, Target, int]:
        if isinstance(key, tuple):
            return *self._training(*key), key[1]
        return *self._read(key), key

    def __getitems__(self, keys: Sequence[Key]) -> DetectionBatch | UsageError:
        """A DataLoader asks for all keys of a batch at once; an error is handed over for `DetectionLoader` to raise."""
        try:
            return DetectionBatch.of([self[key] for key in keys])
        except UsageError as error:
            return error

    def _read(self, index: int) -> tuple[Tensor, Target]:
        """The image, uint8 (3, H, W), with its target."""
        from torchvision.transforms.v2 import functional as F

        try:
            image, found = self.wrapped[index]
        except (OSError, SyntaxError) as error:  # Pillow raises either
            raise UsageError(
                f"the image '{self.paths[index]}' cannot be read: {error}; repair it, or take it out of the "
                "annotation file"
            ) from None
        boxes = torch.as_tensor(found.get("boxes", ()), dtype=torch.float32).reshape(-1, 4)
        target = {
            "boxes": boxes.as_subclass(Tensor),
            "labels": torch.tensor([self.labels[int(number)] for number in found.get("labels", ())], dtype=torch.int64),
            "area": torch.tensor(found.get("area", ()), dtype=torch.float32),
            "iscrowd": torch.tensor(found.get("iscrowd", ()), dtype=torch.int64),
        }
        kept = (target["boxes"][:, 2:] > target["boxes"][:, :2]).all(dim=1)
        target = {name: value[kept] for name, value in target.items()}
        return F.pil_to_tensor(image), {**target, "image_id": torch.tensor(found["image_id"])}

    def _training(self, epoch: int, index: int) -> tuple[Tensor, Target]:
        from torchvision import tv_tensors

        image, target = self._read(index)
        single = target["iscrowd"] == 0
        size = (image.shape[-2], image.shape[-1])
        boxes = tv_tensors.BoundingBoxes(target["boxes"][single], format="XYXY", canvas_size=size)
        with (
            seeded_torch(clip_seed(self.seed, epoch, index)),
            explained(lambda: f"augment cannot be applied to '{self.paths[index]}', {shown(image)}"),
        ):
            changed, given = self.transform(
                tv_tensors.Image(image), {"boxes": boxes, "labels": target["labels"][single]}
            )
        corners, labels = given["boxes"].as_subclass(Tensor), given["labels"]
        target = {
            "boxes": corners,
            "labels": labels,
            "area": (corners[:, 2:] - corners[:, :2]).prod(dim=1),
            "iscrowd": torch.zeros_like(labels),
            "image_id": target["image_id"],
        }
        return changed.as_subclass(Tensor), target
