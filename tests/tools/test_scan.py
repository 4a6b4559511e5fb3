"""A folder scanned: what is read, what is written, and what is said."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dying_reader import dying_record
from h264_videos import bar_frames, write_h264
from known_videos import write_lossless

from lightframe.datamodules.video_index import INDEX_NAME
from lightframe.errors import UsageError
from lightframe.tools import scan as module
from lightframe.tools.scan import scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three videos, all different, in two splits."""
    folder = tmp_path / "videos"
    write_lossless(folder / "train" / "wave" / "a.mkv", bar_frames(5))
    write_h264(folder / "train" / "jump" / "b.mp4", bar_frames(6))
    write_lossless(folder / "val" / "wave" / "c.mkv", bar_frames(7))
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Tells which videos were read since it was last asked."""
    seen: list[str] = []
    in_processes = module.in_processes

    def noting(function, items, *args):
        seen.extend(video.name for video in items)
        return in_processes(function, items, *args)

    monkeypatch.setattr(module, "in_processes", noting)

    def read() -> list[str]:
        names = sorted(seen)
        seen.clear()
        return names

    return read


def rows(file: Path) -> dict[str, dict]:
    """The index as any other program reads it."""
    return {row["path"]: row for row in pq.read_table(file).to_pylist()}


ALL = ["train/jump/b.mp4", "train/wave/a.mkv", "val/wave/c.mkv"]


def test_the_index(folder: Path) -> None:
    file = scan(folder)
    assert file == folder / INDEX_NAME
    found = rows(file)
    assert list(found) == ALL
    assert [row["frames"] for row in found.values()] == [6, 5, 7]
    assert all(row["error"] is None and row["pts"] is None for row in found.values())
    assert [entry.name for entry in folder.iterdir() if not entry.is_dir()] == [INDEX_NAME]


def test_scanned_again_only_what_changed_is_read(folder: Path, read: Callable[[], list[str]]) -> None:
    file = scan(folder)
    before = rows(file)
    assert read() == ALL
    scan(folder)
    assert read() == []
    assert rows(file) == before

    touched = folder / "train/wave/a.mkv"
    later = touched.stat().st_mtime_ns + 1000
    os.utime(touched, ns=(later, later))
    write_lossless(folder / "val" / "jump" / "new.mkv", bar_frames(2))
    (folder / "val/wave/c.mkv").unlink()
    scan(folder)
    assert read() == ["train/wave/a.mkv", "val/jump/new.mkv"]
    after = rows(file)
    assert list(after) == ["train/jump/b.mp4", "train/wave/a.mkv", "val/jump/new.mkv"]
    assert after["train/jump/b.mp4"] == before["train/jump/b.mp4"]
    assert after["train/wave/a.mkv"] == {**before["train/wave/a.mkv"], "modified_ns": later}

    content = bytearray(touched.read_bytes())
    touched.write_bytes(content + b"\0")
    os.utime(touched, ns=(later, later))
    scan(folder)
    assert read() == ["train/wave/a.mkv"]


def test_a_scan_that_is_stopped_goes_on_where_it_was(
    folder: Path, read: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping:
        def __init__(self, *args) -> None:
            self.results = working(*args)

        def __iter__(self):
            yield next(self.results)
            raise KeyboardInterrupt

        def close(self) -> None:
            self.results.close()

    working = module.in_processes
    monkeypatch.setattr(module, "in_processes", Stopping)
    with pytest.raises(KeyboardInterrupt):
        scan(folder, workers=1)
    monkeypatch.setattr(module, "in_processes", working)
    (done,) = rows(folder / INDEX_NAME)
    assert read() == ALL
    scan(folder)
    assert read() == sorted({*ALL} - {done})


def test_long_scans_are_saved_on_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    write_index = module.write_index
    monkeypatch.setattr(module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(
        module, "write_index", lambda table, *where: saved.append(len(table)) or write_index(table, *where)
    )
    scan(folder)
    assert saved == [0, 1, 2, 3, 3]


def test_a_video_that_kills_its_reader_is_broken_and_tried_again(
    folder: Path, read: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("deadly", "endless"):
        write_lossless(folder / "train" / "wave" / f"{name}.mkv", bar_frames(3))
    with monkeypatch.context() as patch:
        patch.setattr(module, "video_record", dying_record)
        file = scan(folder, workers=2, time_limit=8)
    found = rows(file)
    assert found["train/wave/deadly.mkv"]["error"] == "the process that worked on it was ended by SIGABRT"
    assert found["train/wave/endless.mkv"]["error"] == "it took longer than 8 s"
    assert [found[path]["frames"] for path in ALL] == [6, 5, 7]
    read()
    scan(folder)
    assert read() == ["train/wave/deadly.mkv", "train/wave/endless.mkv"]
    assert all(row["error"] is None for row in rows(file).values())


def test_the_summary(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "val" / "wave" / "leak.mkv").hardlink_to(folder / "train/wave/a.mkv")
    (folder / "val" / "wave" / "twice.mkv").hardlink_to(folder / "val/wave/c.mkv")
    (folder / "val" / "wave" / "empty.mp4").touch()
    (folder / "val" / "wave" / "also_empty.mp4").touch()
    scan(folder)
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert said.startswith(f"7 videos in {folder}: 0.00 hours")
    assert ["class", "train", "val"] in lines
    assert ["wave", "1", "5"] in lines
    assert ["jump", "1", "0"] in lines
    assert ["duration", "(s)", "0.2", "0.2", "0.24", "0.28", "0.28"] in lines  # of 5, 5, 6, 7 and 7 frames
    assert ["width", "x", "height", "64x48", "(5)"] in lines
    assert ["codec", "ffv1", "(4),", "h264", "(1)"] in lines
    assert "2 of 7 videos are broken" in said
    assert "val/wave/empty.mp4: the file is empty" in said
    leak, twice = said.index("in several splits"), said.index("in one split")
    assert leak < said.index("train/wave/a.mkv = val/wave/leak.mkv") < twice
    assert twice < said.index("val/wave/c.mkv = val/wave/twice.mkv")
    assert "empty.mp4 =" not in said


def test_copies_in_another_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    (other / "x").mkdir(parents=True)
    (other / "x" / "same.mkv").hardlink_to(folder / "train/wave/a.mkv")
    with pytest.raises(UsageError, match=r"there is no index '.*other.*': write it with lightframe scan"):
        scan(folder, against=other)
    assert not (folder / INDEX_NAME).exists()
    scan(other)
    capsys.readouterr()
    scan(folder, against=[other])
    assert f"{folder}/train/wave/a.mkv = {other}/x/same.mkv" in capsys.readouterr().out
    with pytest.raises(UsageError, match="must not stand in each other"):
        scan(folder, against=folder / "train")


def test_an_index_elsewhere(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    assert scan(folder, output=file) == file
    assert list(rows(file)) == ALL
    assert not (folder / INDEX_NAME).exists()
    with pytest.raises(UsageError, match=r"is the index of '.*videos': choose another output"):
        scan(folder / "train", output=file)


def test_a_file_that_is_no_index_is_not_overwritten(folder: Path) -> None:
    (folder / INDEX_NAME).write_bytes(b"something else")
    with pytest.raises(UsageError, match="is no index of lightframe scan"):
        scan(folder)
    assert (folder / INDEX_NAME).read_bytes() == b"something else"


def test_an_output_that_cannot_be_written_shows_at_once(
    folder: Path, tmp_path: Path, read: Callable[[], list[str]]
) -> None:
    with pytest.raises(UsageError, match=r"'.*nowhere.*' cannot be written"):
        scan(folder, output=tmp_path / "nowhere" / "index.parquet")
    assert read() == []


def test_names_that_are_not_utf8(tmp_path: Path, read: Callable[[], list[str]]) -> None:
    path = tmp_path / "videos" / os.fsdecode(b"caf\xe9.mkv")
    write_lossless(tmp_path / "videos" / "plain.mkv", bar_frames(2)).rename(path)
    file = scan(tmp_path / "videos")
    assert rows(file)["caf\\udce9.mkv"]["frames"] == 2
    assert read() == ["caf\\udce9.mkv"]
    scan(tmp_path / "videos")
    assert read() == []


@pytest.mark.parametrize(
    ("name", "message"), [("vidoes", "did you mean 'videos'"), ("videos/train/wave/a.mkv", "not a folder")]
)
def test_wrong_folders(folder: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        scan(tmp_path / name)
