"""No bad file may hang a process or take it down."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("read_damaged.py")
KINDS = [
    "h264.mp4", "h264.mkv", "h264.ts", "h264.flv", "h264_b.avi", "h264_b.asf", "hevc.mp4", "vp8.webm", "vp9.webm",
    "av1.mkv", "mpeg4.avi", "mpeg4_packed.avi", "mpeg2.mpg", "mjpeg.avi", "gif.gif", "with_sound.mp4",
]  # fmt: skip


def read_damaged(folder, videos, seed, count, at_once=2):
    """The outcomes of reading `count` damaged copies of the videos in some processes."""
    shares = [(part * count // at_once, (part + 1) * count // at_once) for part in range(at_once)]
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, folder, str(seed), str(first), str(last), *videos],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first, last in shares
    ]
    outputs = [process.communicate() for process in processes]
    for process, (out, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, f"after {out.splitlines()[-1:]}: {errors[-3000:]}"
    return [json.loads(line) for out, _ in outputs for line in out.splitlines()]


def check(outcomes, folder, count):
    assert sorted(outcome["number"] for outcome in outcomes) == list(range(count))
    texts = [outcome["outcome"] for outcome in outcomes]
    errors = [text for text in texts if text != "frames"]
    assert count / 10 < len(errors) < count * 9 / 10  # the damage is neither harmless nor always fatal at once
    for text in errors:
        path, reason = text.split(": ", 1)
        assert Path(path).parent == folder
        assert 8 < len(reason) < 200
        assert not any(mark in text for mark in ("\n", "Errno", "Traceback", "1094995529"))


@pytest.mark.slow
def test_three_hundred_damaged_real_files(shared_videos, tmp_path):
    videos = sorted(path for path in shared_videos.rglob("*.*") if path.suffix in {".mp4", ".avi", ".mkv", ".mov"})
    check(read_damaged(tmp_path, videos, seed=0, count=300), tmp_path, 300)


@pytest.mark.slow
def test_three_hundred_damaged_files_of_many_kinds(zoo, tmp_path):
    videos = [zoo(kind) for kind in KINDS]
    check(read_damaged(tmp_path, videos, seed=1, count=300), tmp_path, 300)


def test_damaged_files_of_many_kinds(zoo, tmp_path):
    videos = [zoo(kind) for kind in KINDS]
    check(read_damaged(tmp_path, videos, seed=2, count=64, at_once=1), tmp_path, 64)
