"""The order of training, a function of (seed, epoch) alone."""

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from torch.utils.data import DistributedSampler
from typing_extensions import override


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Yields (epoch, index), so that a worker can seed each sample by (seed, epoch, index).

    Each time it is iterated is the next epoch. Each rank gets the same number of samples: what the set has beyond a
    multiple of the ranks is left out, another few in every epoch; a set smaller than the ranks is repeated.

    It is a DistributedSampler so that Lightning leaves it in place.

    Args:
        dataset: its length is all that is used.
        seed: of the shuffling.
        rank: of this process.
        world_size: number of processes.
        epoch: with which to begin.
        done: samples of that epoch, of all ranks together, that a run had seen before it was stopped. They are left
            out the first time; the length stays that of a whole epoch, in which Lightning counts on.

    Attributes:
        epoch: that of the samples it yields.
        begun: whether it was ever asked for one.

    >>> list(EpochSampler(range(4), seed=0))[2:] == list(EpochSampler(range(4), seed=0, done=2))
    True
    """

    def __init__(
        self, dataset: Sized, seed: int = 0, rank: int = 0, world_size: int = 1, epoch: int = 0, done: int = 0
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.size = len(dataset)
        self.num_samples = max(self.size // world_size, 1)
        self.total_size = self.num_samples * world_size
        self.epoch, self.begun = epoch, False
        self._next = (epoch, done // world_size)

    @override
    def set_epoch(self, epoch: int) -> None:
        """Lightning's count is not taken: after a resume with `max_steps` it may be one too many."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        self.epoch, done = self._next
        self._next, self.begun = (self.epoch + 1, 0), True
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        order = np.resize(order, self.total_size)  # repeats a set that is smaller than the number of ranks
        mine = order[self.rank :: self.num_replicas]
        return iter([(self.epoch, int(index)) for index in mine[done:]])


def training_position(trainer: Trainer, epoch: int) -> tuple[int, int]:
    """Where a training is whose loader is in `epoch`: there, and how many batches are done; at its end, the next and 0.

    Lightning resumes an epoch that was cut short, by `max_time` or a callback, with the next one; but with `max_steps`
    in its middle.
    """
    fit: Any = trainer.fit_loop
    epochs, batches = fit.epoch_progress.current, fit.epoch_loop.batch_progress.current.processed
    over = epochs.started == epochs.processed and trainer.max_steps == -1
    return (epoch + 1, 0) if over or batches >= trainer.num_training_batches else (epoch, batches)
