"""Which frames make a clip: pure arithmetic on frame numbers."""

import numpy as np


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


def random_start(rng: np.random.Generator, total: int, length: int) -> int:
    """A start drawn evenly from all at which a clip of `length` source frames fits; 0 when none does."""
    return int(rng.integers(max(total - length, 0) + 1))


def even_starts(total: int, length: int, clips: int) -> list[int]:
    """Starts of `clips` clips spread evenly from the first frame to the last; one clip stands in the centre.

    >>> even_starts(total=100, length=10, clips=1), even_starts(total=100, length=10, clips=3)
    ([45], [0, 45, 90])
    """
    room = max(total - length, 0)
    if clips == 1:
        return [room // 2]
    return [round(room * number / (clips - 1)) for number in range(clips)]
