import numpy as np
import pytest
import torch
from clip_pixels import frame_numbers

from lightframe.datamodules import reader as reader_module
from lightframe.datamodules.decoding import ClipRequest, VideoError, probe
from lightframe.datamodules.reader import VideoReader


@pytest.fixture
def video(make_video):
    return str(make_video("video.mkv", 8, height=16, width=16))


@pytest.fixture
def calls(monkeypatch):
    """The functions that are called, in their order: they are what costs."""
    names = []

    def spy(name):
        original = getattr(reader_module, name)

        def called(*args, **kwargs):
            names.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(reader_module, name, called)

    spy("probe")
    spy("read_clips")
    return names


class Index:
    """Says of every video that it has `frames` frames, as a file may that ends too soon."""

    def __init__(self, frames):
        self.frames = frames

    def entry(self, path):
        return probe(path)._replace(frames=self.frames)


def last_three(info):
    return [ClipRequest(list(range(info.frames - 3, info.frames)))]


def numbers(clips):
    return [frame_numbers(clip.transpose(0, 1)) for clip in clips]


def test_a_video_is_probed_once(video, calls):
    reader = VideoReader()
    assert numbers(reader.read(video, last_three)) == [[5, 6, 7]]
    assert numbers(reader.read(video, lambda info: [ClipRequest([0]), ClipRequest([1, 1])])) == [[0], [1, 1]]
    assert calls == ["probe", "read_clips", "read_clips"]


def test_a_video_that_the_index_knows_is_not_probed(video, calls):
    reader = VideoReader(index=Index(8))
    assert numbers(reader.read(video, last_three)) == [[5, 6, 7]]
    assert calls == ["read_clips"]


def test_a_video_that_is_shorter_than_it_says(video, calls):
    """Its true count is learned, once, and what is asked for is chosen anew; where a clip fits, the first choice."""
    reader = VideoReader(index=Index(10))
    asked = []

    def choose(info):
        asked.append(info.frames)
        return last_three(info)

    assert numbers(reader.read(video, choose)) == [[5, 6, 7]]
    assert asked == [10, 8]
    assert calls == ["read_clips", "read_clips"]
    assert numbers(reader.read(video, choose)) == [[5, 6, 7]]
    assert asked == [10, 8, 10, 8]
    assert calls == ["read_clips"] * 3  # and not decoded to its end again
    assert numbers(reader.read(video, lambda info: [ClipRequest([info.frames - 10])])) == [[0]]
    assert calls == ["read_clips"] * 4


def test_what_was_read_before_does_not_change_what_is_drawn(video):
    """Another worker, or a resumed run, has not read it."""

    def draw(seed):
        def choose(info):
            start = int(np.random.default_rng(seed).integers(info.frames - 2))
            return [ClipRequest([start, start + 1, start + 2])]

        return choose

    reader = VideoReader(index=Index(10))
    forwards = [numbers(reader.read(video, draw(seed))) for seed in range(12)]
    backwards = [numbers(reader.read(video, draw(seed))) for seed in reversed(range(12))]
    alone = [numbers(VideoReader(index=Index(10)).read(video, draw(seed))) for seed in range(12)]
    assert forwards == backwards[::-1] == alone
    assert len({tuple(clip) for (clip,) in forwards}) > 3


def test_real_files_that_claim_more_frames_than_they_have(shared_videos):
    """Packed B-frames: 49 packets, 48 frames."""
    path = str(shared_videos / "clips/train/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi")
    reader = VideoReader()
    clip = reader.read(path, lambda info: [ClipRequest([min(number, info.frames - 1) for number in range(60)])])[0]
    assert torch.equal(clip[47], clip[59])
    assert not torch.equal(clip[46], clip[47])


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        VideoReader().read(str(tmp_path / "broken.mp4"), last_three)


@pytest.mark.parametrize(("device", "expected"), [("cpu", "cpu"), ("cuda", "cuda:3"), ("cuda:1", "cuda:1")])
def test_each_process_has_a_device_of_its_own(monkeypatch, device, expected):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert VideoReader(device=device).device == expected
