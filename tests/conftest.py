"""Small videos whose every pixel is known, command lines in processes, and what makes all tests quick and alike."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Commands
from known_videos import numbered_frames, write_lossless

from lightframe.callbacks import EnvironmentReport

# Threads of torch wait for each other most of the time on cores that others use too; and no fork has them.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start

# Processes that are killed leave temporary files, which go with this one. pytest's own folders, in which one looks why
# a test failed, stay. Not documented: a finalizer of this priority comes after multiprocessing's own.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="lf-")
Finalize(None, shutil.rmtree, args=(tempfile.tempdir, True), exitpriority=-200)

# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the second run of a process: one that asks what the machine is takes longer than most tests."""
    monkeypatch.setattr(EnvironmentReport, "_machine", "a machine\n")


@pytest.fixture(scope="session")
def numbered_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 numbered frames of 24 x 32 pixels."""
    return write_lossless(tmp_path_factory.mktemp("video") / "numbered.mkv", numbered_frames(20))


@pytest.fixture
def make_folders(tmp_path: Path, numbered_video: Path) -> Callable[..., Path]:
    """Makes class folders, for example `make_folders(train={"jump": 2, "run": 1})`, of hard links to one video."""

    def make(root: str = "videos", **splits: dict[str, int]) -> Path:
        for split, classes in splits.items():
            for name, count in classes.items():
                folder = tmp_path / root / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    (folder / f"{number}.mkv").hardlink_to(numbered_video)
        return tmp_path / root

    return make


@pytest.fixture
def make_video(tmp_path: Path) -> Write:
    """Writes a lossless video: `make_video("a.mkv", 7, height=24, width=32)` of numbered frames, or of given ones."""

    def make(name: str, frames: int | Sequence[np.ndarray], height: int = 24, width: int = 32) -> Path:
        if isinstance(frames, int):
            frames = numbered_frames(frames, height, width)
        return write_lossless(tmp_path / name, frames)

    return make


SHARED = Path(__file__).parents[2] / "shared" / "videos"


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """The folder of real clips beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("no folder of real clips here")
    return SHARED


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Runs command lines in processes of their own."""
    made = Commands()
    yield made
    made.close()
