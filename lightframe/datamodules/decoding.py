"""From a video file to pixels: the one door."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor
from torchvision.transforms.v2 import functional as F

Box = tuple[int, int, int, int]  # top, left, height, width in pixels


class VideoError(RuntimeError):
    """A file that cannot be read as a video; the message names it and says why."""


class FramesOutOfRangeError(VideoError):
    """Frames were asked for behind the last one.

    Attributes:
        frames: how many frames the video really has.
    """

    def __init__(self, message: str, frames: int = 0) -> None:
        super().__init__(message)
        self.frames = frames


class VideoInfo(NamedTuple):
    """What a video says of itself.

    Attributes:
        frames: number of packets, which is the number of frames in nearly every file. Header counts lie (0 for .mkv,
            billions for a damaged .mp4) and are not looked at.
        fps: average frames per second, 0.0 when the file does not tell.
        height: of a frame as it is shown (rotation applied), pixels.
        width: likewise.
    """

    frames: int
    fps: float
    height: int
    width: int


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[Any, Any]]:
    """The opened container and its video stream; every failure inside becomes a VideoError that names the file."""
    try:
        # Some HMDB51 files carry metadata that is not UTF-8.
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise VideoError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            # One thread a decoder: the loader's workers are the parallelism, and frame threads add latency per clip.
            stream.codec_context.thread_count = 1
            yield container, stream
    except (av.error.FFmpegError, OSError, EOFError) as error:
        raise VideoError(f"{path}: {error}") from error


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that show the frame upright."""
    return round((frame.rotation or 0) / 90) % 4


def probe(path: str | Path) -> VideoInfo:
    """Read a file's packets, without decoding more than one frame.

    Raises:
        VideoError: not a video, or damaged at its start.
    """
    with _open(path) as (container, stream):
        frames = sum(1 for packet in container.demux(stream) if packet.size)
        fps = float(stream.average_rate or 0)
    with _open(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError(f"{path}: not one frame can be decoded")
        height, width = first.height, first.width
        if _quarter_turns(first) % 2:
            height, width = width, height
    return VideoInfo(frames, fps, height, width)


def read_frames(
    path: str | Path, indices: Sequence[int], crop: Box | None = None, size: int | tuple[int, int] | None = None
) -> Tensor:
    """Exactly these frames of a video, in this order.

    Args:
        path: the file.
        indices: positions in the order in which the video is shown, from 0; they may repeat and need not be sorted.
        crop: (top, left, height, width) in pixels of the upright frame; None for all of it.
        size: (height, width) to which the crop is scaled, bilinear with antialiasing; one number for a square.

    Returns:
        uint8 RGB, (len(indices), 3, height, width).

    Raises:
        VideoError: the file cannot be read up to the last of these frames.
        FramesOutOfRangeError: the video is sound but shorter.
    """
    if not len(indices) or min(indices) < 0:
        raise ValueError(f"indices must be frame numbers from 0 on, got {list(indices)!r}")
    wanted, last = set(indices), max(indices)
    frames: dict[int, np.ndarray] = {}
    position = -1
    with _open(path) as (container, stream):
        shape: dict[str, int] = {}
        # One for the whole video: a frame's own `reformat` sets a new scaler up each time, which costs as much again.
        scaler = VideoReformatter()
        for position, frame in enumerate(container.decode(stream)):
            # A stream may change its size in mid-way: what comes later is scaled to the size it began with.
            shape = shape or {"width": frame.width, "height": frame.height}
            if position in wanted:
                pixels = scaler.reformat(frame, **shape, format="rgb24").to_ndarray()
                frames[position] = np.rot90(pixels, _quarter_turns(frame))
            if position == last:
                break
    if position < last:
        count = position + 1
        raise FramesOutOfRangeError(f"{path}: frame {last} was asked for but the video has {count} frames", count)
    if crop is not None:
        top, left, height, width = crop
        frames = {number: pixels[top : top + height, left : left + width] for number, pixels in frames.items()}
    # The permuted view keeps channels last, where resizing uint8 is more than twice as fast.
    clip = torch.from_numpy(np.stack([frames[index] for index in indices])).permute(0, 3, 1, 2)
    if size is None:
        return clip.contiguous()
    height_width = [size, size] if isinstance(size, int) else list(size)
    return F.resize(clip, height_width, antialias=True).contiguous()
