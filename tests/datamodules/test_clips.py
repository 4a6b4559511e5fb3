import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from clip_pixels import columns, frame_numbers, rows
from known_videos import numbered_frames, write_video

from lightframe.datamodules.augment import build_augmentations
from lightframe.datamodules.clips import ClipSettings, EvaluationClips, TrainingClips
from lightframe.datamodules.decoding import probe
from lightframe.datamodules.reader import VideoReader
from lightframe.datamodules.sampling import build_sampling
from lightframe.errors import UsageError

# A crop of 16 x 16 frames to clips of 16: the pixels come through untouched.
WHOLE = {"random_resized_crop": {"scale": [1, 1], "ratio": [1, 1]}}


def settings(frames=4, stride=2, size=16, sampling="random", speeds=(1.0,), **more):
    return ClipSettings(build_sampling(sampling, frames, stride, speeds), frames, size, **more)


def training(clip, augment=("random_resized_crop", "flip"), **more):
    return TrainingClips(clip, build_augmentations(augment, clip.size, clip.eval_crop), **more)


def clip_of(clips, path, epoch=0, index=0):
    """The first training clip (3, T, H, W)."""
    return clips.read(VideoReader(), str(path), epoch, index)[0][0]


def views_of(clips, path):
    return clips.read(VideoReader(), str(path))


@pytest.fixture
def small(make_video):
    return make_video("small.mkv", 20, height=16, width=16)


@pytest.fixture
def video(make_video):
    return make_video("video.mkv", 20, height=24, width=32)


# Training


def test_a_training_clip_is_a_function_of_seed_epoch_and_index(make_video):
    path = make_video("long.mkv", 60)
    clips = training(settings())
    sample = clip_of(clips, path, 3, 1)
    clip_of(clips, path, 4, 0)  # what was asked for before does not matter
    assert torch.equal(clip_of(clips, path, 3, 1), sample)
    assert torch.equal(clip_of(training(settings()), path, 3, 1), sample)
    assert not torch.equal(clip_of(clips, path, 4, 1), sample)
    assert not torch.equal(clip_of(clips, path, 3, 0), sample)
    assert not torch.equal(clip_of(training(settings(), seed=1), path, 3, 1), sample)
    assert sample.dtype == torch.uint8
    assert sample.shape == (3, 4, 16, 16)


def test_frames_of_training_clips(small):
    """Every speed and every start at which the clip fits; chance may spare a few."""
    speeds = (0.5, 1.0, 1.5)
    clips = training(settings(5, 2, speeds=speeds), WHOLE)
    seen = set()
    for epoch in range(150):
        taken = frame_numbers(clip_of(clips, small, epoch))
        (speed,) = (one for one in speeds if taken == [taken[0] + int(step * 2 * one) for step in range(5)])
        seen.add((taken[0], speed))
    possible = {(start, speed) for speed in speeds for start in range(20 - int(8 * speed))}
    assert seen <= possible
    assert len(seen) >= 0.8 * len(possible)


@pytest.mark.parametrize("flip", [0.0, 1.0, 0.3])
def test_flip(small, flip):
    clips = training(settings(2, 1), {**WHOLE, "flip": {"p": flip}})
    straight = list(range(16))
    mirrored = 0
    for epoch in range(100):
        (video,), (said,) = clips.read(VideoReader(), str(small), epoch, 0)
        assert rows(video) == straight
        assert columns(video) == (straight[::-1] if said else straight)
        mirrored += said
    assert abs(mirrored - 100 * flip) <= 4 * (100 * flip * (1 - flip)) ** 0.5


def test_training_crops(make_video):
    """Of a ramp the ends tell the box: columns and rows rise evenly from its first to its last."""
    path = make_video("ramp.mkv", 5, height=60, width=80)
    clips = training(settings(2, 1), {"random_resized_crop": {"scale": [0.2, 0.6]}})
    areas = []
    for epoch in range(60):
        video = clip_of(clips, path, epoch).double()
        # Scaled colours are right to a step or so.
        across, down = video[1].mean((0, 1)), video[2].mean((0, 2))
        assert (video[1] - across).abs().max() <= 1
        assert (video[2] - down[:, None]).abs().max() <= 1
        # 16 pixels over w columns: the outermost stand w / 32 inside, so that 15 steps of w / 16 lie between them.
        width, height = (float(side[-1] - side[0]) * 16 / 15 for side in (across, down))
        areas.append(width * height / (60 * 80))
        assert 0.65 < width / height < 1.5
    assert 0.15 < min(areas) < 0.3
    assert 0.5 < max(areas) < 0.67


def test_several_clips_of_one_video(small):
    clips = training(settings(2, 1), {**WHOLE, "flip": {"p": 0.5}}, per_video=3)
    assert clips.shape == (3, 2, 16, 16, 3)
    starts, flips = set(), set()
    for epoch in range(40):
        several, mirrored = clips.read(VideoReader(), str(small), epoch, 0)
        assert several.shape == (3, 3, 2, 16, 16)
        assert [columns(clip)[0] == 15 for clip in several] == mirrored
        starts.add(tuple(frame_numbers(clip)[0] for clip in several))
        flips.add(tuple(mirrored))
    assert len(starts) >= 38
    assert any(len(set(three)) == 3 for three in starts)
    assert len(flips) == 8  # each of the three by itself
    # The first is the one that is drawn when there is no other.
    one = training(settings(2, 1), {**WHOLE, "flip": {"p": 0.5}})
    assert torch.equal(clip_of(one, small, 39), several[0])


def test_memory_that_is_given_becomes_the_clips(small):
    clips = training(settings(2, 1), WHOLE, per_video=2)
    room = torch.zeros(clips.shape, dtype=torch.uint8)
    read, _ = clips.read(VideoReader(), str(small), 0, 0, room)
    assert read.untyped_storage().data_ptr() == room.untyped_storage().data_ptr()
    assert torch.equal(read, clips.read(VideoReader(), str(small), 0, 0)[0])
    evaluation = EvaluationClips(settings(2, 1), (2, 1))
    room = torch.zeros(evaluation.shape, dtype=torch.uint8)
    read = evaluation.read(VideoReader(), str(small), room)
    assert read.untyped_storage().data_ptr() == room.untyped_storage().data_ptr()
    assert torch.equal(read, views_of(evaluation, small))


# Evaluation


def test_the_evaluation_clip_is_the_centre(make_video):
    path = make_video("wide.mkv", 20, height=24, width=36)
    (view,) = views_of(EvaluationClips(settings(4, 3, 12, eval_crop=0.5, speeds=(9.0,))), path)
    assert frame_numbers(view) == [5, 8, 11, 14]  # 10 frames from 5 on: 5 before, 5 behind
    assert columns(view) == list(range(12, 24))
    assert rows(view) == list(range(6, 18))


def test_views_are_clips_times_crops(make_video):
    path = make_video("wide.mkv", 20, height=24, width=40)
    video = views_of(EvaluationClips(settings(3, 2, 24, eval_crop=0.5), (3, 3)), path)
    assert video.shape == (9, 3, 3, 24, 24)
    starts, lefts = (0, 8, 15), (0, 8, 16)  # of 15 frames' room: 0, 7.5 (rounded to even), 15
    for view, (start, left) in zip(video, ((start, left) for start in starts for left in lefts), strict=True):
        assert frame_numbers(view) == [start, start + 2, start + 4]
        assert columns(view) == list(range(left, left + 24))
        assert rows(view) == list(range(24))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("random", [0, 1, 2, 2, 2, 2]), ("dense", [0, 1, 2, 0, 1, 2]), ("uniform", [0, 0, 1, 1, 2, 2])],
)
def test_a_video_shorter_than_a_clip(make_video, sampling, expected):
    path = make_video("short.mkv", 3, height=16, width=16)
    clip = settings(6, 1, sampling=sampling, eval_crop=1.0)
    assert frame_numbers(clip_of(training(clip, WHOLE), path)) == expected
    assert frame_numbers(views_of(EvaluationClips(clip), path)[0]) == expected


# Frames by time


@pytest.fixture
def uneven(tmp_path):
    """30 numbered frames in steps of 10, 40 and 100 ms, and when each is shown, in seconds."""
    rng = np.random.default_rng(0)
    times = np.cumsum([0, *rng.choice([10, 40, 100], 29)]).tolist()
    path = tmp_path / "uneven.mkv"
    write_video(path, numbered_frames(30, 16, 16), "ffv1", "bgr0", times=times, unit=Fraction(1, 1000))
    return path, [time / 1000 for time in times]


@pytest.mark.parametrize("fps", [5, 12.5, 25, 40])
def test_fps_counts_by_time(uneven, fps):
    path, times = uneven
    info = probe(path)
    expected, moment = [], 0
    while moment / fps <= times[-1]:
        expected.append(max(number for number, time in enumerate(times) if time <= moment / fps))
        moment += 1
    assert settings(fps=fps).frame_numbers(info).tolist() == expected
    # Up to the time that a frame stays on the screen, the frames are 1 / fps apart.
    stays = max(np.diff(times))
    for place, number in enumerate(expected):
        assert 0 <= place / fps - times[number] < stays
    assert settings().frame_numbers(info).tolist() == list(range(30))
    shorter = [number for number in expected if number < 11]
    assert settings(fps=fps).frame_numbers(info._replace(frames=11)).tolist() == shorter


def test_stride_counts_resampled_frames(uneven):
    path, _ = uneven
    on_screen = settings(fps=10).frame_numbers(probe(path)).tolist()
    clip = settings(4, 2, fps=10, eval_crop=1.0)
    start = (len(on_screen) - 7) // 2  # 4 frames at stride 2 span 7
    assert frame_numbers(views_of(EvaluationClips(clip), path)[0]) == on_screen[start : start + 7 : 2]
    starts = set()
    for epoch in range(40):
        taken = frame_numbers(clip_of(training(clip, WHOLE), path, epoch))
        places = [place for place in range(len(on_screen) - 6) if on_screen[place : place + 7 : 2] == taken]
        assert places
        starts.update(places)
    assert len(starts) >= (len(on_screen) - 6) // 2


# A transform of one's own


def darker(video):
    """Every frame times a random share."""
    assert video.dtype == torch.uint8
    assert video.shape[1:] == (3, 24, 32)
    return (video * torch.rand(())).to(torch.uint8)


def test_train_transform_stands_in_for_crop_and_flip(video):
    seen = []
    clips = training(settings(4, 1), {"flip": {"p": 1.0}}, transform=lambda frames: seen.append(frames) or frames)
    assert clips.shape is None
    (clip,), mirrored = clips.read(VideoReader(), str(video), 0, 0)
    assert mirrored == [False]
    assert torch.equal(seen[0].transpose(0, 1), clip)
    assert columns(clip) == list(range(32))
    assert rows(clip) == list(range(24))
    assert frame_numbers(clip) == list(range(frame_numbers(clip)[0], frame_numbers(clip)[0] + 4))


def test_train_transform_draws_are_seeded_per_clip(video):
    clips = training(settings(4, 1), transform=darker, per_video=2)
    torch.manual_seed(1)
    first, _ = clips.read(VideoReader(), str(video), 0, 0)
    torch.manual_seed(2)
    assert torch.equal(clips.read(VideoReader(), str(video), 0, 0)[0], first)
    assert not torch.equal(clips.read(VideoReader(), str(video), 1, 0)[0], first)
    brightness = [clip[1].double().sum() for clip in first]  # green is the column, whatever the frame
    assert brightness[0] != brightness[1]


def test_nothing_global_is_touched(video, monkeypatch):
    # Nor is the GPU seeded, whose state (of dropout, say) nobody would restore.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the GPU was seeded"))
    torch.default_generator.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    for transform in (None, darker):
        clip_of(training(settings(4, 1), transform=transform), video)
        views_of(EvaluationClips(settings(4, 1)), video)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]


def test_eval_transform_stands_in_for_the_crops(video):
    views = views_of(EvaluationClips(settings(4, 1), (2, 3), lambda frames: frames[..., 4:, :]), video)
    assert views.shape == (2, 3, 4, 20, 32)
    assert rows(views[0]) == list(range(4, 24))
    assert [frame_numbers(view)[0] for view in views] == [0, 16]


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (lambda frames: frames / 255, r"torch\.float32 \(4, 3, 24, 32\)"),
        (lambda frames: frames.transpose(0, 1), r"torch\.uint8 \(3, 4, 24, 32\)"),
        (lambda frames: frames[0], r"torch\.uint8 \(3, 24, 32\)"),
        (lambda frames: None, "NoneType"),
    ],
)
def test_a_transform_that_gives_something_else(video, transform, got):
    with pytest.raises(UsageError, match=rf"train_transform must give back a uint8 clip .*; got {got}"):
        clip_of(training(settings(4, 1), transform=transform), video)
    with pytest.raises(UsageError, match=rf"eval_transform must give back a uint8 clip .*; got {got}"):
        views_of(EvaluationClips(settings(4, 1), transform=transform), video)
