import random

import numpy as np
import pytest
import torch

from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.dataset import ClipSettings, VideoDataset, collate
from lightframe.datamodules.decoding import VideoError
from lightframe.errors import UsageError

# In the numbered videos red is the frame's number, green the column and blue the row.


def numbers(video):
    """The frame numbers of a clip (3, T, H, W), which must be the same all over each frame."""
    red = video[0].flatten(1)
    assert (red == red[:, :1]).all()
    return red[:, 0].tolist()


def columns(video):
    """The columns of a clip's first row, the same in each frame."""
    assert (video[1] == video[1, :1, :1]).all()
    return video[1, 0, 0].tolist()


def rows(video):
    assert (video[2] == video[2, :1, :, :1]).all()
    return video[2, 0, :, 0].tolist()


def settings(frames=4, stride=2, size=16, **more):
    return ClipSettings(frames=frames, stride=stride, size=size, **more)


# A crop of its own size, so that the pixels come through untouched: of 16 x 16 frames it is the frame itself.
WHOLE = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}


@pytest.fixture
def dataset(make_video):
    """A data set of numbered videos of these lengths: `dataset([20, 9], settings(), height=24, width=32)`."""

    def make(lengths, clip, height=24, width=32, **more):
        paths = [str(make_video(f"{number}.mkv", length, height, width)) for number, length in enumerate(lengths)]
        return VideoDataset(paths, torch.arange(len(paths)) * 10, clip, **more)

    return make


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_text("no video")
    return str(path)


# Training clips


def test_a_training_clip_is_a_function_of_seed_epoch_and_index(dataset, make_video):
    clips = dataset([60, 60], settings())
    again = dataset([60, 60], settings())
    sample = clips[3, 1]
    clips[4, 0]  # what was asked for before does not matter
    assert torch.equal(clips[3, 1].video, sample.video)
    assert torch.equal(again[3, 1].video, sample.video)
    assert not torch.equal(clips[4, 1].video, sample.video)
    assert not torch.equal(clips[3, 0].video, sample.video)
    assert not torch.equal(dataset([60, 60], settings(), seed=1)[3, 1].video, sample.video)
    assert (sample.label, sample.index) == (10, 1)
    assert sample.video.dtype == torch.uint8
    assert sample.video.shape == (3, 4, 16, 16)


@pytest.mark.parametrize(("stride", "speeds"), [(1, (1.0,)), (3, (1.0,)), (2, (0.5, 1.0, 1.5)), (3, (0.75,))])
def test_frames_of_training_clips(dataset, stride, speeds):
    clips = dataset([20], settings(5, stride, speeds=speeds, **WHOLE), height=16, width=16)
    seen = set()
    for epoch in range(150):
        taken = numbers(clips[epoch, 0].video)
        (speed,) = (one for one in speeds if taken == [taken[0] + int(step * stride * one) for step in range(5)])
        seen.add((taken[0], speed))
    # Every speed and every start at which the clip fits, and no other; chance may spare a few of 48.
    possible = {(start, speed) for speed in speeds for start in range(20 - int(4 * stride * speed))}
    assert seen <= possible
    assert len(seen) >= 0.9 * len(possible)


@pytest.mark.parametrize("flip", [0.0, 1.0, 0.3])
def test_flip(dataset, flip):
    clips = dataset([8], settings(2, 1, flip=flip, **WHOLE), height=16, width=16)
    straight = list(range(16))
    mirrored = 0
    for epoch in range(150):
        video = clips[epoch, 0].video
        assert rows(video) == straight
        assert columns(video) in (straight, straight[::-1])
        mirrored += columns(video) == straight[::-1]
    assert abs(mirrored - 150 * flip) <= 4 * (150 * flip * (1 - flip)) ** 0.5


def test_training_crops(dataset):
    """Of a ramp the ends tell the box: columns and rows rise evenly from its first to its last."""
    clips = dataset([5], settings(2, 1, 16, flip=0.0, crop_scale=(0.2, 0.6)), height=60, width=80)
    areas = []
    for epoch in range(60):
        video = clips[epoch, 0].video
        # 16 pixels over w columns: the outermost stand w / 32 inside, so that 15 steps of w / 16 lie between them.
        width, height = ((side[-1] - side[0]) * 16 / 15 for side in (columns(video), rows(video)))
        areas.append(width * height / (60 * 80))
        assert 0.7 < width / height < 1.43
    assert 0.17 < min(areas) < 0.3
    assert 0.5 < max(areas) < 0.65


def test_a_short_video_repeats_its_last_frame(dataset):
    clips = dataset([3], settings(6, 1, views=(2, 1), **WHOLE), height=16, width=16)
    assert numbers(clips[0, 0].video) == [0, 1, 2, 2, 2, 2]
    assert [numbers(view) for view in clips[0].video] == [[0, 1, 2, 2, 2, 2]] * 2


# Evaluation


def test_the_evaluation_clip_is_the_centre(dataset):
    clips = dataset([20], settings(4, 3, 12, eval_crop=0.5, speeds=(9.0,), flip=1.0), height=24, width=36)
    sample = clips[0]
    assert numbers(sample.video) == [5, 8, 11, 14]  # 10 frames from 5 on: 5 before, 5 behind
    assert columns(sample.video) == list(range(12, 24))
    assert rows(sample.video) == list(range(6, 18))
    assert (sample.label, sample.index) == (0, 0)
    assert torch.equal(sample.video, clips[0].video)


def test_views_are_clips_times_crops(dataset):
    clips = dataset([20], settings(3, 2, 24, views=(3, 3), eval_crop=0.5), height=24, width=40)
    video = clips[0].video
    assert video.shape == (9, 3, 3, 24, 24)
    starts, lefts = (0, 8, 15), (0, 8, 16)  # of 15 frames' room: 0, 7.5 (rounded to even), 15
    for view, (start, left) in zip(video, ((start, left) for start in starts for left in lefts), strict=True):
        assert numbers(view) == [start, start + 2, start + 4]
        assert columns(view) == list(range(left, left + 24))
        assert rows(view) == list(range(24))


# Videos that lie or are broken


def test_a_file_that_claims_more_frames_than_it_has(shared_videos):
    """Packed B-frames: 49 packets, 48 frames."""
    path = str(shared_videos / "clips/train/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi")

    def fresh():
        return VideoDataset([path], torch.tensor([0]), settings(40, 1), skip_errors=False)

    clips = fresh()
    first = [clips[epoch, 0].video for epoch in range(6)]
    # Clips of 40 begin at 0 to 9 by the count of packets; which do not fit is only seen by decoding. What has been
    # seen must not change what is drawn: another worker, or a resumed run, has not seen it.
    assert all(torch.equal(clips[epoch, 0].video, first[epoch]) for epoch in range(6))
    assert all(torch.equal(fresh()[epoch, 0].video, first[epoch]) for epoch in range(6))
    assert clips._counted == {0: 48}
    whole = VideoDataset([path], torch.tensor([0]), settings(60, 1))
    assert torch.equal(whole[0].video[:, 47], whole[0].video[:, 59])


def test_a_broken_video_is_replaced_in_training(dataset, broken):
    clips = dataset([20, 20], settings())
    clips.paths = [broken, clips.paths[0], clips.paths[1], broken]
    clips.labels = torch.arange(4) * 10
    with pytest.warns(UserWarning, match=r"left out: .*broken\.mp4") as caught:
        sample = clips[2, 0]
    assert len(caught) == 1
    assert (sample.index, sample.label) == (1, 10)
    assert torch.equal(sample.video, clips[2, 1].video)  # as if that one had been asked for
    with pytest.warns(UserWarning, match="left out"):
        assert clips[2, 3].index == 1  # once round
    assert clips[5, 0].index == 1  # warned once a video


def test_a_damaged_video_gives_what_can_be_read(shared_videos, make_video):
    """It breaks off at frame 28 of 50; whether a clip lies before that is the draw's matter, not what failed before."""
    paths = [str(shared_videos / "odd" / "decord_corrupted.mp4"), str(make_video("sound.mkv", 4))]

    def taken(epochs):
        clips = VideoDataset(paths, torch.zeros(2), settings(2, 1, 8))
        with pytest.warns(UserWarning, match="left out") as caught:
            indices = [clips[epoch, 0].index.item() for epoch in epochs]
        assert len(caught) == 1
        return indices

    forwards, backwards = taken(range(8)), taken(reversed(range(8)))
    assert set(forwards) == {0, 1}
    assert forwards == backwards[::-1]


def test_a_broken_video_is_left_out_of_evaluation(dataset, broken):
    clips = dataset([20, 20], settings())
    clips.paths[0] = broken
    with pytest.warns(UserWarning, match="left out"):
        assert clips[0] is None
    assert clips[1].index == 1


def test_raise_instead(dataset, broken):
    clips = dataset([20, 20], settings(), skip_errors=False)
    clips.paths[0] = broken
    for key in (0, (0, 0)):
        with pytest.raises(VideoError, match=r"broken\.mp4"):
            clips[key]


def test_not_one_video_can_be_read(dataset, broken):
    clips = dataset([20], settings())
    clips.paths[0] = broken
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(VideoError, match=r"not one of the 1 .*broken\.mp4"),
    ):
        clips[0, 0]


# A transform of one's own


def darker(video):
    """Every frame times a random share."""
    assert video.dtype == torch.uint8
    assert video.shape[1:] == (3, 24, 32)
    return (video * torch.rand(())).to(torch.uint8)


def test_train_transform_stands_in_for_crop_and_flip(dataset):
    seen = []
    clips = dataset([20], settings(4, 1, flip=1.0), train_transform=lambda video: seen.append(video) or video)
    video = clips[0, 0].video
    assert torch.equal(seen[0].transpose(0, 1), video)
    assert columns(video) == list(range(32))
    assert rows(video) == list(range(24))
    assert numbers(video) == list(range(numbers(video)[0], numbers(video)[0] + 4))
    assert numbers(clips[0].video) == [8, 9, 10, 11]  # evaluation has its own
    assert clips[0].video.shape[-1] == 16


def test_train_transform_draws_are_seeded_per_sample(dataset):
    clips = dataset([20], settings(4, 1), train_transform=darker)
    torch.manual_seed(1)
    first = clips[0, 0].video
    torch.manual_seed(2)
    assert torch.equal(clips[0, 0].video, first)
    assert not torch.equal(clips[1, 0].video, first)


def test_nothing_global_is_touched(dataset, monkeypatch):
    # Nor is the GPU seeded, whose state (of dropout, say) nobody would restore.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the GPU was seeded"))
    torch.default_generator.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    for transform in (None, darker):
        clips = dataset([20], settings(4, 1), train_transform=transform)
        clips[0, 0], clips[0]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]


def test_eval_transform_stands_in_for_the_centre_crop(dataset):
    clips = dataset([20], settings(4, 1, views=(2, 1)), eval_transform=lambda video: video[..., 4:, :])
    video = clips[0].video
    assert video.shape == (2, 3, 4, 20, 32)
    assert rows(video[0]) == list(range(4, 24))
    assert [numbers(view)[0] for view in video] == [0, 16]


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (lambda video: video / 255, r"torch\.float32 \(4, 3, 24, 32\)"),
        (lambda video: video.transpose(0, 1), r"torch\.uint8 \(3, 4, 24, 32\)"),
        (lambda video: video[0], r"torch\.uint8 \(3, 24, 32\)"),
        (lambda video: None, "NoneType"),
    ],
)
def test_a_transform_that_gives_something_else(dataset, transform, got):
    clips = dataset([20], settings(4, 1), train_transform=transform, eval_transform=transform)
    with pytest.raises(UsageError, match=rf"train_transform must give back a uint8 clip .*; got {got}"):
        clips[0, 0]
    with pytest.raises(UsageError, match=rf"eval_transform must give back a uint8 clip .*; got {got}"):
        clips[0]


# Batches


def test_collate():
    def sample(index):
        return VideoBatch(torch.full((3, 2, 4, 4), index, dtype=torch.uint8), torch.tensor(7), torch.tensor(index))

    batch = collate([sample(2), None, sample(5)])
    assert isinstance(batch, VideoBatch)
    assert batch.video.shape == (2, 3, 2, 4, 4)
    assert batch.video.dtype == torch.uint8
    assert batch.video[:, 0, 0, 0, 0].tolist() == batch.index.tolist() == [2, 5]
    assert batch.label.tolist() == [7, 7]
    assert collate([None, None]) is None
