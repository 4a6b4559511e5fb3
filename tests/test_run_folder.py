"""Runs never share a folder."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only

from lightframe import UsageError, new_run_folder, run_folder
from lightframe.run_folder import NAMES, keep_run_folder, release_run_folder


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTFRAME_RUN_FOLDER", "")


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Noon":  # type: ignore[override]
            return cls(2026, 1, 2, 12, 0, 5)

    monkeypatch.setattr(run_folder, "datetime", Noon)


def test_numbers_go_on_behind_the_highest(tmp_path: Path) -> None:
    for name in ("run_2", "run_10", "run_x", "run_2026-01-02_12-00-05", "other"):
        (tmp_path / name).mkdir()
    assert new_run_folder(tmp_path) == tmp_path / "run_11"


def test_times(tmp_path: Path, noon: None) -> None:
    """Of two in the same second the second has a number; whatever system it is, the name is one."""
    folders = [new_run_folder(tmp_path / "runs", name_by="time") for _ in range(3)]
    stem = "run_2026-01-02_12-00-05"
    assert [folder.name for folder in folders] == [stem, f"{stem}_1", f"{stem}_2"]
    assert not re.search(r'[<>:"/\\|?*\s]', stem)
    assert new_run_folder(tmp_path / "runs").name == "run_0"  # they are no numbers


@pytest.mark.parametrize("name_by", NAMES)
def test_runs_that_begin_at_once_get_different_folders(tmp_path: Path, name_by: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_folder(tmp_path / "new", name_by), range(40)))
    assert len(set(folders)) == 40


@pytest.mark.parametrize("name_by", NAMES)
def test_nothing_that_is_there_is_taken(tmp_path: Path, name_by: str, noon: None) -> None:
    for name in ("run_0", "run_2026-01-02_12-00-05"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.ckpt").write_text("dear")
    assert not list(new_run_folder(tmp_path, name_by).iterdir())


@pytest.mark.parametrize("name_by", NAMES)
def test_another_process_of_the_same_run_finds_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name_by: str
) -> None:
    folder = new_run_folder(tmp_path, name_by)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert new_run_folder(tmp_path, name_by) == folder


def test_a_process_that_lightning_starts_finds_the_folder(tmp_path: Path) -> None:
    """It runs the same script again, with its rank in the environment."""
    folder = new_run_folder(tmp_path, "time")
    script = f"from lightframe import new_run_folder; print(new_run_folder({str(tmp_path)!r}, 'time'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LOCAL_RANK": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(folder)
    assert len(list(tmp_path.iterdir())) == 1


def test_only_an_empty_folder_is_given_back(tmp_path: Path) -> None:
    empty = new_run_folder(tmp_path)
    release_run_folder()
    assert not empty.exists()
    used = new_run_folder(tmp_path)
    (used / "config.yaml").touch()
    (used / "environment.txt").touch()
    (used / "csv").mkdir()
    (used / "csv" / "metrics.csv").touch()
    release_run_folder()
    assert (used / "csv" / "metrics.csv").exists()
    assert (used / "config.yaml").exists()
    begun = new_run_folder(tmp_path)
    (begun / "config.yaml").touch()
    (begun / "environment.txt").touch()
    (begun / "events.out.tfevents.1.host").touch()  # the loggers' first files, without a value
    (begun / "csv").mkdir()
    (begun / "csv" / "hparams.yaml").touch()
    release_run_folder()
    assert not begun.exists()


def test_folders_that_were_made_for_it_go_with_it(tmp_path: Path) -> None:
    new_run_folder(tmp_path / "a" / "b")
    release_run_folder()
    assert not list(tmp_path.iterdir())
    new_run_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "other").touch()
    release_run_folder()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["other"]


def test_what_is_worth_keeping_is_kept(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path)
    keep_run_folder()
    release_run_folder()
    assert folder.exists()


def test_another_process_of_the_run_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_run_folder(tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    release_run_folder()
    assert folder.exists()


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="default_root_dir"):
        new_run_folder(tmp_path / "file" / "runs")


def test_another_name() -> None:
    with pytest.raises(UsageError, match=r"named by count or time, not by 'times'; did you mean 'time'\?"):
        new_run_folder("nowhere", "times")
    assert not Path("nowhere").exists()
