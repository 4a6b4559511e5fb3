"""What `lightframe scan` found out about videos, so that training need not open them to know it."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from lightframe.datamodules.decoding import Timeline, VideoInfo
from lightframe.errors import UsageError

# pyarrow is imported in the functions: a run without an index need not wait for it.

INDEX_NAME = "lightframe-scan.parquet"
_ROOT = b"lightframe.root"  # in the file's metadata: the folder to which paths refer, itself relative to the file
_PARENTS = 2  # folders above a data set's in which an index is looked for


def index_schema() -> Any:
    """The columns of an index, one row for each video.

    | column | meaning |
    |---|---|
    | path | relative to the scanned folder, with forward slashes; rows are sorted by it |
    | size_bytes, modified_ns | of the file when it was read |
    | hash | BLAKE2b (128 bit) of its bytes; null when reading did not come to an end, and is to be tried again |
    | frames | how many can be decoded, one after the other |
    | fps, duration | frames per second on average, and seconds |
    | width, height | of an upright frame, pixels |
    | rotation | degrees counter-clockwise by which frames are turned to stand upright: 0, 90, 180, 270 |
    | codec, pixel_format, container | FFmpeg's names |
    | pts_start, pts_step | time stamp of the first frame, and from one frame to the next, if that is always the same |
    | pts | all time stamps, else null |
    | key_frames | time stamps at which decoding can begin |
    | unit_numerator, unit_denominator | seconds per tick of these time stamps |
    | seekable | whether a frame can be told by its time stamp |
    | error | why the video cannot be read to its end; null when it can |
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("path", pa.string()),
            ("size_bytes", pa.int64()),
            ("modified_ns", pa.int64()),
            ("hash", pa.string()),
            ("frames", pa.int64()),
            ("fps", pa.float64()),
            ("duration", pa.float64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("rotation", pa.int32()),
            ("codec", pa.string()),
            ("pixel_format", pa.string()),
            ("container", pa.string()),
            ("pts_start", pa.int64()),
            ("pts_step", pa.int64()),
            ("pts", pa.list_(pa.int64())),
            ("key_frames", pa.list_(pa.int64())),
            ("unit_numerator", pa.int64()),
            ("unit_denominator", pa.int64()),
            ("seekable", pa.bool_()),
            ("error", pa.string()),
        ]
    )


def index_table(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A pyarrow.Table of rows, in which what is missing is null."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=index_schema())


def index_path(path: str | Path) -> str:
    r"""How an index writes a path; a name that is not UTF-8 with backslashes.

    >>> index_path(Path("wave/caf\udce9.mp4"))
    'wave/caf\\udce9.mp4'
    """
    return str(path).replace(os.sep, "/").encode("utf-8", "backslashreplace").decode()


def write_index(table: Any, file: Path, folder: Path) -> None:
    """Write an index; the file has its name only when it is complete.

    Args:
        table: of `index_table`.
        file: to write.
        folder: that was scanned.

    Raises:
        UsageError: it cannot be written.
    """
    import pyarrow.parquet as pq

    inside = folder.resolve() == file.parent.resolve()
    root = "." if inside else str(folder.resolve())  # a folder that is moved keeps an index inside it
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        table = table.sort_by("path").replace_schema_metadata({_ROOT: root.encode("utf-8", "surrogateescape")})
        pq.write_table(table, partial)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(file)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"'{file}' cannot be written ({reason}): choose another output") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def read_index(file: Path, columns: Sequence[str] | None = None) -> tuple[Any, Path]:
    """An index as a pyarrow.Table, sorted by path, and the folder to which its paths refer.

    Args:
        file: to read.
        columns: None for all.

    Raises:
        UsageError: it is no index.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One thread: pyarrow's own would be missing in a process forked later.
        table = pq.read_table(file, columns=columns, memory_map=True, use_threads=False, pre_buffer=False)
        root = table.schema.metadata[_ROOT].decode("utf-8", "surrogateescape")
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        if not file.exists():
            raise UsageError(f"there is no index '{file}': write it with lightframe scan") from None
        raise UsageError(f"'{file}' is no index of lightframe scan, or damaged: take it away and scan again") from error
    pa.default_memory_pool().release_unused()  # unpacking takes twice what stays
    return table, Path(_absolute(file)).parent / root


def _absolute(path: str | Path) -> str:
    # Not Path.resolve: a video is known by the path it was found under, wherever links on that path lead.
    return os.path.abspath(path)  # noqa: PTH100


class VideoIndex:
    """Looks videos up in the files that `lightframe scan` wrote.

    A row holds only as long as the file's size and time of modification are those of the scan; asked about a file
    that has changed since, or that was not there, the index knows nothing. Rows stay in Arrow's memory, outside
    Python's objects, so that a forked worker shares them; a pickled index is read again where it is unpickled.

    Args:
        files: to look in, one after the other.

    Raises:
        UsageError: one of them is no index.

    Example:
        index = VideoIndex.find(["videos/train"])
        info = index.entry("videos/train/wave/1.mp4") or probe("videos/train/wave/1.mp4")
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self._parts = [_Part(file) for file in self.files]

    @classmethod
    def load(cls, file: str | Path) -> "VideoIndex":
        """From one file."""
        return cls([Path(file)])

    @classmethod
    def find(cls, roots: Iterable[str | Path]) -> "VideoIndex":
        """From the nearest file for each of these folders: in it, or up to two folders above. There may be none."""
        files: dict[Path, None] = {}
        for root in roots:
            here = Path(_absolute(root))
            places = [folder / INDEX_NAME for folder in (here, *here.parents[:_PARENTS])]
            files.update(dict.fromkeys([place for place in places if place.is_file()][:1]))
        return cls(list(files))

    def __len__(self) -> int:
        """Number of videos, broken ones included."""
        return sum(len(part) for part in self._parts)

    def __reduce__(self) -> tuple[type, tuple[list[Path]]]:
        return type(self), (self.files,)

    def entry(self, path: str | Path) -> VideoInfo | None:
        """What `probe` would say of a video; None if it is unknown or not one frame of it can be decoded."""
        absolute = _absolute(path)
        for part in self._parts:
            row = part.find(absolute)
            if row is not None and part.holds(row, absolute):
                return part.info(row)
        return None

    def error(self, path: str | Path) -> str | None:
        """Why a video cannot be read to its end; None if it can, or is unknown."""
        absolute = _absolute(path)
        for part in self._parts:
            row = part.find_broken(absolute)
            if row is not None and part.holds(row, absolute):
                return part.value("error", row)
        return None


class _Part:
    """The rows of one file."""

    def __init__(self, file: Path) -> None:
        import pyarrow.compute as pc

        needed = [
            name for name in index_schema().names if name not in ("hash", "duration", "container", "pixel_format")
        ]
        self._table, root = read_index(file, needed)
        self._folder = _absolute(root).rstrip(os.sep) + os.sep
        self._paths = self._table.column("path")
        # Few, so that asking for the errors of all videos of a set takes no time, and no look at sound files.
        broken = pc.indices_nonzero(pc.is_valid(self._table.column("error"))).to_pylist()
        self._broken = {self.value("path", row): row for row in broken}

    def __len__(self) -> int:
        return self._table.num_rows

    def find(self, path: str) -> int | None:
        name = self._name(path)
        # Sorted by their bytes in UTF-8, which is the order in which Python compares strings.
        row = bisect_left(range(len(self)), name, key=lambda place: self._paths[place].as_py())
        return row if row < len(self) and self.value("path", row) == name else None

    def find_broken(self, path: str) -> int | None:
        return self._broken.get(self._name(path))

    def _name(self, path: str) -> str:
        return index_path(path.removeprefix(self._folder)) if path.startswith(self._folder) else ""

    def holds(self, row: int, path: str) -> bool:
        """Whether the file is the one that was scanned."""
        try:
            now = Path(path).stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.value("size_bytes", row), self.value("modified_ns", row))

    def value(self, column: str, row: int) -> Any:
        return self._table.column(column)[row].as_py()

    def info(self, row: int) -> VideoInfo | None:
        if not self.value("frames", row):
            return None
        explicit = self._table.column("pts")[row]
        timeline = Timeline(
            start=self.value("pts_start", row),
            step=self.value("pts_step", row),
            count=self.value("frames", row),
            explicit=explicit.values.to_numpy() if explicit.is_valid else None,
            keys=self._table.column("key_frames")[row].values.to_numpy(),
            unit=Fraction(self.value("unit_numerator", row), self.value("unit_denominator", row)),
            seekable=self.value("seekable", row),
        )
        return VideoInfo(
            frames=timeline.count,
            fps=self.value("fps", row),
            height=self.value("height", row),
            width=self.value("width", row),
            timeline=timeline,
            codec=self.value("codec", row),
        )
