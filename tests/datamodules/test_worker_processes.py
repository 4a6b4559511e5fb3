"""Loader processes live as long as the training, and Ctrl-C is none of their business."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningDataModule
from recording import Recorder, quiet_trainer

from lightframe import LightFrameModule, VideoDataModule
from lightframe.datamodules import SyntheticCocoDataModule
from lightframe.datamodules.interrupts import interrupts_held_back

pytestmark = pytest.mark.usefixtures("no_worker_is_left")  # the processes are forked

SMALL = {"frames": 2, "stride": 1, "size": 16, "batch_size": 2, "num_workers": 2}
HOOKS = ["on_train_batch_end", "on_validation_batch_end", "on_validation_end", "on_train_epoch_end"]


@pytest.fixture
def videos(make_folders: Callable[..., Path]) -> VideoDataModule:
    return VideoDataModule(make_folders(train={"jump": 2, "run": 2}, val={"jump": 1, "run": 1}), **SMALL)


class Failing(Callback):
    """Raises in a hook, and tells how many loader processes there were."""

    def __init__(self, hook: str, error: type[BaseException]) -> None:
        self.error = error
        setattr(self, hook, self._fail)

    def _fail(self, *_: Any) -> None:
        self.workers = len(multiprocessing.active_children())
        raise self.error("an error of the user's")


def assert_no_worker_stays(hook: str, error: type[BaseException], module: Any, data: LightningDataModule) -> None:
    failing = Failing(hook, error)
    trainer = quiet_trainer(max_epochs=2, callbacks=[failing])
    with pytest.raises(error, match="an error of the user's") as caught:
        trainer.fit(module, data)
    # While both are still held, as a notebook holds them.
    assert multiprocessing.active_children() == []
    assert trainer.interrupted
    assert caught.value is not None
    assert failing.workers >= 2


@pytest.mark.parametrize(("hook", "error"), [*((hook, ValueError) for hook in HOOKS), (HOOKS[1], SystemExit)])
def test_an_error_ends_all_of_them(videos: VideoDataModule, hook: str, error: type[BaseException]) -> None:
    assert_no_worker_stays(hook, error, Recorder(), videos)


@pytest.mark.parametrize("hook", HOOKS[:2])
def test_an_error_ends_those_of_a_detector(tmp_path: Path, hook: str) -> None:
    data = SyntheticCocoDataModule(
        tmp_path / "coco", train_images=4, eval_images=2, image_size=64, batch_size=2, num_workers=2
    )
    net = {"name": "fcos_tiny", "width": 32}
    module = LightFrameModule(net, None, lr=0.001, metrics=None, num_classes=data.num_classes)
    assert_no_worker_stays(hook, ValueError, module, data)


def test_a_trainer_is_used_again_after_an_error(videos: VideoDataModule) -> None:
    assert_no_worker_stays("on_validation_batch_end", ValueError, Recorder(), videos)
    again = Recorder()
    quiet_trainer().fit(again, videos)
    assert len(again.batches["train"]) == 2


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows")
def test_they_do_not_hear_an_interrupt(videos: VideoDataModule) -> None:
    """All that were started go on: a signal that ended one would be an error at the next batch."""
    videos.setup("fit")
    loader = videos.train_dataloader()
    batches = iter(loader)
    first = next(batches)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, signal.SIGINT)
    seen = [*first.index.tolist(), *(index for batch in batches for index in batch.index.tolist())]
    assert sorted(seen) == [0, 1, 2, 3]
    assert sorted(index for batch in loader for index in batch.index.tolist()) == [0, 1, 2, 3]
    assert multiprocessing.active_children() == workers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows")
@pytest.mark.parametrize("threads", [0, 1])
def test_an_interrupt_waits_and_is_not_lost(threads: int) -> None:
    """Also where another thread is there to hear it."""
    passed, over = [], threading.Event()
    others = [threading.Thread(target=over.wait) for _ in range(threads)]
    for one in others:
        one.start()

    def interrupted() -> None:
        with interrupts_held_back():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # in which the other thread wakes up
            passed.append("the end")
        for _ in range(300):  # where it woke up late
            time.sleep(0.1)

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        over.set()
        for one in others:
            one.join()
    assert passed == ["the end"]
    assert signal.getsignal(signal.SIGINT) is handler
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
