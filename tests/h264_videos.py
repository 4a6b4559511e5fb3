"""Makes H.264 videos with given time stamps, and reads videos with nothing but PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def bar_frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A bright bar that moves on by 3 pixels from frame to frame, over a gradient; top and bottom differ."""
    rows, columns = np.mgrid[0:height, 0:width]
    ground = np.stack([40 + rows, 40 + columns, 120 - rows], axis=-1)
    return [
        np.where((((columns - 3 * number) % width < 8) & (rows < height - 8))[..., None], 230, ground).astype(np.uint8)
        for number in range(count)
    ]


def write_h264(
    path: Path,
    frames: Sequence[np.ndarray],
    pts: Sequence[int] | None = None,
    unit: Fraction = Fraction(1, 25),
    pix_fmt: str = "yuv420p",
    **settings: object,
) -> Path:
    """Encode RGB frames (H, W, 3) as H.264 in the format that the extension names.

    Args:
        path: the file.
        frames: the pictures.
        pts: time stamp of each; None: 0, 1, 2, ...
        unit: seconds per tick.
        pix_fmt: of the video.
        **settings: attributes of the encoder, such as gop_size or colorspace.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"crf": "5", "preset": "veryfast", "sc_threshold": "0"}
        )
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = unit
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number if pts is None else pts[number], unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def rotate(path: Path, quarter_turns: int) -> None:
    """Tell players of an MP4 file to turn its pictures clockwise: writes the matrix into the header of its track."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    matrix = np.array([cos, sin, 0, -sin, cos, 0, 0, 0, 0], dtype=">i4") * 65536
    matrix[8] = 1 << 30
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = matrix.astype(">i4").tobytes()
    path.write_bytes(content)


def decode(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Time in seconds and RGB pixels (H, W, 3) of each frame as it is stored, decoded one after the other."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frames = list(container.decode(container.streams.video[0]))
        times = [frame.pts * frame.time_base for frame in frames]
        return times, [frame.to_ndarray(format="rgb24") for frame in frames]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures, dB; above 30 they look the same."""
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))
