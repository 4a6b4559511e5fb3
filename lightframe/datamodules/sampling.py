"""Which frames make a clip: pure arithmetic on frame numbers."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lightframe.errors import UsageError
from lightframe.registry import Registry, accepts


class Sampling(Protocol):
    """Draws clips from a video of `total` frames. Frame numbers never reach `total`."""

    def draw(self, rng: np.random.Generator, total: int) -> list[int]:
        """A clip to train on."""

    def fixed(self, total: int, clips: int) -> list[list[int]]:
        """`clips` clips to evaluate on, spread evenly over the video; a single one is its centre."""


SAMPLINGS = Registry("sampling")


@SAMPLINGS.register("random")
class RandomClip:
    """A clip of frames `stride` apart from a random place, at a speed drawn from `speeds`.

    A video that ends too soon repeats its last frame.

    Args:
        frames: frames in the clip.
        stride: source frames from one frame of the clip to the next.
        speeds: factors on the stride; one is drawn for each clip. Evaluation is at speed 1.

    >>> RandomClip(frames=4, stride=2).fixed(total=100, clips=2)
    [[0, 2, 4, 6], [93, 95, 97, 99]]
    """

    def __init__(self, frames: int, stride: int, speeds: Sequence[float] = (1.0,)) -> None:
        self.frames, self.stride, self.speeds = frames, stride, tuple(speeds)

    def draw(self, rng: np.random.Generator, total: int) -> list[int]:
        stride = self.stride * self.speeds[rng.integers(len(self.speeds))]
        room = max(total - clip_length(self.frames, stride), 0)
        return clip_indices(int(rng.integers(room + 1)), total, self.frames, stride)

    def fixed(self, total: int, clips: int) -> list[list[int]]:
        starts = even_starts(total, clip_length(self.frames, self.stride), clips)
        return [clip_indices(start, total, self.frames, self.stride) for start in starts]


@SAMPLINGS.register("dense")
class DenseClip:
    """A clip of frames `stride` apart from a random place; a video that ends too soon begins again.

    The dense sampling of I3D and TSM (Carreira and Zisserman 2017, Lin et al. 2019), which looks at a window of
    `frames * stride` source frames.

    Args:
        frames: frames in the clip.
        stride: source frames from one frame of the clip to the next.

    >>> DenseClip(frames=4, stride=2).fixed(total=5, clips=1)
    [[0, 2, 4, 1]]
    """

    def __init__(self, frames: int, stride: int) -> None:
        self.frames, self.stride = frames, stride

    def draw(self, rng: np.random.Generator, total: int) -> list[int]:
        return self._clip(int(rng.integers(max(total - self.frames * self.stride, 0) + 1)), total)

    def fixed(self, total: int, clips: int) -> list[list[int]]:
        return [self._clip(start, total) for start in even_starts(total, self.frames * self.stride, clips)]

    def _clip(self, start: int, total: int) -> list[int]:
        return [(start + step * self.stride) % total for step in range(self.frames)]


@SAMPLINGS.register("uniform")
class UniformSegments:
    """One frame from each of `frames` equal segments of the whole video: a random one in training.

    The sampling of temporal segment networks (Wang et al. 2016). Clip c of C in evaluation takes from each segment
    the frame at (c + 1/2) / C of its length.

    Args:
        frames: segments, and frames in the clip.

    >>> UniformSegments(frames=4).fixed(total=100, clips=1)
    [[12, 37, 62, 87]]
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def draw(self, rng: np.random.Generator, total: int) -> list[int]:
        places = (np.arange(self.frames) + rng.random(self.frames)) * total / self.frames
        return np.minimum(places.astype(np.int64), total - 1).tolist()

    def fixed(self, total: int, clips: int) -> list[list[int]]:
        # Whole numbers: a place on the border of two frames must not be left to rounding.
        parts = 2 * clips * self.frames
        places = [[2 * (clips * segment + clip) + 1 for segment in range(self.frames)] for clip in range(clips)]
        return [[place * total // parts for place in clip] for clip in places]


def build_sampling(name: str, frames: int, stride: int, speeds: Sequence[float] = (1.0,)) -> Sampling:
    """A sampling by name, with those of the arguments that it takes."""
    factory = SAMPLINGS[name]
    if not accepts(factory, "speeds") and tuple(speeds) != (1.0,):
        raise UsageError(f"speeds={list(speeds)} go with sampling='random', not with '{name}'")
    settings = {"frames": frames, "stride": stride, "speeds": speeds}
    return factory(**{key: value for key, value in settings.items() if accepts(factory, key)})


def clip_length(frames: int, stride: float) -> int:
    """How many source frames a clip spans, from its first to its last.

    >>> clip_length(frames=8, stride=2)
    15
    """
    return int((frames - 1) * stride) + 1


def clip_indices(start: int, total: int, frames: int, stride: float) -> list[int]:
    """The frame numbers of the clip that begins at `start`; a video that ends too soon repeats its last frame.

    Args:
        start: first frame number.
        total: frames in the video.
        frames: frames in the clip.
        stride: source frames from one clip frame to the next; it need not be whole (a stride of 2 at speed 1.25).

    >>> clip_indices(start=3, total=8, frames=4, stride=2)
    [3, 5, 7, 7]
    """
    return [min(start + int(step * stride), total - 1) for step in range(frames)]


def even_starts(total: int, length: int, clips: int) -> list[int]:
    """Starts of `clips` clips spread evenly from the first frame to the last; one clip stands in the centre.

    >>> even_starts(total=100, length=10, clips=1), even_starts(total=100, length=10, clips=3)
    ([45], [0, 45, 90])
    """
    room = max(total - length, 0)
    if clips == 1:
        return [room // 2]
    return [round(room * number / (clips - 1)) for number in range(clips)]
