"""`lightframe scan` and `lightframe transcode`, as a user types them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lightframe.cli import main, tools
from lightframe.datamodules.video_index import INDEX_NAME


def test_scan(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["scan", "videos", "--workers", "2"])
    assert (workplace / "videos" / INDEX_NAME).is_file()
    assert capsys.readouterr().out.startswith("16 videos in videos")


def test_transcode(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["transcode", "videos", "small", "--short_side=16", "--crf", "30"])
    assert sorted(path.name for path in (workplace / "small/train/jump").iterdir()) == [f"{n}.mp4" for n in range(4)]
    assert "16 videos in small" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scn"], "there is no command 'scn'; did you mean 'scan'?"),
        (["transcod", "a", "b"], "there is no command 'transcod'; did you mean 'transcode'?"),
        (["xyzzy"], "lightframe: error: there is no command 'xyzzy'"),
        (["transcode", "videos"], "lightframe transcode: error: target must be given"),
        (["scan"], "lightframe scan: error: folder must be given"),
        (["export"], "lightframe export: error: checkpoint must be given"),
        (["export", "nowhere.ckpt"], "there is no file 'nowhere.ckpt'"),
        (["export", "a.ckpt", "--out=b.safetensors"], "there is no '--out'; did you mean 'output'?"),
        (["scan", "videos", "more"], "one argument too many: more"),
        (["scan", "videos", "--worker=2"], "there is no '--worker'; did you mean 'workers'?"),
        (["scan", "videos", "--workers=many"], "workers: "),
        (["scan", "vidoes"], "folder 'vidoes' does not exist; did you mean 'videos'?"),
        (["transcode", "videos", "small", "--crf=99"], "crf goes from 0"),
        (["transcode", "videos", "videos/small"], "must not stand in each other"),
        (["transcode", "videos", "small", "--workers=0"], "workers must be 1 or more"),
    ],
)
def test_mistakes_are_answered_in_one_line(refused: Callable[..., str], words: list[str], said: str) -> None:
    assert said in refused(*words)


@pytest.mark.parametrize("command", ["scan", "transcode"])
def test_help_is_the_functions(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--help"])
    assert not exit_info.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert f"usage: lightframe {command}" in said
    assert "by default one per core." in said
    assert "Args:" not in said


def test_the_general_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(word in said for word in ("fit", "predict", "scan DIR", "transcode SRC DST", "export CHECKPOINT"))


def test_stopped_by_the_user(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(folder: Path) -> None:
        """Wait for Ctrl-C.

        Args:
            folder: none.
        """
        raise KeyboardInterrupt

    monkeypatch.setattr(tools, "import_path", lambda path: stopped)
    with pytest.raises(SystemExit) as exit_info:
        main(["scan", "videos"])
    assert exit_info.value.code == 130
    assert "stopped; the same command goes on from here" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes here")
def test_ctrl_c_while_workers_start(workplace: Path) -> None:
    """It goes to all processes of the terminal, and one of them tells of it."""
    command = [sys.executable, "-m", "lightframe", "scan", "videos", "--workers=2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            index = Path("videos/lightframe-scan.parquet")
            end = time.monotonic() + 60
            while not index.exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)  # it is written before the workers start
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1] == "lightframe scan: stopped; the same command goes on from here"
