import contextlib
import itertools
import pickle
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from lightframe.datamodules.decoding import FramesOutOfRangeError, VideoError, probe, read_frames


def random_frames(count, height, width):
    return list(np.random.default_rng(0).integers(0, 256, size=(count, height, width, 3), dtype=np.uint8))


def as_clip(frames):
    """Frames (H, W, 3) as a tensor (T, 3, H, W)."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


def decode(path, most=None):
    """The frames as the file stores them, one after the other, up to the first that cannot be decoded."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container, contextlib.suppress(av.error.InvalidDataError):
        for frame in itertools.islice(
            container.decode(video=0), most
        ):  # not a list at once: what comes before the damage counts
            frames.append(frame)
    return frames


def upright(frame, turns=0):
    """The pixels of a decoded frame after some counter-clockwise quarter turns."""
    return np.rot90(frame.to_ndarray(format="rgb24"), turns)


def write_sound(path: Path, codec: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


# Exact pixels


@pytest.mark.parametrize("indices", [[0], [3, 4, 5], [7, 2, 5], [6, 6, 0, 6], [9], list(range(10))])
def test_exactly_the_frames_in_their_order(make_video, indices):
    frames = random_frames(10, 24, 32)
    clip = read_frames(make_video("a.mkv", frames), indices)
    assert clip.dtype == torch.uint8
    assert clip.is_contiguous()
    assert torch.equal(clip, as_clip([frames[index] for index in indices]))


@pytest.mark.parametrize("crop", [(0, 0, 24, 32), (5, 3, 7, 11), (23, 31, 1, 1)])
def test_crop(make_video, crop):
    frames = random_frames(3, 24, 32)
    top, left, height, width = crop
    clip = read_frames(make_video("a.mkv", frames), [2, 0], crop)
    assert torch.equal(clip, as_clip([frames[2], frames[0]])[:, :, top : top + height, left : left + width])


@pytest.mark.parametrize("size", [(12, 20), (40, 9), 16])
def test_size(make_video, size):
    frames = random_frames(3, 24, 32)
    height, width = (size, size) if isinstance(size, int) else size
    clip = read_frames(make_video("a.mkv", frames), [1, 2], (2, 4, 20, 24), size)
    known = as_clip(frames[1:])[:, :, 2:22, 4:28]
    expected = F.resize(known.double(), [height, width], antialias=True)
    assert clip.shape == (2, 3, height, width)
    assert clip.is_contiguous()
    error = (clip.double() - expected).abs()
    assert error.max() < 1.5  # uint8 is scaled in one direction, rounded, and then in the other
    assert error.mean() < 0.5


@pytest.mark.parametrize("indices", [[], [-1], [2, -3]])
def test_indices_that_are_no_frame_numbers(numbered_video, indices):
    with pytest.raises(ValueError, match="frame numbers from 0"):
        read_frames(numbered_video, indices)


# What a file says of itself


def test_probe(make_video):
    assert probe(make_video("a.mkv", 13, height=18, width=26)) == (13, 25.0, 18, 26)


def test_a_rotated_file_is_shown_upright(shared_videos):
    """Its display matrix says -90 degrees counter-clockwise: a phone held upright."""
    path = shared_videos / "odd" / "decord_video_90.mov"
    info = probe(path)
    assert (info.height, info.width) == (568, 320)
    stored = decode(path)
    assert (stored[0].height, stored[0].width) == (320, 568)
    clockwise = [upright(frame, -1) for frame in stored]
    assert torch.equal(read_frames(path, [2, 0]), as_clip([clockwise[2], clockwise[0]]))
    # The crop counts in pixels of the upright frame.
    assert torch.equal(read_frames(path, [1], (500, 10, 60, 40)), as_clip(clockwise[1:2])[:, :, 500:560, 10:50])


def test_real_files_frame_by_frame(shared_videos):
    """Any choice of frames is what decoding all of them one after the other gives."""
    rng = np.random.default_rng(0)
    files = sorted(file for file in shared_videos.rglob("*.*") if file.suffix in {".mp4", ".avi", ".mkv", ".mov"})
    assert len(files) >= 15
    for path in files:
        info = probe(path)
        short = info.frames < 100  # all frames of a few short files, and the first of the long ones
        frames = decode(path, None if short else 40)
        indices = rng.integers(len(frames), size=5).tolist()
        turns = -1 if path.name == "decord_video_90.mov" else 0
        expected = as_clip([upright(frames[index], turns) for index in indices])
        assert torch.equal(read_frames(path, indices), expected), path
        assert (info.height, info.width) == expected.shape[2:], path
        if short and path.name != "decord_corrupted.mp4":  # it breaks off at frame 28 of 50
            # Packed B-frames (.avi of HMDB51) come with a packet more than there are frames.
            assert info.frames - len(frames) in ((0, 1) if path.suffix == ".avi" else (0,)), path


# Files at fault


def test_beyond_the_end(numbered_video):
    with pytest.raises(FramesOutOfRangeError, match=r"numbered\.mkv: frame 20 .* has 20 frames") as caught:
        read_frames(numbered_video, [3, 20])
    assert caught.value.frames == 20


def test_damage_in_the_middle_spares_what_stands_before_it(shared_videos):
    path = shared_videos / "odd" / "decord_corrupted.mp4"
    assert len(read_frames(path, [27, 0])) == 2
    with pytest.raises(VideoError, match=r"decord_corrupted\.mp4") as caught:
        read_frames(path, [40])
    assert not isinstance(caught.value, FramesOutOfRangeError)


def text(path):
    path.write_text("no video\n" * 100)


def empty(path):
    path.touch()


def missing(path):
    pass


def folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [text, empty, missing, folder])
@pytest.mark.parametrize("read", [probe, lambda path: read_frames(path, [0])], ids=["probe", "read_frames"])
def test_no_video_names_the_file(tmp_path, make, read):
    path = tmp_path / "broken.mp4"
    make(path)
    with pytest.raises(VideoError, match=r"broken\.mp4: "):
        read(path)


@pytest.mark.parametrize(("name", "codec"), [("sound.wav", "pcm_s16le"), ("sound.mkv", "aac")])
@pytest.mark.parametrize("read", [probe, lambda path: read_frames(path, [0])], ids=["probe", "read_frames"])
def test_sound_without_pictures(tmp_path, name, codec, read):
    with pytest.raises(VideoError, match=rf"{name}: holds no video stream"):
        read(write_sound(tmp_path / name, codec))


def test_a_file_cut_off_in_its_header(make_video, tmp_path):
    whole = make_video("whole.mkv", 5).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[:300])
    with pytest.raises(VideoError, match=r"cut\.mkv: "):
        probe(cut)


@pytest.mark.parametrize("error", [VideoError("a.mp4: broken"), FramesOutOfRangeError("a.mp4: short", 7)])
def test_errors_reach_the_main_process(error):
    """Loader workers send them as pickles."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files here")
def test_files_are_closed(numbered_video, tmp_path):
    broken = tmp_path / "broken.mp4"
    text(broken)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        read_frames(numbered_video, [1])
        with pytest.raises(VideoError):
            probe(broken)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
