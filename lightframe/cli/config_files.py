"""Config files that cannot be meant: found before they are read for what they say."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightframe.cli.nested import flags
from lightframe.errors import UsageError, did_you_mean

_NO_VALUE = ("-h", "--help", "--version", "--print_config", "--print_shtab")


def check_words(args: Sequence[str]) -> None:
    """Raise a UsageError for an option without its value, or a config file that is none.

    Args:
        args: the words of the command line.

    >>> check_words(["fit", "--model.net", "--model.lr", "0.1"])
    Traceback (most recent call last):
    lightframe.errors.UsageError: --model.net has no value: give it behind the option, as --model.net VALUE
    """
    for number, word in enumerate(args):
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            shown = word.encode(errors="replace").decode()
            raise UsageError(
                f"'{shown}' is no text in UTF-8, and no config could hold it: rename it, or make a link to it"
            )
        last = number + 1 == len(args) or args[number + 1].startswith("--")
        option = word == "-c" or (word.startswith("--") and word != "--" and not word.startswith(_NO_VALUE))
        if option and "=" not in word and last:
            raise UsageError(f"{word} has no value: give it behind the option, as {word} VALUE")
    for flag, value in flags(args):
        if flag in ("--config", "-c"):
            check_config(value)


def check_config(name: str) -> None:
    """Raise a UsageError unless this is a file of settings in sections, none of them given twice."""
    if "{" in name or "\n" in name:  # the settings themselves, which the parser reads
        return
    if "://" in name:
        raise UsageError(f"--config: '{name}' is no file of this machine: download it first")
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"--config: '{name}' is a folder: give the file of settings in it")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        found = [one.name for one in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise UsageError(
            f"--config: there is no file '{name}'{did_you_mean(path.name, found) or ', give the path of a .yaml file'}"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"--config: '{name}' is no text in UTF-8: give a .yaml file, saved as UTF-8") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"--config: '{name}' cannot be read ({error}): give the path of a .yaml file") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"--config: '{name}' is not YAML{_where(error, text)}") from None
    if not isinstance(node, yaml.MappingNode):
        what = "is empty" if node is None else "has no sections"
        raise UsageError(f"--config: '{name}' {what}: write settings such as 'model: {{net: tiny3d, lr: 0.1}}' in it")
    for problem in _problems(node, ()):
        raise UsageError(f"--config: '{name}', {problem}")


def _where(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f": {' '.join(str(error).split())}: take out what no text editor shows"
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    if "\t" in line[: mark.column + 1]:
        return f", line {mark.line + 1}: indent with spaces, there is a tab"
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f", line {mark.line + 1}: {problem}: look at this line and the one before it"


def _problems(node: yaml.MappingNode, path: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with a mapping and those in it, with the line."""
    first: dict[Any, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or (
            key.tag != "tag:yaml.org,2002:str" and not path[1:] and key.value != "<<"
        ):
            yield f"line {line}: '{getattr(key, 'value', key)}' is no name of a setting: write name: value"
            continue
        name = ".".join((*path, key.value))
        if key.value in first and key.value != "<<":
            yield f"'{name}' stands twice, in line {first[key.value]} and line {line}: take one of them out"
        first[key.value] = line
        if not path and key.value in ("model", "data", "trainer"):
            if isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null":
                yield f"line {line}: the section '{name}' is empty: give its settings, or take the line out"
            elif not isinstance(value, yaml.MappingNode) and (key.value == "trainer" or not _is_name(value)):
                yield f"line {line}: the section '{name}' must hold settings, one in a line: '{name}: {{name: value}}'"
        if isinstance(value, yaml.MappingNode):
            yield from _problems(value, (*path, key.value))


def _is_name(node: yaml.Node) -> bool:
    """Whether it may be a class's, as in `model: my_package.MyModule`."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str"
