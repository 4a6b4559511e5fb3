"""Does a pipeline give the frames that were asked for?"""

from functools import lru_cache

import av
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from data_path.jobs import SIZE, Job

_OFFSETS = (-2, -1, 1, 2)


def compare(clip: Tensor, job: Job) -> tuple[float, int]:
    """How far a clip is from a plain sequential decode, which torchvision crops and resizes with antialiasing.

    Args:
        clip: (T, 3, SIZE, SIZE) in [0, 255].
        job: what was asked for.

    Returns:
        The mean absolute difference in levels of 255; pipelines scale and round differently, so it is above 0. And
        the number of wrong frames: those that are clearly nearer to a neighbour of the wanted frame than to itself.
    """
    right, last = _right_frames(job), len(job.video.pts) - 1
    total, wrong = 0.0, 0
    for frame, index in zip(clip.float(), job.indices, strict=True):
        own = _distance(frame, right[index])
        nearest = min(_distance(frame, right[min(max(index + step, 0), last)]) for step in _OFFSETS)
        total += own
        wrong += nearest < 0.9 * own
    return total / len(job.indices), wrong


def _distance(frame: Tensor, other: Tensor) -> float:
    return float((frame - other.float()).abs().mean())


@lru_cache(maxsize=8)  # all pipelines are checked on the same jobs
def _right_frames(job: Job) -> dict[int, Tensor]:
    """The wanted frames and their neighbours, uint8 (3, SIZE, SIZE) each, by decoding from the first frame on."""
    last = len(job.video.pts) - 1
    needed = {min(max(index + step, 0), last) for index in job.indices for step in (0, *_OFFSETS)}
    frames = {}
    with av.open(job.video.path) as container:
        for number, frame in enumerate(container.decode(container.streams.video[0])):
            if number in needed:
                picture = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                frames[number] = F.resized_crop(picture, *job.box, [SIZE, SIZE], antialias=True)
            if number == max(needed):
                break
    return frames
