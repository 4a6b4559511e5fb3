import pickle
import sys
from fractions import Fraction

import numpy as np
import pytest

from lightframe.datamodules.decoding import Timeline

MILLISECOND = Fraction(1, 1000)


def even(count, step=1, start=0, unit=Fraction(1, 25), keys=(0,)):
    pts = start + step * np.arange(count)
    return Timeline.of(pts, pts[list(keys)], unit)


def uneven(count, seed=0, start=0, keys=(0,)):
    pts = start + np.cumsum(np.random.default_rng(seed).integers(1, 90, size=count))
    return Timeline.of(pts, pts[list(keys)], MILLISECOND)


# Time stamps


def test_evenly_spaced_time_stamps_take_no_memory():
    timeline = even(200_000, step=512, start=-1024, keys=range(0, 200_000, 250))
    assert timeline.explicit is None
    assert (timeline.start, timeline.step, timeline.count) == (-1024, 512, 200_000)
    assert timeline.pts.tolist() == list(range(-1024, -1024 + 512 * 200_000, 512))
    assert len(pickle.dumps(timeline)) < 800 * 8 + 2000
    assert sum(sys.getsizeof(value) for value in vars(timeline).values()) < 800 * 8 + 2000


def test_others_are_kept():
    pts = [0, 40, 80, 121, 160]
    timeline = Timeline.of(pts, [0], MILLISECOND)
    assert timeline.pts.tolist() == pts
    assert timeline.pts_at([4, 3, 3]).tolist() == [160, 121, 121]


@pytest.mark.parametrize("timeline", [even(50, step=3, start=7), uneven(50, start=-300)], ids=["even", "uneven"])
def test_seconds_begin_with_the_first_frame(timeline):
    positions = [0, 3, 49, 3]
    known = [float((int(timeline.pts[position]) - timeline.start) * timeline.unit) for position in positions]
    assert timeline.seconds(positions) == pytest.approx(known)
    assert timeline.seconds([0])[0] == 0


@pytest.mark.parametrize(
    ("timeline", "fps"),
    [
        (even(51), 25.0),
        (even(300, step=1001, unit=Fraction(1, 30000)), 30000 / 1001),
        (Timeline.of([0, 10, 1000], [0], MILLISECOND), 2.0),
        (Timeline.of([12345], [12345], MILLISECOND), 0.0),
    ],
)
def test_fps_is_the_average(timeline, fps):
    assert timeline.fps == pytest.approx(fps)


# Resampling


def on_the_screen(timeline, fps):
    """A plain loop in exact fractions: the last frame that has begun at each tick of the new rate."""
    shown = [(int(time) - timeline.start) * timeline.unit for time in timeline.pts]
    positions, tick, step = [], Fraction(0), 1 / Fraction(fps).limit_denominator(10**6)
    while tick <= shown[-1]:
        positions.append(max(place for place, time in enumerate(shown) if time <= tick))
        tick += step
    return positions


@pytest.mark.parametrize("fps", [5, 7.5, 12.5, 24, 25, 30000 / 1001, 50, 60, 0.3])
@pytest.mark.parametrize(
    "timeline",
    [
        even(61),
        even(61, step=512, start=4096, unit=Fraction(1, 12800)),
        even(61, step=1001, unit=Fraction(1, 30000)),
        uneven(61),
        uneven(61, seed=1, start=-2000),
        even(1),
    ],
    ids=["25", "25 in 1/12800", "29.97", "uneven", "uneven from before 0", "one frame"],
)
def test_resampling_against_a_plain_loop(timeline, fps):
    assert timeline.resample(fps).tolist() == on_the_screen(timeline, fps)


@pytest.mark.parametrize(
    ("fps", "positions"),
    [
        (25, list(range(40))),
        (12.5, list(range(0, 40, 2))),
        (5, list(range(0, 40, 5))),
        (50, [number // 2 for number in range(79)]),
        (75, [number // 3 for number in range(118)]),
    ],
)
def test_resampling_an_even_rate_has_a_closed_form(fps, positions):
    assert even(40, step=512, unit=Fraction(1, 12800)).resample(fps).tolist() == positions


def test_resampling_to_the_own_rate_loses_nothing_to_rounding():
    """30000/1001 frames per second is no finite decimal."""
    timeline = even(100_000, step=1001, unit=Fraction(1, 30000))
    assert np.array_equal(timeline.resample(30000 / 1001), np.arange(100_000))


def test_resampling_beyond_64_bits():
    """A tick of a nanosecond, and a rate that is a fraction of large numbers."""
    timeline = even(1000, step=10**12, unit=Fraction(1, 10**9))  # 1000 s a frame
    rate = Fraction(123_457, 10**6)
    known = [int(number / rate // 1000) for number in range(int(999_000 * rate) + 1)]
    assert timeline.resample(0.123457).tolist() == known


# Segments


def reach(timeline, positions):
    """A plain loop: whether each frame is decoded on to from the one before, or from a key frame."""
    pts = timeline.pts.tolist()
    runs, reached = [], 0
    for number, position in enumerate(positions):
        keys = [key for key in timeline.keys.tolist() if key <= pts[position]]
        wasted = sum(time < keys[-1] for time in pts) - reached if keys else 0
        jump = wasted > 4
        if jump or number == 0:
            runs.append((keys[-1] if jump else None, []))
        runs[-1][1].append(position)
        reached = position
    return runs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "timeline",
    [
        even(200, step=3, start=9, keys=range(0, 200, 12)),
        even(200, keys=range(0, 200, 3)),
        even(200, keys=range(200)),
        even(200),
        uneven(200, start=-500, keys=[0, 7, 8, 50, 51, 180]),
    ],
    ids=["every 12", "every 3", "all", "one", "uneven"],
)
def test_segments_against_a_plain_loop(timeline, seed):
    rng = np.random.default_rng(seed)
    for count in (1, 2, 8, 60):
        positions = sorted(rng.choice(200, size=count, replace=False).tolist())
        segments = timeline.segments(positions)
        assert [(segment.key, segment.positions) for segment in segments] == reach(timeline, positions)
        assert [position for segment in segments for position in segment.positions] == positions


@pytest.mark.parametrize(
    ("positions", "jumps"),
    [
        ([0, 1, 2], [None]),
        ([12], [12]),
        ([4, 12], [None, 12]),
        ([8, 12], [None]),  # four frames are decoded faster than a jump
        ([7, 12], [None, 12]),
        ([23, 24, 25], [12]),
        ([0, 30, 60, 90], [None, 24, 60, 84]),
    ],
)
def test_a_jump_only_where_it_pays(positions, jumps):
    timeline = even(100, keys=range(0, 100, 12))
    assert [segment.key for segment in timeline.segments(positions)] == jumps


def test_key_frames_that_are_never_shown():
    """An edit list hides the first frames; decoding has to begin with them all the same."""
    timeline = Timeline.of(range(40), [-5, 6, 30], Fraction(1, 25))
    assert [segment.key for segment in timeline.segments([3, 35])] == [None, 30]
    assert [segment.key for segment in timeline.segments([7])] == [6]


def test_key_frames_between_the_times_of_frames():
    """The position of one that is never shown is that of the next frame."""
    timeline = Timeline.of(range(0, 400, 10), [0, 65], Fraction(1, 25))
    assert [segment.key for segment in timeline.segments([2, 10])] == [None, 65]
    assert [segment.key for segment in timeline.segments([3, 10])] == [None]
