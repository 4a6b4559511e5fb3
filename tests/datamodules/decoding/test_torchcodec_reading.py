import sys
import types
import warnings

import numpy as np
import pytest
import torch
from known_videos import moving_frames, sequential, turned, write_video
from torchvision.transforms.v2 import functional as F

from lightframe.datamodules.decoding import (
    ClipRequest,
    FramesOutOfRangeError,
    VideoError,
    check_decoder,
    probe,
    read_clips,
    read_frames,
    torchcodec_reading,
)
from lightframe.datamodules.decoding.torchcodec_reading import WrongFramesError, read_with_torchcodec, why_not
from lightframe.errors import UsageError

needs_torchcodec = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing was warned of, and nothing found out."""
    monkeypatch.setattr(torchcodec_reading, "_warned", [])
    why_not.cache_clear()
    yield
    why_not.cache_clear()


def pixels(clip):
    return clip.permute(0, 2, 3, 1).numpy()


# Frames

RIGHT = [
    "clips/train/kinetics/SOX5yA1l24A.mp4",
    "clips/train/soccer_juggling/v_SoccerJuggling_g23_c01.avi",
    "odd/decord_video_90.mov",
    "odd/tc_av1_video.mkv",
    "odd/tc_h264_10bits.mp4",
    "odd/tc_test_non_zero_start.mp4",
    "odd/tc_testsrc2_odd_height_and_width_vp9.mp4",
]
WRONG = [
    "clips/train/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi",
    "clips/train/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi",
    "odd/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi",
]


def nearest(frame, known, index):
    """Which of the neighbours a frame is, and how far from the one that is wanted."""
    places = range(max(index - 4, 0), min(index + 5, len(known)))
    distances = {place: np.abs(frame.astype(int) - known[place]).mean() for place in places}
    return min(distances, key=distances.get), distances[index]


def check_frames(path, tolerance):
    known = list(sequential(path))[:150]
    rng = np.random.default_rng(0)
    info = probe(path)
    for _ in range(6):
        indices = rng.integers(len(known), size=4).tolist()
        clip = read_frames(path, indices, info=info, decoder="torchcodec")
        for frame, index in zip(pixels(clip), indices, strict=True):
            place, distance = nearest(frame, known, index)
            assert distance <= tolerance, index
            assert place == index or np.array_equal(known[place], known[index])


@needs_torchcodec
@pytest.mark.parametrize("name", RIGHT)
def test_real_frames_are_the_right_ones(shared_videos, name):
    check_frames(shared_videos / name, 3 if "10bits" in name else 2)


@needs_torchcodec
@pytest.mark.parametrize(
    "kind", ["h264.mp4", "h264_uneven.mkv", "hevc.mp4", "vp9.webm", "av1.mp4", "mpeg4.avi", "ffv1.mkv"]
)
def test_frames_of_many_kinds_are_the_right_ones(zoo, kind):
    check_frames(zoo(kind), 2)


@needs_torchcodec
def test_crop_size_mirror_and_order(zoo):
    path = zoo("ffv1.mkv")
    frames = torch.from_numpy(np.stack(list(sequential(path)))).permute(0, 3, 1, 2)
    requests = [
        ClipRequest([7, 2, 7]),
        ClipRequest([30, 1], (4, 6, 32, 40), (24, 20)),
        ClipRequest([5], (5, 7, 31, 41), None, mirror=True),
        ClipRequest([2, 3], None, (20, 20), mirror=True),
    ]
    clips = read_clips(path, requests, decoder="torchcodec")
    assert torch.equal(clips[0], frames[[7, 2, 7]])
    known = F.resize(frames[[30, 1], :, 4:36, 6:46], [24, 20], antialias=True)
    assert (clips[1].int() - known.int()).abs().max() <= 1
    assert torch.equal(clips[2], frames[[5], :, 5:36, 7:48].flip(-1))
    known = F.resize(frames[[2, 3]], [20, 20], antialias=True).flip(-1)
    assert (clips[3].int() - known.int()).abs().max() <= 1


@needs_torchcodec
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path, degrees):
    frames = moving_frames(6)
    path = write_video(tmp_path / "a.mp4", frames, pixel_format="yuv444p", options={"qp": "0"})
    path = turned(path, tmp_path / "turned.mp4", degrees)
    clip = read_frames(path, [4, 1], decoder="torchcodec")
    for frame, index in zip(pixels(clip), [4, 1], strict=True):
        assert np.abs(frame.astype(int) - np.rot90(frames[index], degrees // 90)).mean() < 1
    cropped = read_frames(path, [4], (10, 6, 20, 16), decoder="torchcodec")
    assert torch.equal(cropped, clip[:1, :, 10:30, 6:22])


# Frames that are not those that were asked for


@needs_torchcodec
@pytest.mark.parametrize("name", WRONG)
def test_wrong_frames_of_real_files_are_noticed(shared_videos, name):
    path = shared_videos / name
    info = probe(path)
    known = list(sequential(path))
    indices = [10, 20, 30]
    with pytest.raises(WrongFramesError):
        read_with_torchcodec(path, [ClipRequest(indices)], info, strict=True)
    auto = read_frames(path, indices, info=info)
    assert np.array_equal(pixels(auto), [known[index] for index in indices])


@needs_torchcodec
@pytest.mark.parametrize("kind", ["h264_b.avi", "mpeg4_b.avi", "mpeg4_packed.avi", "h264_open.ts", "mpeg2.mpg"])
def test_no_kind_gives_wrong_frames_without_a_word(zoo, kind):
    """Each clip has the right frames, or there is an error or a warning."""
    path = zoo(kind)
    known = list(sequential(path))
    info = probe(path)
    silent = wrong = 0
    for indices in ([3, 9, 15], [20, 30], [38, 1]):
        torchcodec_reading._warned.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                clip = read_frames(path, indices, info=info, decoder="torchcodec")
            except VideoError:
                continue
        distances = [
            np.abs(frame.astype(int) - known[index]).mean() for frame, index in zip(pixels(clip), indices, strict=True)
        ]
        wrong += max(distances) > 2
        silent += max(distances) > 2 and not caught
        auto = read_frames(path, indices, info=info)
        assert np.array_equal(pixels(auto), [known[index] for index in indices])
    assert not silent


@needs_torchcodec
def test_naming_it_outright_warns_once(zoo):
    path = zoo("mpeg4_packed.avi")
    info = probe(path)
    with pytest.warns(UserWarning, match=r"mpeg4_packed\.avi: .*neighbours.*decoder='auto' reads such files with PyAV"):
        read_frames(path, [3, 4], info=info, decoder="torchcodec")
    read_frames(path, [5, 6], info=info, decoder="torchcodec")  # a second warning would be an error


# Errors


@needs_torchcodec
def test_beyond_the_end(zoo):
    with pytest.raises(FramesOutOfRangeError, match=r"h264\.mp4: frame 44 .* has 40 frames") as caught:
        read_frames(zoo("h264.mp4"), [3, 44], decoder="torchcodec")
    assert caught.value.frames == 40


@needs_torchcodec
def test_damage_in_the_middle(shared_videos):
    path = shared_videos / "odd" / "decord_corrupted.mp4"
    known = list(sequential(path))
    assert np.array_equal(pixels(read_frames(path, [3], decoder="torchcodec"))[0], known[3])
    with pytest.raises(VideoError, match=r"decord_corrupted\.mp4: Could not push packet.*: Invalid data") as caught:
        read_frames(path, [40], decoder="torchcodec")
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)


@needs_torchcodec
@pytest.mark.parametrize("name", ["text.mp4", "empty.mp4", "missing.mp4"])
def test_what_is_no_video(tmp_path, zoo, name):
    """`probe` says so first; a file that changed since then is TorchCodec's to refuse."""
    path = tmp_path / name
    if name != "missing.mp4":
        path.write_text("no video\n" * (100 if name == "text.mp4" else 0))
    for info in (None, probe(zoo("h264.mp4"))):
        with pytest.raises(VideoError) as caught:
            read_frames(path, [0], info=info, decoder="torchcodec")
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert ".cpp" not in message


# The device


class Decoder:
    """Stands in for TorchCodec's decoder: frames that are all the number of their place."""

    made: list = []  # noqa: RUF012

    def __init__(self, source, **settings):
        Decoder.made.append((source, settings))

    def __len__(self):
        return 40

    def get_frames_at(self, positions):
        data = torch.tensor(positions, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, 48, 64)
        return types.SimpleNamespace(data=data, pts_seconds=torch.tensor(positions) / 25)


@pytest.fixture
def decoders(monkeypatch):
    module = types.ModuleType("torchcodec.decoders")
    module.VideoDecoder = Decoder
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)
    monkeypatch.setattr(Decoder, "made", [])
    monkeypatch.setattr(torchcodec_reading, "why_not", lambda: None)
    return Decoder.made


def test_the_device_is_passed_on(zoo, decoders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    path = zoo("mpeg4.mp4")
    requests = [ClipRequest([30, 2, 30], (0, 0, 8, 8)), ClipRequest([7], None, (4, 4))]
    clips = read_clips(path, requests, decoder="torchcodec", device="cuda:1")
    assert decoders == [(str(path), {"num_ffmpeg_threads": 1, "device": "cuda:1"})]
    assert [clip.shape for clip in clips] == [(3, 3, 8, 8), (1, 3, 4, 4)]
    assert clips[0][:, 0, 0, 0].tolist() == [30, 2, 30]
    assert clips[1].unique().tolist() == [7]


def test_without_a_gpu(decoders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UsageError, match="device='cuda': no GPU is to be found here; decode on the CPU, with device='cpu'"
    ):
        check_decoder("torchcodec", "cuda")
    check_decoder("torchcodec", "cpu")


def test_a_frame_of_another_time_is_a_wrong_frame(zoo, decoders, monkeypatch):
    late = Decoder.get_frames_at

    def early(self, positions):
        batch = late(self, positions)
        batch.pts_seconds[1] -= 0.04
        return batch

    monkeypatch.setattr(Decoder, "get_frames_at", early)
    path = zoo("mpeg4.mp4")
    said = "TorchCodec gave the frame at 0.360 s for frame 10, which is shown at 0.400 s"
    with pytest.raises(WrongFramesError, match=rf"mpeg4\.mp4: {said}$"):
        read_with_torchcodec(path, [ClipRequest([2, 10])], probe(path), strict=True)
    with pytest.warns(UserWarning, match=said):
        read_frames(path, [2, 10], decoder="torchcodec")


# Where it cannot be used


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.delitem(sys.modules, "torchcodec.decoders", raising=False)
    with pytest.raises(
        UsageError, match=r"decoder='torchcodec': .*not installed: pip install 'lightframe\[torchcodec\]'"
    ):
        check_decoder("torchcodec")


@pytest.mark.parametrize("error", [RuntimeError, OSError, ImportError])
def test_without_ffmpeg(monkeypatch, error):
    """As TorchCodec says it, at its first decoder or when it is imported: 123 lines."""
    text = "Could not load libtorchcodec. Likely causes:\n" + "  1. FFmpeg is not properly installed\n" * 122

    def fail(*args, **settings):
        raise error(text)

    module = types.ModuleType("torchcodec.decoders")
    module.VideoDecoder = fail
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)
    with pytest.raises(UsageError, match=r"does not load \(Could not load libtorchcodec.* install FFmpeg") as caught:
        check_decoder("torchcodec")
    assert "\n" not in str(caught.value)
    assert "decoder='pyav'" in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("no video of no bytes"), RuntimeError("Failed to open input buffer")])
def test_a_complaint_about_the_empty_video_means_that_it_works(monkeypatch, error):
    def fail(*args, **settings):
        raise error

    module = types.ModuleType("torchcodec.decoders")
    module.VideoDecoder = fail
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)
    assert why_not() is None
