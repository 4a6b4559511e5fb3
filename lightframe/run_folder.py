"""Each run has a folder of its own."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from fnmatch import fnmatch
from itertools import count
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from lightframe.errors import UsageError, did_you_mean

NAMES = ("count", "time")
# Processes that Lightning starts for further devices inherit it, and so find the folder of the first.
_VARIABLE = "LIGHTFRAME_RUN_FOLDER"
# What a run has written before its first step, its loggers included.
_FIRST_FILES = ("config.yaml", "environment.txt", "hparams.yaml", "events.out.tfevents.*")
# The folders around the claimed one that were not there before.
_new_parents: list[Path] = []


def new_run_folder(parent: str | Path = "runs", name_by: str = "count") -> Path:
    """Make a folder in `parent` that was not there before; making it is what claims it, so two runs never share one.

    The command line calls it for each run. In Python it goes into the Trainer; further processes of the same run, which
    Lightning starts from this one, get the folder of the first.

    Args:
        parent: made too if it is not there.
        name_by: "count" for `run_0`, `run_1` and so on, "time" for `run_2026-11-21_09-30-00`. A second run in the same
            second is `run_2026-11-21_09-30-00_1`.

    Returns:
        The folder; in a process of another rank whose first process it was not started by, `parent`.

    Raises:
        UsageError: the folder cannot be made, or `name_by` is neither.

    Example::

        trainer = Trainer(default_root_dir=new_run_folder("runs", name_by="time"), max_epochs=10)
    """
    if name_by not in NAMES:
        raise UsageError(f"runs are named by count or time, not by '{name_by}'{did_you_mean(name_by, NAMES)}")
    if getattr(rank_zero_only, "rank", 0):
        return Path(os.environ.get(_VARIABLE, parent))
    if "://" in str(parent):
        raise UsageError(f"'{parent}' is no folder of this machine: give one that is, and copy the run from there")
    parent = Path(parent)
    try:
        _new_parents[:] = [one for one in (parent, *parent.parents) if not one.exists()]
        parent.mkdir(parents=True, exist_ok=True)
        for name in _numbers(parent) if name_by == "count" else _times():
            folder = parent / name
            try:
                folder.mkdir()
            except FileExistsError:  # another run was quicker
                continue
            os.environ[_VARIABLE] = str(folder)
            return folder
    except (OSError, ValueError) as error:  # a ValueError for a name with a character that no name may have
        reason = getattr(error, "strerror", None) or str(error)
        release_run_folder()
        raise UsageError(
            f"cannot make a run folder in '{_shortened(parent)}' ({reason}): give another --trainer.default_root_dir"
        ) from error
    raise AssertionError("names do not end")


def _numbers(parent: Path) -> Iterator[str]:
    taken = [entry.name.removeprefix("run_") for entry in parent.iterdir()]
    for number in count(max((int(name) for name in taken if name.isdecimal()), default=-1) + 1):
        yield f"run_{number}"


def _times() -> Iterator[str]:
    # No colons, which Windows does not take in names; sorted by name they are sorted by time.
    name = f"run_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    yield name
    for number in count(1):
        yield f"{name}_{number}"


def _shortened(path: Path) -> str:
    return str(path) if len(str(path)) <= 100 else f"{str(path)[:60]}...{str(path)[-30:]}"


def keep_run_folder() -> None:
    """What stands in the claimed folder is worth keeping, however the run ends."""
    os.environ.pop(_VARIABLE, None)


def release_run_folder() -> None:
    """Take the claimed folder of a run that was refused away again, if it holds no more than what comes first.

    With it go the folders above it that were made for it and that are empty.
    """
    if getattr(rank_zero_only, "rank", 0):
        return
    folder = Path(os.environ.pop(_VARIABLE, ""))
    if folder.name.startswith("run_") and folder.is_dir():
        inside = sorted(folder.rglob("*"), reverse=True)  # what stands in a folder before the folder
        if any(one.is_symlink() or not (one.is_dir() or _comes_first(one)) for one in inside):
            return
        for one in inside:
            one.rmdir() if one.is_dir() else one.unlink()
        folder.rmdir()
    with suppress(OSError):  # another run has come into them
        for made in _new_parents:
            if made.exists():
                made.rmdir()
    _new_parents.clear()


def _comes_first(file: Path) -> bool:
    return any(fnmatch(file.name, name) for name in _FIRST_FILES)
