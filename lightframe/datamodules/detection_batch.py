"""What the loaders of detection data yield."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Target = dict[str, Tensor]


class DetectionBatch(NamedTuple):
    """A batch of images, each of its own size, with the boxes of their objects.

    Attributes:
        images: B tensors (3, H, W); uint8 from the workers, floats in [0, 1] once on the device.
        targets: B dicts, for n objects: `boxes` (n, 4) float32, x1 y1 x2 y2 in pixels of the image here; `labels` (n,)
            int64, from 1, as 0 is the background; `area` (n,) float32, square pixels; `iscrowd` (n,) int64, 1 for a box
            round many objects; `image_id` () int64, the annotation file's. Without objects, n is 0.
        index: (B,) the position of each image in its data set.
    """

    images: list[Tensor]
    targets: list[Target]
    index: Tensor  # type: ignore[assignment]  # tuple.index is a method that no batch needs

    @classmethod
    def of(cls, samples: Sequence[tuple[Tensor, Target, int]]) -> "DetectionBatch":
        """Images, targets and positions, one after the other, as a batch.

        >>> DetectionBatch.of([(torch.zeros(3, 2, 2), {}, 7), (torch.zeros(3, 4, 2), {}, 9)]).index
        tensor([7, 9])
        """
        return cls([one[0] for one in samples], [one[1] for one in samples], torch.tensor([one[2] for one in samples]))

    def to_floats(self, dtype: torch.dtype = torch.float32) -> "DetectionBatch":
        """The batch with its uint8 images as floats in [0, 1]: detectors normalise them themselves.

        >>> batch = DetectionBatch.of([(torch.full((3, 1, 1), 255, dtype=torch.uint8), {}, 0)])
        >>> batch.to_floats().images[0].flatten()
        tensor([1., 1., 1.])
        """
        images: list[Any] = [
            image.to(dtype) / 255 if image.dtype == torch.uint8 else image.to(dtype) for image in self.images
        ]
        return self._replace(images=images)
