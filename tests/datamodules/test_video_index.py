"""What an index knows of videos, without opening them."""

import multiprocessing
import os
import pickle
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from h264_videos import bar_frames, decode, write_h264
from known_videos import write_lossless

from lightframe.datamodules.decoding import probe
from lightframe.datamodules.video_index import INDEX_NAME, VideoIndex, index_table, read_index, write_index
from lightframe.errors import UsageError
from lightframe.tools.parallel import in_processes
from lightframe.tools.scan import scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scanned videos: with even and with uneven time stamps, one that can only be counted, and a broken one."""
    folder = tmp_path / "data" / "videos"
    write_h264(folder / "train" / "even.mp4", bar_frames(30), gop_size=7)
    write_h264(folder / "train" / "uneven.mp4", bar_frames(5), [7, 8, 10, 20, 21])
    write_h264(folder / "train" / "counted.avi", bar_frames(9))
    (folder / "train" / "broken.mp4").write_text("no video")
    scan(folder, workers=2)
    return folder


def refuse_to_open(*args: object, **kwargs: object) -> None:
    raise AssertionError("the video was opened")


@pytest.mark.parametrize("name", ["even.mp4", "uneven.mp4", "counted.avi"])
def test_an_entry_is_what_probing_gives(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "train" / name
    expected = probe(path)
    index = VideoIndex.load(folder / INDEX_NAME)
    with monkeypatch.context() as patch:
        patch.setattr(av, "open", refuse_to_open)
        entry = index.entry(path)
        assert index.error(path) is None
    assert entry is not None
    timeline, other = entry.timeline, expected.timeline
    assert entry._replace(timeline=other) == expected
    assert (timeline.start, timeline.step, timeline.count) == (other.start, other.step, other.count)
    assert (timeline.unit, timeline.seekable) == (other.unit, other.seekable)
    assert timeline.keys.tolist() == other.keys.tolist()
    assert (timeline.explicit is None) == (other.explicit is None) == (name != "uneven.mp4")
    assert timeline.seekable == (name != "counted.avi")
    if timeline.seekable:
        assert [int(time) * timeline.unit for time in timeline.pts] == decode(path)[0]
    assert timeline.keys.dtype == np.int64


def test_errors(folder: Path) -> None:
    index = VideoIndex.load(folder / INDEX_NAME)
    assert index.error(folder / "train" / "broken.mp4") == "Invalid data found when processing input"
    assert index.entry(folder / "train" / "broken.mp4") is None
    assert len(index) == 4


def test_a_video_that_changed_or_is_new_is_unknown(folder: Path) -> None:
    index = VideoIndex.load(folder / INDEX_NAME)
    even, broken = folder / "train" / "even.mp4", folder / "train" / "broken.mp4"
    for path in (even, broken):
        later = path.stat().st_mtime_ns + 1
        os.utime(path, ns=(later, later))
    uneven = folder / "train" / "uneven.mp4"
    before = uneven.stat()
    uneven.write_bytes(uneven.read_bytes() + b"\0")
    os.utime(uneven, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "train" / "counted.avi").unlink()
    new = write_h264(folder / "train" / "new.mp4", bar_frames(2))
    for path in (even, broken, uneven, folder / "train" / "counted.avi", new, folder.parent / "train", folder):
        assert index.entry(path) is None
        assert index.error(path) is None


def test_paths_may_be_relative_and_the_folder_may_move(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "train")
    assert VideoIndex.load("../" + INDEX_NAME).entry("even.mp4") is not None
    monkeypatch.chdir(folder.parent)
    moved = folder.rename(folder.with_name("moved"))
    assert VideoIndex.load(moved / INDEX_NAME).entry("moved/train/../train/even.mp4") is not None


def test_links_are_not_followed_to_where_a_video_is_unknown(tmp_path: Path) -> None:
    write_lossless(tmp_path / "disk" / "wave" / "a.mkv", bar_frames(3))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wave").symlink_to(tmp_path / "disk" / "wave")
    scan(tmp_path / "data")
    index = VideoIndex.find([tmp_path / "data"])
    assert index.entry(tmp_path / "data" / "wave" / "a.mkv") is not None
    assert index.entry(tmp_path / "disk" / "wave" / "a.mkv") is None


def test_an_index_elsewhere_knows_its_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    file = scan(Path("videos"), output=tmp_path / "index.parquet")
    monkeypatch.chdir(tmp_path)
    assert VideoIndex.load(file).entry(folder / "train" / "even.mp4") is not None


def test_finding_it(folder: Path, tmp_path: Path) -> None:
    deep = folder / "train" / "a" / "b"
    deep.mkdir(parents=True)
    for root, found in ((folder, 1), (folder / "train", 1), (deep.parent, 1), (deep, 0), (folder.parent, 0)):
        assert VideoIndex.find([root]).files == [folder / INDEX_NAME] * found
    other = tmp_path / "other"
    write_lossless(other / "a.mkv", bar_frames(3))
    scan(other)
    index = VideoIndex.find([folder / "train", other, folder, tmp_path])
    assert index.files == [folder / INDEX_NAME, other / INDEX_NAME]
    assert len(index) == 5
    assert index.entry(other / "a.mkv").frames == 3
    assert index.entry(folder / "train" / "even.mp4").frames == 30
    assert len(VideoIndex.find([])) == 0
    assert VideoIndex.find([]).entry("a.mkv") is None


def test_it_goes_to_other_processes(folder: Path) -> None:
    index = VideoIndex.load(folder / INDEX_NAME)
    path = folder / "train" / "uneven.mp4"
    expected = index.entry(path).timeline.pts.tolist()
    assert pickle.loads(pickle.dumps(index)).entry(path).timeline.pts.tolist() == expected
    ((_, entry),) = in_processes(index.entry, [path], 1)
    assert entry.timeline.pts.tolist() == expected
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: sender.send(index.entry(path).timeline.pts.tolist()))
    child.start()
    assert receiver.recv() == expected
    child.join()


def row(path: str, folder: Path, **values: object) -> dict[str, object]:
    status = (folder / path).stat()
    return {
        "path": path, "size_bytes": status.st_size, "modified_ns": status.st_mtime_ns, "frames": 300, "fps": 30.0,
        "width": 4, "height": 2, "codec": "h264", "pts_start": 0, "pts_step": 1, "pts": None, "key_frames": [0],
        "unit_numerator": 1, "unit_denominator": 30, "seekable": True, **values,
    }  # fmt: skip


def test_every_name_is_found(tmp_path: Path) -> None:
    names = ["a.mp4", "a/b.mp4", "a-b.mp4", "a b.mp4", "A.mp4", "é.mp4", "\uffee.mp4", "\U0001f600.mp4", "a/b/c.mp4",
             os.fsdecode(b"caf\xe9.mp4"), "~.mp4", "[x].mp4", "ab.mp4"]  # fmt: skip
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * number)
    known = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    rows = [
        row(name, tmp_path, frames=number + 1) | {"path": shown}
        for number, (name, shown) in enumerate(zip(names, known, strict=True))
    ]
    write_index(index_table(rows), tmp_path / INDEX_NAME, tmp_path)
    index = VideoIndex.find([tmp_path])
    assert [index.entry(tmp_path / name).frames for name in names] == list(range(1, len(names) + 1))


def test_a_large_index_is_no_load_of_python_objects(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    count = 5000
    pts = np.cumsum(np.ones(300, np.int64))
    pattern = row("a.mp4", tmp_path, pts=pts, key_frames=pts[::12])
    rows = [{**pattern, "path": f"some_class/video_{number:06d}.mp4"} for number in range(count - 1)]
    write_index(index_table([*rows, pattern]), tmp_path / INDEX_NAME, tmp_path)
    tracemalloc.start()
    try:
        index = VideoIndex.find([tmp_path])
        entry = index.entry(tmp_path / "a.mp4")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(index) == count
    assert np.array_equal(entry.timeline.explicit, pts)
    assert entry.timeline.unit == Fraction(1, 30)
    assert kept < 100 * count  # the time stamps of one video as Python's numbers would take 10,000


def test_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no index"):
        VideoIndex.load(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(UsageError, match="is no index of lightframe scan"):
        VideoIndex.load(tmp_path / "text.parquet")
    pq.write_table(index_table([]), tmp_path / "other.parquet")  # a table of somebody else lacks the folder
    with pytest.raises(UsageError, match="is no index of lightframe scan"):
        read_index(tmp_path / "other.parquet")
