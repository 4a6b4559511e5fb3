"""Nets by name: SlowFast, a tiny 3D net, a classifier on features, torchvision's video classifiers and detectors."""

from lightframe.models.fcos_tiny import fcos_tiny
from lightframe.models.mlp_head import MLPHead
from lightframe.models.registry import MODELS
from lightframe.models.slowfast import SlowFast, slowfast_r50, slowfast_r101, slowfast_r152, slowfast_r200
from lightframe.models.tiny3d import Tiny3D
from lightframe.models.torchvision_detection import Detector

__all__ = [
    "MODELS",
    "Detector",
    "MLPHead",
    "SlowFast",
    "Tiny3D",
    "fcos_tiny",
    "slowfast_r50",
    "slowfast_r101",
    "slowfast_r152",
    "slowfast_r200",
]
