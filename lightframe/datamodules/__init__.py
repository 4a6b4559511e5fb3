"""Videos as batches of clips, images as batches with their boxes."""

from lightframe.datamodules.augment import AUGMENTATIONS
from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.box_augment import BOX_AUGMENTATIONS
from lightframe.datamodules.coco_detection import CocoDetectionDataModule
from lightframe.datamodules.dataset import VideoDataset
from lightframe.datamodules.decoding import ClipRequest, VideoError, VideoInfo, probe, read_clips, read_frames
from lightframe.datamodules.detection_batch import DetectionBatch
from lightframe.datamodules.synthetic import SyntheticVideoDataModule
from lightframe.datamodules.synthetic_coco import SyntheticCocoDataModule
from lightframe.datamodules.video import VideoDataModule
from lightframe.datamodules.video_index import VideoIndex

__all__ = [
    "AUGMENTATIONS",
    "BOX_AUGMENTATIONS",
    "ClipRequest",
    "CocoDetectionDataModule",
    "DetectionBatch",
    "SyntheticCocoDataModule",
    "SyntheticVideoDataModule",
    "VideoBatch",
    "VideoDataModule",
    "VideoDataset",
    "VideoError",
    "VideoIndex",
    "VideoInfo",
    "probe",
    "read_clips",
    "read_frames",
]
