"""Augmentations of training clips, by name: where to crop, whether to mirror, pixels, and MixUp and CutMix."""

# Imported for what they register.
from lightframe.datamodules.augment import batch_mixing, flip, geometry, pixels  # noqa: F401
from lightframe.datamodules.augment.augmentations import Augmentations, build_augmentations
from lightframe.datamodules.augment.registry import AUGMENTATIONS

__all__ = ["AUGMENTATIONS", "Augmentations", "build_augmentations"]
