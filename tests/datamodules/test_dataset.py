import av
import pytest
import torch
from clip_pixels import equal, frame_numbers

from lightframe.datamodules import dataset as dataset_module
from lightframe.datamodules.augment import build_augmentations
from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.clips import ClipSettings, EvaluationClips, TrainingClips
from lightframe.datamodules.dataset import VideoDataset
from lightframe.datamodules.decoding import VideoError
from lightframe.datamodules.reader import VideoReader
from lightframe.datamodules.sampling import build_sampling
from lightframe.datamodules.skipped import SkippedVideos
from lightframe.errors import UsageError

BAD = None  # stands for a video that cannot be read


@pytest.fixture
def make(make_video, tmp_path):
    """A data set of numbered videos of these lengths, with labels 0, 10, 20, ...: `make([20, BAD, 9])`."""

    def path(number, length):
        if length is BAD:
            (tmp_path / f"bad{number}.mp4").write_text("no video")
            return str(tmp_path / f"bad{number}.mp4")
        file = tmp_path / f"{length}.mkv"
        return str(file if file.exists() else make_video(file.name, length))

    def make(
        lengths,
        views=(1, 1),
        per_video=1,
        augment="random_resized_crop",
        threads=1,
        labels=None,
        limit=None,
        transform=None,
        mirrored_labels=None,
    ):
        clip = ClipSettings(build_sampling("random", 4, 2), 4, 16)
        return VideoDataset(
            [path(number, length) for number, length in enumerate(lengths)],
            torch.arange(len(lengths)) * 10 if labels is None else labels,
            TrainingClips(clip, build_augmentations(augment, 16), transform, per_video),
            EvaluationClips(clip, views, transform),
            VideoReader(),
            mirrored_labels,
            SkippedVideos("train", len(lengths), len(lengths) if limit is None else limit),
            threads,
        )

    return make


def keys(*indices, epoch=0):
    return [(epoch, index) for index in indices]


# Batches


def test_a_training_batch(make):
    data = make([20, 30, 40])
    batch, skipped = data.batch(keys(2, 0, epoch=5))
    assert skipped == []
    assert batch.video.dtype == torch.uint8
    assert batch.video.shape == (2, 3, 4, 16, 16)
    assert batch.label.tolist() == [20, 0]
    assert batch.index.tolist() == [2, 0]
    # A batch is its samples, each on its own.
    for place, key in enumerate(keys(2, 0, epoch=5)):
        assert equal(data[key], tuple(part[place] for part in batch))
    assert not torch.equal(data.batch(keys(2, 0, epoch=6))[0].video, batch.video)


def test_an_evaluation_batch(make):
    data = make([20, 30, 40])
    batch, _ = data.batch([1, 2])
    assert batch.video.shape == (2, 3, 4, 16, 16)
    # 4 frames at stride 2 span 7 and stand in the centre.
    assert [frame_numbers(clip) for clip in batch.video] == [[11, 13, 15, 17], [16, 18, 20, 22]]
    assert (batch.label.tolist(), batch.index.tolist()) == ([10, 20], [1, 2])
    assert equal(data[2], tuple(part[1] for part in batch))


def test_views_of_a_video_stay_together(make):
    batch, _ = make([20, 30], views=(2, 3)).batch([1, 0])
    assert batch.video.shape == (2, 6, 3, 4, 16, 16)
    assert [frame_numbers(view)[0] for view in batch.video.flatten(0, 1)] == [0] * 3 + [23] * 3 + [0] * 3 + [13] * 3
    assert (batch.label.tolist(), batch.index.tolist()) == ([10, 0], [1, 0])


def test_clips_of_a_video_become_clips_of_the_batch(make, monkeypatch):
    data, opened, original = make([60, 50], per_video=3), [], av.open
    for path in data.paths:
        data.reader.info(path)
    monkeypatch.setattr(av, "open", lambda path, *args, **more: opened.append(path) or original(path, *args, **more))
    batch, _ = data.batch(keys(1, 0))
    assert sorted(opened) == sorted(data.paths)  # each once
    assert batch.video.shape == (6, 3, 4, 16, 16)
    assert batch.label.tolist() == [10] * 3 + [0] * 3
    assert batch.index.tolist() == [1] * 3 + [0] * 3
    assert len({clip.numpy().tobytes() for clip in batch.video}) == 6


@pytest.mark.parametrize("transform", [None, lambda frames: frames[..., :20, :]])
def test_channels_lie_last_in_memory(make, transform):
    """As decoders give them: to turn them round in the worker costs as much as decoding."""
    data = make([20, 30], views=(2, 1), transform=transform)
    for batch in (data.batch(keys(0, 1))[0], data.batch([0, 1])[0]):
        assert batch.video.movedim(-4, -1).is_contiguous()


def test_threads_change_nothing(make):
    lengths = [20, BAD, 30, 40, 50]
    for wanted in (keys(1, 4, 2, 0), [3, 1, 0, 2]):
        batch, skipped = make(lengths).batch(wanted)
        for threads in (2, 3, 16):
            again, also = make(lengths, threads=threads).batch(wanted)
            assert equal(batch, again)
            assert also == skipped
            assert len(skipped) == 1


def test_mirrored_clips_have_labels_of_their_own(make):
    labels, mirrored = torch.tensor([0, 1, 2]), torch.tensor([1, 0, 2])
    data = make([20, 20, 20], augment={"flip": {"p": 0.5}}, labels=labels, mirrored_labels=mirrored, per_video=2)
    seen = set()
    for epoch in range(10):
        batch, _ = data.batch(keys(0, 1, 2, epoch=epoch))
        for clip, label, index in zip(*batch, strict=True):
            columns = clip[1, 0, 0].int()
            flipped = bool(columns[0] > columns[-1])
            assert label == (mirrored if flipped else labels)[index]
            seen.add((flipped, int(index)))
    assert len(seen) == 6
    assert data[0].label == 0  # evaluation mirrors nothing


def test_several_labels_a_video(make):
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    data = make([20, 20], augment={"flip": {"p": 1.0}}, labels=labels, mirrored_labels=labels[:, [1, 0, 2]])
    assert data.batch(keys(1, 0))[0].label.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert data.batch([1, 0])[0].label.tolist() == [[0, 1, 0], [1, 0, 1]]


# Videos that cannot be read


@pytest.mark.parametrize(("asked", "given", "tried"), [(0, 1, [0]), (1, 1, []), (3, 1, [3, 4, 0]), (4, 1, [4, 0])])
def test_in_training_the_next_video_takes_the_place(make, asked, given, tried):
    data = make([BAD, 20, 30, BAD, BAD])
    (batch, skipped) = data.batch(keys(2, asked, epoch=7))
    assert batch.index.tolist() == [2, given]
    assert batch.label.tolist() == [20, 10 * given]
    assert torch.equal(batch.video[1], data[7, given].video)  # as if that one had been asked for
    assert [one.index for one in skipped] == tried
    assert [one.path for one in skipped] == [data.paths[index] for index in tried]
    assert all(one.path in one.reason for one in skipped)
    assert all(f"bad{one.index}.mp4" in one.reason for one in skipped)


def test_the_place_of_several_clips(make):
    batch, skipped = make([BAD, 60, 50], per_video=2).batch(keys(0, 2))
    assert batch.index.tolist() == [1, 1, 2, 2]
    assert batch.label.tolist() == [10, 10, 20, 20]
    assert len(skipped) == 1


def test_in_evaluation_no_other_takes_the_place(make):
    for views in ((1, 1), (2, 1)):
        data = make([BAD, 20, BAD, 30], views)
        batch, skipped = data.batch([0, 1, 2, 3])
        assert (batch.index.tolist(), batch.label.tolist()) == ([1, 3], [10, 30])
        assert equal(batch, data.batch([1, 3])[0])
        assert batch.video.movedim(-4, -1).is_contiguous()
        assert [one.index for one in skipped] == [0, 2]
        batch, skipped = data.batch([0, 2])
        assert batch is None
        assert [one.index for one in skipped] == [0, 2]


def test_no_more_are_tried_than_may_fail(make, monkeypatch):
    """With thousands of missing files, to try them all for one sample would take hours."""
    tried = []

    def refuse(path, *args):
        tried.append(path)
        raise VideoError(f"{path}: gone")

    data = make([BAD] * 9 + [20], limit=2)
    monkeypatch.setattr(data.reader, "read", refuse)
    batch, skipped = data.batch(keys(4))
    assert batch is None
    assert [one.index for one in skipped] == [4, 5, 6]
    assert len(tried) == 3


def test_not_one_can_be_read(make):
    with pytest.raises(VideoError, match=r"not one of the 2 train videos can be read; the first: .*bad1\.mp4"):
        make([BAD, BAD])[0, 1]


def test_a_single_sample_is_recorded(make, caplog):
    data = make([BAD, 20])
    assert data[0, 0].index == 1
    assert data[0] is None
    assert list(data.skipped.reasons) == [0]
    assert len(caplog.records) == 1


def test_a_transform_that_gives_clips_of_several_sizes(make):
    data = make([20, 30], transform=lambda clip: clip[..., : 5 + int(clip[0, 0, 0, 0])])
    with pytest.raises(UsageError, match=r"must give all clips one size \(.*\), not 4 x 24 x 11 and 4 x 24 x 16"):
        data.batch([0, 1])  # of frames 6 and 11 in the centre


def test_errors_that_are_no_fault_of_the_video_are_not_swallowed(make):
    def broken(clip):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make([20], transform=broken).batch(keys(0))


def test_a_worker_decodes_into_shared_memory(make, monkeypatch):
    """What it makes is what the training process gets: not one copy."""
    assert not make([20]).batch(keys(0))[0].video.is_shared()
    monkeypatch.setattr(dataset_module, "get_worker_info", lambda: "a worker")
    data = make([20, 30], views=(2, 1))
    for batch in (data.batch(keys(0, 1))[0], data.batch([0, 1])[0]):
        assert isinstance(batch, VideoBatch)
        assert batch.video.is_shared()


def test_a_file_that_breaks_off_gives_what_can_be_read(shared_videos, make):
    """At frame 28 of 50; whether a clip lies before that is the draw's matter, not what failed before."""

    def taken(epochs):
        data = make([20, 20])
        data.paths = [str(shared_videos / "odd" / "decord_corrupted.mp4"), data.paths[1]]
        return [data[epoch, 0].index.item() for epoch in epochs]

    forwards, backwards = taken(range(8)), taken(reversed(range(8)))
    assert set(forwards) == {0, 1}
    assert forwards == backwards[::-1]
