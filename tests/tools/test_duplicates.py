"""Copies of videos, told by their content."""

import pytest

from lightframe.datamodules.video_index import index_table
from lightframe.tools.duplicates import Copy, find_copies, is_leak, split_of


@pytest.mark.parametrize(
    ("path", "split"),
    [("train/a/1.mp4", "train"), ("set/val/a/1.mp4", "val"), ("a/1.mp4", ""), ("train.mp4", ""), ("a/test", "")],
)
def test_splits(path: str, split: str) -> None:
    assert split_of(path) == split


def test_leaks_come_first_and_broken_videos_do_not_count() -> None:
    contents = {
        "train/a/1": "w", "train/a/2": "w", "train/a/3": "x", "val/a/4": "x", "test/a/5": "x", "val/a/6": "y",
        "train/a/7": None, "val/a/8": None,
    }  # fmt: skip
    rows = [{"path": path, "hash": content} for path, content in contents.items()]
    rows += [{"path": f"{split}/a/9", "hash": "z", "error": "empty"} for split in ("train", "val")]
    copies = find_copies([("videos", index_table(rows))])
    assert copies == [
        [Copy("train", "train/a/3"), Copy("val", "val/a/4"), Copy("test", "test/a/5")],
        [Copy("train", "train/a/1"), Copy("train", "train/a/2")],
    ]
    assert [is_leak(group) for group in copies] == [True, False]


def test_a_copy_in_another_folder_is_a_leak() -> None:
    tables = [(name, index_table([{"path": "a/1", "hash": "x"}])) for name in ("first", "second")]
    (group,) = find_copies(tables)
    assert group == [Copy("first", "first/a/1"), Copy("second", "second/a/1")]
    assert is_leak(group)
