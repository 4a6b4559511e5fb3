"""Videos that cannot be read: which, and why."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lightframe.datamodules.decoding import VideoError
from lightframe.datamodules.video_index import index_path

_SHOWN = 20


class Broken(NamedTuple):
    """A video that cannot be read to its end.

    Attributes:
        path: relative to the folder it was looked for in.
        reason: why.
    """

    path: str
    reason: str


def reason_of(error: Exception, path: Path) -> str:
    """Why a video is broken, in one line and without its path.

    >>> reason_of(VideoError("a.mp4: holds no video stream"), Path("a.mp4"))
    'holds no video stream'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = str(error).removeprefix(f"{path}: ")
    kind = "" if isinstance(error, VideoError) else f"{type(error).__name__}: "
    return index_path(" ".join((kind + message).split()))


def write_broken(file: Path, broken: Sequence[Broken]) -> None:
    """Write a list of broken videos as CSV; an empty list takes the file of an earlier run away."""
    if not broken:
        file.unlink(missing_ok=True)
        return
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(Broken._fields)
        writer.writerows(broken)


def show_broken(console: Console, broken: Sequence[Broken], total: int, file: Path | None = None) -> None:
    """Print the first broken videos, and how many of `total` they are."""
    if not broken:
        return
    where = f"; all are listed in {file}" if file else ""
    console.print(
        f"\n{len(broken)} of {total} videos are broken{where}:", style="bold red", markup=False, soft_wrap=True
    )
    for path, reason in broken[:_SHOWN]:
        console.print(f"  {path}: {reason}", markup=False, soft_wrap=True)
    if len(broken) > _SHOWN:
        console.print(f"  ... and {len(broken) - _SHOWN} more")
