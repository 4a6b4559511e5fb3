"""A file that is written: whole or not at all, wherever the writer is stopped."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lightframe.atomic_write
from lightframe.atomic_write import atomic_write

OLD, NEW = b"old" * 1000, b"new" * 2000
# Kills itself at the n-th of the steps: each write, before and after fsync, before and after replace.
KILLED = """
import importlib.util, os, pathlib, signal, sys
spec = importlib.util.spec_from_file_location("atomic_write", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
left = int(sys.argv[3])
def step():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
def around(function):
    def stepped(*args, **kwargs):
        step()
        result = function(*args, **kwargs)
        step()
        return result
    return stepped
os.fsync, pathlib.Path.replace = around(os.fsync), around(pathlib.Path.replace)
with module.atomic_write(sys.argv[2]) as file:
    for part in range(2):
        step()
        file.write(b"new" * 1000)
        file.flush()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_writer_that_is_killed_at_any_step_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.ckpt", []
    for step in range(20):
        path.write_bytes(OLD)
        words = [sys.executable, "-c", KILLED, str(lightframe.atomic_write.__file__), str(path), str(step)]
        code = subprocess.run(words, check=False, timeout=60).returncode
        seen.append(path.read_bytes())
        assert seen[-1] in (OLD, NEW)
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            break
    # The name changes at once, and does not change back: two writes, fsync, replace (before and after), fsync.
    assert seen == [OLD] * 5 + [NEW] * 4
    with atomic_write(path) as file:
        file.write(OLD)
    assert [found.name for found in tmp_path.iterdir()] == ["a.ckpt"]


def broken(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EIO, "broken")


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace"), (Path, "open")])
def test_what_stood_there_stays_when_a_step_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        with pytest.raises(OSError, match="broken"), atomic_write(path) as file:
            file.write(NEW)
    assert path.read_bytes() == OLD
    assert [found.name for found in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_what_stood_there_stays_when_the_writer_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(OLD)

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(NEW)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == OLD
    assert [found.name for found in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EINVAL, "not here")

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "a.ckpt") as file:
        file.write(NEW)
    assert (tmp_path / "a.ckpt").read_bytes() == NEW
    assert len(calls) == (1 if os.name == "nt" else 2)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(os.name == "nt", reason="there, to ask whether a process lives is to kill it")
@pytest.mark.parametrize(
    ("name", "process", "age", "stays"),
    [
        (".a.ckpt.{}.partial", dead_process, 0, False),
        (".a.ckpt.{}.partial", os.getpid, 0, False),  # a number that was another process's once
        (".a.ckpt.{}.partial", os.getppid, 0, True),  # is being written
        (".a.ckpt.{}.partial", os.getppid, 3600, False),
        (".b.ckpt.{}.partial", dead_process, 0, True),  # another target's
        (".a.ckpt.x{}.partial", dead_process, 0, True),  # not ours
        ("a.ckpt.{}.partial", dead_process, 0, True),
    ],
)
def test_what_killed_writers_left_is_removed(
    tmp_path: Path, name: str, process: Callable[[], int], age: int, stays: bool
) -> None:
    left = tmp_path / name.format(process())
    left.write_bytes(b"half")
    os.utime(left, (left.stat().st_atime, left.stat().st_mtime - age))
    with atomic_write(tmp_path / "a.ckpt") as file:
        file.write(NEW)
        assert left.exists() == (stays or process is os.getpid)  # whose name this one takes
    assert left.exists() == stays


@pytest.mark.parametrize("name", ["ä" * 100 + ".ckpt", "x" * 250, "clé \u65e5\u672c.ckpt", "a.b"])
def test_long_names_and_other_letters(tmp_path: Path, name: str) -> None:
    with atomic_write(tmp_path / name) as file:
        file.write(NEW)
        partial = [found.name for found in tmp_path.iterdir()]
        assert len(partial) == 1
        assert partial[0].startswith(".")
        assert partial[0].endswith(".partial")
    assert (tmp_path / name).read_bytes() == NEW
