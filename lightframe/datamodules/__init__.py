"""Videos as batches of clips."""

from lightframe.datamodules.augment import AUGMENTATIONS
from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.dataset import VideoDataset
from lightframe.datamodules.decoding import ClipRequest, VideoError, VideoInfo, probe, read_clips, read_frames
from lightframe.datamodules.synthetic import SyntheticVideoDataModule
from lightframe.datamodules.video import VideoDataModule
from lightframe.datamodules.video_index import VideoIndex

__all__ = [
    "AUGMENTATIONS",
    "ClipRequest",
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
