"""`lightframe scan | transcode | export | benchmark`: the commands that do not train."""

import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningCLI
from rich.console import Console
from typing_extensions import override

from lightframe.cli.explain import explain
from lightframe.cli.signatures import parameters
from lightframe.errors import UnknownNameError, UsageError, did_you_mean
from lightframe.registry import import_path

# A function is imported when its command is typed. Its arguments are the command's, its docstring is the help.
TOOLS = {
    "scan": "lightframe.tools.scan.scan",
    "transcode": "lightframe.tools.transcode.transcode",
    "export": "lightframe.tools.export.export",
    "benchmark": "lightframe.tools.benchmark.gpu_cnn_speed",
}
# What may stand in the place of a command.
_GLOBAL = ("-h", "--help", "--version", "-c", "--config", "--print_config", "--print_completion")
_HELP = """
further commands:
    scan DIR            Read every video of a folder once: what is broken, a summary, an index for training.
    transcode SRC DST   Re-encode the videos of a folder so that training clips decode several times faster.
    export CHECKPOINT   Write a checkpoint's weights as safetensors, with all that prediction needs, in one file.
    benchmark           How fast this machine's device applies and trains nets, beside other devices measured alike.
"""


def run_tool(words: Sequence[str]) -> bool:
    """Run a command line if it is one of a tool.

    Returns:
        Whether it was.

    Raises:
        UnknownNameError: it begins with a word that is no command at all.
    """
    if not words:
        raise UsageError(f"give a command: {', '.join([*LightningCLI.subcommands(), *TOOLS])}; see lightframe --help")
    if words[0].partition("=")[0] in _GLOBAL:
        return False
    command = words[0]
    if command.startswith("-"):
        raise UsageError(f"the command comes first: lightframe fit {command} ...; see lightframe --help")
    if command not in TOOLS:
        commands = [*LightningCLI.subcommands(), *TOOLS]
        if command not in commands:
            raise UnknownNameError(f"there is no command '{command}'{did_you_mean(command, commands)}")
        return False
    tool = import_path(TOOLS[command])
    parser = _ToolParser(prog=f"lightframe {command}", described=tool)
    parser.add_function_arguments(tool, as_positional=True, as_group=False)
    arguments = parser.parse_args(list(words[1:]))
    try:
        tool(**vars(arguments))
    except KeyboardInterrupt as stop:
        rest = stop.args[0] if stop.args else "the same command goes on from here"
        print(f"\nlightframe {command}: stopped; {rest}", file=sys.stderr)
        sys.exit(130)
    return True


def print_tools(words: Sequence[str]) -> None:
    """Add the tools to what `lightframe --help` has printed."""
    if list(words) in (["-h"], ["--help"]):
        Console(highlight=False).print(_HELP, end="", soft_wrap=True)


class _ToolParser(ArgumentParser):
    """A parser for the arguments of one function, with errors of one line."""

    def __init__(self, *args: Any, described: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        if described is not None:
            # Up to the arguments, which are described one by one.
            self.description = re.split(r"\n\s*Args:", described.__doc__)[0]
            self.names = parameters(described)

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        print(f"{self.prog}: error: {self._explain(str(message))}", file=sys.stderr)
        sys.exit(2)

    def _explain(self, message: str) -> str:
        if match := re.search(r"unrecognized arguments: --([^\s=]+)", message):
            hint = did_you_mean(match[1], self.names) or f" (there are: {', '.join(self.names)})"
            return f"there is no '--{match[1]}'{hint}"
        if match := re.search(r"unrecognized arguments: (.*)", message):
            return f"one argument too many: {match[1]}"
        if match := re.search(r"arguments are required: (.*)", message):
            return f"{match[1]} must be given; see {self.prog} --help"
        return explain(message, [], {})
