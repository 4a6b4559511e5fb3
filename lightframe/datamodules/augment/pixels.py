"""What changes the pixels of a clip, on the device: torchvision's transforms, seeded for each clip.

A clip is one `tv_tensors.Video`, so each transform draws once for all its frames.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightframe.datamodules.augment.arguments import check_count, check_interval
from lightframe.datamodules.augment.registry import AUGMENTATIONS
from lightframe.datamodules.augment.seeding import seeded_torch
from lightframe.errors import UsageError
from lightframe.library_errors import explained, shown

PixelTransform = Callable[[Tensor], Tensor]
Amount = float | Sequence[float]


@AUGMENTATIONS.register("color_jitter")
def color_jitter(
    brightness: Amount = 0.4, contrast: Amount = 0.4, saturation: Amount = 0.4, hue: Amount = 0.1
) -> PixelTransform:
    """Random brightness, contrast, saturation and hue, in random order (`v2.ColorJitter`).

    Args:
        brightness: a for factors from 1 - a to 1 + a, or the smallest and the largest factor; 0 leaves it.
        contrast: likewise.
        saturation: likewise.
        hue: h for shifts from -h to h, at most 0.5, or the smallest and the largest; by far the dearest on a CPU.
    """
    return v2.ColorJitter(brightness, contrast, saturation, hue)


@AUGMENTATIONS.register("rand_augment")
def rand_augment(num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = 31) -> PixelTransform:
    """RandAugment (Cubuk et al. 2020): some operations of its list at one strength (`v2.RandAugment`).

    Args:
        num_ops: operations for a clip, one after another.
        magnitude: strength, from 0 to num_magnitude_bins - 1.
        num_magnitude_bins: steps of strength.
    """
    check_count("rand_augment: num_ops", num_ops, 0)
    check_count("rand_augment: num_magnitude_bins", num_magnitude_bins, 2)
    if check_count("rand_augment: magnitude", magnitude, 0) >= num_magnitude_bins:
        raise UsageError(f"rand_augment: magnitude must be below num_magnitude_bins={num_magnitude_bins}: {magnitude}")
    return v2.RandAugment(num_ops, magnitude, num_magnitude_bins)


@AUGMENTATIONS.register("trivial_augment")
def trivial_augment(num_magnitude_bins: int = 31) -> PixelTransform:
    """TrivialAugment (Müller & Hutter 2021): one operation at a random strength (`v2.TrivialAugmentWide`).

    Args:
        num_magnitude_bins: steps of strength.
    """
    check_count("trivial_augment: num_magnitude_bins", num_magnitude_bins, 2)
    return v2.TrivialAugmentWide(num_magnitude_bins)


@AUGMENTATIONS.register("random_erasing")
class RandomErasing(v2.RandomErasing):
    """Random Erasing (Zhong et al. 2020): a random box of the clip, the same in all frames, is painted over.

    Args:
        p: how often.
        scale: smallest and largest share of the frame's area.
        ratio: smallest and largest height / width.
        value: "random", each pixel of the box its own random colour; or a brightness, or red, green and blue, from
            0 to 255.

    Raises:
        UsageError: not two numbers in order, a share outside (0, 1], or a value that is no colour.
    """

    def __init__(
        self,
        p: float = 0.25,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | Sequence[float] | str = "random",
    ) -> None:
        scale = check_interval("random_erasing: scale", scale, 0, 1)
        ratio = check_interval("random_erasing: ratio", ratio, 0)
        if value != "random" and not _is_color(value):
            raise UsageError(f"random_erasing: value must be 'random', or one or three numbers 0 to 255, not {value!r}")
        super().__init__(p, scale, ratio, value)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        params = super().make_params(flat_inputs)
        if self.value is None and params["v"] is not None:
            # torchvision draws from N(0, 1), for floats that are normalised; the paper evenly from 0 to 255.
            params["v"] = torch.randint(256, params["v"].shape, dtype=torch.uint8)
        return params


def _is_color(value: Any) -> bool:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return len(parts) in (1, 3) and all(isinstance(part, (int, float)) and 0 <= part <= 255 for part in parts)


def augment_pixels(video: Tensor, transforms: Sequence[tuple[str, PixelTransform]], seeds: Sequence[int]) -> Tensor:
    """Each clip through the transforms in their order, with torch's generators seeded for it.

    Args:
        video: uint8 (B, 3, T, H, W) in any memory layout; it is not changed.
        transforms: names, for messages, and callables that take and give a uint8 clip (T, 3, H, W).
        seeds: one for each clip.

    Returns:
        A new tensor in the layout of `video`.

    Raises:
        UsageError: a transform gives something else than it must.
    """
    changed = torch.empty_like(video)
    for clip, into, seed in zip(video, changed, seeds, strict=True):
        frames = clip.transpose(0, 1)  # a view: on frames with the channels last torchvision is at its fastest
        with seeded_torch(seed, video.device):
            for name, transform in transforms:
                with explained(lambda: f"augmentation '{name}' cannot take a clip, {shown(frames)}"):  # noqa: B023
                    changed_frames = transform(tv_tensors.Video(frames))
                frames = _checked(name, changed_frames, frames)
        into.copy_(frames.transpose(0, 1))
    return changed


def try_out(transforms: Sequence[tuple[str, PixelTransform]], frames: int, size: int) -> None:
    """Raise what `augment_pixels` would for transforms of torchvision that do not go with clips of this size.

    A user's own are not tried: they may need the device, or count their calls.
    """
    known = [(name, one) for name, one in transforms if type(one).__module__.startswith("torchvision.")]
    if known:
        augment_pixels(torch.zeros((1, 3, frames, size, size), dtype=torch.uint8), known, [0])


def _checked(name: str, result: Any, given: Tensor) -> Tensor:
    if isinstance(result, Tensor) and result.dtype == torch.uint8 and result.shape == given.shape:
        return result
    got = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
    raise UsageError(
        f"augmentation '{name}' gave back {got} and must give a clip as it gets one, uint8 {tuple(given.shape)}"
    )
