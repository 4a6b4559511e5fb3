"""What jsonargparse says of a command line, in one line and in the words of the user."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from lightframe.cli.signatures import default_of, parameters
from lightframe.errors import UsageError, did_you_mean
from lightframe.models import MODELS
from lightframe.registry import import_path

# Where classes stand whose names alone may be given.
_CLASSES = {
    "model": ("lightframe",),
    "data": ("lightframe", "lightframe.datamodules"),
    "trainer.callbacks": ("lightframe.callbacks", "lightning.pytorch.callbacks"),
    "trainer.logger": ("lightning.pytorch.loggers",),
}
_SECTIONS = ("model", "data", "trainer")


def explain(message: str, known: Sequence[str], described: Mapping[str, type]) -> str:
    """One line for an error of the parser.

    Args:
        message: jsonargparse's account of what does not fit, over several lines.
        known: the options that there are, such as `trainer.max_epochs`.
        described: `model` and `data`, each with the class whose arguments are typed below it.

    >>> explain('Parser key "trainer.num_nodes":\\n  Expected a <class \\'int\\'>. Got value: two', [], {})
    "trainer.num_nodes: 'two' does not fit; expected int"
    """
    known = [*known, *(f"{key}.{name}" for key, found in described.items() for name in parameters(found))]
    if match := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
        first = re.search(r'Parser key "([\w.]+)"', message)
        if not (inner := re.search(r'class_path [^\n]*\s+Parser key "', message)) or inner.start() > match.start():
            return _no_argument(first[1] if first else "", match[1], match[2])
    if match := re.search(r"does not accept option '([\w.-]+)'|unrecognized arguments: --([^\s=]+)", message):
        return _no_option(match[1] or match[2], known)
    if match := re.search(r"unrecognized arguments: (\S*)", message):
        return f"'{match[1]}' is one word too many: options begin with --, as --trainer.max_epochs 10"
    if re.search(r'expected "subcommand"', message):
        return "the command comes first, as in lightframe fit --config FILE.yaml; see lightframe --help"
    if match := re.search(r"(?:class_path '([\w.]+)':\s+)?the following arguments are required: (\w+)", message):
        key = re.search(r'Parser key "([\w.]+)"', message)
        owner = f"{match[1].rpartition('.')[2]} needs" if match[1] else "there must be"
        return f"{owner} an argument: give --{key[1] if key else 'model'}.{match[2]}"
    message = re.sub(r'Parser key "([\w.]+)"', r"\1", message) if not (found := _misfit(message, described)) else found
    return " ".join(message.split())


def _no_argument(key: str, path: str, name: str) -> str:
    section, _, rest = name.partition(".")
    if section in _SECTIONS and rest:
        return f"{key} has no argument '{name}': {section} is a section of its own, --{name}"
    names = [one for one in parameters(import_path(path)) if one != name]
    owner = key if key in ("model", "data") else path
    hint = did_you_mean(name, names) or f"; it takes {', '.join(names)}"
    return f"{owner} has no argument '{name}'{hint}"


def _no_option(unknown: str, known: Iterable[str]) -> str:
    known = list(known)
    # The section forgotten, as in `--lr 0.1`.
    whole = [one for one in known if one.rpartition(".")[2] == unknown.rpartition(".")[2]]
    hint = f"; did you mean '{whole[0]}'?" if whole else did_you_mean(unknown, known)
    hint = hint or did_you_mean(unknown.split(".")[0], _SECTIONS)
    return f"there is no '{unknown}'{hint or '; see lightframe fit --help'}"


def _misfit(message: str, described: Mapping[str, type]) -> str | None:
    """Of a value that fits none of the types."""
    # Of the branches of a union the first is the one that was meant.
    branch = "".join(re.split(r"(?=Problem with given class_path)", message)[:2])
    keys = re.findall(r'[Pp]arser key "([\w.]+)"', branch)
    given = re.search(r"(?:Got value|Given value): (.*)", branch) or re.search(r"(?:Given value): (.*)", message)
    if not keys or not given:
        return None
    name = ".".join(keys).replace(".init_args", "")
    nested = re.fullmatch(r"NestedArg\(key='([\w.]+)', val=(.*)\)", given[1].strip())
    if nested and len(keys) == 1:
        name = f"{name}.{nested[1]}"
    value = (nested[2] if nested else given[1]).strip().strip("'\"")
    about = re.search(r"Problem with given class_path '([^']*)':\s+(?!Parser key)(.*)", branch)
    if keys[0] in _CLASSES and len(keys) == 1 and not nested:
        return _no_class(keys[0], about[1] if about else value)
    tail = branch[branch.rindex(f'arser key "{keys[-1]}"') :]
    found = re.findall(r"Expected an? (<class '[\w.]+'>|typing\.Literal\[[^\]]*\])", tail)
    kinds = [one.removeprefix("<class '").removesuffix("'>") for one in found]
    choices = [one for kind in kinds if "Literal[" in kind for one in re.findall(r"'([^']*)'", kind)]
    kinds = [kind.rpartition(".")[2] for kind in dict.fromkeys(kinds) if "Literal[" not in kind and kind != "NoneType"]
    if choices:
        return f"{name}: '{value}' is none of {', '.join(choices)}{did_you_mean(value, choices)}"
    default = default_of(described[keys[0]], keys[1]) if keys[0] in described and len(keys) == 2 else None
    if isinstance(default, list | tuple) and default:
        kinds = [f"a list such as {list(default)}"]
    if value in ("nan", "inf", "-inf") and "float" in kinds:
        kinds = ["a finite float"]
    expected = f"; expected {' or '.join(kinds)}" if kinds else ""
    return f"{name}: '{value}' does not fit{expected}"


def _no_class(key: str, value: str) -> str:
    """Of a value for a class that names none, or none of the right kind.

    An error in the user's own file is not hidden: it is theirs to see, with its traceback.
    """
    option = f"--{key}"
    try:
        found = import_path(value if "." in value else f"lightframe.{value}")
    except UsageError as error:
        if "." in value:
            return f"{option}: {str(error).removeprefix('object ')}"
        names = [name for place in _CLASSES[key] for name in _names(place, key)]
        known = ", ".join(_names(_CLASSES[key][0], key))
        if key == "model" and value.lower() in MODELS:
            return f"{option}: '{value}' is a net: give --model.net {value}"
        if key == "data" and Path(value).exists():
            return f"{option}: '{value}' is no class: give a folder of videos as --data.root {value}"
        hint = did_you_mean(value, names) or f" (known: {known}, or an import path such as my_package.MyClass)"
        return f"{option}: there is no class '{value}'{hint}"
    wanted = {"model": "LightFrameModule", "data": "LightningDataModule", "trainer.callbacks": "Callback"}
    base = wanted.get(key, "Logger")
    if isinstance(found, type) and key == "model" and any(one.__name__ == "Module" for one in found.__mro__):
        hint = "derive it from lightframe.LightFrameModule, or give a net as --model.net"
    else:
        hint = f"give a class derived from {base}"
    return f"{option}: {value} is no {base}: {hint}"


def _names(place: str, key: str) -> list[str]:
    module = import_module(place)
    ending = {"model": "Module", "data": "DataModule"}.get(key, "")
    names = [name for name in getattr(module, "__all__", dir(module)) if name.endswith(ending) and name[0].isupper()]
    return [name for name in names if key != "model" or not name.endswith("DataModule")]
