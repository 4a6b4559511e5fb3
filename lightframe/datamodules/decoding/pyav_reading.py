"""Decoding with PyAV, which brings its own FFmpeg and always works."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from lightframe.datamodules.decoding.errors import VideoError, reason
from lightframe.datamodules.decoding.frames import wanted_frames
from lightframe.datamodules.decoding.info import VideoInfo
from lightframe.datamodules.decoding.pixels import Scaler
from lightframe.datamodules.decoding.request import ClipRequest


def read_with_pyav(
    path: str | Path, requests: Sequence[ClipRequest], info: VideoInfo, out: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """As `read_clips`."""
    memory: Sequence[Tensor | None] = [None] * len(requests) if out is None else out
    shape = (info.height, info.width)
    clips = [_Clip(shape, request, room) for request, room in zip(requests, memory, strict=True)]
    positions = sorted({int(index) for request in requests for index in request.indices})
    try:
        for position, frame in wanted_frames(path, positions, info.timeline):
            for clip in clips:
                clip.take(position, frame)
    except FFmpegError as error:
        raise VideoError(f"{path}: its pictures cannot be converted to RGB: {reason(error)}") from error
    return [clip.tensor() for clip in clips]


class _Clip:
    """Collects the frames of one request, in memory of its own or in that of `room` (T, height, width, 3)."""

    def __init__(self, shape: tuple[int, int], request: ClipRequest, room: Tensor | None) -> None:
        self.scaler = Scaler(shape, request.crop, request.size, request.mirror)
        self.length = len(request.indices)
        self.places: dict[int, list[int]] = {}
        for place, index in enumerate(request.indices):
            self.places.setdefault(int(index), []).append(place)
        self.pixels: np.ndarray | None = None if room is None else room.numpy()

    def take(self, position: int, frame: object) -> None:
        places = self.places.get(position)
        if not places:
            return
        pixels = self.scaler(frame)
        if self.pixels is None:
            self.pixels = np.empty((self.length, *pixels.shape), np.uint8)
        for place in places:
            self.pixels[place] = pixels

    def tensor(self) -> Tensor:
        return torch.from_numpy(self.pixels).permute(0, 3, 1, 2)
