"""A file that takes its name only when it is whole, and on the disk."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# A writer touches its file all the time; one that was not touched for so long (seconds) has no writer any more.
_STALE = 600


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` at the end of the block.

    Whenever the process or the machine stops, `path` holds what it held before or all of the new. If the block raises,
    what was written goes, and `path` is what it was. A killed process leaves `.NAME.PID.partial` behind, which the
    next writer of `path` removes.

    Args:
        path: in a folder that is there.

    Raises:
        OSError: the disk is full, the folder is read-only, ...

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "a.txt") as file:
    ...     _ = file.write(b"whole")
    >>> [found.name for found in folder.iterdir()], (folder / "a.txt").read_bytes()
    (['a.txt'], b'whole')
    """
    path = Path(path)
    remove_stale(path)
    partial = path.with_name(f"{_prefix(path)}{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    _sync_folder(path.parent)


def remove_stale(path: Path) -> None:
    """Remove what killed writers of `path` left behind; what another process is writing just now stays."""
    prefix = _prefix(path)
    with suppress(OSError):  # the folder is not there: writing says so better
        for entry in os.scandir(path.parent):
            writer = entry.name.removeprefix(prefix).removesuffix(".partial")
            if entry.name == f"{prefix}{writer}.partial" and writer.isdecimal():
                with suppress(OSError):
                    age = time.time() - entry.stat().st_mtime
                    # A number is given to another process in time, this one included.
                    if age > _STALE or int(writer) == os.getpid() or not _lives(int(writer)):
                        Path(entry).unlink()


def _prefix(path: Path) -> str:
    # Names have at most 255 bytes nearly everywhere, and the rest of this one needs some.
    name = os.fsencode(path.name)[:200].decode("utf-8", "ignore")
    return f".{name}."


def _lives(process: int) -> bool:
    if os.name == "nt":  # there, to ask is to kill
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, where the system can."""
    if os.name == "nt":
        return
    with suppress(OSError):  # some network file systems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
