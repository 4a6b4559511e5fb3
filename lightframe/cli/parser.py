"""A parser whose errors are one line and whose help can be read."""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from lightframe.errors import did_you_mean
from lightframe.registry import import_path

_USAGE = """lightframe {command} [--config FILE.yaml] [--model.NAME VALUE] [--data.NAME VALUE] [--trainer.NAME VALUE]

  An adapter or data module of your own goes by its import path: --model my_package.MyModule --data my_package.MyData.
  Below, a net, a loss and so on may be a registered name or an import path; what is typed wins over --config files.
"""


class Parser(LightningArgumentParser):
    """Lightning's parser, with errors of one line that name the nearest right key, and help on the default classes.

    Args:
        described: key -> class whose arguments the help shows below that key.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.described: dict[str, type] = {}
        self.commands: Mapping[str, Parser] = {}

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser that jsonargparse made for a class: the outer one has the last word
            super().error(message, ex)
        command = self.prog.split()[-1] if self.prog.split()[1:] else ""
        print(f"lightframe{' ' + command if command else ''}: error: {self._explain(message)}", file=sys.stderr)
        sys.exit(2)

    def _explain(self, message: str) -> str:
        message = str(message)
        if (command := re.search(r"Subcommand '(\w+)'", message)) and command[1] in self.commands:
            return self.commands[command[1]]._explain(message.removeprefix(command[0]))
        known = [action.dest for action in self._actions] + [
            f"{key}.{name}" for key, described in self.described.items() for name in parameters(described)
        ]
        if match := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
            key = re.search(r'Parser key "(\w+)"', message)
            names = parameters(import_path(match[1]))
            return f"{key[1] if key else match[1]} has no argument '{match[2]}'{did_you_mean(match[2], names)}"
        if match := re.search(r"does not accept option '([\w.-]+)'|unrecognized arguments: --([^\s=]+)", message):
            unknown = match[1] or match[2]
            hint = did_you_mean(unknown, known) or did_you_mean(unknown.split(".")[0], ("model", "data", "trainer"))
            return f"there is no '{unknown}'{hint}"
        if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            return f"there is no command '{match[1]}'{did_you_mean(match[1], re.findall(r'[a-z]+', match[2]))}"
        if match := re.search(r"(?:class_path '([\w.]+)':\s+)?the following arguments are required: (\w+)", message):
            key = re.search(r'Parser key "([\w.]+)"', message)
            owner = f"{match[1].rpartition('.')[2]} needs" if match[1] else "there must be"
            return f"{owner} an argument: give --{key[1] if key else 'model'}.{match[2]}"
        return _shorten(message)

    @override
    def format_help(self, *args: Any, **kwargs: Any) -> str:
        if not self.described:
            return super().format_help(*args, **kwargs)
        command = self.prog.split()[-1]
        text = f"usage: {_USAGE.format(command=command)}"
        for key, described in self.described.items():
            helper = LightningArgumentParser(add_help=False, prog="lightframe")
            helper.add_class_arguments(described, key, fail_untyped=False, sub_configs=False)
            own = helper.format_help().split("\n\n")
            text += "\n" + "\n\n".join(part for part in own if f"--{key}." in part and not part.startswith("usage:"))
        rest = super().format_help(*args, **kwargs)
        text += "\n" + rest[rest.index("\n\n") + 2 :]
        return re.sub(r",\s+known\s+subclasses:[^)]*\)", ")", text)  # lists of all that Lightning has


def parameters(described: Any) -> list[str]:
    """Names of the arguments of a class, those that reach its bases through **kwargs included."""
    names: dict[str, None] = {}
    for base in inspect.getmro(described) if isinstance(described, type) else (described,):
        initializer = base.__dict__.get("__init__") if isinstance(base, type) else base
        if initializer is None:
            continue
        found = inspect.signature(initializer).parameters
        names.update(dict.fromkeys(n for n, p in found.items() if n != "self" and p.kind not in (p.VAR_KEYWORD, 2)))
        if not any(p.kind is p.VAR_KEYWORD for p in found.values()):
            break
    return list(names)


def default_of(described: type, name: str) -> Any:
    """The default of an argument of a class, or of the first of its bases that has it; None where there is none."""
    for base in inspect.getmro(described):
        if "__init__" in base.__dict__ and name in (found := inspect.signature(base.__dict__["__init__"]).parameters):
            default = found[name].default
            return None if default is inspect.Parameter.empty else default
    return None


def _shorten(message: str) -> str:
    """jsonargparse's account of a value that fits none of the types, in one line."""
    key = re.search(r'[Kk]ey "([\w.]+)"', message)
    given = re.search(r"Given value: (.*)", message)
    expected: Iterable[str] = re.findall(r"Expected an? <class '([\w.]+)'>", message)
    expected = [name for name in dict.fromkeys(expected) if name != "NoneType"]
    if key and given:
        types = f"; expected {' or '.join(expected)}" if expected else ""
        about = re.search(r"Problem with given class_path '[^']*':\s+(.*)", message)
        name, reason = key[1].replace(".init_args", ""), f": {about[1]}" if about else ""
        return f"{name}: {given[1]!r} does not fit{types}{reason}"
    return " ".join(message.split())


def refuse(error: Exception) -> NoReturn:
    """End the program as a wrong command line does: one line, exit code 2."""
    print(f"lightframe: error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
