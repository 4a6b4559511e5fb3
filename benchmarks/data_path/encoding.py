"""Writing the files to be measured."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType


def encode(
    source: Path, target: Path, key_interval: int, options: dict[str, str], short_side: int | None = None
) -> None:
    """Re-encode a video as H.264 with x264, its default settings but for these.

    Args:
        source: any video.
        target: .mp4.
        key_interval: largest number of frames from one key frame to the next.
        options: of x264, such as {"crf": "23"}.
        short_side: length in pixels to which the shorter side is scaled; None keeps the size.
    """
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        height, width = stream.codec_context.height, stream.codec_context.width
        if short_side is not None:
            scale = short_side / min(height, width)
            height, width = 2 * round(height * scale / 2), 2 * round(width * scale / 2)
        frames = (frame.reformat(width, height, "yuv420p") for frame in container.decode(stream))
        _write(target, frames, "libx264", stream.average_rate, key_interval, options)


def transcode(source: Path, target: Path) -> None:
    """What `lightframe transcode` makes of a file by default: short side 256, key frame / 12, tuned for fast decode."""
    from lightframe.tools.encoding import transcode_file

    transcode_file(source, target)


def make_synthetic(target: Path, width: int, height: int, frames: int) -> None:
    """A texture that moves before another one; H.264 for .mp4, MPEG-4 for .avi."""
    pictures = (av.VideoFrame.from_ndarray(pixels, "rgb24") for pixels in _moving_texture(width, height, frames))
    if target.suffix == ".avi":
        _write(target, pictures, "mpeg4", 30, 12, {"qscale": "4"})
    else:
        _write(target, pictures, "libx264", 30, 250, {"crf": "18"})


def _write(
    target: Path,
    frames: Iterable[av.VideoFrame],
    codec: str,
    rate: object,
    key_interval: int,
    options: dict[str, str],
) -> None:
    with av.open(str(target), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.pix_fmt, stream.gop_size = "yuv420p", key_interval
        for number, frame in enumerate(frames):
            if number == 0:
                stream.width, stream.height = frame.width, frame.height
            frame.pict_type = PictureType.NONE  # else the encoder repeats the source's choice of I, P and B
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _moving_texture(width: int, height: int, frames: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    back, front = _texture(rng, 2 * width, 2 * height), _texture(rng, width, height)
    for number in range(frames):
        turn = 2 * np.pi * number / 150
        top, left = round(height * (1 + np.sin(turn)) / 2), round(width * (1 + np.cos(turn)) / 2)
        pixels = back[top : top + height, left : left + width].copy()
        down, right = round(height * (1 - np.cos(3 * turn)) / 4), round(width * (1 + np.sin(2 * turn)) / 4)
        pixels[down : down + height // 2, right : right + width // 2] = front[: height // 2, : width // 2]
        yield pixels


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise on several scales, uint8 (height, width, 3); in colour on the coarsest alone, as in most pictures."""
    sum_of_scales = np.zeros((height, width, 3))
    for cell, colours in ((2, 1), (8, 1), (32, 3)):
        noise = rng.uniform(-1, 1, size=(height // cell + 1, width // cell + 1, colours))
        sum_of_scales += cell * noise.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    return np.uint8(np.clip(128 + 3 * sum_of_scales, 0, 255))
