"""The order of training, a function of (seed, epoch) alone."""

from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from torch.utils.data import DistributedSampler
from typing_extensions import override


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Yields (round, index), so that a worker can seed each sample by (seed, round, index).

    In each round every sample of the set comes once. Laid end to end the rounds are cut into epochs of `length`
    samples: with a length of the whole set a round is an epoch; in longer ones samples come again, in shorter ones the
    next epoch goes on with those that are left.

    Each time it is iterated is the next epoch. Each rank gets the same number of samples: what an epoch has beyond a
    multiple of the ranks is left out, another few in every epoch; one shorter than the ranks is repeated.

    It is a DistributedSampler so that Lightning leaves it in place.

    Args:
        dataset: its length is all that is used.
        seed: of the shuffling.
        rank: of this process.
        world_size: number of processes.
        epoch: with which to begin.
        done: samples of that epoch, of all ranks together, that a run had seen before it was stopped. They are left
            out the first time; the length stays that of a whole epoch, in which Lightning counts on.
        length: samples in an epoch, of all ranks together; None: those of the set.

    Attributes:
        epoch: that of the samples it yields.
        begun: whether it was ever asked for one.
        left: how many samples of this rank it yielded the last time it was asked for an epoch.

    >>> list(EpochSampler(range(4), seed=0))[2:] == list(EpochSampler(range(4), seed=0, done=2))
    True
    >>> list(EpochSampler(range(4), seed=0, length=8))[:4] == list(EpochSampler(range(4), seed=0))
    True
    """

    def __init__(
        self,
        dataset: Sized,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        done: int = 0,
        length: int | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.size = len(dataset)
        self.length = self.size if length is None else length
        self.num_samples = max(self.length // world_size, 1)
        self.total_size = self.num_samples * world_size
        self.epoch, self.begun = epoch, False
        self.left, self._ahead = 0, False
        self._next = self._asked = (epoch, done // world_size)

    @override
    def set_epoch(self, epoch: int) -> None:
        """Lightning's count is not taken: after a resume with `max_steps` it may be one too many."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        self._asked = self._next
        epoch, done = self._asked
        self._next = (epoch + 1, 0)
        if not self._ahead:
            self.enter()
        rounds, places = self._places(epoch, done)
        self.left = len(places)
        orders = {
            number: np.random.default_rng([self.seed, number]).permutation(self.size) for number in set(rounds.tolist())
        }
        pairs = zip(rounds.tolist(), places.tolist(), strict=True)
        return iter([(number, int(orders[number][place])) for number, place in pairs])

    @contextmanager
    def looking_ahead(self) -> Iterator[None]:
        """Inside, the next epoch is asked for while this one is not over; `enter` says when it is."""
        self._ahead = True
        try:
            yield
        finally:
            self._ahead = False

    def enter(self) -> None:
        """The epoch that was asked for last begins."""
        self.epoch, self.begun = self._asked[0], True

    def ask_again(self) -> None:
        """Nothing came of the epoch that was asked for last: the next time it is yielded again."""
        self._next = self._asked

    def numbers(self, indices: Sequence[int], done: int) -> list[int]:
        """For samples of this epoch numbers that differ where an index is that of another round.

        Args:
            indices: of this rank's samples, as they came.
            done: how many of the epoch's samples this rank had before them.
        """
        if self.length == self.size:
            return list(indices)
        rounds, _ = self._places(self.epoch, done, done + len(indices))
        later = (rounds - self.round).tolist()
        return [index + more * self.size for index, more in zip(indices, later, strict=True)]

    @property
    def round(self) -> int:
        """The round in which this epoch begins."""
        return self.epoch * self.length // self.size

    def _places(self, epoch: int, done: int, stop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rounds, and places in their orders, of what this rank has of an epoch from `done` to `stop`."""
        turns = np.arange(done, self.num_samples if stop is None else stop)
        # An epoch that is shorter than the number of ranks is repeated.
        places = (self.rank + turns * self.num_replicas) % self.length
        return np.divmod(epoch * self.length + places, self.size)


def training_position(trainer: Trainer, epoch: int) -> tuple[int, int]:
    """Where a training is whose loader is in `epoch`: there, and how many batches are done; at its end, the next and 0.

    Lightning resumes an epoch that was cut short, by `max_time` or a callback, with the next one; but with `max_steps`
    in its middle.
    """
    fit: Any = trainer.fit_loop
    epochs, batches = fit.epoch_progress.current, fit.epoch_loop.batch_progress.current.processed
    over = epochs.started == epochs.processed and trainer.max_steps == -1
    return (epoch + 1, 0) if over or batches >= trainer.num_training_batches else (epoch, batches)
