import collections
import itertools
import math

import numpy as np
import pytest

from lightframe.datamodules.sampling import clip_indices, clip_length, even_starts, random_start

STRIDES = [1, 2, 3, 0.5, 1.25, 2.5]


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_clip_length_is_what_the_clip_spans(frames, stride):
    numbers = clip_indices(start=0, total=10**6, frames=frames, stride=stride)
    assert clip_length(frames, stride) == numbers[-1] - numbers[0] + 1
    assert clip_length(frames, stride) == math.floor((frames - 1) * stride) + 1


@pytest.mark.parametrize(
    ("start", "total", "frames", "stride", "expected"),
    [
        (0, 20, 4, 1, [0, 1, 2, 3]),
        (3, 20, 4, 2, [3, 5, 7, 9]),
        (3, 20, 5, 2.5, [3, 5, 8, 10, 13]),
        (3, 20, 5, 0.5, [3, 3, 4, 4, 5]),
        (0, 3, 6, 1, [0, 1, 2, 2, 2, 2]),
        (0, 1, 3, 4, [0, 0, 0]),
    ],
)
def test_clip_indices(start, total, frames, stride, expected):
    assert clip_indices(start, total, frames, stride) == expected


def test_any_clip_stays_in_its_video():
    rng = np.random.default_rng(0)
    for total, frames, stride in itertools.product([1, 2, 7, 30], [1, 4, 16], STRIDES):
        length = clip_length(frames, stride)
        for start in [random_start(rng, total, length), *even_starts(total, length, 3)]:
            numbers = clip_indices(start, total, frames, stride)
            assert len(numbers) == frames
            assert all(0 <= number < total for number in numbers)
            assert numbers == sorted(numbers)
            steps = [number - start for number in numbers]
            if length <= total:
                assert steps == [math.floor(step * stride) for step in range(frames)]
            else:
                assert start == 0
                assert steps == [min(math.floor(step * stride), total - 1) for step in range(frames)]
                assert numbers[-1] == total - 1


def test_random_starts_are_even():
    rng = np.random.default_rng(0)
    counts = collections.Counter(random_start(rng, total=12, length=5) for _ in range(8000))
    assert sorted(counts) == list(range(8))  # 12 - 5 + 1 places
    sigma = math.sqrt(8000 * 1 / 8 * 7 / 8)
    assert all(abs(count - 1000) < 5 * sigma for count in counts.values())


@pytest.mark.parametrize("total", [1, 9, 10, 11, 57])
def test_a_single_clip_stands_in_the_centre(total):
    (start,) = even_starts(total, length=10, clips=1)
    if total > 10:
        before, behind = start, total - (start + 10)
        assert behind - before in (0, 1)
    else:
        assert start == 0


@pytest.mark.parametrize("clips", [2, 3, 10])
@pytest.mark.parametrize("total", [1, 9, 10, 11, 57])
def test_several_clips_from_end_to_end(total, clips):
    starts = even_starts(total, length=10, clips=clips)
    room = max(total - 10, 0)
    assert (len(starts), starts[0], starts[-1]) == (clips, 0, room)
    for number, start in enumerate(starts):
        assert abs(start - room * number / (clips - 1)) <= 0.5
