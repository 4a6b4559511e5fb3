"""Which samples of an evaluation a process answers for: each counts once, however often samplers repeat it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler


class Counted(NamedTuple):
    """The part of a batch that counts.

    Attributes:
        size: how many samples the batch has.
        rows: how many of them count, from the first on.
        index: (rows,) int64: what tells them from all other samples of the set, over all processes.
    """

    size: int
    rows: int
    index: Tensor  # type: ignore[assignment]  # tuple.index is a method that nobody needs here


class Counter:
    """Tells, batch by batch, which samples of one loader count on this process.

    To give all processes equally many batches, Lightning's sampler repeats samples at the end: at most one on each
    process, and always the last one that it gives. A sample is known by `index` in the batch; in a batch without one
    by its place in the sampler's order.

    >>> import torch
    >>> from torch.utils.data import DataLoader
    >>> data = range(3)
    >>> samplers = [DistributedSampler(data, 2, rank, shuffle=False) for rank in (0, 1)]  # 0, 2 and 1, 0 again
    >>> [Counter(DataLoader(data, 2, sampler=one)).count(torch.zeros(2), 0) for one in samplers]
    [Counted(size=2, rows=2, index=tensor([0, 2])), Counted(size=2, rows=1, index=tensor([1]))]
    """

    def __init__(self, loader: Any) -> None:
        self._sampler = _distributed_sampler(loader)
        self._last_batch = len(loader) - 1 if self._sampler is not None else None
        self._repeats = self._sampler is not None and _last_place(self._sampler) >= _length(self._sampler)
        self._seen = 0

    def count(self, batch: Any, batch_idx: int) -> Counted:
        """The part that counts of a batch, the one after that of the last call."""
        size, index = batch_size(batch), batch_index(batch)
        start, self._seen = self._seen, self._seen + size
        rows = size - int(self._repeats and size > 0 and self._ends_repeated(index, batch_idx))
        if index is not None:
            return Counted(size, rows, index[:rows].long())
        first, step = (0, 1) if self._sampler is None else (self._sampler.rank, self._sampler.num_replicas)
        return Counted(size, rows, first + step * torch.arange(start, start + rows))

    def _ends_repeated(self, index: Tensor | None, batch_idx: int) -> bool:
        """Whether the last sample of a batch is the repeated one."""
        assert self._sampler is not None
        if index is None or self._sampler.shuffle or type(self._sampler) is not DistributedSampler:
            return self._seen == len(self._sampler)
        # By its index: samples that could not be read are missing in their batch, the repeated one perhaps as well.
        repeated = _last_place(self._sampler) % _length(self._sampler)
        return batch_idx == self._last_batch and int(index[-1]) == repeated


def _length(sampler: DistributedSampler[Any]) -> int:
    return len(sampler.dataset)  # type: ignore[arg-type]


def _last_place(sampler: DistributedSampler[Any]) -> int:
    """The place in the order of all processes of the last sample that this one gets."""
    return sampler.rank + (len(sampler) - 1) * sampler.num_replicas


def _distributed_sampler(loader: Any) -> DistributedSampler[Any] | None:
    if not isinstance(loader, DataLoader):
        return None
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    return sampler if isinstance(sampler, DistributedSampler) else None


def batch_size(batch: Any) -> int:
    """How many samples a batch has: as many as it has indices; else the length of the first tensor that is found."""
    if batch is None:  # not one of its videos could be read
        return 0
    index = batch_index(batch)
    return extract_batch_size(batch) if index is None else len(index)


def batch_index(batch: Any) -> Tensor | None:
    """The `index` (B,) of a batch that is a named tuple, a dataclass or a dict; None where there is none."""
    index = batch.get("index") if isinstance(batch, Mapping) else getattr(batch, "index", None)
    return index if isinstance(index, Tensor) and index.ndim == 1 else None


def first_samples(batch: Any, rows: int, size: int) -> Any:
    """The first `rows` samples of a batch of `size`; a list is what a loader makes of a tuple, as [inputs, targets].

    >>> first_samples([torch.arange(2), torch.arange(2)], rows=1, size=2)
    [tensor([0]), tensor([0])]
    """
    if isinstance(batch, list):
        return [first_rows(item, rows, size) for item in batch]
    return first_rows(batch, rows, size)


def first_rows(value: Any, rows: int, size: int) -> Any:
    """The first `rows` of `size` samples: of tensors, and of lists with an item for each sample.

    >>> first_rows({"video": torch.arange(3), "path": ["a", "b", "c"]}, rows=2, size=3)
    {'video': tensor([0, 1]), 'path': ['a', 'b']}
    """
    if rows == size:
        return value
    if isinstance(value, Tensor):
        return value[:rows] if value.ndim and len(value) == size else value
    if isinstance(value, Mapping):
        return {key: first_rows(item, rows, size) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(first_rows(item, rows, size) for item in value))
    if isinstance(value, list) and len(value) == size and not _are_batches(value, size):
        return value[:rows]
    return type(value)(first_rows(item, rows, size) for item in value) if isinstance(value, list | tuple) else value


def _are_batches(value: list[Any], size: int) -> bool:
    """Whether the items are batches, inputs of a net with several, rather than samples such as images (C, H, W)."""
    return all(isinstance(item, Tensor) and item.ndim != 3 and item.shape[:1] == (size,) for item in value)


def evaluation_loaders(trainer: Trainer) -> list[Any]:
    """The loaders of the evaluation that runs, in the order of their `dataloader_idx`."""
    if trainer.state.fn == TrainerFn.TESTING:
        loaders = trainer.test_dataloaders
    elif trainer.state.fn == TrainerFn.VALIDATING:
        # `trainer.val_dataloaders` are those of the last fit when there was one; nothing public has these.
        combined = trainer.validate_loop._combined_loader
        loaders = None if combined is None else combined.iterables
    else:
        loaders = trainer.val_dataloaders
    return [] if loaders is None else CombinedLoader(loaders, "sequential").flattened


class Counters:
    """A `Counter` for each loader of an evaluation."""

    def __init__(self) -> None:
        self._counters: dict[int, Counter] = {}

    def count(self, trainer: Trainer | None, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Counted:
        """The part that counts of a batch; with the first one of a loader its counting begins anew."""
        if batch_idx == 0 or dataloader_idx not in self._counters:
            loaders = evaluation_loaders(trainer) if isinstance(trainer, Trainer) else []
            loader = loaders[dataloader_idx] if dataloader_idx < len(loaders) else None
            self._counters[dataloader_idx] = Counter(loader)
        return self._counters[dataloader_idx].count(batch, batch_idx)
