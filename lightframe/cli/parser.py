"""A parser whose errors are one line and whose help can be read."""

import re
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from lightframe.cli.explain import explain
from lightframe.errors import did_you_mean

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
        self.evaluates = False  # what is trained, so that a checkpoint names its net

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser that jsonargparse made for a class: the outer one has the last word
            super().error(message, ex)
        command = self.prog.split()[-1] if self.prog.split()[1:] else ""
        try:
            explained = self._explain(message)
        except Exception as error:  # from the user's own file, whose traceback is of more use without jsonargparse's
            raise error from None
        if self.evaluates and explained.endswith("--model.net"):
            explained += ", or the checkpoint of a trained net with --ckpt_path"
        print(f"lightframe{' ' + command if command else ''}: error: {explained}", file=sys.stderr)
        sys.exit(2)

    def _explain(self, message: str) -> str:
        message = str(message)
        if (command := re.search(r"Subcommand '(\w+)'", message)) and command[1] in self.commands:
            return self.commands[command[1]]._explain(message.removeprefix(command[0]))
        if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            return f"there is no command '{match[1]}'{did_you_mean(match[1], re.findall(r'[a-z]+', match[2]))}"
        return explain(message, [action.dest for action in self._actions], self.described)

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


def refuse(error: Exception) -> NoReturn:
    """End the program as a wrong command line does: one line, exit code 2."""
    print(f"lightframe: error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
