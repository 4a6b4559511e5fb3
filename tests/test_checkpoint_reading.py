"""Damage is found wherever it is, or it does no harm."""

import pathlib
import pickle
import random
import shlex
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightframe.checkpoint_reading import DamagedCheckpointError, check_checkpoint, load_plain
from lightframe.errors import UsageError


def make_checkpoint() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "state_dict": {"a": torch.randn(40, 5, generator=generator), "b": torch.arange(7)},
        "optimizer_states": [{"m": torch.randn(30, generator=generator)}],
        "epoch": 3,
        "x": (1, 2.5, "s", None),
    }


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, types included."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "whole.ckpt"
    torch.save(make_checkpoint(), path)
    return path.read_bytes()


def test_a_whole_one(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(whole)
    assert check_checkpoint(path) is None
    for mmap in (False, True):
        assert same(load_plain(path, mmap=mmap), make_checkpoint())


@pytest.mark.slow
def test_a_flipped_bit_is_found_or_harmless(tmp_path: Path, whole: bytes) -> None:
    """Two bits of each byte; which ones changes from byte to byte."""
    path = tmp_path / "a.ckpt"
    outcomes: Counter[str] = Counter()
    for place in range(len(whole)):
        for bit in (place % 4, place % 4 + 4):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            if check_checkpoint(path) is None:
                assert same(load_plain(path), make_checkpoint()), (place, bit)
                outcomes["harmless"] += 1
            else:
                outcomes["found"] += 1
    assert outcomes["found"] > outcomes["harmless"] > 0


def test_the_mark_of_a_folder_is_found(tmp_path: Path, whole: bytes) -> None:
    """With it torch takes a record for empty, and gives tensors of whatever is in the memory, without an error."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        place = archive.start_dir  # type: ignore[attr-defined]
        for record in archive.infolist():
            damaged = bytearray(whole)
            assert damaged[place : place + 4] == b"PK\x01\x02"
            damaged[place + 38] ^= 0x10
            path.write_bytes(damaged)
            assert check_checkpoint(path) == "is damaged (a record's header is wrong)"
            place += 46 + len(record.filename.encode()) + len(record.extra)


def test_a_file_that_is_cut_short_anywhere(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.ckpt"
    rng = random.Random(7)
    for length in [0, 1, 3, 4, 5, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(60))]:
        path.write_bytes(whole[:length])
        expected = "is empty" if length == 0 else "is cut short (its end is missing)"
        if 0 < length < 4:  # less than the first mark of a zip
            expected = "is no checkpoint of tensors and plain values"
        assert check_checkpoint(path) == expected, length


def test_a_hole_of_zeros(tmp_path: Path, whole: bytes) -> None:
    """What a crash of the machine leaves of blocks that were not on the disk yet."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(whole[:900] + bytes(200) + whole[1100:])
    assert "checksum of its record data/0 is wrong" in str(check_checkpoint(path))
    path.write_bytes(bytes(len(whole)))
    assert check_checkpoint(path) == "is no checkpoint of tensors and plain values"


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    assert check_checkpoint(path) == "is not there"
    assert check_checkpoint(tmp_path) == "is a folder"
    assert str(check_checkpoint("x" * 300)).startswith("cannot be read (")
    assert str(check_checkpoint("a\0b")).startswith("cannot be read (")
    for content in (b"hello", b"\x80\x02}q\x00.", b"PK\x03\x04 not really", "Größe".encode("utf-16")):
        path.write_bytes(content)
        reason = check_checkpoint(path)
        assert reason is not None
        with pytest.raises(DamagedCheckpointError) as raised:
            load_plain(path)
        assert raised.value.reason.startswith("is no checkpoint")
    torch.save([1, 2], path)
    assert check_checkpoint(path) == "is no checkpoint: it holds a list"


def test_files_of_other_kinds_that_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(make_checkpoint(), path, _use_new_zipfile_serialization=False)
    assert check_checkpoint(path) is None
    assert same(load_plain(path, mmap=True), make_checkpoint())
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(make_checkpoint(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert check_checkpoint(path) is None
    path.write_bytes(path.read_bytes()[:-30])
    assert check_checkpoint(path) == "is cut short (its end is missing)"


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_of_a_file_is_run(tmp_path: Path, zipped: bool) -> None:
    touched = tmp_path / "touched"
    for name, content in {"evil": {"state_dict": {}, "evil": Evil(touched)}, "plain": Evil(touched)}.items():
        path = tmp_path / f"{name}.ckpt"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        for mmap in (False, True):
            with pytest.raises(UsageError) as raised:
                load_plain(path, mmap=mmap)
            assert "pickled" in str(raised.value)
            assert "weights_only=False)" in str(raised.value)
    (tmp_path / "raw.ckpt").write_bytes(pickle.dumps(Evil(touched)))
    with pytest.raises(UsageError):
        load_plain(tmp_path / "raw.ckpt")
    assert not touched.exists()
    torch.load(tmp_path / "evil.ckpt", weights_only=False)  # and it is one that would
    assert touched.exists()


def test_the_foreign_class_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a b.ckpt"
    for value, name in ((pathlib.PurePosixPath("x"), "PurePosixPath"), (np.float64(1.0), "numpy"), (Evil, "Evil")):
        torch.save({"state_dict": {}, "value": value}, path)
        with pytest.raises(UsageError, match=f"holds a pickled [a-z_.]*{name}"):
            load_plain(path)
        assert check_checkpoint(path) is None  # it is whole


def test_the_conversion_that_is_offered_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a b.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "args": pathlib.PurePosixPath("x")}, path)
    with pytest.raises(UsageError) as raised:
        load_plain(path)
    code, _, files = str(raised.value).partition('python -c "')[2].partition('" ')
    monkeypatch.setattr(sys, "argv", ["-c", *shlex.split(files.partition(" (which")[0])])
    exec(code, {})
    assert same(load_plain(tmp_path / "a b-weights.pt"), {"w": torch.ones(2)})
