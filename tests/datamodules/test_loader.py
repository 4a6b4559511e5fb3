import contextlib
import gc
import multiprocessing
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch
from clip_pixels import equal

from lightframe.datamodules.augment import build_augmentations
from lightframe.datamodules.clips import ClipSettings, EvaluationClips, TrainingClips
from lightframe.datamodules.dataset import VideoDataset
from lightframe.datamodules.decoding import VideoError
from lightframe.datamodules.loader import default_workers, make_loader
from lightframe.datamodules.reader import VideoReader
from lightframe.datamodules.sampler import EpochSampler
from lightframe.datamodules.sampling import build_sampling
from lightframe.datamodules.skipped import SkippedVideos
from lightframe.errors import UsageError


def open_files():
    files = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            files.append(link.readlink())
    return sorted(files)


@pytest.fixture(autouse=True)
def nothing_is_left():
    gc.collect()  # persistent workers end with their loader, and other tests made loaders too
    threads, processes = set(threading.enumerate()), set(multiprocessing.active_children())
    yield
    gc.collect()
    assert_ended(set(multiprocessing.active_children()) - processes)
    assert_ended(set(threading.enumerate()) - threads)


def assert_ended(left):
    """Processes or threads that were told to end do so; on a busy machine not at once."""
    for one in left:
        one.join(10)
    assert [one for one in left if one.is_alive()] == []


@pytest.fixture
def make(make_video, tmp_path):
    """A data set of seven numbered videos, of which some may be bad."""
    make_video("good.mkv", 20)
    (tmp_path / "bad.mp4").write_text("no video")

    def make(bad=(), threads=1, per_video=1, views=(1, 1), size=8, limit=7, transform=None):
        paths = [tmp_path / f"{number}.mkv" for number in range(7)]
        for number, path in enumerate(paths):
            path.unlink(missing_ok=True)
            path.hardlink_to(tmp_path / ("bad.mp4" if number in bad else "good.mkv"))
        clip = ClipSettings(build_sampling("random", 2, 1, (0.5, 1, 2)), 2, size)
        return VideoDataset(
            [str(path) for path in paths],
            torch.arange(7) * 10,
            TrainingClips(clip, build_augmentations(["random_resized_crop", "flip"], size), transform, per_video),
            EvaluationClips(clip, views, transform),
            VideoReader(),
            torch.arange(7) * -10,
            SkippedVideos("train", 7, limit),
            threads,
        )

    return make


def training(data, workers, batch_size=2):
    return make_loader(data, batch_size, workers, EpochSampler(data, seed=1), drop_last=True)


# The same batches however they are made


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")  # on fewer cores
def test_workers_and_threads_change_no_bit(make):
    """Workers stay from one epoch to the next; in the end a loader is begun anew for each epoch."""
    bad = {2, 3}
    alone = make(bad)
    loader = training(alone, 0)
    expected = [list(loader) for _ in range(3)]
    assert [len(epoch) for epoch in expected] == [3, 3, 3]
    assert not equal(expected[0][0], expected[1][0])
    for workers, threads in [(1, 1), (2, 1), (4, 1), (0, 3), (1, 3), (2, 3)]:
        loader = training(make(bad, threads), workers)
        for epoch in expected:
            batches = list(loader)
            assert all(equal(one, other) for one, other in zip(batches, epoch, strict=True))
            assert all(batch.video.movedim(1, -1).is_contiguous() for batch in batches)
    for number, epoch in enumerate(expected):
        data = make(bad)
        begun = make_loader(data, 2, 0, EpochSampler(data, seed=1, epoch=number), drop_last=True)
        assert all(equal(one, other) for one, other in zip(begun, epoch, strict=True))


def test_a_sample_is_the_same_in_any_batch(make):
    """With batches of another size, by other processes: the sets of samples are equal."""

    def samples(loaders):
        return {
            int(index): (clip.numpy().tobytes(), int(label))
            for loader in loaders
            for batch in loader
            for clip, label, index in zip(*batch, strict=True)
        }

    data = make()
    one = samples([make_loader(data, 7, 0, EpochSampler(data, 1))])
    two = samples([make_loader(data, 2, 0, EpochSampler(data, 1, rank, 2)) for rank in (0, 1)])
    assert len(one) == 7
    assert len(two) == 6  # the odd one is left out
    assert two.items() <= one.items()


def test_evaluation_keeps_the_order(make):
    for views, shape in (((1, 1), (2, 3, 2, 8, 8)), ((2, 2), (2, 4, 3, 2, 8, 8))):
        expected = list(make_loader(make(views=views), 2, 0))
        assert [batch.index.tolist() for batch in expected] == [[0, 1], [2, 3], [4, 5], [6]]
        assert expected[0].video.shape == shape
        for workers, threads in [(2, 1), (2, 3)]:
            again = list(make_loader(make(threads=threads, views=views), 2, workers))
            assert all(equal(one, other) for one, other in zip(again, expected, strict=True))


def test_clips_of_one_video_in_workers(make):
    expected = list(training(make(per_video=3), 0))
    assert [len(batch.index) for batch in expected] == [6, 6, 6]
    assert all(equal(*pair) for pair in zip(training(make(per_video=3), 2), expected, strict=True))


def test_no_global_generator_is_touched(make):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    for workers in (0, 1):
        list(training(make(), workers))
        list(make_loader(make(), 2, workers))
    assert torch.equal(torch.get_rng_state(), state)


def test_workers_begin_with_the_first_batch(make):
    """Lightning makes the iterator of a run long before it asks, and twice for an epoch that it resumes after."""
    loader = training(make(), 1)
    iter(loader)
    batches = iter(loader)
    assert multiprocessing.active_children() == []
    assert next(batches).index.tolist() == [index for _, index in EpochSampler(range(7), 1)][:2]
    assert len(multiprocessing.active_children()) == 1


@pytest.mark.slow
def test_workers_that_are_spawned(make):
    """They inherit nothing: all that they need can be pickled."""
    expected = list(training(make({2}), 0))
    loader = training(make({2}), 1)
    loader.multiprocessing_context = "spawn"
    assert all(equal(*pair) for pair in zip(loader, expected, strict=True))
    assert list(loader.dataset.videos.skipped.reasons) == [2]


# What goes wrong in a worker


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_training_process_hears_of_bad_videos(make, workers, caplog):
    data = make({2, 3})
    for loader in (training(data, workers), make_loader(data, 2, workers)):
        for _ in range(2):
            indices = [index for batch in loader if batch for index in batch.index.tolist()]
            assert not {2, 3} & set(indices)
    assert sorted(data.skipped.reasons) == [2, 3]
    assert len(caplog.records) == 2


def test_a_batch_of_nothing_but_bad_videos(make):
    batches = list(make_loader(make({2, 3, 5}), 2, 1))
    assert [batch and batch.index.tolist() for batch in batches] == [[0, 1], None, [4], [6]]


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_videos(make, workers):
    with pytest.raises(VideoError, match=r"^2 of the 7 train videos cannot be read, more than max_errors=1 \(.*mkv"):
        list(training(make({1, 4}, limit=1), workers))
    with pytest.raises(VideoError, match=r"^[^\n]*1\.mkv: [^\n]*$"):
        list(training(make({1}, limit=0), workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_of_the_user_stays_one_sentence(make, workers):
    data = make(transform=lambda clip: clip[0])
    with pytest.raises(UsageError, match=r"^train_transform must give back .*, 24, 32\)$"):
        list(training(data, workers))


# What it leaves behind


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc here")
@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (0, 3), (2, 1)])
def test_nothing_is_left_open(make, workers, threads):
    before, running = open_files(), set(threading.enumerate())

    def exhausted():
        data = make({2}, threads)
        for loader in (training(data, workers), make_loader(data, 2, workers)):
            for _ in range(2):
                list(loader)

    def broken_off():
        for _ in training(make({2}, threads), workers):
            raise ZeroDivisionError

    def failed():
        list(training(make({2}, threads, limit=0), workers))

    def misused():
        list(training(make(transform=lambda clip: None, threads=threads), workers))

    for run, error in (
        (exhausted, None),
        (broken_off, ZeroDivisionError),
        (failed, VideoError),
        (misused, UsageError),
    ):
        with pytest.raises(error) if error else contextlib.nullcontext():
            run()
        # At once: workers of which only the garbage collector finds that nobody needs them are killed, after seconds.
        assert multiprocessing.active_children() == []
        assert_ended(set(threading.enumerate()) - running)  # a queue's own thread, after its queue was closed
        assert open_files() == before


def test_a_process_ends_that_has_a_loader_with_workers(make, tmp_path):
    """Also when it is left in the middle of an epoch."""
    make()
    (tmp_path / "run").mkdir()
    for number in range(3):
        (tmp_path / "run" / f"{number}.mkv").hardlink_to(tmp_path / "good.mkv")
    (tmp_path / "train").mkdir()
    (tmp_path / "run").rename(tmp_path / "train" / "run")
    script = f"""
        from lightframe import VideoDataModule
        data = VideoDataModule({str(tmp_path)!r}, frames=2, size=8, batch_size=1, num_workers=2, classes=["run"])
        batches = iter(data.train_dataloader())
        print(next(batches).video.shape)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "torch.Size([1, 3, 2, 8, 8])"
    assert done.stderr == ""


# How many workers


@pytest.mark.parametrize(("cores", "devices", "workers"), [(4, 1, 4), (4, 2, 2), (64, 2, 8), (1, 1, 1), (2, 8, 1)])
def test_default_number_of_workers(monkeypatch, cores, devices, workers):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert default_workers(devices) == workers


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory folder here")
def test_workers_without_enough_shared_memory(make, monkeypatch):
    """Two workers with two batches each of 2 clips of 3 x 2 x 1024 x 1024 bytes: 48 MiB."""

    def free(mebibytes):
        usage = shutil.disk_usage("/")._replace(free=mebibytes * 2**20)
        monkeypatch.setattr("lightframe.datamodules.loader.shutil.disk_usage", lambda path: usage)

    data = make(size=1024, views=(2, 1))
    free(47)
    with pytest.raises(UsageError, match=r"2 loader workers need about 48 MiB .* has 47 MiB free: use num_workers=0"):
        training(data, 2)
    free(48)
    training(data, 2), make_loader(make(size=1024), 2, 2)
    with pytest.raises(UsageError, match="need about 96 MiB"):
        make_loader(data, 2, 2)  # twice the views
    free(0)
    training(data, 0)  # no workers, no need
