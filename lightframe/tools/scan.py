"""`lightframe scan`: every video of a folder, read once."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from lightframe.datamodules.sources import find_unlabelled, require
from lightframe.datamodules.video_index import (
    INDEX_NAME,
    index_path,
    index_schema,
    index_table,
    read_index,
    write_index,
)
from lightframe.errors import UsageError
from lightframe.tools.duplicates import find_copies, show_copies
from lightframe.tools.parallel import Lost, check_limits, in_processes
from lightframe.tools.progress import file_progress
from lightframe.tools.summary import show_summary
from lightframe.tools.video_record import VideoFile, video_record

_SAVE_EVERY = 300.0  # seconds


def scan(
    folder: Path,
    output: Path | None = None,
    workers: int | None = None,
    time_limit: float = 600.0,
    against: Path | list[Path] | None = None,
) -> Path:
    """Read every video below a folder to its end, write an index of them, and print a summary.

    Every frame is decoded, so that damage in the middle of a file is found too. Training takes the index from the
    folder of its videos, or from one above it, to leave out what is broken and to know the others without opening
    them. Scanned again, only files are read that are new or have changed; so a scan that was stopped goes on.

    The summary has the number of videos in each class (the folder in which a video stands) and split (train, val and
    test, where there are such folders), durations, sizes, codecs, what is broken, and which videos are copies of
    others, byte for byte: first those that stand in several splits, where they spoil the evaluation.

    Args:
        folder: folder with videos.
        output: the index to write; by default lightframe-scan.parquet in the folder, where training finds it.
        workers: processes, each of which reads one video at a time; by default one per core.
        time_limit: seconds that one video may take before it is given up as broken.
        against: another folder, or a list of them, scanned before, in which copies are looked for too.

    Returns:
        The index.

    Raises:
        UsageError: there are no videos, or the index cannot be written.
    """
    check_limits(workers, time_limit)
    if not require(folder, "folder").is_dir():
        raise UsageError(f"'{folder}' is not a folder")
    others = [against] if isinstance(against, Path) else against or []
    for other in others:
        if other.resolve().is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(other.resolve()):
            raise UsageError(f"'{folder}' and '{other}' must not stand in each other to look for copies")
    compared = [(str(other), read_index(other / INDEX_NAME)[0]) for other in others]
    file = output or folder / INDEX_NAME
    table = _read_changed(folder, file, workers, time_limit)
    console = Console()
    show_summary(console, table, folder)
    show_copies(console, find_copies([(str(folder), table), *compared]))
    console.print(f"\nIndex: {index_path(file)}", markup=False, soft_wrap=True)
    return file


def _read_changed(folder: Path, file: Path, workers: int | None, time_limit: float) -> pa.Table:
    """The index, up to date and written."""
    videos = [VideoFile.of(Path(video.path), folder) for video in find_unlabelled(folder)]
    table, due = _compare(videos, _old_index(file, folder))
    write_index(table, file, folder)  # a folder that cannot be written to shows now
    rows: list[dict[str, Any]] = []
    saved = time.monotonic()
    try:
        with (
            file_progress("Scanning", len(due), sum(video.size or 0 for video in due)) as advance,
            closing(in_processes(video_record, due, workers, time_limit)) as results,
        ):
            for video, record in results:
                rows.append(_lost_record(video, record) if isinstance(record, Lost) else record)
                advance(video.size or 0)
                if time.monotonic() - saved > _SAVE_EVERY:
                    table = pa.concat_tables([table, index_table(rows)])
                    rows.clear()
                    write_index(table, file, folder)
                    saved = time.monotonic()
    finally:
        table = pa.concat_tables([table, index_table(rows)]).sort_by("path")
        write_index(table, file, folder)
    return table


def _old_index(file: Path, folder: Path) -> pa.Table:
    """What an earlier scan has written, or an empty table."""
    if not file.exists():
        return index_table([])
    table, scanned = read_index(file)
    if scanned.resolve() != folder.resolve():
        raise UsageError(f"'{file}' is the index of '{scanned}': choose another output")
    return table if table.schema.equals(index_schema()) else index_table([])  # of an older lightframe


def _compare(videos: Sequence[VideoFile], old: pa.Table) -> tuple[pa.Table, list[VideoFile]]:
    """The old rows that still hold, and the videos to read."""
    columns = [old.column(name).to_pylist() for name in ("path", "size_bytes", "modified_ns", "hash")]
    # Without a hash reading did not come to its end; perhaps it does now.
    rows = {row: number for number, row in enumerate(zip(*columns[:3], strict=True)) if columns[3][number]}
    numbers = [rows.get((video.name, video.size, video.modified)) for video in videos]
    kept = [number for number in numbers if number is not None]
    due = [video for video, number in zip(videos, numbers, strict=True) if number is None]
    return old.take(pa.array(kept, pa.int64())), due


def _lost_record(video: VideoFile, lost: Lost) -> dict[str, Any]:
    # With size and time: what crashes a decoder here would crash a training.
    return {"path": video.name, "size_bytes": video.size, "modified_ns": video.modified, "error": lost.reason}
