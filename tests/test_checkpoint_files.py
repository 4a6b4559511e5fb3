"""The newest whole checkpoint of many, and names that every system takes."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lightframe import checkpoint_files
from lightframe.checkpoint_files import newest_whole, safe_filename

FULL = {"state_dict": {}, "optimizer_states": [], "lr_schedulers": [], "loops": {}}


def make(path: Path, second: int, *, weights_only: bool = False, step: int = 0, values: int = 3) -> Path:
    """A checkpoint that was written at a given second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"state_dict": {}} if weights_only else FULL
    torch.save({**parts, "global_step": step, "weights": torch.arange(values)}, path)
    os.utime(path, ns=(0, second * 10**9))
    return path


def damage(path: Path) -> Path:
    content, written = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(content[: len(content) // 2])
    os.utime(path, ns=(0, written))
    return path


def test_the_newest_of_all_runs(tmp_path: Path) -> None:
    make(tmp_path / "run_0/checkpoints/last.ckpt", 1)
    newest = make(tmp_path / "run_1/checkpoints/epoch=3.ckpt", 3)
    make(tmp_path / "run_2/checkpoints/last.ckpt", 2)
    make(tmp_path / "run_2/best/of/mine/x.ckpt", 1)
    assert newest_whole(tmp_path) == (newest, {})
    deeper = make(tmp_path / "run_0/of/a/callback/x.ckpt", 4)
    assert newest_whole(str(tmp_path)).path == deeper
    assert newest_whole(tmp_path / "run_0", depth=1).path is None
    assert newest_whole(tmp_path / "run_0/checkpoints", depth=1).path == tmp_path / "run_0/checkpoints/last.ckpt"
    # Older than a given time.
    assert newest_whole(tmp_path, before=3 * 10**9).path == tmp_path / "run_2/checkpoints/last.ckpt"
    assert newest_whole(tmp_path, before=10**9) == (None, {})


def test_damaged_ones_are_passed_over_and_named(tmp_path: Path) -> None:
    old = make(tmp_path / "run_0/checkpoints/last.ckpt", 1)
    cut = damage(make(tmp_path / "run_1/checkpoints/last.ckpt", 3))
    empty = make(tmp_path / "run_1/checkpoints/epoch=1.ckpt", 2)
    empty.write_bytes(b"")
    os.utime(empty, ns=(0, 2 * 10**9))
    torch.save({**FULL, "path": Path("x")}, foreign := tmp_path / "foreign.ckpt")
    found = newest_whole(tmp_path, resumable=True)
    assert found.path == old
    assert list(found.damaged) == [foreign, cut, empty]
    assert "holds a pickled pathlib" in found.damaged[foreign]
    assert list(found.damaged.values())[1:] == ["is cut short (its end is missing)", "is empty"]


def test_what_is_no_checkpoint_is_not_looked_at(tmp_path: Path) -> None:
    whole = make(tmp_path / "run_0/last.ckpt", 1)
    for number, name in enumerate((".last.ckpt.7.partial", "last.ckpt.partial", ".hidden.ckpt", "a.pth")):
        (tmp_path / "run_0" / name).write_bytes(b"half")
        os.utime(tmp_path / "run_0" / name, ns=(0, (number + 5) * 10**9))
    (tmp_path / "run_0/folder.ckpt").mkdir()
    (tmp_path / "run_0/gone.ckpt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "run_0/round").symlink_to(tmp_path)  # is not followed for ever
    assert newest_whole(tmp_path) == (whole, {})
    assert newest_whole(tmp_path / "nowhere") == (None, {})


def test_weights_only_is_nothing_to_resume_from(tmp_path: Path) -> None:
    whole = make(tmp_path / "run_0/first.ckpt", 1)
    weights = make(tmp_path / "run_0/weights.ckpt", 2, weights_only=True)
    torch.save({"net.weight": torch.ones(1)}, tmp_path / "other.ckpt")  # a plain state_dict is no checkpoint
    assert newest_whole(tmp_path, resumable=True) == (whole, {})
    assert newest_whole(tmp_path) == (weights, {})


def test_in_one_folder_last_goes_before_the_others(tmp_path: Path) -> None:
    """A copy of the folder may have lost the times; of two of its kind, or two folders, the newer one goes first."""
    last = make(tmp_path / "run_0/last.ckpt", 1)
    best = make(tmp_path / "run_0/best.ckpt", 3)
    assert newest_whole(tmp_path) == (last, {})
    again = make(tmp_path / "run_0/last-v1.ckpt", 2)
    assert newest_whole(tmp_path) == (again, {})
    make(tmp_path / "run_1/last.ckpt", 2)
    assert newest_whole(tmp_path) == (again, {})
    damage(again)
    damage(last)
    assert newest_whole(tmp_path).path == best
    assert list(newest_whole(tmp_path).damaged) == [again, last]
    other = make(tmp_path / "run_1/lasting.ckpt", 4)
    assert newest_whole(tmp_path).path == tmp_path / "run_1/last.ckpt" != other


def test_files_of_one_moment_go_by_their_steps(tmp_path: Path) -> None:
    for name, step in (("a", 1), ("b", 30), ("c", 4)):
        make(tmp_path / f"{name}.ckpt", 5, step=step)
    assert newest_whole(tmp_path).path == tmp_path / "b.ckpt"
    damage(tmp_path / "b.ckpt")
    assert newest_whole(tmp_path) == (
        tmp_path / "c.ckpt",
        {},
    )  # a damaged one has no steps, and comes last
    make(tmp_path / "c.ckpt", 4)
    damage(tmp_path / "a.ckpt")
    assert set(newest_whole(tmp_path).damaged) == {tmp_path / "a.ckpt", tmp_path / "b.ckpt"}


def test_a_nanosecond_counts(tmp_path: Path) -> None:
    for name, written in (("a", 10**18 + 1), ("b", 10**18 + 2), ("c", 10**18)):
        os.utime(make(tmp_path / f"{name}.ckpt", 0), ns=(0, written))
    times = {path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    if len(times) < 3:
        pytest.skip("this file system keeps no nanoseconds")
    assert newest_whole(tmp_path).path == tmp_path / "b.ckpt"


def test_only_the_newest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        source = tmp_path / "run_0/epoch=0.ckpt"
        if number == 0:
            make(source, 0, values=100_000)
        else:
            (tmp_path / f"run_{number % 20}").mkdir(exist_ok=True)
            (tmp_path / f"run_{number % 20}/epoch={number}.ckpt").write_bytes(source.read_bytes())
            os.utime(tmp_path / f"run_{number % 20}/epoch={number}.ckpt", ns=(0, number * 10**9))
    read: list[Path] = []
    check = checkpoint_files.check_checkpoint
    monkeypatch.setattr(checkpoint_files, "check_checkpoint", lambda path: (read.append(path), check(path))[1])
    started = time.perf_counter()
    assert newest_whole(tmp_path, resumable=True).path == tmp_path / "run_19/epoch=299.ckpt"
    assert read == [tmp_path / "run_19/epoch=299.ckpt"]
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("best-epoch=003-val/top1=0.9100", "best-epoch=003-val_top1=0.9100"),
        ('a/b\\c:d*e?f"g<h>i|j', "a_b_c_d_e_f_g_h_i_j"),
        ("tab\tnew\nline\x00\x7f", "tab_new_line__"),
        ("ends with points...", "ends with points"),
        ("ends with spaces  . ", "ends with spaces"),
        ("...", "_"),
        ("", "_"),
        ("con", "_con"),
        ("NUL.ckpt", "_NUL.ckpt"),
        ("com1", "_com1"),
        ("LPT9.tar.gz", "_LPT9.tar.gz"),
        ("aux .txt", "_aux .txt"),
        ("com10", "com10"),
        ("console", "console"),
        ("Größe=1.5", "Größe=1.5"),
        ("\udcff", "_"),
    ],
)
def test_names_that_every_system_takes(name: str, expected: str, tmp_path: Path) -> None:
    assert safe_filename(name) == expected
    assert safe_filename(expected) == expected
    (tmp_path / expected).write_text("")


@pytest.mark.parametrize("letter", ["x", "é", "日"])
def test_long_names_keep_their_suffix(letter: str, tmp_path: Path) -> None:
    for suffix in ("", ".ckpt", "=0.91"):
        short = safe_filename(letter * 400 + suffix)
        assert len(short.encode()) <= 200
        assert short.endswith(".ckpt" if suffix == ".ckpt" else ".91" if suffix else letter)
        assert short.startswith(letter * 50)
        assert safe_filename(short) == short
        (tmp_path / short).write_text("")


def test_random_names(tmp_path: Path) -> None:
    """By Windows' rules, written anew: no character below 32 nor <>:"/\\|?*, no point or space at the end."""
    generator = torch.Generator().manual_seed(3)
    letters = [chr(code) for code in (*range(128), 0xE9, 0x4E2D, 0x1F600)]
    for _ in range(300):
        places: Any = torch.randint(
            len(letters), (int(torch.randint(1, 12, (1,), generator=generator)),), generator=generator
        )
        name = safe_filename("".join(letters[place] for place in places))
        assert name
        assert not any(ord(letter) < 32 or letter in '<>:"/\\|?*' for letter in name)
        assert name[-1] not in ". "
        (tmp_path / name).touch()
