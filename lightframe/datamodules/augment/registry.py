"""AUGMENTATIONS: what a config may do to training clips by name."""

from lightframe.registry import Registry

AUGMENTATIONS = Registry("augmentation")
