"""What a scan says of one video, held against PyAV's own packets and a plain decode."""

import hashlib
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from h264_videos import bar_frames, decode, rotate, write_h264
from known_videos import write_lossless

from lightframe.datamodules.decoding import probe
from lightframe.datamodules.video_index import index_schema
from lightframe.tools.encoding import transcode_file
from lightframe.tools.video_record import VideoFile, decoded_timeline, video_record


def record(path: Path) -> dict:
    return video_record(VideoFile.of(path, path.parent))


def times(row: dict) -> list[Fraction]:
    """Of all frames, from a record."""
    pts = (
        row["pts"] if row["pts"] is not None else [row["pts_start"] + n * row["pts_step"] for n in range(row["frames"])]
    )
    return [int(time) * Fraction(row["unit_numerator"], row["unit_denominator"]) for time in pts]


def test_every_column_of_a_plain_video(tmp_path: Path) -> None:
    path = write_h264(tmp_path / "plain.mp4", bar_frames(30, 48, 64), gop_size=10, max_b_frames=0)
    content, status = path.read_bytes(), path.stat()
    row = record(path)
    assert set(row) == set(index_schema().names)
    keys = row.pop("key_frames")
    assert row == {
        "path": "plain.mp4",
        "size_bytes": len(content),
        "modified_ns": status.st_mtime_ns,
        "hash": hashlib.blake2b(content, digest_size=16).hexdigest(),
        "frames": 30,
        "fps": 25.0,
        "duration": pytest.approx(1.2),
        "width": 64,
        "height": 48,
        "rotation": 0,
        "codec": "h264",
        "pixel_format": "yuv420p",
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "pts_start": 0,
        "pts_step": 512,
        "pts": None,
        "unit_numerator": 1,
        "unit_denominator": 12800,
        "seekable": True,
        "error": None,
    }
    with av.open(str(path)) as container:
        assert keys.tolist() == [packet.pts for packet in container.demux(video=0) if packet.is_keyframe]
    assert len(keys) == 3


@pytest.mark.parametrize("start", [0, 7001])
def test_times_that_are_not_even(tmp_path: Path, start: int) -> None:
    pts = start + np.cumsum(np.random.default_rng(1).integers(1, 9000, size=20))
    path = write_h264(tmp_path / "variable.mp4", bar_frames(20), pts.tolist(), Fraction(1, 90000))
    row = record(path)
    shown, _ = decode(path)
    assert np.diff(shown).tolist() == [int(step) * Fraction(1, 90000) for step in np.diff(pts)]
    assert times(row) == shown
    assert row["seekable"]


def test_a_rotated_video_is_described_upright(tmp_path: Path) -> None:
    path = write_h264(tmp_path / "rotated.mp4", bar_frames(3, 48, 64))
    rotate(path, 1)  # clockwise
    row = record(path)
    assert (row["rotation"], row["width"], row["height"]) == (270, 48, 64)


def test_real_videos(shared_videos: Path) -> None:
    for path in sorted((shared_videos / "odd").iterdir()):
        row = record(path)
        if path.name == "decord_corrupted.mp4":
            continue
        shown, _ = decode(path)
        assert row["error"] is None, path.name
        assert row["frames"] == len(shown), path.name
        if row["seekable"]:
            assert times(row) == shown, path.name
        else:
            assert path.name.startswith("hmdb51"), path.name
            assert times(row) == [Fraction(number, 30) for number in range(len(shown))]


@pytest.mark.parametrize("pts", [[0, 1024, 512], [0, 512, 512], [0, None, 512]])
def test_time_stamps_that_do_not_tell_frames_apart(tmp_path: Path, pts: list[int | None]) -> None:
    info = probe(write_h264(tmp_path / "plain.mp4", bar_frames(5)))
    assert decoded_timeline(info, [0, 512, 1024]).seekable
    timeline = decoded_timeline(info, pts)
    assert (timeline.seekable, timeline.count, timeline.unit) == (False, 3, Fraction(1, 25))
    assert timeline.pts.tolist() == [0, 1, 2]


def test_damage_in_the_middle(shared_videos: Path) -> None:
    row = record(shared_videos / "odd" / "decord_corrupted.mp4")
    assert row["error"] == "frame 28 of 50 (2.8 s): Invalid data found when processing input"
    with av.open(str(shared_videos / "odd" / "decord_corrupted.mp4")) as container:
        shown = []
        for packet in container.demux(video=0):
            try:
                shown += [frame.pts * frame.time_base for frame in packet.decode()]
            except av.error.InvalidDataError:
                assert len(shown) == 28
    assert times(row) == shown
    assert len(shown) > 28


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(40, 64, 64, 3), dtype=np.uint8)
    transcode_file(write_h264(tmp_path / "source.mp4", list(noise)), tmp_path / "whole.mp4")
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    row = record(tmp_path / "cut.mp4")
    said = re.fullmatch(r"frame (\d+) of (\d+) \(0\.\d s\): Invalid data.*", row["error"])
    assert said
    assert row["frames"] - 3 <= int(said[1]) <= row["frames"] <= int(said[2])  # some come out late, put in order
    assert 10 < row["frames"] < 30
    assert times(row) == [Fraction(number, 25) for number in range(row["frames"])]


def nothing(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("this is no video")


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def sound(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("make", "reason", "finished"),
    [
        (nothing, "the file is empty", True),
        (text, "Invalid data found when processing input", True),
        (sound, "holds no video stream", True),
        (link_to_nowhere, "No such file or directory", False),
    ],
)
def test_what_is_no_video(tmp_path: Path, make, reason: str, finished: bool) -> None:
    make(tmp_path / "odd.mp4")
    row = record(tmp_path / "odd.mp4")
    assert row["error"] == reason
    # What could not be read may be readable another time, though nothing about the file has changed.
    assert (row.get("hash") is not None, row.get("size_bytes") is not None) == (finished, finished)


def test_the_path_is_relative_and_has_forward_slashes(tmp_path: Path) -> None:
    path = write_lossless(tmp_path / "train" / "wave" / "a b.mkv", bar_frames(1))
    assert video_record(VideoFile.of(path, tmp_path))["path"] == "train/wave/a b.mkv"
