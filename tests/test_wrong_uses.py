"""Whatever is asked for wrongly is answered in one line, in seconds, and nothing that was there is lost or changed."""

import hashlib
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from wrong_uses import command_line, data
from wrong_uses.case import FIT, Case

from lightframe import UsageError
from lightframe.cli import main
from lightframe.datamodules import VideoError

CASES = [*command_line.CASES, *data.CASES]
# What only a reader of our dependencies' code would understand.
INTERNALS = (
    *(r"Traceback", r"<class '", r" object at 0x", r"NestedArg", r"Parser key", r"MisconfigurationException", r"HINT"),
    *(r"jsonargparse", r"Namespace\(", r"init_args", r"Subclass types", r"Unable to parse", r"\bNone\b.*\bNone\b"),
)
LONGEST = 600  # characters of a message


def fingerprint(folder: Path) -> dict[str, Any]:
    """Every file and folder: its size, time and content."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if "__pycache__" not in path.parts:
            content = hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else None
            found[str(path.relative_to(folder))] = content and (path.stat().st_size, path.stat().st_mtime_ns, content)
    return found


def children() -> set[int]:
    """The processes that this one has started and that are there still."""
    tasks = Path("/proc/self/task")
    listed = [task / "children" for task in tasks.iterdir()] if tasks.is_dir() else []
    return {int(number) for file in listed for number in file.read_text().split()}


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends what hangs, even where it waits for something."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wait_for(what: Any, seconds: float = 5.0) -> bool:
    """Whether it comes true in that time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbered_video: Path) -> Iterator[Path]:
    """A current folder as `Case` tells of it, with this process as it was before afterwards."""
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for label in ("jump", "wave"):
            folder = tmp_path / "videos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                shutil.copy(numbered_video, folder / f"{number}.mkv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # main() puts the current folder there
    modules, variables = set(sys.modules), dict(os.environ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where warnings are errors, another error than the user's would come
        yield tmp_path
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]
    for name in set(os.environ) - set(variables):
        del os.environ[name]


def said_by(case: Case, capsys: pytest.CaptureFixture[str]) -> str:
    """What a wrong use was told."""
    if case.run is not None:
        with pytest.raises((UsageError, VideoError)) as raised:
            case.run()
        return str(raised.value)
    if case.shows is not None:
        with pytest.raises(Exception, match=re.escape(case.shows)) as raised:
            main(case.words)
        files = [frame.filename for frame in traceback.extract_tb(raised.tb)] + [getattr(raised.value, "filename", "")]
        assert any(str(file).endswith("my_nets.py") for file in files)
        return ""
    with pytest.raises(SystemExit) as left:
        main(case.words)
    assert left.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "error: " in line or "Traceback" in line]
    assert len(said) == 1, said
    return said[0]


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "_") for case in CASES])
def test_wrong_uses(case: Case, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cause and way out in one line without internals; no file changed or added, no process or thread left."""
    if case.setup is not None:
        case.setup(place)
    before, threads, processes = fingerprint(place), set(threading.enumerate()), children()
    begun = time.process_time()
    with time_limit(6 * case.seconds):  # others may use these cores
        message = said_by(case, capsys)
    assert time.process_time() - begun < case.seconds
    for expected in case.says:
        assert re.search(expected, message), message
    for internal in INTERNALS:
        assert not re.search(internal, message), message
    assert len(message) <= LONGEST
    after = fingerprint(place)
    if case.shows is not None:  # a crash, whose folder tells of it
        after = {name: what for name, what in after.items() if name.partition("/")[0] != "runs"}
    assert after == before
    assert wait_for(lambda: children() <= processes and not multiprocessing.active_children())
    assert wait_for(lambda: set(threading.enumerate()) <= threads), threading.enumerate()


def test_there_are_many() -> None:
    """The names are different, so that each can be run alone."""
    assert len(CASES) >= 140
    assert len({case.name for case in CASES}) == len(CASES)


def test_unusual_names_are_right(place: Path) -> None:
    """Letters of any alphabet, spaces and quotes, and videos whose names are no text, train and are evaluated."""
    root = place / "vidéos \"und\" 'мир'" / "動画=a,b"
    shutil.copytree("videos", root)
    for label in ("jump", "wave"):
        shutil.copy("videos/train/jump/0.mkv", os.fsencode(root / "train" / label / "") + b"/\xff\xfe.mkv")
    with time_limit(60):
        main([*FIT, f"--data.root={root}", "--trainer.default_root_dir=läufe/日本 1"])
        (last,) = Path("läufe").rglob("last.ckpt")
        main(["validate", f"--ckpt_path={last}", f"--data.root={root}", f"--trainer.default_root_dir={last.parent}/x"])
