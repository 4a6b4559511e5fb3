"""What both data modules share; that trainings go on exactly is tested with each of them."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from lightframe.datamodules.resumable import ResumableDataModule


def training(epoch: int, batches: int, of: int, processes: int = 1, rank: int = 0) -> Any:
    """A trainer in the middle of an epoch, as far as a data module asks."""
    return SimpleNamespace(
        fit_loop=SimpleNamespace(
            epoch_progress=SimpleNamespace(current=SimpleNamespace(started=epoch + 1, processed=epoch)),
            epoch_loop=SimpleNamespace(
                batch_progress=SimpleNamespace(current=SimpleNamespace(processed=batches)),
            ),
        ),
        num_training_batches=of,
        max_steps=-1,
        current_epoch=epoch,
        global_rank=rank,
        world_size=processes,
    )


def test_the_place_in_an_epoch_counts_the_samples_of_all_processes() -> None:
    data = ResumableDataModule()
    assert data.state_dict() == {"epoch": 0, "done": 0}
    data.trainer = training(0, 2, of=5, processes=3)
    sampler = data.epoch_sampler(range(60), seed=0, in_a_batch=4)
    assert data.state_dict() == {"epoch": 0, "done": 0}  # nothing was asked for yet
    list(sampler)
    assert data.state_dict() == {"epoch": 0, "done": 2 * 4 * 3}


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_resumed_has_what_is_left(rank: int) -> None:
    data = ResumableDataModule()
    data.trainer = training(3, 0, of=5, processes=2, rank=rank)
    data.begin_fit()
    with warnings.catch_warnings():
        data.load_state_dict({"epoch": 3, "done": 8})
    whole = ResumableDataModule()
    whole.trainer = training(3, 0, of=5, processes=2, rank=rank)
    whole.begin_fit()  # three epochs were trained before
    assert list(data.epoch_sampler(range(20), 7, 2)) == list(whole.epoch_sampler(range(20), 7, 2))[4:]


def test_without_a_trainer_it_is_one_process() -> None:
    data = ResumableDataModule()
    assert data.ranks == (0, 1)
    data.begin_fit()
    assert sorted(index for _, index in data.epoch_sampler(range(5), 0, 2)) == [0, 1, 2, 3, 4]
