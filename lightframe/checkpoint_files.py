"""Checkpoints as files: the newest of many, and what a file may be called."""

import os
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from lightframe.checkpoint_reading import check_checkpoint, load_plain
from lightframe.errors import UsageError

# From `runs` down to `run_0/checkpoints/x.ckpt` there are three; a callback's own folders may lie deeper.
_DEPTH = 6
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
_SUFFIX = 12  # characters, longer ones are no suffixes
_LONGEST = 200  # bytes; most systems take 255, of which a file that is being written needs some


class Found(NamedTuple):
    """The newest whole checkpoint, or None, and the newer files that were passed over, with what is wrong in each."""

    path: Path | None
    damaged: dict[Path, str]


def newest_whole(
    folder: str | Path, *, resumable: bool = False, before: int | None = None, depth: int = _DEPTH
) -> Found:
    """The newest checkpoint (`*.ckpt`, by the time it was written) in a folder and those below that is whole.

    The newest is checked first, and the first that is whole ends the search: it takes no longer with many large ones.
    In one folder last.ckpt goes before the others, none of which is of a later step: a copy may have lost the times.

    Args:
        folder: of one run or of many, such as `runs`; it need not be there.
        resumable: leave out those that training cannot go on from, since they hold weights only.
        before: leave out those that were written then or later, in nanoseconds as `os.stat` gives them.
        depth: 1 looks into `folder` alone.

    >>> newest_whole("no_such_folder")
    Found(path=None, damaged={})
    """
    times = {path: time for path, time in _checkpoints(Path(folder), depth) if before is None or time < before}
    damaged: dict[Path, str] = {}
    for path in _newest_first(times):
        reason = _unfit(path, resumable)
        if reason is None:
            return Found(path, damaged)
        if reason:
            damaged[path] = reason
    return Found(None, damaged)


def _newest_first(times: dict[Path, int]) -> list[Path]:
    """Checkpoints in the order in which they are tried."""
    order: list[Path] = []
    for _, group in groupby(sorted(times, key=lambda path: times[path], reverse=True), key=lambda path: times[path]):
        paths = list(group)
        order += sorted(paths, key=_global_step, reverse=True) if len(paths) > 1 else paths
    places = {folder: place for place, folder in enumerate(dict.fromkeys(path.parent for path in order))}
    return sorted(order, key=lambda path: (places[path.parent], not re.match(r"last(-v\d+)?\.ckpt$", path.name)))


def _unfit(path: Path, resumable: bool) -> str | None:
    """What is wrong with a file; None for nothing, "" where it is only not what is looked for."""
    try:
        # What it holds can be told without reading all of it.
        found = load_plain(path, mmap=True)
    except UsageError as error:
        return check_checkpoint(path) or getattr(error, "reason", "") or str(error).removeprefix(f"'{path}' ")
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if "state_dict" not in found or (resumable and not is_resumable(found)):
        return ""
    return check_checkpoint(path)


def is_resumable(checkpoint: dict) -> bool:
    """Whether training can go on from what was read from a checkpoint; else it holds weights only."""
    return {"state_dict", "optimizer_states", "lr_schedulers", "loops"} <= checkpoint.keys()


def _global_step(path: Path) -> int:
    try:
        return int(load_plain(path, mmap=True)["global_step"])
    except (UsageError, OSError, KeyError, TypeError, ValueError):
        return -1


def _checkpoints(folder: Path, depth: int) -> Iterator[tuple[Path, int]]:
    """Each checkpoint below a folder, and when it was written."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # not there, or not ours to look into
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                if depth > 1:
                    yield from _checkpoints(Path(entry), depth - 1)
            elif entry.name.endswith(".ckpt") and not entry.name.startswith(".") and entry.is_file():
                yield Path(entry), entry.stat().st_mtime_ns
        except OSError:  # gone since
            continue


def safe_filename(name: str) -> str:
    """The name of a file, or the start of one, that Windows, Linux and macOS all take.

    Args:
        name: anything, such as a metric's. A long one is cut in front of its suffix.

    >>> safe_filename("best-val/top1=0.91"), safe_filename("nul.txt"), safe_filename("a? ")
    ('best-val_top1=0.91', '_nul.txt', 'a_')
    """
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]', "_", name).rstrip(". ") or "_"
    # Windows takes these for devices, whatever follows the first point.
    name = f"_{name}" if name.partition(".")[0].rstrip().upper() in _RESERVED else name
    if len(name.encode()) <= _LONGEST:
        return name
    suffix = Path(name).suffix if len(Path(name).suffix) <= _SUFFIX else ""
    stem = name.removesuffix(suffix).encode()[: _LONGEST - len(suffix.encode())]
    return stem.decode("utf-8", "ignore").rstrip(". ") + suffix
