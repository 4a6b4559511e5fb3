"""Videos as batches of clips."""

from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.dataset import VideoDataset
from lightframe.datamodules.decoding import VideoError, VideoInfo, probe, read_frames
from lightframe.datamodules.synthetic import SyntheticVideoDataModule
from lightframe.datamodules.video import VideoDataModule

__all__ = [
    "SyntheticVideoDataModule",
    "VideoBatch",
    "VideoDataModule",
    "VideoDataset",
    "VideoError",
    "VideoInfo",
    "probe",
    "read_frames",
]
