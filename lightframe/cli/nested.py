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
from lightframe.losses import LOSSES
from lightframe.registry import accepts

# The arguments of the adapter and the data module that hold a name or plain dicts of any depth.
FREE_FORM = (
    "model.net",
    "model.loss",
    "model.optimizer_args",
    "model.scheduler_args",
    "model.metrics",
    "model.init_from",
    "data.augment",
)
# Those that are dicts of a name to its arguments; of the others a bare name becomes {"name": ...}.
_BY_NAME = ("model.loss", "data.augment")


def merge_nested(args: Sequence[str], defaults: Mapping[str, Any] | None = None) -> list[str]:
    """The arguments, with everything typed below a free-form one gathered into one JSON value at the end.

    Args:
        args: the words of the command line.
        defaults: of the free-form arguments, before anything is typed, such as those of a checkpoint.

    >>> merge_nested(["fit", "--model.net", "my.Net", "--model.net.width", "32", "--model.lr=0.1"])
    ['fit', '--model.lr=0.1', '--model.net', '{"name": "my.Net", "width": 32}']
    """
    kept: list[str] = []
    # Each free-form argument as it stands so far.
    values = {name: value for name, value in (defaults or {}).items() if name in FREE_FORM}
    nested: set[str] = set()
    for flag, value in _pairs(args):
        name, path = _free_form(flag)
        if flag in ("--config", "-c") and value is not None:
            values.update(_from_config(value))
        if name is None or value is None:
            kept += [flag] if value is None else [flag, value]
        elif path:
            values[name] = _set(values.get(name), path.split("."), parse_value(value), name)
            nested.add(name)
        else:
            values[name] = parse_value(value)
            kept += [flag, value]
    # What was typed last wins over every config, so the whole value stands behind them all.
    kept = [*_without(kept, nested)]
    for name in FREE_FORM:
        if name in nested:
            kept += [f"--{name}", json.dumps(values[name])]
    return kept


def _free_form(flag: str) -> tuple[str | None, str]:
    """The free-form argument that a flag sets, and what is set in it; None for any other."""
    if not flag.startswith("--"):
        return None, ""
    section, _, rest = flag.removeprefix("--").partition(".")
    name, _, path = rest.removeprefix("init_args.").partition(".")
    return (f"{section}.{name}", path) if f"{section}.{name}" in FREE_FORM else (None, "")


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
            named = typed.get("class_path", found) if isinstance(typed, dict) else typed
            found = named if named is None or isinstance(named, str) else value
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
        if equals and (_free_form(flag)[0] is not None or flag == "--config"):
            pairs.append((flag, value))
        elif word.startswith("-") and not equals and waiting and not waiting[0].startswith("--"):
            pairs.append((word, waiting.pop(0)))
        else:
            pairs.append((word, None))
    return pairs


def _from_config(path: str) -> dict[str, Any]:
    found, config = {}, read_config(path)
    for key in FREE_FORM:
        section, _, name = key.partition(".")
        given = config.get(section)
        init_args = given.get("init_args", given) if isinstance(given, dict) else None
        if isinstance(init_args, dict) and name in init_args:
            found[key] = init_args[name]
    return found


def _set(value: Any, keys: list[str], item: Any, where: str) -> dict[str, Any]:
    """`value` as a dict with `item` at the end of `keys`; a bare name becomes {"name": ...}."""
    if isinstance(value, str):
        # A bare loss is a dict of one: the arguments that follow name theirs.
        value = {value: None} if where in _BY_NAME else {"path" if where == "model.init_from" else "name": value}
    if where == "data.augment" and isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        value = dict.fromkeys(value)
    if value is not None and not isinstance(value, Mapping):
        if not where.startswith("model.loss."):
            raise UsageError(f"--{where}.{'.'.join(keys)} cannot be set: {where} is {value!r}")
        value = {"weight": value}  # `ce: 1.0`, and then `ce.label_smoothing`
    held = dict(value or {})
    if where == "model.loss":
        _check_loss(list(held), keys)
    inner = held.get("init_args")
    if "class_path" in held and keys[0] not in ("class_path", "init_args"):
        held["init_args"] = _set(inner, keys, item, where)
    elif len(keys) == 1:
        held[keys[0]] = item
    else:
        held[keys[0]] = _set(held.get(keys[0]), keys[1:], item, f"{where}.{keys[0]}")
    return held


def _check_loss(losses: list[str], keys: list[str]) -> None:
    """Raise a UsageError where an argument of a loss stands in the place of a loss."""
    name = keys[0]
    if name.lower() in LOSSES or "." in name or name in ("class_path", "init_args", "name"):
        return
    for loss in losses:
        if loss.lower() in LOSSES and accepts(LOSSES[loss], name):
            raise UsageError(f"--model.loss.{name}: say of which loss, --model.loss.{loss}.{name}")


def _without(args: list[str], names: set[str]) -> list[str]:
    kept: list[str] = []
    for flag, value in _pairs(args):
        if _free_form(flag)[0] not in names:
            kept += [flag] if value is None else [flag, value]
    return kept
