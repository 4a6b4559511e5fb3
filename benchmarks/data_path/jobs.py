"""What every pipeline is asked for: the same frames and the same boxes."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_path.sources import Video

FRAMES, STRIDE, SIZE = 32, 2, 224
SPARSE_FRAMES = 8
SPAN = (FRAMES - 1) * STRIDE + 1


class Job(NamedTuple):
    """One clip.

    Attributes:
        video: the file.
        indices: the wanted frames.
        box: (top, left, height, width) of the crop, even numbers of pixels; it is scaled to SIZE x SIZE.
    """

    video: Video
    indices: tuple[int, ...]
    box: tuple[int, int, int, int]


def draw_clips(videos: Sequence[Video], count: int, seed: Sequence[int]) -> list[Job]:
    """Training clips: FRAMES frames, STRIDE apart, from random places of the videos in turn, and random boxes.

    Where a clip begins decides what it costs whoever decodes from the first frame on. So each of `count` equal parts
    of the videos holds the beginning of one clip: a few clips cost on average what many would.
    """
    rng = np.random.default_rng(list(seed))
    places = (rng.permutation(count) + rng.uniform(size=count)) / count
    jobs = []
    for number in range(count):
        video = videos[number % len(videos)]
        if len(video.pts) < SPAN:
            raise ValueError(f"{video.path} has {len(video.pts)} frames; a clip spans {SPAN}")
        start = int(places[number] * (len(video.pts) - SPAN + 1))
        jobs.append(Job(video, tuple(range(start, start + SPAN, STRIDE)), draw_box(rng, video.height, video.width)))
    return jobs


def draw_sparse(videos: Sequence[Video], count: int, seed: Sequence[int]) -> list[Job]:
    """SPARSE_FRAMES frames spread evenly over the whole video, the middle of each segment, and random boxes."""
    rng = np.random.default_rng(list(seed))
    jobs = []
    for number in range(count):
        video = videos[number % len(videos)]
        indices = tuple(int((step + 0.5) * len(video.pts) / SPARSE_FRAMES) for step in range(SPARSE_FRAMES))
        jobs.append(Job(video, indices, draw_box(rng, video.height, video.width)))
    return jobs


def draw_box(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """A random resized crop: 0.25 to 1 of the area, width / height from 3/4 to 4/3, on even pixels.

    Chroma is stored for every second pixel: on odd ones a crop before and a crop after the conversion to RGB differ.
    """
    while True:
        area, aspect = height * width * rng.uniform(0.25, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        box_height, box_width = 2 * round(math.sqrt(area / aspect) / 2), 2 * round(math.sqrt(area * aspect) / 2)
        if box_height <= height and box_width <= width:
            top = 2 * int(rng.integers((height - box_height) // 2 + 1))
            left = 2 * int(rng.integers((width - box_width) // 2 + 1))
            return top, left, box_height, box_width


def on_origin(job: Job, origins: Mapping[str, Video]) -> Job:
    """The same frames and the same part of the picture, in the file from which this one was made.

    Args:
        job: on a re-encoded file.
        origins: path of a re-encoded file -> what it was made from.
    """
    origin = origins[job.video.path]
    down, right = origin.height / job.video.height, origin.width / job.video.width
    top, left, height, width = job.box
    box = (
        2 * int(top * down / 2),
        2 * int(left * right / 2),
        2 * int(height * down / 2),
        2 * int(width * right / 2),
    )
    return Job(origin, job.indices, box)
