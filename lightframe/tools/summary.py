"""What a folder of videos holds, in a few tables."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow.compute as pc
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from lightframe.datamodules.video_index import index_path
from lightframe.tools.broken import Broken, show_broken
from lightframe.tools.duplicates import SPLITS, split_of

_CLASSES = 40  # of more, only those with the most and the fewest videos are shown
_COMMON = 5


def show_summary(console: Console, table: Any, folder: Path) -> None:
    """Print what an index says.

    Args:
        console: to print on.
        table: the index, a pyarrow.Table.
        folder: that was scanned.
    """
    sound = table.filter(pc.is_null(table.column("error")))
    seconds = pc.sum(table.column("duration")).as_py() or 0.0
    size = decimal(pc.sum(table.column("size_bytes")).as_py() or 0)
    heading = f"{table.num_rows} videos in {index_path(folder)}: {seconds / 3600:.2f} hours, {size}"
    console.print(heading, markup=False, soft_wrap=True)
    tables = [_classes(table.column("path").to_pylist())]
    if sound.num_rows:
        tables += [_quartiles(sound), _kinds(sound)]
    for shown in tables:
        console.print()
        console.print(shown)
    errors = table.filter(pc.is_valid(table.column("error"))).select(["path", "error"]).to_pylist()
    show_broken(console, [Broken(row["path"], row["error"]) for row in errors], table.num_rows)


def count_classes(paths: Iterable[str]) -> dict[str, Counter[str]]:
    """Number of videos of each class, the folder in which a video stands, in each split.

    >>> count_classes(["train/wave/1.mp4", "train/wave/2.mp4", "val/wave/3.mp4"])
    {'wave': Counter({'train': 2, 'val': 1})}
    """
    counts: dict[str, Counter[str]] = {}
    for path in paths:
        split, name = split_of(path), PurePosixPath(path).parent.name
        name = "" if name == split else name
        counts.setdefault(name, Counter())[split] += 1
    return counts


def _classes(paths: list[str]) -> Table:
    counts = count_classes(paths)
    splits = sorted({split for count in counts.values() for split in count}, key=("", *SPLITS).index)
    table = _table(
        f"{len(counts)} classes", "class", *(split or ("other" if splits[1:] else "videos") for split in splits)
    )
    names = sorted(counts, key=lambda name: (-sum(counts[name].values()), name))
    left_out = range(_CLASSES // 2, len(names) - _CLASSES // 2) if len(names) > _CLASSES else range(0)
    for place, name in enumerate(names):
        if place not in left_out:
            table.add_row(escape(name) or "(none)", *(str(counts[name][split]) for split in splits))
        elif place == left_out[0]:
            table.add_row(f"... {len(left_out)} more")
    return table


def _quartiles(sound: Any) -> Table:
    """Of numbers that differ from video to video."""
    known = sound.filter(sound.column("seekable"))
    keys = pc.list_value_length(known.column("key_frames")).to_numpy()
    table = _table("Quartiles", "", "least", "25 %", "50 %", "75 %", "most")
    for name, values in (
        ("duration (s)", sound.column("duration").to_numpy()),
        ("frames", sound.column("frames").to_numpy()),
        ("frames per key frame", known.column("frames").to_numpy() / np.maximum(keys, 1)),
    ):
        if not len(values):
            continue
        table.add_row(name, *(f"{value:.4g}" for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])))
    return table


def _kinds(sound: Any) -> Table:
    """Of what is the same for many videos, the most common."""
    columns = {name: sound.column(name).to_pylist() for name in ("width", "height", "fps", "codec", "pixel_format")}
    sizes = [f"{width}x{height}" for width, height in zip(columns["width"], columns["height"], strict=True)]
    table = _table("Most common (number of videos)", "", "")
    table.show_header, table.columns[1].justify = False, "left"
    for name, values in (
        ("width x height", sizes),
        ("frames per second", [f"{fps:.4g}" for fps in columns["fps"]]),
        ("codec", columns["codec"]),
        ("pixel format", columns["pixel_format"]),
    ):
        counts = Counter(values)
        shown = [f"{value} ({count})" for value, count in counts.most_common(_COMMON)]
        others = [f"{len(counts) - _COMMON} others"] if len(counts) > _COMMON else []
        table.add_row(name, ", ".join(shown + others))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
