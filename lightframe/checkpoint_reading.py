"""Reading a checkpoint: checked byte by byte before, and nothing of it is run."""

import re
import zipfile
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from lightframe.errors import UsageError
from lightframe.pretrained import foreign as foreign_file

_ZIP = b"PK\x03\x04"
_FOLDER, _ENCRYPTED = 0x10, 0x61  # bits in the headers of a zip


class DamagedCheckpointError(UsageError):
    """A checkpoint that is missing, cut short, damaged or none at all; `reason` is what is wrong, without the name."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def check_checkpoint(path: str | Path) -> str | None:
    """What is wrong with a file that should be a checkpoint, such as "is cut short"; None where it is whole.

    Reads all of it: torch.load itself does not notice each flipped bit, and with `mmap` none.

    >>> check_checkpoint("nowhere.ckpt")
    'is not there'
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(_ZIP))
            if not start:
                return "is empty"
            if start == _ZIP and (reason := _check_records(file)):
                return reason
        # Of a zip all bytes are right now. Of exported weights this reads all; files of torch before 1.6 have no
        # checksums, and what can be read of them must be taken for right.
        load_plain(path, mmap=True)
    except DamagedCheckpointError as error:
        return error.reason
    except UsageError:  # whole, but not to be read
        return None
    except FileNotFoundError:
        return "is not there"
    except IsADirectoryError:
        return "is a folder"
    except (OSError, ValueError) as error:  # a ValueError for a character that no name may have
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    return None


def _check_records(file: IO[bytes]) -> str | None:
    """torch.save writes a zip of uncompressed records, each with a checksum."""
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            # torch takes a record with the mark of a folder for an empty one, and gives whatever is in the memory.
            if any(record.external_attr & _FOLDER or record.flag_bits & _ENCRYPTED for record in records):
                return "is damaged (a record's header is wrong)"
            # With torch.serialization.set_crc32_options(False) it writes zeros for all of them.
            if any(record.CRC for record in records) and (name := archive.testzip()) is not None:
                return f"is damaged (the checksum of its record {name.partition('/')[2] or name} is wrong)"
    except Exception as error:  # flipped bits in headers: zipfile stumbles in many ways
        if "not a zip file" in str(error):  # the table of contents is at the end
            return "is cut short (its end is missing)"
        return f"is damaged ({error})" if str(error) else "is damaged"
    return None


def load_plain(path: str | Path, *, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """A checkpoint of tensors and plain values, or weights that were exported; nothing in the file is run.

    Args:
        path: a local file.
        map_location: as in `torch.load`.
        mmap: leave the tensors in the file, and its checksums unread.

    Raises:
        DamagedCheckpointError: bytes are missing or wrong, or it is no checkpoint.
        UsageError: the file holds objects of classes that would have to be run.
    """
    if is_exported(path):
        from lightframe.export import load_exported

        return load_exported(path)
    with Path(path).open("rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    try:
        found = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap and zipped)
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, where bytes are not what they should be
        if name := foreign_class(path, error):
            raise UsageError(foreign(path, name)) from None
        raise damaged(path, "is no checkpoint of tensors and plain values") from error
    if not isinstance(found, dict):
        raise damaged(path, f"is no checkpoint: it holds a {type(found).__name__}")
    return found


def is_exported(path: str | Path) -> bool:
    """Whether a file is one of safetensors, whatever its name is: the length of a header of JSON, and the header."""
    with Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"


def damaged(path: str | Path, reason: str) -> DamagedCheckpointError:
    """The error that says what is wrong with a file."""
    return DamagedCheckpointError(f"'{path}' {reason}", reason)


def foreign_class(path: str | Path, error: Exception) -> str | None:
    """The class or function that torch would not let the file run, if that is why it was not read."""
    if isinstance(error, UnpicklingError):
        with suppress(Exception):  # a file without records
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            return min(names, key=lambda name: ("." not in name or name.startswith("builtins."), name))
        if match := re.search(r"GLOBAL ([\w.]+)", str(error)):
            return match[1]
    return None


def foreign(path: str | Path, name: str) -> str:
    """Why a file with objects of the class `name` is not read, and how to take the weights out of it."""
    return (
        f"'{path}' holds a pickled {name}, and reading that could run any code: if you trust the file, convert it with "
        f"{conversion(path)}"
    )


def conversion(path: str | Path) -> str:
    """The line that takes the weights out of a file that holds more, and what is to be thought of."""
    return f"{foreign_file.conversion(path)} (which runs the file's code), and give the new file as --model.init_from"
