"""Runs never share a folder."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only

from lightframe.cli.run_folder import claim_run_folder, release_run_folder
from lightframe.errors import UsageError


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTFRAME_RUN_FOLDER", "")


def test_numbers_go_on_behind_the_highest(tmp_path: Path) -> None:
    for name in ("run_2", "run_10", "run_x", "other"):
        (tmp_path / name).mkdir()
    assert claim_run_folder(tmp_path) == tmp_path / "run_11"


def test_runs_that_begin_at_once_get_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_run_folder(tmp_path / "new"), range(40)))
    assert len(set(folders)) == 40


def test_another_process_of_the_same_run_finds_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = claim_run_folder(tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert claim_run_folder(tmp_path) == folder


def test_only_an_empty_folder_is_given_back(tmp_path: Path) -> None:
    empty = claim_run_folder(tmp_path)
    release_run_folder()
    assert not empty.exists()
    used = claim_run_folder(tmp_path)
    (used / "config.yaml").touch()
    (used / "csv").mkdir()
    release_run_folder()
    assert used.exists()


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="default_root_dir"):
        claim_run_folder(tmp_path / "file" / "runs")
