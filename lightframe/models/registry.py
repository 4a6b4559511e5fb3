"""MODELS: the nets that a config may ask for by name."""

from lightframe.models.torchvision_video import torchvision_video_nets
from lightframe.registry import Registry

MODELS = Registry("net", more=torchvision_video_nets)
