"""What the user can mend is told in one line."""

import queue

import pytest

from lightframe.cli.failures import mendable
from lightframe.errors import UsageError


@pytest.mark.parametrize(
    ("said", "how"),
    [
        ("DataLoader worker (pid 31) is killed by signal: Killed. ", "killed by signal: Killed"),
        ("DataLoader worker (pid(s) 31, 32) exited unexpectedly", "exited unexpectedly"),
    ],
)
def test_a_worker_that_died_is_told_whatever_the_main_process_did(said: str, how: str) -> None:
    """These are torch's own words, raised while it waits for a batch or from a handler of SIGCHLD."""
    error = RuntimeError(said)
    error.__cause__ = queue.Empty()
    later = ValueError("what was done at that moment")
    later.__cause__ = error
    for one in (error, later):
        found = mendable(one)
        assert isinstance(found, UsageError)
        assert f"a worker process of the loader has died ({how})" in str(found)
        assert "fewer num_workers" in str(found)
        assert "--ckpt_path last" in str(found)
