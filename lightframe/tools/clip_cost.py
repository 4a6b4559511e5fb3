"""What a training clip costs to decode."""

import time
from pathlib import Path

import numpy as np

from lightframe.datamodules.decoding import VideoInfo, probe, read_frames

FRAMES, STRIDE, SIZE = 32, 2, 224


def clip_costs(first: Path, second: Path, rng: np.random.Generator) -> tuple[float, float]:
    """CPU milliseconds for the same training clip out of two files of one video.

    A clip is 32 frames at stride 2 from a random place, three quarters of the height and width, scaled to 224 x 224.
    Where the frames are is known beforehand, as it is in training.

    Args:
        first: a video.
        second: the same one, encoded in another way.
        rng: draws the place.
    """
    infos = probe(first), probe(second)
    frames = min(info.frames for info in infos)
    start = int(rng.random() * max(frames - FRAMES * STRIDE + 1, 1))
    indices = [min(start + STRIDE * number, frames - 1) for number in range(FRAMES)]
    return _cost(first, infos[0], indices), _cost(second, infos[1], indices)


def _cost(path: Path, info: VideoInfo, indices: list[int]) -> float:
    crop = (info.height // 8, info.width // 8, info.height * 3 // 4, info.width * 3 // 4)
    begin = time.process_time()
    read_frames(path, indices, crop, SIZE, info)
    return 1000 * (time.process_time() - begin)
