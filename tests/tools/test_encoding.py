"""One video re-encoded: the same frames at the same times, upright, in a form that decodes fast."""

import errno
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from h264_videos import bar_frames, decode, psnr, rotate, write_h264
from known_videos import write_lossless

from lightframe.datamodules.decoding import VideoError
from lightframe.errors import UsageError
from lightframe.tools import encoding
from lightframe.tools.encoding import TranscodeSettings, target_size, transcode_file


def regular(folder: Path) -> Path:
    return write_lossless(folder / "regular.mkv", bar_frames(30))


def variable_rate(folder: Path) -> Path:
    pts = np.cumsum(np.random.default_rng(0).integers(500, 9000, size=30)).tolist()
    return write_h264(folder / "variable.mp4", bar_frames(30), pts, Fraction(1, 90000))


def late_start(folder: Path) -> Path:
    return write_h264(folder / "late.ts", bar_frames(30), [123_457 + 1001 * n for n in range(30)], Fraction(1, 30000))


def key_frames_everywhere(folder: Path) -> Path:
    return write_h264(folder / "keys.mp4", bar_frames(30), gop_size=1)


@pytest.mark.parametrize("make", [regular, variable_rate, late_start, key_frames_everywhere])
def test_the_frames_and_their_times_stay(tmp_path: Path, make) -> None:
    source, target = make(tmp_path), tmp_path / "out" / "target.mp4"
    assert transcode_file(source, target) == 30
    (times, frames), (new_times, new_frames) = decode(source), decode(target)
    assert new_times == times
    for number, frame in enumerate(frames):
        likeness = [psnr(frame, other) for other in new_frames]
        assert likeness[number] > 30
        assert int(np.argmax(likeness)) in (number, number - 64 // 3, number + 64 // 3)  # the bar comes round again


def test_a_negative_start_becomes_zero(tmp_path: Path) -> None:
    # The clock of a transport stream has 33 bits, and here it runs over in the middle.
    pts = [2**33 - 20_000 + 3600 * number for number in range(10)]
    source = write_h264(tmp_path / "early.ts", bar_frames(10), pts, Fraction(1, 90000))
    assert decode(source)[0][0] == Fraction(-2, 9)
    transcode_file(source, tmp_path / "target.mp4")
    assert decode(tmp_path / "target.mp4")[0] == [Fraction(3600 * number, 90000) for number in range(10)]


def test_frames_without_times_come_at_the_average_rate(tmp_path: Path) -> None:
    small = write_h264(tmp_path / "small.h264", bar_frames(5, 32, 48))
    large = write_h264(tmp_path / "large.h264", bar_frames(7, 64, 96))
    source = tmp_path / "both.h264"
    source.write_bytes(small.read_bytes() + large.read_bytes())
    assert transcode_file(source, tmp_path / "target.mp4") == 12
    times, frames = decode(tmp_path / "target.mp4")
    assert times == [Fraction(number, 25) for number in range(12)]
    # The size changes in the middle of the source: what comes then is scaled to what was before.
    assert {frame.shape for frame in frames} == {(32, 48, 3)}
    assert psnr(frames[11][:24], bar_frames(7, 64, 96)[6][:48:2, ::2]) > 20


def test_real_videos(shared_videos: Path, tmp_path: Path) -> None:
    for path in sorted((shared_videos / "odd").iterdir()):
        if path.name in ("decord_corrupted.mp4", "skv_bigbuckbunny.mp4"):
            continue
        transcode_file(path, tmp_path / "target.mp4")
        (times, frames), (new_times, new_frames) = decode(path), decode(tmp_path / "target.mp4")
        assert len(new_times) == len(times), path.name
        rises = all(earlier < later for earlier, later in pairwise(times))
        assert new_times == (times if rises else [Fraction(number, 30) for number in range(len(times))]), path.name
        height, width = new_frames[0].shape[:2]
        assert min(height, width) <= 256
        assert height % 2 == width % 2 == 0
        if frames[0].shape[0] - height in (0, 1):  # neither turned nor scaled
            for frame, new in zip(frames, new_frames, strict=True):
                assert psnr(frame[:height, :width].mean(-1), new.mean(-1)) > 30, path.name


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rotated_video_becomes_upright(tmp_path: Path, turns: int) -> None:
    source = write_h264(tmp_path / "rotated.mp4", bar_frames(4))
    rotate(source, turns)
    transcode_file(source, tmp_path / "target.mp4")
    with av.open(str(tmp_path / "target.mp4")) as container:
        frames = list(container.decode(video=0))
    for frame, pixels in zip(frames, bar_frames(4), strict=True):
        assert not frame.rotation
        assert psnr(frame.to_ndarray(format="rgb24"), np.rot90(pixels, -turns)) > 30  # k > 0 is counter-clockwise


def test_pixels_of_an_odd_edge_are_cut_off(tmp_path: Path) -> None:
    source = write_lossless(tmp_path / "odd.mkv", bar_frames(4, 41, 53))
    transcode_file(source, tmp_path / "target.mp4")
    for frame, pixels in zip(decode(tmp_path / "target.mp4")[1], bar_frames(4, 41, 53), strict=True):
        assert frame.shape == (40, 52, 3)
        assert psnr(frame, pixels[:40, :52]) > 30


def test_the_short_side_is_scaled(tmp_path: Path) -> None:
    source = write_lossless(tmp_path / "large.mkv", bar_frames(4, 96, 192))
    transcode_file(source, tmp_path / "target.mp4", TranscodeSettings(short_side=48))
    for frame, pixels in zip(decode(tmp_path / "target.mp4")[1], bar_frames(4, 96, 192), strict=True):
        means = pixels.reshape(48, 2, 96, 2, 3).mean((1, 3))
        assert frame.shape == means.shape
        assert psnr(frame, means) > 30


@pytest.mark.parametrize("height", range(1, 70, 7))
@pytest.mark.parametrize("width", range(1, 70, 11))
def test_sizes(height: int, width: int) -> None:
    new_height, new_width = target_size(height, width, 32)
    assert new_height % 2 == new_width % 2 == 0
    assert min(new_height, new_width) == max(min(32, height // 2 * 2, width // 2 * 2), 2)
    if min(height, width) > 1:
        assert new_height <= height
        assert new_width <= width
        scale = min(32 / min(height, width), 1)
        assert abs(new_height - height * scale) <= 1
        assert abs(new_width - width * scale) <= 1


@pytest.mark.parametrize("interval", [1, 5, 12])
def test_key_frames_are_never_further_apart_than_asked_for(tmp_path: Path, interval: int) -> None:
    source = write_lossless(tmp_path / "source.mkv", bar_frames(40))
    transcode_file(source, tmp_path / "target.mp4", TranscodeSettings(keyframe_interval=interval))
    with av.open(str(tmp_path / "target.mp4")) as container:
        packets = sorted((packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size)
    keys = [place for place, (_, key) in enumerate(packets) if key]
    assert keys[0] == 0
    assert np.diff([*keys, 40]).max() == interval  # the bar makes no cuts, which would bring further key frames


def test_the_form_of_the_file(tmp_path: Path) -> None:
    source = tmp_path / "sound.mp4"
    write_h264(source, bar_frames(4))
    with av.open(str(source)) as original, av.open(str(tmp_path / "with_sound.mkv"), "w") as container:
        video = container.add_stream_from_template(original.streams.video[0])
        audio = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(audio.encode(silence))
        container.mux(audio.encode())
        for packet in original.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
    transcode_file(tmp_path / "with_sound.mkv", tmp_path / "target.mp4")
    with av.open(str(tmp_path / "target.mp4")) as container:
        assert len(container.streams) == 1
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.video[0].codec_context.codec.canonical_name == "h264"
    content = (tmp_path / "target.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # opening it takes one read, from its beginning


@pytest.mark.parametrize(("matrix", "value_range"), [(1, 1), (1, 2), (5, 1), (2, 0)])
def test_colours_keep_their_matrix_and_range(tmp_path: Path, matrix: int, value_range: int) -> None:
    source = write_h264(tmp_path / "source.mp4", bar_frames(3), colorspace=matrix, color_range=value_range)
    transcode_file(source, tmp_path / "target.mp4")
    with av.open(str(source)) as old, av.open(str(tmp_path / "target.mp4")) as new:
        first, second = next(old.decode(video=0)), next(new.decode(video=0))
        assert (int(second.colorspace), int(second.color_range)) == (matrix, value_range)
        brightness = [frame.reformat(format="gray").to_ndarray() for frame in (first, second)]
    assert psnr(*brightness) > 30


def test_damage_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(40, 64, 64, 3), dtype=np.uint8)
    transcode_file(write_h264(tmp_path / "source.mp4", list(noise)), tmp_path / "whole.mp4")
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4: .* \(behind \d+ frames\)"):
        transcode_file(tmp_path / "cut.mp4", tmp_path / "out" / "target.mp4")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_not_the_videos_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = regular(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(encoding.os, "fsync", full)
    with pytest.raises(UsageError, match=r"'.*target\.mp4' cannot be written: No space left on device"):
        transcode_file(source, tmp_path / "out" / "target.mp4")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        transcode_file(regular(tmp_path), tmp_path / "file" / "target.mp4")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"short_side": 255}, "even"), ({"short_side": 8}, "even"), ({"keyframe_interval": 0}, "at least 1"),
     ({"crf": 52}, "crf"), ({"crf": -1}, "crf")],
)  # fmt: skip
def test_settings_out_of_range(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TranscodeSettings(**settings)
