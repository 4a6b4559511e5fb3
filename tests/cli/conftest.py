"""Runs the command line in this process, in a folder of its own."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightframe.cli import main

Run = Callable[..., Path]
SMALL = ["--data.frames=2", "--data.size=16", "--data.batch_size=2", "--data.num_workers=0"]
QUICK = [
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_model_summary=false",
    "--trainer.log_every_n_steps=1",
]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_folders: Callable[..., Path]) -> Iterator[Path]:
    """A current folder with `videos/` in it: classes jump and wave, four videos each to train, two each to test."""
    make_folders(train={"jump": 4, "wave": 4}, val={"jump": 2, "wave": 2}, test={"jump": 2, "wave": 2})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # main() puts the current folder there
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]
    os.environ.pop("LIGHTFRAME_RUN_FOLDER", None)


@pytest.fixture
def run(workplace: Path) -> Run:
    """Runs a command and gives the run's folder."""

    def run(command: str, *words: str) -> Path:
        main([command, *SMALL, *QUICK, *words] if command == "fit" else [command, *words])
        return max(Path("runs").glob("run_*"), key=lambda folder: int(folder.name.removeprefix("run_")))

    return run


@pytest.fixture
def refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused, and gives what it said: one line, with exit code 2."""

    def refused(*words: str) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main(words)
        assert exit_info.value.code == 2
        said = [line for line in capsys.readouterr().err.splitlines() if "error: " in line or "Traceback" in line]
        assert len(said) == 1, said
        return said[0]

    return refused
