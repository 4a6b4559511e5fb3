"""Runs command lines of lightframe in processes of their own, which need not import everything first."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

COMMAND = "import sys\nfrom lightframe.cli import main\nsys.exit(main())\n"


class Ended(NamedTuple):
    """How a command ended: its exit code, or minus the signal that ended it; others of its session may go on."""

    code: int
    session: int
    folder: Path

    @property
    def err(self) -> str:
        """What all processes of it have written so far."""
        return (self.folder / "err.txt").read_text()


class Commands:
    """Asks `command_server.py`. To be closed."""

    def __init__(self) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "LIGHTFRAME_RUN_FOLDER"}
        self._server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("command_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            bufsize=0,
        )

    def run(
        self,
        folder: Path,
        *words: str,
        environment: dict[str, str] | None = None,
        prepare: Sequence[object] | None = None,
        seconds: float = 150,
    ) -> Ended:
        """Run `lightframe` with these words in a folder; for the arguments see `command_server.py`."""
        (folder / "command.py").write_text(COMMAND)
        asked = {"folder": str(folder), "words": words, "environment": environment or {}, "prepare": prepare}
        assert self._server.stdin
        self._server.stdin.write(json.dumps(asked).encode() + b"\n")
        session = self._answer(30)
        try:
            code = self._answer(seconds)
        except BaseException:
            end(session)
            raise
        return Ended(code, session, folder)

    def _answer(self, seconds: float) -> int:
        stdout = self._server.stdout
        assert stdout
        assert select.select([stdout], [], [], seconds)[0], "it does not end"
        return int(stdout.readline())

    def close(self) -> None:
        for stream in (self._server.stdin, self._server.stdout):
            assert stream
            stream.close()
        self._server.wait()


def alive(session: int) -> list[str]:
    """What runs in a session, by its command and state."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = file.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state not in "ZX":
            found.append(f"{name}) {state}")
    return found


def end(session: int) -> None:
    """Kill what is left of a session."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)  # for other processes to get on
    return True


def all_end(session: int, seconds: float) -> list[str]:
    """What is alive of a session, and is killed, when its processes had this long to end."""
    within(seconds, lambda: not alive(session))
    left = alive(session)
    end(session)
    return left
