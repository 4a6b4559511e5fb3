"""`--ckpt_path last`: the newest whole checkpoint among the runs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightframe.checkpoint_files import newest_whole
from lightframe.cli.checkpoint import find_ckpt_path
from lightframe.cli.nested import flags, read_config
from lightframe.errors import UsageError

# Processes that Lightning starts for further devices inherit the choice of the first, which may write meanwhile.
_VARIABLE = "LIGHTFRAME_LAST_CHECKPOINT"


def name_last(words: Sequence[str]) -> list[str]:
    """The words of a command line with a path in the place of `last`, typed or in a config.

    Training takes a checkpoint that it can go on from. Where there is none it starts from the beginning, so that a job
    that is started again and again can always say `last`.

    Raises:
        UsageError: there is none to evaluate.
    """
    if find_ckpt_path(words) != "last":
        return list(words)
    fits = bool(words) and words[0] == "fit"
    if getattr(rank_zero_only, "rank", 0) and _VARIABLE in os.environ:
        path = os.environ[_VARIABLE]
    else:
        path = _find(runs_folder(words), fits)
        os.environ[_VARIABLE] = path
    # What stands last wins, over configs too.
    return [*words, f"--ckpt_path={path or 'null'}"]


def release_last() -> None:
    """Forget the choice: the next command makes its own."""
    os.environ.pop(_VARIABLE, None)


def runs_folder(words: Sequence[str]) -> str:
    """Where the run folders lie: the trainer.default_root_dir that is typed or in a config, else `runs`.

    >>> runs_folder(["fit", "--trainer.default_root_dir", "trials"])
    'trials'
    """
    found = None
    for flag, value in flags(words):
        if flag in ("--config", "-c"):
            trainer = read_config(value).get("trainer")
            found = (trainer.get("default_root_dir") if isinstance(trainer, dict) else None) or found
        elif flag == "--trainer.default_root_dir":
            found = value
    return str(found or "runs")


def _find(folder: str, fits: bool) -> str:
    """The path, said to the user; "" where there is none to go on from."""
    found = newest_whole(folder, resumable=fits)
    for path, reason in found.damaged.items():
        rank_zero_warn(f"--ckpt_path last passes over '{path}': it {reason}")
    if found.path is not None:
        _say(f"--ckpt_path last is {found.path}")
        return str(found.path)
    lies = f"lies in '{folder}'" if Path(folder).is_dir() else f"is there, nor a folder '{folder}'"
    if not fits:
        raise UsageError(f"--ckpt_path last: no whole checkpoint {lies}: name one, or --trainer.default_root_dir")
    _say(f"--ckpt_path last: no checkpoint to go on from {lies}: training starts from the beginning")
    return ""


def _say(line: str) -> None:
    if not getattr(rank_zero_only, "rank", 0):
        print(f"lightframe: {line}", file=sys.stderr)
