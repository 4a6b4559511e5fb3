"""MODELS: the nets that a config may ask for by name."""

from collections.abc import Mapping

from lightframe.models.torchvision_detection import torchvision_detectors
from lightframe.models.torchvision_video import torchvision_video_nets
from lightframe.registry import Factory, Registry


def _torchvision_nets() -> Mapping[str, Factory]:
    return {**torchvision_video_nets(), **torchvision_detectors()}


MODELS = Registry("net", more=_torchvision_nets)
