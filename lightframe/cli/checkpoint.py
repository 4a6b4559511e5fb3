"""What a checkpoint tells of the module and the data that made it, as defaults for the command line."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from lightframe.cli.nested import flags, read_config
from lightframe.errors import UsageError
from lightframe.plain import to_plain

# How a module was trained is no matter when it is evaluated, and need not fit what the user types.
_TRAINING_ONLY = ("optimizer", "lr", "optimizer_args", "scheduler", "scheduler_args")


def find_ckpt_path(args: Sequence[str]) -> str | None:
    """The --ckpt_path that was typed, or the one in the config files."""
    found = None
    for flag, value in flags(args):
        if flag in ("--config", "-c"):
            found = read_config(value).get("ckpt_path") or found
        elif flag == "--ckpt_path":
            return value
    return found


def read_checkpoint(path: str) -> dict[str, Any]:
    """The checkpoint, its tensors left on disk; empty for what is not a local file.

    Raises:
        UsageError: the file does not exist, is damaged, or holds more than tensors and plain values.
    """
    if "://" in path or path == "hpc" or path.startswith("registry"):
        return {}
    if path in ("best", "last"):
        raise UsageError(f"--ckpt_path {path}: name the file, such as runs/run_0/checkpoints/last.ckpt")
    if not Path(path).is_file():
        raise UsageError(f"--ckpt_path: there is no file '{path}'")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).split(". ")[0].split("\n")[0][:120]
        raise UsageError(f"--ckpt_path: '{path}' is not a checkpoint of tensors and plain values ({reason})") from None
    return checkpoint if isinstance(checkpoint, dict) else {}


def checkpoint_defaults(path: str, typed: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The `class_path` and `init_args` of the module and of the data, as the parser takes them.

    Args:
        path: a checkpoint; a file of another framework gives nothing.
        typed: the arguments of the command line.

    Raises:
        UsageError: the file does not exist or is damaged, or its net was an object and `typed` names none.
    """
    checkpoint = read_checkpoint(path)
    ours = checkpoint.get("lightframe")
    if not ours:
        return {}
    names_net = any(word.split("=")[0] in ("--model.net", "--model.init_args.net", "--config", "-c") for word in typed)
    if "net" in ours["objects"] and not names_net:
        raise UsageError(
            f"the net of '{path}' was given as an object, of class {ours['objects']['net']}: name it with --model.net, "
            "and its arguments with --model.net.NAME"
        )
    arguments = {k: v for k, v in checkpoint.get("hyper_parameters", {}).items() if k not in _TRAINING_ONLY}
    # YAML knows no tuples.
    module = {"class_path": ours["class_path"], "init_args": _lists(to_plain(arguments))}
    data = {"init_args": _lists(ours["data"])}
    if ours.get("data_class"):
        data["class_path"] = ours["data_class"]
    return {"model": module, "data": data}


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value
