"""A process that has imported everything, and forks one for each run of the command line that it is asked for.

Reads a line of JSON from its standard input for each: {"words": [...], "folder": "...", "die": [event, n], "signal": 9}
or without `die`; writes the exit status. `die` makes the run send itself the signal at the n-th such event:

- train_batch, validation_batch, validation_end, epoch_end: behind that hook of Lightning's;
- write, sync, rename, renamed: in the middle of writing a checkpoint, before its data are on the disk, before it gets
  its name and after that;
- log: in the middle of writing the logged metrics.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.loggers.csv_logs import _ExperimentWriter  # private: where logged metrics are written
from lightning.pytorch import Callback

import lightframe.callbacks
from lightframe.cli import main

HOOKS = {
    "train_batch": "on_train_batch_end",
    "validation_batch": "on_validation_batch_end",
    "validation_end": "on_validation_end",
    "epoch_end": "on_train_epoch_end",
}


class Dying:
    """Counts events, and sends the signal at the n-th."""

    def __init__(self, number: int, signum: int) -> None:
        self.left, self.signum = number, signum

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.signum)

    def before(self, owner: Any, name: str, after: bool = False) -> None:
        """Have it counted whenever a function is called."""
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if not after:
                self()
            result = original(*args, **kwargs)
            if after:
                self()
            return result

        setattr(owner, name, counted)


def arm(event: str, dying: Dying) -> None:
    """Have an event counted."""
    if event in HOOKS:
        # Behind all callbacks: what they save is saved.
        hook = HOOKS[event]
        original = getattr(lightframe.callbacks.LastCheckpoint, hook)

        def counted(self: Callback, trainer: Any, *args: Any, **kwargs: Any) -> None:
            if not trainer.sanity_checking and trainer.is_global_zero:
                dying()
            original(self, trainer, *args, **kwargs)

        setattr(lightframe.callbacks.LastCheckpoint, hook, counted)
    elif event == "write":
        save = torch.save

        def cut(value: Any, file: Any, *args: Any, **kwargs: Any) -> None:
            class Half:
                """Dies with half of the file written."""

                def __getattr__(self, name: str) -> Any:
                    return getattr(file, name)

                def write(self, data: Any) -> int:
                    written = file.write(data[: len(data) // 2])
                    file.flush()
                    dying()
                    return written + file.write(data[len(data) // 2 :])

            save(value, Half(), *args, **kwargs)

        torch.save = cut
    elif event == "log":
        dying.before(_ExperimentWriter, "save", after=True)
    else:
        name = {"sync": "fsync", "rename": "replace", "renamed": "replace"}[event]
        dying.before(os, name, after=event == "renamed")


def run(words: list[str], folder: str, die: list[Any] | None, signum: int) -> None:
    """A run, in a process of its own."""
    os.setsid()
    os.chdir(folder)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    if die is not None:
        arm(die[0], Dying(die[1], signum))
    status = 0
    try:
        main(words)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve(lines: Any, answer: Callable[[str], Any]) -> None:
    """Run what is asked for, one after the other."""
    for line in lines:
        asked = json.loads(line)
        process = os.fork()
        if process == 0:
            run(asked["words"], asked["folder"], asked.get("die"), asked.get("signal", signal.SIGKILL))
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # its workers and other ranks
        answer(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")


if __name__ == "__main__":
    lightframe.callbacks.EnvironmentReport._machine = "a machine\n"  # a process that asks is slower than these runs

    def _answer(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    serve(sys.stdin, _answer)
