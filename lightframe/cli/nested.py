"""`--model.net my_nets.Net --model.net.width 32`: a name and its arguments, typed apart, as one value.

jsonargparse reads either a string or a dict; with both it keeps the last. So they are put together here, before it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from lightframe.errors import UsageError

# The arguments of the adapter that hold a name or plain dicts of any depth.
FREE_FORM = ("net", "loss", "optimizer_args", "scheduler_args", "metrics")


def merge_nested(args: Sequence[str], defaults: Mapping[str, Any] | None = None) -> list[str]:
    """The arguments, with everything typed below a free-form one gathered into one JSON value at the end.

    Args:
        args: the words of the command line.
        defaults: the adapter's arguments before anything is typed, such as those of a checkpoint.

    >>> merge_nested(["fit", "--model.net", "my.Net", "--model.net.width", "32", "--model.lr=0.1"])
    ['fit', '--model.lr=0.1', '--model.net', '{"name": "my.Net", "width": 32}']
    """
    kept: list[str] = []
    # Each free-form argument as it stands so far.
    values = {name: value for name, value in (defaults or {}).items() if name in FREE_FORM}
    nested: set[str] = set()
    for flag, value in _pairs(args):
        name, _, path = flag.removeprefix("--model.").removeprefix("init_args.").partition(".")
        if flag in ("--config", "-c") and value is not None:
            values.update(_from_config(value))
        if not flag.startswith("--model.") or name not in FREE_FORM or value is None:
            kept += [flag] if value is None else [flag, value]
        elif path:
            values[name] = _set(values.get(name), path.split("."), parse_value(value), f"model.{name}")
            nested.add(name)
        else:
            values[name] = parse_value(value)
            kept += [flag, value]
    # What was typed last wins over every config, so the whole value stands behind them all.
    kept = [*_without(kept, nested)]
    for name in FREE_FORM:
        if name in nested:
            kept += [f"--model.{name}", json.dumps(values[name])]
    return kept


def flags(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every flag with its value, however they were joined."""
    for word, value in _pairs(args):
        flag, equals, joined = word.partition("=")
        yield flag, joined if equals else value or ""


def chosen_class(args: Sequence[str], key: str) -> str | None:
    """The class that is asked for by `--model` or `--data` (the `key`), typed or in a config; the last one wins.

    >>> chosen_class(["fit", "--data", "my.Data", "--data.size", "64"], "data")
    'my.Data'
    """
    found = None
    for flag, value in flags(args):
        if flag in ("--config", "-c"):
            section = read_config(value).get(key)
            named = section.get("class_path") if isinstance(section, dict) else section
            found = named if isinstance(named, str) else found
        elif flag in (f"--{key}", f"--{key}.class_path"):
            typed = parse_value(value)
            found = typed.get("class_path", found) if isinstance(typed, dict) else typed
    return found


def parse_value(text: str) -> Any:
    """A typed value as YAML reads it, numbers such as 1e-3 included."""
    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError:
        return text


def read_config(path: str) -> dict[str, Any]:
    """A config file as a dict; empty where it cannot be read, which the parser then says better."""
    try:
        found = get_loader("yaml")(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _pairs(args: Sequence[str]) -> list[tuple[str, str | None]]:
    """Flags with their values; a word that belongs to no flag stands alone. `--a=b` stays one word unless nested."""
    pairs: list[tuple[str, str | None]] = []
    waiting = list(args)
    while waiting:
        word = waiting.pop(0)
        flag, equals, value = word.partition("=")
        free_form = flag.startswith("--model.") and flag.removeprefix("--model.").split(".")[0] in FREE_FORM
        if equals and (free_form or flag == "--config"):
            pairs.append((flag, value))
        elif word.startswith("-") and not equals and waiting and not waiting[0].startswith("--"):
            pairs.append((word, waiting.pop(0)))
        else:
            pairs.append((word, None))
    return pairs


def _from_config(path: str) -> dict[str, Any]:
    model = read_config(path).get("model")
    if not isinstance(model, dict):
        return {}
    init_args = model.get("init_args", model)
    return {name: init_args[name] for name in FREE_FORM if isinstance(init_args, dict) and name in init_args}


def _set(value: Any, keys: list[str], item: Any, where: str) -> dict[str, Any]:
    """`value` as a dict with `item` at the end of `keys`; a bare name becomes {"name": ...}."""
    if isinstance(value, str):
        # A bare loss is a dict of one: the arguments that follow name theirs.
        value = {value: None} if where == "model.loss" else {"name": value}
    if value is not None and not isinstance(value, Mapping):
        if not where.startswith("model.loss."):
            raise UsageError(f"--{where}.{'.'.join(keys)} cannot be set: {where} is {value!r}")
        value = {"weight": value}  # `ce: 1.0`, and then `ce.label_smoothing`
    held = dict(value or {})
    inner = held.get("init_args")
    if "class_path" in held and keys[0] not in ("class_path", "init_args"):
        held["init_args"] = _set(inner, keys, item, where)
    elif len(keys) == 1:
        held[keys[0]] = item
    else:
        held[keys[0]] = _set(held.get(keys[0]), keys[1:], item, f"{where}.{keys[0]}")
    return held


def _without(args: list[str], names: set[str]) -> list[str]:
    flags = {f"--model.{name}" for name in names} | {f"--model.init_args.{name}" for name in names}
    kept: list[str] = []
    for flag, value in _pairs(args):
        if flag not in flags:
            kept += [flag] if value is None else [flag, value]
    return kept
