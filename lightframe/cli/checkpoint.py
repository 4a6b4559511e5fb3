"""What a checkpoint tells of the module and the data that made it, as defaults for the command line."""

from collections.abc import Sequence
from typing import Any

from lightframe.checkpoint_io import local_path, read_checkpoint
from lightframe.checkpoint_trust import check_names
from lightframe.cli.nested import flags, parse_value, read_config
from lightframe.errors import UsageError
from lightframe.plain import to_plain

# How a module was trained is no matter when it is evaluated, and need not fit what the user types.
_TRAINING_ONLY = ("optimizer", "lr", "optimizer_args", "scheduler", "scheduler_args", "freeze")


def find_ckpt_path(args: Sequence[str]) -> str | None:
    """The --ckpt_path that was typed, or the one in the config files; the last one wins.

    >>> find_ckpt_path(["test", "--ckpt_path=a.ckpt"])
    'a.ckpt'
    """
    found = None
    for flag, value in flags(args):
        if flag in ("--config", "-c"):
            found = read_config(value).get("ckpt_path", found)
        elif flag == "--ckpt_path":
            found = value if parse_value(value) is not None else None
    return found


def read_local(path: str, *, resumable: bool = False) -> dict[str, Any]:
    """The checkpoint, its tensors left on disk; empty for what is not a local file.

    Args:
        path: as typed.
        resumable: whether training is to go on from it.

    Raises:
        UsageError: the file does not exist, is damaged, or holds more than tensors and plain values.
    """
    if local_path(path) is None or path == "hpc" or path.startswith("registry"):
        return {}
    if path == "best":
        raise UsageError("--ckpt_path best: name the file, such as runs/run_0/checkpoints/best-....ckpt, or say last")
    return read_checkpoint(path, resumable=resumable, mmap=True)


def checkpoint_defaults(path: str, typed: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The `class_path` and `init_args` of the module and of the data, as the parser takes them.

    Args:
        path: a checkpoint; a file of another framework gives nothing.
        typed: the arguments of the command line.

    Raises:
        UsageError: the file does not exist or is damaged, or its net was an object and `typed` names none.
    """
    checkpoint = read_local(path)
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
    typed_names = {
        flag.removeprefix("--model.").removeprefix("init_args.").partition(".")[0] for flag, _ in flags(typed)
    }
    check_names({name: value for name, value in arguments.items() if name not in typed_names}, path)
    check_names(ours["data"], path, "data")
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
