"""The order of training, a function of (seed, epoch) alone."""

from collections.abc import Iterator, Sized

import numpy as np
from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Yields (epoch, index), so that a worker can seed each sample by (seed, epoch, index).

    Each rank gets the same number of samples: what the set has beyond a multiple of the ranks is left out, another
    few in every epoch; a set smaller than the ranks is repeated.

    It is a DistributedSampler so that Lightning leaves it in place and tells it the epoch.

    Args:
        dataset: its length is all that is used.
        seed: of the shuffling.
        rank: of this process.
        world_size: number of processes.
        epoch: with which to begin. Lightning names the epoch only after the first iterator exists, so whoever
            resumes a run must give it here.

    >>> [index for epoch, index in EpochSampler(range(4), seed=0)] != [0, 1, 2, 3]
    True
    """

    def __init__(self, dataset: Sized, seed: int = 0, rank: int = 0, world_size: int = 1, epoch: int = 0) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.size = len(dataset)
        self.num_samples = max(self.size // world_size, 1)
        self.total_size = self.num_samples * world_size
        self.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        order = np.resize(order, self.total_size)  # repeats a set that is smaller than the number of ranks
        return iter([(self.epoch, int(index)) for index in order[self.rank :: self.num_replicas]])
