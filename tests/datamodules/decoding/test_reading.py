from contextlib import contextmanager

import numpy as np
import pytest
import torch
from known_videos import moving_frames, sequential

from lightframe.datamodules.decoding import (
    DECODERS,
    ClipRequest,
    FramesOutOfRangeError,
    VideoError,
    check_decoder,
    describe_decoder,
    open_video,
    probe,
    read_clips,
    read_frames,
    reading,
)
from lightframe.datamodules.decoding import frames as frames_module
from lightframe.errors import UsageError

FRAMES = list(np.random.default_rng(0).integers(0, 256, size=(10, 24, 32, 3), dtype=np.uint8))


@pytest.fixture
def video(make_video):
    """Ten lossless frames of noise, 24 x 32 pixels."""
    return make_video("a.mkv", FRAMES)


def pixels(clip):
    """(T, H, W, 3) of a clip (T, 3, H, W)."""
    return clip.permute(0, 2, 3, 1).numpy()


# Frames


@pytest.mark.parametrize("indices", [[0], [3, 4, 5], [7, 2, 5], [6, 6, 0, 6], [9], range(10), np.array([8, 1])])
def test_exactly_the_frames_in_their_order(video, indices):
    clip = read_frames(video, indices)
    assert clip.dtype == torch.uint8
    assert clip.shape == (len(indices), 3, 24, 32)
    assert np.array_equal(pixels(clip), [FRAMES[index] for index in indices])


def test_channels_are_last_in_memory(video):
    clip = read_frames(video, [1, 2], (2, 2, 20, 24), 16)
    assert clip.shape == (2, 3, 16, 16)
    assert clip.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("crop", [(0, 0, 24, 32), (5, 3, 7, 11), (23, 31, 1, 1), (4, 6, 8, 10)])
def test_crop(video, crop):
    top, left, height, width = crop
    known = [FRAMES[index][top : top + height, left : left + width] for index in (2, 0)]
    assert np.array_equal(pixels(read_frames(video, [2, 0], crop)), known)


@pytest.mark.parametrize(("size", "shape"), [((12, 20), (12, 20)), (16, (16, 16))])
def test_one_size_is_a_square(video, size, shape):
    assert read_frames(video, [1], size=size).shape == (1, 3, *shape)


def test_what_is_known_of_the_file_is_not_asked_again(video, monkeypatch):
    info = probe(video)
    monkeypatch.setattr(reading, "probe", None)
    assert np.array_equal(pixels(read_frames(video, [4], info=info)), FRAMES[4:5])


# Clips

REQUESTS = [
    ClipRequest([0, 1, 2]),
    ClipRequest([30, 2, 30, 7], (4, 6, 32, 40), (24, 24)),
    ClipRequest([2, 38], (5, 7, 31, 41), (20, 30), mirror=True),
    ClipRequest([39, 0], None, (16, 20)),
    ClipRequest([11, 12, 13], (8, 8, 24, 24), None, mirror=True),
]


@pytest.mark.parametrize("kind", ["h264.mp4", "vp9.webm", "h264_b.avi", "mpeg4_packed.avi"])
def test_several_clips_are_so_many_single_ones(zoo, kind):
    path = zoo(kind)
    info = probe(path)
    clips = read_clips(path, REQUESTS, info, decoder="pyav")
    assert [clip.shape for clip in clips] == [
        (3, 3, 48, 64),
        (4, 3, 24, 24),
        (2, 3, 20, 30),
        (2, 3, 16, 20),
        (3, 3, 24, 24),
    ]
    for request, clip in zip(REQUESTS, clips, strict=True):
        (single,) = read_clips(path, [request], info, decoder="pyav")
        assert torch.equal(clip, single)
    frames = list(sequential(path))
    assert np.array_equal(pixels(clips[0]), frames[:3])


def test_a_file_is_opened_once_and_a_frame_decoded_once(zoo, monkeypatch):
    opened, decoded = [], []

    @contextmanager
    def watched(path):
        opened.append(path)
        with open_video(path) as video:
            yield video

    def noted(path, positions, timeline):
        for position, frame in wanted_frames(path, positions, timeline):
            decoded.append(position)
            yield position, frame

    wanted_frames = frames_module.wanted_frames
    monkeypatch.setattr(frames_module, "open_video", watched)
    monkeypatch.setattr("lightframe.datamodules.decoding.pyav_reading.wanted_frames", noted)
    path = zoo("h264.mp4")
    read_clips(path, REQUESTS, probe(path))
    assert opened == [path]
    assert sorted(decoded) == sorted({index for request in REQUESTS for index in request.indices})


def test_into_given_memory(zoo):
    path = zoo("h264.mp4")
    requests = [ClipRequest([0, 9], None, (16, 20)), ClipRequest([30, 30], (4, 6, 32, 40), (16, 20), mirror=True)]
    memory = torch.zeros(2, 2, 16, 20, 3, dtype=torch.uint8)
    clips = read_clips(path, requests, out=list(memory))
    alone = read_clips(path, requests)
    for number in range(2):
        assert clips[number].data_ptr() == memory[number].data_ptr()
        assert torch.equal(memory[number].permute(0, 3, 1, 2), alone[number])
        assert torch.equal(clips[number], alone[number])


# What cannot be asked for


@pytest.mark.parametrize("indices", [[], [-1], [2, -3]])
def test_indices_that_are_no_frame_numbers(numbered_video, indices):
    with pytest.raises(UsageError, match="frame numbers from 0"):
        read_frames(numbered_video, indices)


@pytest.mark.parametrize(
    "crop", [(0, 0, 25, 32), (0, 0, 24, 33), (-2, 0, 10, 10), (20, 0, 6, 6), (4, 4, 0, 4), (0, 30, 4, 4)]
)
def test_a_crop_outside_the_frame(video, crop):
    with pytest.raises(UsageError, match=r"a\.mkv: no crop \(.*\) can be taken of 24 x 32 pixels"):
        read_frames(video, [0], crop)


def test_a_size_of_nothing(video):
    with pytest.raises(UsageError, match=r"size must be pixels from 1 on, got \(0, 4\)"):
        read_frames(video, [0], size=(0, 4))


def test_beyond_the_end_in_one_of_several_clips(numbered_video):
    with pytest.raises(FramesOutOfRangeError, match=r"numbered\.mkv: frame 25 .* has 20 frames") as caught:
        read_clips(numbered_video, [ClipRequest([1]), ClipRequest([25, 0])])
    assert caught.value.frames == 20


def test_pictures_that_cannot_be_converted(numbered_video, monkeypatch):
    """Colours of which FFmpeg has no notion."""
    import av

    def refuse(self, frame):
        raise av.error.OSError(95, "Operation not supported")

    monkeypatch.setattr("lightframe.datamodules.decoding.pyav_reading.Scaler.__call__", refuse)
    with pytest.raises(VideoError, match=r"numbered\.mkv: .* to RGB: Operation not supported$"):
        read_frames(numbered_video, [0])


# Decoders


def test_an_unknown_decoder_is_named_with_the_nearest_one(video):
    with pytest.raises(UsageError, match="one of auto, pyav, torchcodec, got 'pyva'; did you mean 'pyav'"):
        read_frames(video, [0], decoder="pyva")


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_pyav_decodes_on_the_cpu_only(decoder):
    with pytest.raises(UsageError, match="device='cuda' needs decoder='torchcodec'"):
        check_decoder(decoder, "cuda")


def test_each_decoder_is_described():
    assert set(DECODERS) == {"auto", "pyav", "torchcodec"}
    assert describe_decoder("pyav") == "videos are decoded with pyav on cpu, as asked for"
    assert describe_decoder("torchcodec", "cuda") == "videos are decoded with torchcodec on cuda, as asked for"
    assert describe_decoder("auto").startswith("videos are decoded with PyAV")


@pytest.mark.parametrize(
    ("reason", "text"), [("it is not there", "(it is not there)"), (None, "whole frames of MPEG-4")]
)
def test_auto_says_why(monkeypatch, reason, text):
    monkeypatch.setattr(reading, "why_not", lambda: reason)
    assert text in describe_decoder("auto")


@pytest.fixture
def torchcodec_calls(monkeypatch):
    """Requests that are read with TorchCodec; it gives zeros, or raises what is in the second list."""
    calls, errors = [], []

    def fake(path, requests, info, device="cpu", strict=False):
        calls.append((requests, device, strict))
        if errors:
            raise errors[0]
        return [
            torch.zeros(len(request.indices), 3, info.height, info.width, dtype=torch.uint8) for request in requests
        ]

    monkeypatch.setattr(reading, "why_not", lambda: None)
    monkeypatch.setattr(reading, "check_torchcodec", lambda device: None)
    monkeypatch.setattr(reading, "read_with_torchcodec", fake)
    return calls, errors


@pytest.mark.parametrize(
    ("kind", "request_", "torchcodec"),
    [
        ("mpeg4.avi", ClipRequest([1]), True),  # whole frames of MPEG-4 that are told by their time
        ("mpeg4.avi", ClipRequest([1], size=(24, 24)), False),
        ("mpeg4.avi", ClipRequest([1], (0, 0, 8, 8)), False),
        ("mpeg4_b.avi", ClipRequest([1]), False),
        ("mpeg4_packed.avi", ClipRequest([1]), False),
        ("h264.mp4", ClipRequest([1]), False),
    ],
)
def test_auto_takes_torchcodec_where_it_is_right_and_faster(zoo, torchcodec_calls, kind, request_, torchcodec):
    calls, _ = torchcodec_calls
    read_clips(zoo(kind), [request_])
    assert calls == ([([request_], "cpu", True)] if torchcodec else [])
    read_clips(zoo(kind), [request_], decoder="pyav")
    assert len(calls) == torchcodec


def test_auto_goes_on_with_pyav_where_torchcodec_fails(zoo, torchcodec_calls):
    calls, errors = torchcodec_calls
    errors.append(VideoError("a.mp4: wrong frames"))
    clip = read_frames(zoo("mpeg4.avi"), [3])
    assert len(calls) == 1
    assert np.array_equal(pixels(clip)[0], list(sequential(zoo("mpeg4.avi")))[3])
    with pytest.raises(VideoError, match="wrong frames"):
        read_frames(zoo("mpeg4.avi"), [3], decoder="torchcodec")


def test_torchcodec_by_name(zoo, torchcodec_calls):
    calls, _ = torchcodec_calls
    requests = [ClipRequest([1, 2])]
    memory = torch.ones(1, 2, 48, 64, 3, dtype=torch.uint8)
    (clip,) = read_clips(zoo("h264.mp4"), requests, decoder="torchcodec", device="cuda", out=list(memory))
    assert calls == [(requests, "cuda", False)]
    assert clip.data_ptr() == memory.data_ptr()
    assert not memory.any()


def test_frames_are_those_that_were_encoded(zoo):
    """The zoo's frames differ by more than their coding errs: none passes for its neighbour."""
    known = moving_frames(40)
    for index, frame in enumerate(pixels(read_frames(zoo("h264_444.mp4"), range(40)))):
        distances = [np.abs(frame.astype(int) - other).mean() for other in known]
        assert int(np.argmin(distances)) == index
