"""Whole-set metrics for detectors, on boxes in torchvision's dict form."""

from lightframe.detection.coco_map import CocoMAP
from lightframe.detection.voc_map import VocMAP

__all__ = ["CocoMAP", "VocMAP"]
