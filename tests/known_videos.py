"""Makes videos whose every pixel is known."""

import contextlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def write_lossless(path: Path, frames: Iterable[np.ndarray], rate: int = 25) -> Path:
    """Encode RGB frames (H, W, 3) without loss, as FFV1 in Matroska."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.pix_fmt = "bgr0"
        for number, pixels in enumerate(frames):
            if number == 0:  # once encoding has begun the size is fixed
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered_frames(count: int, height: int = 24, width: int = 32) -> list[np.ndarray]:
    """Frames that tell their number (red), their column (green) and their row (blue)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return [np.stack([np.full_like(rows, number), columns, rows], axis=-1).astype(np.uint8) for number in range(count)]


def moving_frames(count: int, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """Frames of which no two are alike: blocks that wander, and two corners that change at once."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(256, size=(-(-height // 8), -(-width // 8), 3))
    picture = np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)[:height, :width]
    frames = [np.roll(picture, (number * 2, number * 3), (0, 1)) for number in range(count)]
    for number, frame in enumerate(frames):
        frame[:16, :16] = number * 37 % 255
        frame[-16:, -16:] = number * 11 % 255
    return frames


def write_video(
    path: Path,
    frames: Iterable[np.ndarray | av.VideoFrame],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    container: str | None = None,
    key_every: int = 12,
    times: Sequence[int] | None = None,
    unit: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    **attributes: Any,
) -> Path:
    """Encode frames, RGB (H, W, 3) or finished ones.

    Args:
        path: of the file.
        frames: all of one size.
        codec: FFmpeg's name of the encoder.
        pixel_format: what the frames are converted to.
        container: FFmpeg's name of the format; None: by the path's suffix.
        key_every: frames from one key frame to the next.
        times: when each frame is shown, in ticks of `unit`; None: every 1/25 s.
        unit: seconds.
        options: of the encoder.
        attributes: of the encoder's context.
    """
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options=dict(options or {}))
        stream.pix_fmt, stream.gop_size = pixel_format, key_every
        for name, value in attributes.items():
            setattr(stream.codec_context, name, value)
        if unit is not None:
            stream.codec_context.time_base = stream.time_base = unit
        for number, picture in enumerate(frames):
            frame = picture
            if isinstance(picture, np.ndarray):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame = frame.reformat(format=pixel_format)
            if number == 0:
                stream.height, stream.width = frame.height, frame.width
            frame.pict_type, frame.pts = 0, number if times is None else times[number]
            if unit is not None:
                frame.time_base = unit
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def turned(source: Path, path: Path, degrees: int) -> Path:
    """A copy of an .mp4 that is to be shown turned counter-clockwise by 0, 90, 180 or 270 degrees."""
    data = bytearray(source.read_bytes())
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    matrix = (cosine * one, -sine * one, 0, sine * one, cosine * one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *matrix)
    path.write_bytes(data)
    return path


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """The pixels (H, W, 3) by the matrix and the range with which the frame is tagged."""
    if int(av.__version__.split(".")[0]) >= 17:
        return frame.to_ndarray(format="rgb24")
    # Before, PyAV takes BT.601 and limited range for all unless it is asked for a change of them.
    known = frame.colorspace in (1, 7, 9)
    if not known and frame.color_range != 2:
        return frame.to_ndarray(format="rgb24")
    matrices = {"src_colorspace": frame.colorspace if known else 5, "dst_colorspace": 5 if known else 1}
    return frame.to_ndarray(format="rgb24", **matrices, src_color_range=frame.color_range)


def sequential(path: Path) -> Iterator[np.ndarray]:
    """All frames of a file, upright RGB (H, W, 3), decoded one after the other up to the first that cannot be."""
    with (
        av.open(str(path), metadata_errors="ignore") as container,
        contextlib.suppress(av.error.FFmpegError),
    ):
        for frame in container.decode(video=0):
            yield np.rot90(to_rgb(frame), round((frame.rotation or 0) / 90))
