"""What is written of the machine and the code; git itself says what is right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from labelled_rows import Data, make_net
from recording import quiet_trainer

from lightframe import LightFrameModule
from lightframe.callbacks import EnvironmentReport, environment_report
from lightframe.environment import describe_run, git_state, versions


def module() -> LightFrameModule:
    return LightFrameModule(make_net(), loss="ce", metrics=None)


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EnvironmentReport, "_machine", None)


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *names, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    try:
        git(folder, "init", "-b", "work")
    except FileNotFoundError:
        pytest.skip("no git here")
    for name in ("net.py", "a name.py"):
        (folder / name).write_text("1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def test_the_state_of_a_repository(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "new.txt").touch()  # no part of it
    assert git_state(repository) == f"commit {commit} (work), no changes"
    (repository / "sub").mkdir()
    (repository / "a name.py").write_text("2\n")
    assert git_state(repository / "sub") == f"commit {commit} (work), 1 changed file: ../a name.py"
    git(repository, "mv", "net.py", "nets.py")
    (repository / "nets.py").write_text("1\n2\n")
    git(repository, "checkout", "--detach")
    assert git_state(repository) == f"commit {commit} (detached), 2 changed files: a name.py, nets.py"


def test_asking_changes_nothing(repository: Path) -> None:
    os.utime(repository / "net.py", (1, 1))  # of which git status would make a note
    before = (repository / ".git" / "index").stat().st_mtime_ns
    git_state(repository)
    assert (repository / ".git" / "index").stat().st_mtime_ns == before


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git_state(tmp_path) in ("no repository", "git is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == "git is not installed"


def test_versions_are_those_that_run() -> None:
    found = versions()
    assert torch.__version__.startswith(found["torch"])
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_environment_variables_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_VALUE", "hidden-value")
    monkeypatch.setattr(sys, "argv", ["lightframe", "fit", "--logger.api_key", "hidden-value"])
    assert "hidden-value" not in describe_run()


def test_the_report_of_a_run(tmp_path: Path, new_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_report, "_PATIENCE", 120.0)
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.1"])
    report = EnvironmentReport()
    quiet_trainer(callbacks=[report], default_root_dir=tmp_path).fit(module(), datamodule=Data())
    assert report.path == tmp_path / "environment.txt"
    text = report.path.read_text(encoding="utf-8")
    for part in (
        "command:       train.py --lr 0.1\n",
        "git: ",
        f"PyTorch version: {torch.__version__}",
        "Python version",
    ):
        assert part in text
    # The next run of this process has the same at once.
    second = EnvironmentReport()
    quiet_trainer(callbacks=[second], default_root_dir=tmp_path / "next").fit(module(), datamodule=Data())
    assert second.path is not None
    assert second.path.read_text(encoding="utf-8").split("\n\n", 1)[1] == text.split("\n\n", 1)[1]


def test_a_run_that_ends_first_does_not_wait(
    tmp_path: Path, new_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_report, "_PATIENCE", 0.0)
    # What it waits for never comes: it is killed, or this test does not end.
    monkeypatch.setattr(environment_report, "_COLLECT", "import signal; signal.sigwait([signal.SIGUSR1])")
    report, started = EnvironmentReport(), []
    trainer = quiet_trainer(callbacks=[report], default_root_dir=tmp_path)
    net = module()
    net.on_train_start = lambda: started.append(report._collector)  # type: ignore[method-assign]
    trainer.fit(net, datamodule=Data())
    (collector,) = started
    assert collector is not None
    assert collector.poll() is not None
    text = (tmp_path / "environment.txt").read_text(encoding="utf-8")
    assert "torch:" in text
    assert text.endswith("is missing: the run ended first.\n")


def test_nothing_of_it_makes_a_run_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment.txt").mkdir()  # in its place
    quiet_trainer(callbacks=[EnvironmentReport()], default_root_dir=tmp_path).fit(module(), datamodule=Data())

    def fail() -> str:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(environment_report, "describe_run", fail)
    quiet_trainer(callbacks=[EnvironmentReport()], default_root_dir=tmp_path / "x").fit(module(), datamodule=Data())


@pytest.mark.usefixtures("new_process")
def test_no_interpreter_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    quiet_trainer(callbacks=[EnvironmentReport()], default_root_dir=tmp_path).fit(module(), datamodule=Data())
    assert "torch:" in (tmp_path / "environment.txt").read_text(encoding="utf-8")


def test_a_quick_look_writes_nothing(tmp_path: Path) -> None:
    trainer = quiet_trainer(callbacks=[EnvironmentReport()], default_root_dir=tmp_path, fast_dev_run=True)
    trainer.fit(module(), datamodule=Data())
    assert not list(tmp_path.rglob("environment.txt"))


def test_the_first_process_writes(tmp_path: Path) -> None:
    if not torch.distributed.is_available():
        pytest.skip("torch without torch.distributed")
    trainer = quiet_trainer(callbacks=[EnvironmentReport()], default_root_dir=tmp_path, devices=2, strategy="ddp_fork")
    trainer.fit(module(), datamodule=Data())
    assert [path.name for path in tmp_path.iterdir()] == ["environment.txt"]
