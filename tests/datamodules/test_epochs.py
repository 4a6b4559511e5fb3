"""From one epoch to the next: its length, and that nothing stalls."""

import multiprocessing
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from recording import Recorder, quiet_trainer
from typing_extensions import override

from lightframe import UsageError, VideoBatch, VideoDataModule
from lightframe.datamodules.sampler import EpochSampler

pytestmark = pytest.mark.usefixtures("no_worker_is_left")

VIDEOS = 11
SMALL = {"frames": 2, "stride": 1, "size": 8, "batch_size": 2, "num_workers": 0}
AUGMENT = {"random_resized_crop": {}, "flip": {}, "random_erasing": {"p": 1.0}}


@pytest.fixture
def root(make_folders: Callable[..., Path]) -> Path:
    return make_folders(train={"jump": 6, "run": 5}, val={"jump": 2, "run": 2})


class Watching(Callback):
    """At the end of each training epoch, when validation is over, and at its start: the loader's processes."""

    def __init__(self) -> None:
        self.workers: list[set[int]] = []

    @override
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        loader = trainer.train_dataloader
        self.workers.append({worker.pid for worker in loader._iterator._workers})


class Knocking:
    """A transform that tells another process of each clip that it is given."""

    def __init__(self) -> None:
        self.clips = multiprocessing.Semaphore(0)

    def __call__(self, clip: torch.Tensor) -> torch.Tensor:
        self.clips.release()
        return clip[..., :8, :8].contiguous()

    def heard(self, clips: int) -> bool:
        """Whether so many more clips come; waits for them, but not for ever."""
        return all(self.clips.acquire(timeout=20) for _ in range(clips))


# Nothing stalls


def test_the_same_workers_serve_all_epochs(root: Path) -> None:
    watching = Watching()
    data = VideoDataModule(root, **{**SMALL, "num_workers": 2})
    quiet_trainer(max_epochs=3, callbacks=[watching]).fit(Recorder(), data)
    assert len(watching.workers) == 15
    assert all(workers == watching.workers[0] for workers in watching.workers)
    assert len(watching.workers[0]) == 2


def test_workers_begin_the_next_epoch_while_the_last_batch_is_trained_on(root: Path) -> None:
    """They are heard before anybody asks for a batch of it."""
    knocking = Knocking()
    settings = {**SMALL, "num_workers": 2, "train_transform": knocking}
    loader = VideoDataModule(root, **settings).train_dataloader()
    ahead = 0
    for _ in range(3):
        batches = iter(loader)
        for _ in range(len(loader)):
            next(batches)
        assert knocking.heard(10 - ahead)  # the rest of this epoch
        ahead = 8  # of the next as many as two workers may have begun, two batches of two each
        assert knocking.heard(ahead)
        assert list(batches) == []  # and not one of them is handed out with this epoch


def test_in_a_training_they_begin_before_validation(root: Path) -> None:
    knocking, heard = Knocking(), []

    class Listening(Callback):
        @override
        def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
            # In the first epoch its 10 clips and 8 of the next, in the second what is left of 10 and again 8.
            heard.append(knocking.heard(18 if not heard else 10))

    settings = {**SMALL, "num_workers": 2, "train_transform": knocking}
    net = Recorder()
    quiet_trainer(max_epochs=2, callbacks=[Listening()]).fit(net, VideoDataModule(root, **settings))
    assert heard == [True, True]
    for epoch in (0, 1):
        assert net.order(epoch) == [index for _, index in EpochSampler(range(VIDEOS), epoch=epoch)][:10]


@pytest.mark.parametrize("length", [None, 4, 17, 22])
def test_batches_are_those_without_workers(root: Path, length: int | None) -> None:
    trained = []
    for workers in (0, 2):
        net = Recorder()
        data = VideoDataModule(root, **{**SMALL, "num_workers": workers}, augment=AUGMENT, epoch_length=length)
        quiet_trainer(max_epochs=3).fit(net, data)
        trained.append(net.trained)
    assert trained[0] == trained[1]


def test_an_epoch_that_is_cut_short_is_followed_by_the_next(root: Path) -> None:
    """Lightning leaves the loader in the middle: what workers have begun of that epoch is dropped."""
    trained = []
    for workers in (0, 2):
        net = Recorder()
        trainer = quiet_trainer(max_epochs=3, limit_train_batches=3)
        trainer.fit(net, VideoDataModule(root, **{**SMALL, "num_workers": workers}))
        trained.append(net.trained)
        for epoch in range(3):
            assert net.order(epoch) == [index for _, index in EpochSampler(range(VIDEOS), epoch=epoch)][:6]
    assert trained[0] == trained[1]


def test_a_loader_whose_workers_were_shut_down(root: Path) -> None:
    """As by Lightning at the end of a fit: the epoch that they had begun comes all the same."""

    class Floats(Recorder):
        @override
        def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
            return super().training_step(batch._replace(video=batch.video.float()), batch_idx)

    loader = VideoDataModule(root, **{**SMALL, "num_workers": 1}).train_dataloader()
    for fit in range(2):
        net = Floats()
        quiet_trainer(max_epochs=1).fit(net, loader)
        assert net.order(0) == [index for _, index in EpochSampler(range(VIDEOS), epoch=fit)][:10]


# The length of an epoch


@pytest.mark.parametrize("length", [1, 4, 10, 11, 12, 33])
def test_epochs_laid_end_to_end_are_whole_rounds(length: int) -> None:
    """In each round every sample comes once, with a key that never comes again."""
    sampler = EpochSampler(range(VIDEOS), seed=3, length=length)
    keys = [key for _ in range(3 * VIDEOS) for key in sampler]
    assert len(keys) == 3 * VIDEOS * length
    assert len(set(keys)) == len(keys)
    for number in range(3 * length):
        of_round = keys[number * VIDEOS : (number + 1) * VIDEOS]
        assert of_round == list(EpochSampler(range(VIDEOS), seed=3, epoch=number))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_an_epoch_and_go_on_in_it(ranks: int) -> None:
    whole = list(EpochSampler(range(VIDEOS), epoch=2, length=15))
    shares = [list(EpochSampler(range(VIDEOS), 0, rank, ranks, 2, length=15)) for rank in range(ranks)]
    assert [key for turn in zip(*shares, strict=True) for key in turn] == whole[: 15 // ranks * ranks]
    rest = [list(EpochSampler(range(VIDEOS), 0, rank, ranks, 2, 2 * ranks, 15)) for rank in range(ranks)]
    assert rest == [share[2:] for share in shares]


def test_an_epoch_in_training(root: Path) -> None:
    net = Recorder()
    quiet_trainer(max_epochs=2).fit(net, VideoDataModule(root, **SMALL, epoch_length=22))
    assert [net.epochs.count(epoch) for epoch in (0, 1)] == [11, 11]
    for epoch in (0, 1):
        assert set(Counter(net.order(epoch)).values()) == {2}
    assert len({checksum for _, checksum in net.trained}) == 22


def test_a_video_that_comes_again_is_changed_otherwise(root: Path) -> None:
    """All 22 clips of an epoch come out differently, in whatever batches; the crop is the whole frame."""
    changed = {}
    for batch_size in (1, 2):
        net = Recorder()
        data = VideoDataModule(
            root, **{**SMALL, "batch_size": batch_size}, epoch_length=22, augment={"random_erasing": {"p": 1.0}}
        )
        quiet_trainer(max_epochs=1).fit(net, data)
        batches = [batch for batch in net.batches["train"] if batch]
        pairs = [pair for batch in batches for pair in zip(batch.index.tolist(), batch.video, strict=True)]
        changed[batch_size] = [(index, tuple(video.flatten().tolist())) for index, video in pairs]
    assert changed[1] == changed[2]
    assert len(set(changed[1])) == 22
    for index in range(VIDEOS):
        assert len({video for one, video in changed[1] if one == index}) == 2


@pytest.mark.parametrize("length", [7, 22])
def test_resuming_in_the_middle(root: Path, tmp_path: Path, length: int) -> None:
    class Saving(Callback):
        @override
        def on_train_batch_end(self, trainer: Trainer, net: Any, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{len(net.trained)}.ckpt")

    def fit(*used: Callback, checkpoint: Path | None = None) -> Any:
        net, data = Recorder(), VideoDataModule(root, **SMALL, augment=AUGMENT, epoch_length=length)
        resume = {"ckpt_path": checkpoint, "weights_only": True} if checkpoint else {}
        quiet_trainer(max_epochs=3, callbacks=list(used)).fit(net, data, **resume)
        return net.trained

    whole = fit(Saving())
    assert len(whole) == 3 * (length // 2)
    for done in (1, length // 2, length // 2 + 2):
        assert fit(checkpoint=tmp_path / f"{done}.ckpt") == whole[done:]


def test_no_length(root: Path) -> None:
    with pytest.raises(UsageError, match="epoch_length must be at least 1, got 0"):
        VideoDataModule(root, epoch_length=0)
