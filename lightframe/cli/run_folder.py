"""Each run has a folder of its own."""

import os
from itertools import count
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from lightframe.errors import UsageError

# Processes that Lightning starts for further devices inherit it, and so find the folder of the first.
_VARIABLE = "LIGHTFRAME_RUN_FOLDER"


def claim_run_folder(parent: str | Path) -> Path:
    """Make the first free `run_<number>` in `parent`; making it is what claims it, so two runs never share one."""
    if getattr(rank_zero_only, "rank", 0):
        return Path(os.environ.get(_VARIABLE, parent))
    parent = Path(parent)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [entry.name.removeprefix("run_") for entry in parent.iterdir()]
        for number in count(max((int(name) for name in taken if name.isdecimal()), default=-1) + 1):
            folder = parent / f"run_{number}"
            try:
                folder.mkdir()
            except FileExistsError:  # another run was quicker
                continue
            os.environ[_VARIABLE] = str(folder)
            return folder
    except OSError as error:
        raise UsageError(
            f"cannot make a run folder in '{parent}' ({error}): give --trainer.default_root_dir"
        ) from error
    raise AssertionError("count() does not end")


def release_run_folder() -> None:
    """Take the claimed folder of a run that was refused away again, if it holds no more than the config."""
    folder = Path(os.environ.pop(_VARIABLE, ""))
    config = folder / "config.yaml"
    if folder.name.startswith("run_") and folder.is_dir() and set(folder.iterdir()) <= {config}:
        config.unlink(missing_ok=True)
        folder.rmdir()
