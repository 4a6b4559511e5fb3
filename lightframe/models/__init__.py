"""Nets by name: SlowFast, a tiny 3D net, a classifier on features, and torchvision's video classifiers."""

from lightframe.models.mlp_head import MLPHead
from lightframe.models.registry import MODELS
from lightframe.models.slowfast import SlowFast, slowfast_r50, slowfast_r101, slowfast_r152, slowfast_r200
from lightframe.models.tiny3d import Tiny3D

__all__ = [
    "MODELS",
    "MLPHead",
    "SlowFast",
    "Tiny3D",
    "slowfast_r50",
    "slowfast_r101",
    "slowfast_r152",
    "slowfast_r200",
]
