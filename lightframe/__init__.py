"""Train, evaluate and benchmark video models: a thin, careful layer on Lightning."""

from lightframe.datamodules import AUGMENTATIONS, SyntheticVideoDataModule, VideoBatch, VideoDataModule
from lightframe.errors import UsageError
from lightframe.losses import LOSSES
from lightframe.metrics import METRICS
from lightframe.models import MODELS
from lightframe.module import LightFrameModule
from lightframe.optimizers import OPTIMIZERS
from lightframe.registry import Registry
from lightframe.schedulers import SCHEDULERS
from lightframe.version import __version__

__all__ = [
    "LightFrameModule",
    "VideoDataModule",
    "SyntheticVideoDataModule",
    "VideoBatch",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULERS",
    "METRICS",
    "MODELS",
    "AUGMENTATIONS",
    "Registry",
    "UsageError",
    "__version__",
]
