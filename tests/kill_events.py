"""Moments in a run of the command line at which it is killed, for `command_server.py`.

- train_batch, validation_batch, validation_end, epoch_end: behind that hook of Lightning's;
- write, sync, rename, renamed: in the middle of writing a checkpoint, before its data are on the disk, before it gets
  its name and after that;
- log: in the middle of writing the logged metrics.
"""

import os
from typing import Any

import torch
from lightning.fabric.loggers.csv_logs import _ExperimentWriter  # private: where logged metrics are written
from lightning.pytorch import Callback

import lightframe.callbacks

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


def prepare(event: str, number: int, signum: int) -> None:
    """Have this process send itself a signal at the n-th such event."""
    dying = Dying(number, signum)
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
