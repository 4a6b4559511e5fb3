"""What a process and those it started hold of the machine. Linux: it is read from /proc."""

import ctypes
import math
import os
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """Of this process, and of its children of any depth together."""

    rss_mib: float  # all its pages; the system takes those of files away and brings them back as it likes
    anonymous_mib: float  # those of no file: what was allocated
    pss_mib: float  # a page that n processes share counts as one n-th of it
    allocated_mib: float  # what malloc gave and was not given back; the pages around it are the allocator's affair
    python_blocks: int  # objects and parts of objects that Python holds, but for large ones
    children_rss_mib: float
    children_anonymous_mib: float
    children_pss_mib: float
    files: int  # open in this process
    children_files: int
    threads: int  # of this process
    children: int


def usage() -> Usage:
    """As it is now."""
    own, children = os.getpid(), descendants(os.getpid())
    return Usage(
        *_memory([own]),
        _allocated(),
        sys.getallocatedblocks(),
        *_memory(children),
        _entries(own, "fd"),
        sum(_entries(child, "fd") for child in children),
        _entries(own, "task"),
        len(children),
    )


def descendants(pid: int) -> list[int]:
    """The processes that a process started, those that they started, and so on; none that has ended."""
    children = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            # The name in parentheses may hold anything; behind it come the state and the parent.
            state, parent = (_read(int(folder.name), "stat").rpartition(")")[2].split() or ["Z", "0"])[:2]
            if state not in "ZX":
                children[int(parent)].append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        more = children[waiting.pop()]
        found += more
        waiting += more
    return sorted(found)


def _memory(pids: Sequence[int]) -> tuple[float, float, float]:
    """Resident, anonymous and proportional, in MiB, all together."""
    return (
        sum(_field(pid, "status", "VmRSS") for pid in pids),
        sum(_field(pid, "status", "RssAnon") for pid in pids),
        sum(_field(pid, "smaps_rollup", "Pss") for pid in pids),
    )


class _Mallinfo2(ctypes.Structure):
    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def _allocated() -> float:
    """In MiB, in all arenas and in mappings of their own; nan where the C library is not glibc 2.33 or later."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return math.nan
    ask.restype = _Mallinfo2
    info = ask()
    return (info.uordblks + info.hblkhd) / 2**20


def _field(pid: int, file: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", _read(pid, file), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _entries(pid: int, name: str) -> int:
    try:
        return sum(1 for _ in Path("/proc", str(pid), name).iterdir())
    except OSError:  # it has ended
        return 0


def _read(pid: int, name: str) -> str:
    try:
        return Path("/proc", str(pid), name).read_text(errors="replace")
    except OSError:  # it has ended
        return ""
