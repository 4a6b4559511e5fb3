"""Videos that are copies of one another, byte for byte."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from rich.console import Console

SPLITS = ("train", "val", "valid", "validation", "test", "predict")
_SHOWN = 20


class Copy(NamedTuple):
    """One of several equal files.

    Attributes:
        place: the split, or the folder when several are compared; copies in two places are a leak.
        path: in the folder that was scanned.
    """

    place: str
    path: str


def split_of(path: str) -> str:
    """The folder train, val or test in which a video stands, or an empty string.

    >>> split_of("clips/train/wave/1.mp4"), split_of("wave/1.mp4")
    ('train', '')
    """
    return next((folder for folder in PurePosixPath(path).parent.parts if folder in SPLITS), "")


def find_copies(tables: Sequence[tuple[str, Any]]) -> list[list[Copy]]:
    """Groups of equal videos, those in several places first.

    Args:
        tables: name of a folder and its index, a pyarrow.Table with path, hash and error. Broken videos do not count.
    """
    groups: dict[str, list[Copy]] = {}
    for folder, table in tables:
        columns = (table.column(name).to_pylist() for name in ("path", "hash", "error"))
        for path, content, error in zip(*columns, strict=True):
            if content and error is None:
                place = split_of(path)
                if len(tables) > 1:
                    place = f"{folder}/{place}" if place else folder
                groups.setdefault(content, []).append(Copy(place, path if len(tables) == 1 else f"{folder}/{path}"))
    copies = [group for group in groups.values() if len(group) > 1]
    return sorted(copies, key=lambda group: (not is_leak(group), group))


def is_leak(group: Sequence[Copy]) -> bool:
    """Whether copies stand in several splits or folders."""
    return len({copy.place for copy in group}) > 1


def show_copies(console: Console, copies: Sequence[Sequence[Copy]]) -> None:
    """Print the groups: first what leaks, then what is only there twice."""
    leaks = [group for group in copies if is_leak(group)]
    rest = [group for group in copies if not is_leak(group)]
    if leaks:
        heading = "in several splits or folders, which spoils the evaluation"
        _show(console, f"Copies, byte for byte the same, {heading}: {len(leaks)}", "bold red", leaks)
    if rest:
        _show(console, f"Copies, byte for byte the same, in one split: {len(rest)}", "bold yellow", rest)


def _show(console: Console, heading: str, style: str, groups: Sequence[Sequence[Copy]]) -> None:
    console.print(f"\n{heading}", style=style, markup=False, soft_wrap=True)
    for group in groups[:_SHOWN]:
        console.print("  " + " = ".join(copy.path for copy in group), markup=False, soft_wrap=True)
    if len(groups) > _SHOWN:
        console.print(f"  ... and {len(groups) - _SHOWN} more")
