"""A process that dies takes the others of its training with it, and only its own error is shown."""

import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from commands import Commands, all_end
from wrong_uses.case import FIT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc here"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed"),
]

MINE = """
import os, signal, time
from pathlib import Path
from lightning.pytorch import Callback
from lightframe import UsageError

def die(how):
    Path("died").touch()
    if how == "exit":
        os._exit(7)
    elif how in ("kill", "late"):
        os.kill(os.getpid(), signal.SIGKILL)
    raise UsageError("my own mistake: mend it") if how == "usage" else ValueError("my own error")

class Dying(Callback):
    def __init__(self, hook: str, rank: int, how: str) -> None:
        self.rank, self.how = rank, how
        setattr(self, hook, self.meet)

    def meet(self, trainer, *_) -> None:
        if trainer.sanity_checking:
            return
        if self.how == "late":  # as the others may notice before the one that started them
            if trainer.global_rank != self.rank:
                raise RuntimeError("Connection closed by peer")
            time.sleep(1)
        if trainer.global_rank == self.rank:
            die(self.how)

def in_a_worker(clip):
    die("kill")
"""


class Ending(NamedTuple):
    code: int
    err: str
    seconds: float  # from the death to the end of the last process


@pytest.fixture
def train(commands: Commands, tmp_path: Path, make_folders: Callable[..., Path]) -> Callable[..., Ending]:
    """Trains in two processes until one dies, in a session of their own, all of which must end."""
    make_folders(train={"jump": 4, "wave": 4}, val={"jump": 2, "wave": 2})
    (tmp_path / "my_deaths.py").write_text(MINE)

    def train(*words: str, **environment: str) -> Ending:
        ended = commands.run(
            tmp_path, *FIT, "--trainer.max_epochs=1000", "--trainer.devices=2", *words, environment=environment
        )
        assert all_end(ended.session, 60) == []
        died = tmp_path / "died"
        seconds = time.time() - died.stat().st_mtime if died.exists() else 0.0
        return Ending(ended.code, ended.err, seconds)

    return train


def dying(hook: str, rank: int, how: str) -> list[str]:
    given = {"hook": hook, "rank": str(rank), "how": how}
    return ["--trainer.callbacks+=my_deaths.Dying", *(f"--trainer.callbacks.{k}={v}" for k, v in given.items())]


@pytest.mark.parametrize(("hook", "rank"), [("on_train_batch_start", 1), ("on_validation_batch_start", 0)])
def test_its_own_traceback_is_shown(train: Callable[..., Ending], hook: str, rank: int) -> None:
    ended = train(*dying(hook, rank, "raise"))
    assert ended.code == 1
    assert ended.seconds < 30
    assert ended.err.count("Traceback") == 1, ended.err
    assert "ValueError: my own error" in ended.err
    assert "my_deaths.py" in ended.err
    assert ("the process of rank 1 ended with exit code 1" in ended.err) == (rank == 1)


@pytest.mark.parametrize(("rank", "how"), [(0, "kill"), (1, "exit"), (1, "kill")])
def test_one_that_says_nothing(train: Callable[..., Ending], rank: int, how: str) -> None:
    ended = train(*dying("on_train_batch_start", rank, how))
    assert ended.code == (-signal.SIGKILL if rank == 0 else 7 if how == "exit" else 1), ended.err
    assert ended.seconds < 30
    assert "Traceback" not in ended.err, ended.err
    if rank == 1:
        said = {"kill": "was ended by SIGKILL", "exit": "ended with exit code 7"}[how]
        assert f"lightframe: error: the process of rank 1 {said}" in ended.err


def test_a_mistake_is_told_in_one_line(train: Callable[..., Ending], tmp_path: Path) -> None:
    ended = train(*dying("on_train_batch_start", 1, "usage"))
    assert ended.code == 2
    assert ended.seconds < 30
    assert re.findall(".*(?:error: |Traceback).*", ended.err) == ["lightframe: error: my own mistake: mend it"]
    assert not (tmp_path / "runs").exists()


def test_a_worker_of_a_loader(train: Callable[..., Ending]) -> None:
    ended = train("--data.num_workers=1", "--data.train_transform=my_deaths.in_a_worker")
    assert ended.code == 2, ended.err
    assert ended.seconds < 30
    # torch learns of it in one of two ways.
    died = r"error: a worker process of the loader has died \((killed by signal: Killed|exited unexpectedly)\): by hand"
    assert re.search(died, ended.err), ended.err


@pytest.mark.parametrize("how", ["usage", "late"])
def test_forked_processes(train: Callable[..., Ending], how: str) -> None:
    ended = train(*dying("on_train_batch_start", 1, how), "--trainer.strategy=ddp_fork")
    assert ended.code == 2
    assert ended.seconds < 30
    said = {"usage": "my own mistake: mend it", "late": "the process of rank 1 was ended by SIGKILL"}[how]
    (line,) = re.findall(".*(?:error: |Traceback).*", ended.err)
    assert line.startswith(f"lightframe: error: {said}")


def test_a_port_in_use(train: Callable[..., Ending], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = train(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    assert ended.code == 2
    (line,) = re.findall(".*(?:error: |Traceback).*", ended.err)
    assert re.search(f"error: port {port} .* is in use.* MASTER_PORT=", line)
    assert not (tmp_path / "runs").exists()
