"""A folder of videos re-encoded: the tree, taking up a run again, and what is broken."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dying_reader import dying_job
from h264_videos import bar_frames, decode, write_h264
from known_videos import write_lossless

from lightframe.errors import UsageError
from lightframe.tools import transcode as module
from lightframe.tools.broken import Broken
from lightframe.tools.transcode import BROKEN, MANIFEST, Transcoded, transcode


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three videos in two class folders, and a file that is none."""
    folder = tmp_path / "source"
    write_lossless(folder / "train" / "wave" / "a.mkv", bar_frames(5))
    write_h264(folder / "train" / "wave" / "b.v2.mp4", bar_frames(6))
    write_lossless(folder / "val" / "jump [1]" / "c.avi.mkv", bar_frames(7))
    (folder / "classes.txt").write_text("wave\njump\n")
    return folder


def files(folder: Path) -> dict[str, int]:
    """Relative path and time of modification of every file."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def test_the_tree_stays_and_the_extension_changes(source: Path, tmp_path: Path) -> None:
    before = files(source)
    report = transcode(source, tmp_path / "target")
    assert report == Transcoded(written=3, kept=0, broken=[])
    frames = {"train/wave/a.mp4": 5, "train/wave/b.v2.mp4": 6, "val/jump [1]/c.avi.mp4": 7}
    assert set(files(tmp_path / "target")) == {*frames, MANIFEST}
    for name, count in frames.items():
        assert len(decode(tmp_path / "target" / name)[0]) == count
    assert files(source) == before


def test_the_settings_reach_the_encoder(source: Path, tmp_path: Path) -> None:
    transcode(source, tmp_path / "small", short_side=16, crf=45)
    transcode(source, tmp_path / "fine", crf=5)
    assert decode(tmp_path / "small" / "train/wave/a.mp4")[1][0].shape == (16, 22, 3)
    sizes = [(tmp_path / name / "train/wave/a.mp4").stat().st_size for name in ("small", "fine")]
    assert sizes[0] < sizes[1]


def test_a_second_run_does_only_what_is_missing_or_older_than_its_source(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    transcode(source, target)
    before = files(target)
    (target / "train/wave/a.mp4").unlink()
    (target / "train/wave/.a.mp4.0badcafe.partial").write_bytes(b"half a video")
    newer = before["train/wave/b.v2.mp4"] + 1_000_000
    os.utime(source / "train/wave/b.v2.mp4", ns=(newer, newer))
    write_lossless(source / "val" / "jump [1]" / "d.mkv", bar_frames(3))
    assert transcode(source, target) == Transcoded(written=3, kept=1, broken=[])
    after = files(target)
    assert set(after) == {*before, "val/jump [1]/d.mp4"}
    assert {name for name in before if after[name] == before[name]} == {MANIFEST, "val/jump [1]/c.avi.mp4"}


def test_broken_videos_are_left_out_and_listed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "train" / "wave" / "text.mp4").write_text("no video at all")
    (source / "train" / "empty.avi").touch()
    (source / "train" / "gone.mp4").symlink_to(tmp_path / "nowhere")
    whole = transcode(source, tmp_path / "first").broken and (tmp_path / "first" / "train/wave/b.v2.mp4").read_bytes()
    (source / "train" / os.fsdecode(b"caf\xe9.mp4")).write_bytes(whole[: len(whole) * 3 // 4])
    capsys.readouterr()
    report = transcode(source, tmp_path / "target")
    paths = ["train/caf\\udce9.mp4", "train/empty.avi", "train/gone.mp4", "train/wave/text.mp4"]
    assert (report.written, [path for path, _ in report.broken]) == (3, paths)
    assert len([name for name in files(tmp_path / "target") if name.endswith(".mp4")]) == 3
    with (tmp_path / "target" / BROKEN).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows == [["path", "reason"], *map(list, report.broken)]
    assert "No such file" in dict(report.broken)["train/gone.mp4"]
    said = capsys.readouterr().out
    assert "4 of 7 videos are broken" in said
    assert all(path in said for path in paths)
    for path in (source / "train").glob("*.*"):
        path.unlink()
    (source / "train" / "wave" / "text.mp4").unlink()
    transcode(source, tmp_path / "target")
    assert not (tmp_path / "target" / BROKEN).exists()


def test_a_source_that_was_replaced_by_a_broken_one_leaves_no_old_target(source: Path, tmp_path: Path) -> None:
    transcode(source, tmp_path / "target")
    target = tmp_path / "target" / "train/wave/a.mp4"
    newer = target.stat().st_mtime_ns + 1_000_000
    (source / "train/wave/a.mkv").write_bytes(b"broken")
    os.utime(source / "train/wave/a.mkv", ns=(newer, newer))
    assert len(transcode(source, tmp_path / "target").broken) == 1
    assert not target.exists()


def test_not_one_sound_video(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "text.mp4").write_text("no video")
    with pytest.raises(
        UsageError, match=r"not one of the 1 videos in '.*source' can be transcoded; text\.mp4: Invalid"
    ):
        transcode(tmp_path / "source", tmp_path / "target")


def test_a_video_that_kills_its_worker_is_broken(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("deadly", "endless"):
        write_lossless(source / f"{name}.mkv", bar_frames(3))
    monkeypatch.setattr(module, "transcode_job", dying_job)
    report = transcode(source, tmp_path / "target", workers=2, time_limit=3)
    assert report.written == 3
    assert report.broken == [
        Broken("deadly.mkv", "the process that worked on it was ended by SIGABRT"),
        Broken("endless.mkv", "it took longer than 3 s"),
    ]


def test_a_target_that_cannot_be_written_stops_the_run(source: Path, tmp_path: Path) -> None:
    transcode(source, tmp_path / "target")
    blocked = tmp_path / "target" / "train/wave/a.mp4"
    blocked.unlink()
    blocked.mkdir()
    newer = blocked.stat().st_mtime_ns + 1_000_000
    os.utime(source / "train/wave/a.mkv", ns=(newer, newer))
    with pytest.raises(UsageError, match=r"a\.mp4' cannot be written"):
        transcode(source, tmp_path / "target")


def test_two_videos_that_would_become_one(source: Path, tmp_path: Path) -> None:
    write_lossless(source / "train" / "wave" / "a.avi", bar_frames(1))
    with pytest.raises(UsageError, match=r"a\.avi' and '.*a\.mkv' would both become '.*a\.mp4'"):
        transcode(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("target", ["source", "source/inside", "."])
def test_folders_in_each_other(source: Path, tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="must not stand in each other"):
        transcode(source, tmp_path / target)


def test_a_link_to_the_source_is_the_source(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(UsageError, match="must not stand in each other"):
        transcode(source, tmp_path / "link" / "target")


def test_a_target_that_cannot_be_made(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot make '.*target' .*: choose another target"):
        transcode(source, tmp_path / "file" / "target")


def test_other_settings_need_another_folder(source: Path, tmp_path: Path) -> None:
    transcode(source, tmp_path / "target")
    with pytest.raises(UsageError, match="was written with crf=20, not 23: choose another target"):
        transcode(source, tmp_path / "target", crf=23)
    with pytest.raises(UsageError, match=r"was written with source=.*source, not .*train"):
        transcode(source / "train", tmp_path / "target")


def test_a_folder_of_somebody_else(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / ".DS_Store").touch()
    (tmp_path / "target" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="was not written by lightframe transcode"):
        transcode(source, tmp_path / "target")
    (tmp_path / "target" / "thesis.txt").unlink()
    assert transcode(source, tmp_path / "target").written == 3


def test_wrong_folders(source: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    for path, message in (
        ("sorce", "did you mean 'source'"),
        ("source/classes.txt", "not a folder"),
        ("bare", "no vid"),
    ):
        with pytest.raises(UsageError, match=message):
            transcode(tmp_path / path, tmp_path / "target")


def test_sizes_and_costs_are_shown(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transcode(source, tmp_path / "target")
    said = capsys.readouterr()
    before = sum(path.stat().st_size for path in source.rglob("*.m*"))
    after = sum(path.stat().st_size for path in (tmp_path / "target").rglob("*.mp4"))
    size = next(line for line in said.out.splitlines() if line.startswith("size "))
    assert f"{before / 1000:.1f} kB" in size
    assert f"{after / 1000:.1f} kB" in size
    assert size.rstrip().endswith(f"{after / before:.2f}")
    assert any(line.count(" ms") == 2 for line in said.out.splitlines())
    assert "3 of 3" in said.err
    assert "ETA" in said.err


@pytest.mark.slow
def test_killed_in_the_middle_it_is_taken_up_again(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    noise = np.random.default_rng(0).integers(0, 256, size=(60, 128, 128, 3), dtype=np.uint8)
    first = write_h264(source / "0.mp4", list(noise))
    for number in range(1, 8):
        (source / f"{number}.mp4").hardlink_to(first)
    script = tmp_path / "run.py"
    script.write_text(
        "from pathlib import Path\n"
        "from lightframe.tools.transcode import transcode\n"
        f"if __name__ == '__main__':\n    transcode(Path({str(source)!r}), Path({str(target)!r}), workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(target.glob("*.mp4")):
        try:
            assert process.wait(timeout=0.005) is None
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in target.glob("*.mp4")}
    assert 1 <= len(done) < 8
    for path in done:
        assert len(decode(path)[0]) == 60
    report = transcode(source, target)
    assert report.written + report.kept == 8
    assert report.kept >= len(done)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert sorted(path.name for path in target.iterdir()) == sorted([*(f"{n}.mp4" for n in range(8)), MANIFEST])
    assert json.loads((target / MANIFEST).read_text())["crf"] == 20
