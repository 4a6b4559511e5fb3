"""From a video file to pixels."""

from lightframe.datamodules.decoding.container import open_video
from lightframe.datamodules.decoding.errors import FramesOutOfRangeError, VideoError
from lightframe.datamodules.decoding.info import VideoInfo, probe
from lightframe.datamodules.decoding.reading import (
    DECODERS,
    check_decoder,
    describe_decoder,
    read_clips,
    read_frames,
)
from lightframe.datamodules.decoding.request import Box, ClipRequest
from lightframe.datamodules.decoding.timeline import Timeline

__all__ = [
    "DECODERS",
    "Box",
    "ClipRequest",
    "FramesOutOfRangeError",
    "Timeline",
    "VideoError",
    "VideoInfo",
    "check_decoder",
    "describe_decoder",
    "open_video",
    "probe",
    "read_clips",
    "read_frames",
]
