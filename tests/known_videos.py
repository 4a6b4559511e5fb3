"""Makes videos whose every pixel is known."""

from collections.abc import Iterable
from pathlib import Path

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
