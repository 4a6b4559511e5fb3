"""What a run was made with: versions, the state of the code, the command."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lightframe.version import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "torchcodec",
    "lightning",
    "torchmetrics",
    "jsonargparse",
    "av",
    "numpy",
    "pyarrow",
    "pycocotools",
    "tensorboard",
    "rich",
)
_SECRET = ("key", "token", "secret", "password", "passwd", "credential")
_SHOWN = 20  # changed files


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of lightframe, Python and the packages; "not installed" where that is so.

    >>> versions(["no-such-package"])["no-such-package"]
    'not installed'
    """
    found = {"lightframe": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state(folder: Path | str = ".") -> str:
    """Commit, branch and changed files of the repository that a folder lies in; says so when there is none.

    It never fails and changes nothing: git writes not even its index anew.
    """
    command = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=5, env=environment, check=False
        )
    except FileNotFoundError:
        return "git is not installed"
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"
    if done.returncode:
        reason = done.stderr.strip().splitlines()[:1] or ["unknown"]
        return "no repository" if "not a git repository" in reason[0] else f"unknown ({reason[0]})"
    return describe_git_status(done.stdout)


def describe_git_status(status: str) -> str:
    """What `git status --porcelain=v2 --branch` printed, in words.

    >>> describe_git_status("# branch.oid 1f3a\\n# branch.head main\\n1 .M N... 100644 100644 100644 0a 0b net.py\\n")
    'commit 1f3a (main), 1 changed file: net.py'
    >>> describe_git_status("# branch.oid 1f3a\\n# branch.head (detached)\\n")
    'commit 1f3a (detached), no changes'
    """
    lines = status.splitlines()
    head = {words[1]: words[2] for words in (line.split(" ", 2) for line in lines) if words[0] == "#" and words[2:]}
    # Fields stand before the path: 8 of a changed file, 9 of a renamed one, 10 of one in conflict.
    fields = {"1": 8, "2": 9, "u": 10}
    changed = [line.split(" ", fields[line[0]])[-1].split("\t")[0] for line in lines if line[:1] in fields]
    branch = head.get("branch.head", "").strip("()")
    text = f"commit {head.get('branch.oid', 'unknown')} ({branch}), "
    if not changed:
        return text + "no changes"
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return text + f"{len(changed)} changed file{'s'[: len(changed) > 1]}: {', '.join(changed[:_SHOWN])}{more}"


def command_line(words: Sequence[str] | None = None) -> str:
    """The words with which this process was started, as they can be typed; what looks like a secret is left out.

    >>> command_line(["lightframe", "fit", "--name=my run", "--api_key=abc", "--token", "abc"])
    "lightframe fit '--name=my run' --api_key=*** --token ***"
    """
    shown: list[str] = []
    hide = False
    for word in sys.argv if words is None else words:
        name, equals, _ = word.partition("=")
        secret = word.startswith("-") and any(part in name.lower() for part in _SECRET)
        if hide and not word.startswith("-"):
            word = "***"
        elif secret and equals:
            word = f"{name}=***"
        hide = secret and not equals
        shown.append(word if "***" in word else shlex.quote(word))
    return " ".join(shown)


def describe_run(folder: Path | str = ".") -> str:
    """Command, code and versions, a line each; it takes some hundredths of a second."""
    lines = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command_line(),
        "folder": str(Path(folder).resolve()),
        "git": git_state(folder),
        **versions(),
    }
    return "".join(f"{name + ':':<15}{value}\n" for name, value in lines.items())
