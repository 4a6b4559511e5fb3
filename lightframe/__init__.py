"""Train, evaluate and benchmark video models: a thin, careful layer on Lightning."""

from lightframe.datamodules import (
    AUGMENTATIONS,
    CocoDetectionDataModule,
    DetectionBatch,
    SyntheticCocoDataModule,
    SyntheticVideoDataModule,
    VideoBatch,
    VideoDataModule,
)
from lightframe.errors import UsageError
from lightframe.losses import LOSSES
from lightframe.metrics import METRICS
from lightframe.models import MODELS
from lightframe.module import LightFrameModule
from lightframe.optimizers import OPTIMIZERS
from lightframe.registry import Registry
from lightframe.run_folder import new_run_folder
from lightframe.schedulers import SCHEDULERS
from lightframe.tools.benchmark import gpu_cnn_speed
from lightframe.version import __version__
from lightframe.weights import load_weights

__all__ = [
    "LightFrameModule",
    "VideoDataModule",
    "SyntheticVideoDataModule",
    "VideoBatch",
    "CocoDetectionDataModule",
    "SyntheticCocoDataModule",
    "DetectionBatch",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULERS",
    "METRICS",
    "MODELS",
    "AUGMENTATIONS",
    "load_weights",
    "gpu_cnn_speed",
    "Registry",
    "UsageError",
    "new_run_folder",
    "__version__",
]
