import collections
import itertools
import math

import numpy as np
import pytest

from lightframe.datamodules.sampling import (
    DenseClip,
    RandomClip,
    UniformSegments,
    build_sampling,
    clip_indices,
    clip_length,
    even_starts,
)
from lightframe.errors import UnknownNameError, UsageError

STRIDES = [1, 2, 3, 0.5, 1.25, 2.5]


def draws(sampling, total, count=4000):
    rng = np.random.default_rng(0)
    return [sampling.draw(rng, total) for _ in range(count)]


def assert_even(counts, kinds):
    """Chi-square of counts that should be even over `kinds` of things: mean k - 1, variance 2 (k - 1)."""
    assert set(counts) <= set(kinds)
    expected, freedom = sum(counts.values()) / len(kinds), len(kinds) - 1
    chi_square = sum((counts[kind] - expected) ** 2 / expected for kind in kinds)
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


# Arithmetic


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


# What holds for all of them


@pytest.mark.parametrize("name", ["random", "dense", "uniform"])
def test_frame_numbers_are_those_of_the_video(name):
    rng = np.random.default_rng(0)
    for total, frames, stride in itertools.product([1, 2, 7, 30], [1, 4, 16], [1, 2, 5]):
        sampling = build_sampling(name, frames, stride)
        for clip in [sampling.draw(rng, total), *sampling.fixed(total, 1), *sampling.fixed(total, 3)]:
            assert len(clip) == frames
            assert all(type(number) is int and 0 <= number < total for number in clip)
            if name != "dense":
                assert clip == sorted(clip)


@pytest.mark.parametrize("name", ["random", "dense", "uniform"])
def test_the_same_generator_draws_the_same(name):
    sampling = build_sampling(name, 4, 2)
    assert draws(sampling, 50, 20) == draws(sampling, 50, 20)
    assert len(set(map(tuple, draws(sampling, 50, 20)))) > 5


def test_by_name():
    assert isinstance(build_sampling("Dense", 4, 2), DenseClip)
    assert isinstance(build_sampling("lightframe.datamodules.sampling.UniformSegments", 4, 2), UniformSegments)
    with pytest.raises(UnknownNameError, match=r"unknown sampling 'unifrom'; did you mean 'uniform'\?"):
        build_sampling("unifrom", 4, 2)


def test_speeds_are_for_random_clips():
    assert build_sampling("random", 4, 2, [0.5, 2]).fixed(20, 1) == [[6, 8, 10, 12]]  # evaluation is at speed 1
    assert build_sampling("dense", 4, 2, [1.0]).fixed(20, 1) == [[6, 8, 10, 12]]
    with pytest.raises(UsageError, match=r"speeds=\[0.5, 1.0\] go with sampling='random', not with 'uniform'"):
        build_sampling("uniform", 4, 2, (0.5, 1.0))


# Random


def test_random_clips_begin_evenly_wherever_they_fit():
    """Clips of 3 frames with stride 2 span 5 of 12: 8 places."""
    clips = collections.Counter(map(tuple, draws(RandomClip(3, 2), total=12)))
    assert_even(clips, [(start, start + 2, start + 4) for start in range(8)])


def test_speeds_are_drawn_evenly():
    """Of 20 frames, 4 at stride 2 and speeds 0.5, 1 and 1.5 span 4, 7 and 10."""
    places = {speed: [start for start in range(20) if start + 3 * 2 * speed < 20] for speed in (0.5, 1.0, 1.5)}
    clips = collections.Counter(map(tuple, draws(RandomClip(4, 2, (0.5, 1.0, 1.5)), total=20)))
    seen = {speed: collections.Counter() for speed in places}
    for clip, count in clips.items():
        (speed,) = (one for one in places if clip == tuple(clip[0] + int(step * 2 * one) for step in range(4)))
        seen[speed][clip[0]] += count
    assert_even(collections.Counter({speed: counts.total() for speed, counts in seen.items()}), list(places))
    for speed, starts in places.items():
        assert_even(seen[speed], starts)


def test_a_video_that_ends_too_soon_repeats_its_last_frame():
    assert draws(RandomClip(5, 2), total=4, count=3) == [[0, 2, 3, 3, 3]] * 3
    assert RandomClip(5, 2).fixed(total=4, clips=2) == [[0, 2, 3, 3, 3]] * 2
    assert draws(RandomClip(3, 2), total=5, count=3) == [[0, 2, 4]] * 3  # it just fits


# Dense


def test_dense_clips_lie_in_a_window():
    """3 frames with stride 4 look at 12 of 20 frames: 9 places, though they span but 9."""
    clips = collections.Counter(map(tuple, draws(DenseClip(3, 4), total=20)))
    assert_even(clips, [(start, start + 4, start + 8) for start in range(9)])


@pytest.mark.parametrize(
    ("total", "expected"),
    [(12, [0, 3, 6, 9]), (11, [0, 3, 6, 9]), (8, [0, 3, 6, 1]), (3, [0, 0, 0, 0]), (2, [0, 1, 0, 1])],
)
def test_a_dense_clip_of_a_short_video_begins_again(total, expected):
    assert draws(DenseClip(4, 3), total, 2) == [expected] * 2
    assert DenseClip(4, 3).fixed(total, 1) == [expected]


def test_dense_evaluation():
    assert DenseClip(3, 4).fixed(20, 1) == [[4, 8, 12]]
    assert DenseClip(3, 4).fixed(20, 3) == [[0, 4, 8], [4, 8, 12], [8, 12, 16]]


# Uniform


@pytest.mark.parametrize(("total", "frames"), [(24, 4), (25, 4), (10, 3), (7, 7), (100, 8)])
def test_one_frame_of_each_segment(total, frames):
    for clip in draws(UniformSegments(frames), total, 300):
        for segment, number in enumerate(clip):
            # Frame n lies at [n, n + 1): it must touch the segment [s, s + 1) * total / frames.
            assert number < (segment + 1) * total / frames
            assert number + 1 > segment * total / frames


def test_frames_of_a_segment_are_drawn_evenly():
    clips = draws(UniformSegments(4), total=24)
    for segment in range(4):
        counts = collections.Counter(clip[segment] for clip in clips)
        assert_even(counts, list(range(6 * segment, 6 * segment + 6)))
    # Each by itself: the places in the first and the second segment know nothing of each other.
    pairs = collections.Counter((clip[0], clip[1] - 6) for clip in clips)
    assert_even(pairs, list(itertools.product(range(6), range(6))))


@pytest.mark.parametrize("clips", [1, 2, 3, 7, 10])
def test_uniform_evaluation_is_in_the_middle_of_parts_of_each_segment(clips):
    """Exact arithmetic: the frame at (c + 1/2) / C of segment s is floor((2 C s + 2 c + 1) total / (2 C frames))."""
    for total, frames in itertools.product(range(1, 120), [1, 2, 3, 5, 8, 16]):
        expected = [
            [(2 * clips * segment + 2 * clip + 1) * total // (2 * clips * frames) for segment in range(frames)]
            for clip in range(clips)
        ]
        assert UniformSegments(frames).fixed(total, clips) == expected


def test_uniform_with_fewer_frames_than_segments():
    assert UniformSegments(8).fixed(4, 1) == [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert UniformSegments(4).fixed(1, 2) == [[0] * 4] * 2
    for clip in draws(UniformSegments(8), 4, 50):
        assert clip == [0, 0, 1, 1, 2, 2, 3, 3]
