"""All augmentations of the training clips: where to crop, whether to mirror, and what happens on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lightframe.datamodules.augment.batch_mixing import Mixer, mix_batch
from lightframe.datamodules.augment.flip import Flip, mirror_labels
from lightframe.datamodules.augment.geometry import CentreSquare, Crop
from lightframe.datamodules.augment.pixels import PixelTransform, augment_pixels, try_out
from lightframe.datamodules.augment.registry import AUGMENTATIONS
from lightframe.datamodules.augment.seeding import batch_seed, clip_seed
from lightframe.datamodules.augment.spec import FORMS, read_spec
from lightframe.datamodules.decoding import Box
from lightframe.errors import UsageError


@dataclass(frozen=True)
class Augmentations:
    """What happens to training clips. Made by `build_augmentations`.

    A loader's worker draws the geometry before it decodes; the device changes the pixels and mixes the batch. Nothing
    is drawn from global state, and torch's generators are left as they were.

    Attributes:
        size: height and width of the clips, pixels.
        crop: draws the box that becomes the clip.
        flip: mirrors, if asked for.
        pixels: names and transforms of single clips, in their order.
        mixers: MixUp, CutMix or both, of which each batch gets one.
    """

    size: int
    crop: Crop
    flip: Flip | None = None
    pixels: tuple[tuple[str, PixelTransform], ...] = ()
    mixers: tuple[Mixer, ...] = ()

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[Box, bool]:
        """The box to crop and scale to the clip's size, and whether the clip is then mirrored.

        Args:
            rng: the generator of this sample.
            height: of the frame as it is shown, pixels.
            width: likewise.
        """
        box = self.crop.box(rng, height, width, self.size)
        return box, self.flip is not None and bool(rng.random() < self.flip.p)

    def mirrored_labels(self, labels: Tensor, classes: Sequence[str]) -> Tensor:
        """The labels that clips get when they are mirrored; the same tensor when mirroring changes none.

        Args:
            labels: (N,) class indices or (N, classes) multi-hot.
            classes: the class names in the order of their indices.

        Raises:
            UnknownNameError: the flip's `label_map` names what is no class.
        """
        return labels if self.flip is None else mirror_labels(labels, self.flip.label_permutation(classes))

    def try_out(self, frames: int) -> None:
        """Raise a UsageError where a transform of torchvision cannot be applied to clips of so many frames."""
        foreign = [(name, one) for name, one in self.pixels if name.lower() not in AUGMENTATIONS.names()]
        try_out(foreign, frames, self.size)

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed: labels become soft targets (B, classes)."""
        return bool(self.mixers)

    @property
    def on_device_needed(self) -> bool:
        """Whether `on_device` does anything."""
        return bool(self.pixels or self.mixers)

    def on_device(
        self, video: Tensor, label: Tensor, index: Tensor, seed: int, epoch: int, num_classes: int
    ) -> tuple[Tensor, Tensor]:
        """The batch with its pixels changed and its clips mixed.

        Args:
            video: uint8 (B, 3, T, H, W), cropped and mirrored, on any device; it is not changed.
            label: (B,) class indices or (B, classes) multi-hot, on the same device.
            index: (B,) which videos these are. Best on the CPU: to read it from a GPU waits for all work queued there.
            seed: of the training.
            epoch: likewise. A video has the same pixels in the same epoch, in whatever batch.
            num_classes: length of the soft targets.

        Returns:
            uint8 video of the same shape and layout; the labels, with `mixes` as soft targets (B, num_classes).
        """
        if not self.on_device_needed:
            return video, label
        indices = index.tolist()
        if self.pixels:
            video = augment_pixels(video, self.pixels, [clip_seed(seed, epoch, number) for number in indices])
        if self.mixers:
            video, label = mix_batch(video, label, self.mixers, batch_seed(seed, epoch, indices), num_classes)
        return video, label


def build_augmentations(spec: Any, size: int, eval_crop: float = 0.875) -> Augmentations:
    """The augmentations that a config asks for.

    The order in the config matters among those that change pixels. Crops: `random_resized_crop`, `short_side_jitter`;
    with none the clip is the centre square, as in evaluation. Then `flip`; pixels: `color_jitter`, `rand_augment`,
    `trivial_augment`, `random_erasing`, or any import path such as `torchvision.transforms.v2.GaussianBlur`; the
    batch: `mixup`, `cutmix`, or one of both at random for each batch.

    Args:
        spec: names, import paths, callables, with arguments or without; `read_spec` has all forms.
        size: height and width of the clips, pixels.
        eval_crop: side of the centre square as a share of the frame's short side.

    Raises:
        UsageError: an unknown name, arguments that do not fit, two crops or two flips, a crop too small for the clip.

    >>> augmentations = build_augmentations({"flip": {"p": 1}, "mixup": None}, size=224)
    >>> augmentations.draw(np.random.default_rng(0), height=256, width=340)
    ((16, 58, 224, 224), True)
    >>> augmentations.mixes
    True
    """
    crops: list[tuple[str, Crop]] = []
    flips: list[tuple[str, Flip]] = []
    pixels: list[tuple[str, PixelTransform]] = []
    mixers: list[Mixer] = []
    for name, augmentation in read_spec(spec):
        if isinstance(augmentation, Crop):
            crops.append((name, augmentation))
        elif isinstance(augmentation, Flip):
            flips.append((name, augmentation))
        elif isinstance(augmentation, Mixer):
            mixers.append(augmentation)
        elif callable(augmentation):
            pixels.append((name, augmentation))
        else:
            raise UsageError(f"an augmentation may be {FORMS}, not {augmentation!r}")
    crop = _at_most_one(crops) or CentreSquare(eval_crop)
    crop.check_size(size)
    return Augmentations(size, crop, _at_most_one(flips), tuple(pixels), tuple(mixers))


def _at_most_one(found: Sequence[tuple[str, Any]]) -> Any:
    if len(found) > 1:
        names = " and ".join(f"'{name}'" for name, _ in found)
        raise UsageError(f"the augmentations {names} exclude each other; keep one of them")
    return found[0][1] if found else None
