"""A process that has imported everything, which takes seconds, and forks one for each command line it is asked for.

Reads a line of JSON for each, {"folder": ..., "words": [...], "environment": {...}, "prepare": [module, ...]}, and
writes the process's number when it has begun and its exit code when it has ended. A command runs in its folder, in a
session of its own, writes out.txt and err.txt, and ends as any program does. `prepare`, which may be null, names a
module beside this one, whose function of that name is called before with the other values.
"""

import gc
import importlib
import json
import os
import signal
import sys

import lightframe.cli
from lightframe.callbacks import EnvironmentReport


def become(folder: str, words: list[str], environment: dict[str, str]) -> None:
    """Make this process one that was started for a command."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in enumerate(("/dev/null", "out.txt", "err.txt")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["command.py", *words]  # which Lightning starts further processes with


if __name__ == "__main__":
    EnvironmentReport._machine = "a machine\n"  # a process that asks is slower than most of these commands
    gc.freeze()  # else each looks through all that is here when it ends, which takes longer than most of them
    for line in sys.stdin:
        asked = json.loads(line)
        process = os.fork()
        if not process:
            break
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    else:
        sys.exit()
    become(asked["folder"], asked["words"], asked["environment"])
    if asked["prepare"]:
        module, *values = asked["prepare"]
        importlib.import_module(module).prepare(*values)
    sys.exit(lightframe.cli.main())
