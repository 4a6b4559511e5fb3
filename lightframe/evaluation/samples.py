"""The samples of an evaluation: what the net made of each, and what it should have been."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import distributed

from lightframe.errors import UsageError
from lightframe.evaluation.columns import Column, column_for
from lightframe.gather import gather_objects

_PIECE = 64 * 2**20  # bytes that all processes together exchange at a time


class Samples:
    """Outputs and targets by sample, on the CPU or in files.

    Attributes:
        index: what tells each sample from all others, in the order in which they came.

    >>> import torch
    >>> samples = Samples()
    >>> samples.append([4, 2], torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([0, 1]))
    >>> samples.take([1])
    (tensor([[0.3000, 0.7000]]), tensor([1]))
    """

    def __init__(self) -> None:
        self.index: list[int] = []
        self._column: Column | None = None
        self._folder: Path | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Bytes of all outputs and targets."""
        return 0 if self._column is None else self._column.nbytes

    @property
    def spilled(self) -> bool:
        """Whether they are in files."""
        return self._folder is not None

    def append(self, index: Sequence[int], outputs: Any, targets: Any) -> None:
        """Add the samples of a batch.

        Raises:
            UsageError: outputs or targets cannot be told apart into as many samples.
        """
        if not index:
            return
        if self._column is None:
            self._column = column_for((outputs, targets), len(index))
            if self._folder is not None:
                self._spill(self._folder)
        self._column.append((outputs, targets))
        self.index += index

    def take(self, rows: slice | Sequence[int]) -> tuple[Any, Any]:
        """Outputs and targets of these samples, by their place here, in the form of a batch."""
        assert self._column is not None
        outputs, targets = self._column.take(rows)
        return outputs, targets

    def chunks(self, size: int) -> Iterator[tuple[Any, Any]]:
        """Outputs and targets of `size` samples after the other."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

    def spill(self, folder: Path) -> None:
        """Keep them in files of a new folder from now on."""
        folder.mkdir(parents=True)
        self._folder = folder
        if self._column is not None:
            self._spill(folder)

    def _spill(self, folder: Path) -> None:
        assert self._column is not None
        self._column.spill(folder)


def gather_samples(own: Samples, folder: Path | None = None, piece: int = _PIECE) -> Samples:
    """Each sample of all processes once, in the order of its index. All processes must call it, and get the same.

    Args:
        own: the samples of this process; one that another process has too is taken from the first that has it.
        folder: where they are kept instead of in memory.
        piece: bytes that are exchanged at a time.

    Raises:
        UsageError: processes have samples of different kinds.
    """
    each = -(-own.nbytes // max(len(own), 1))  # bytes
    everyone = gather_objects((own.index, each))
    owners: dict[int, tuple[int, int]] = {}
    for rank, (index, _) in enumerate(everyone):
        for row, number in enumerate(index):
            owners.setdefault(number, (rank, row))
    order = sorted(owners)
    if len(everyone) == 1 and order == own.index:
        return own
    whole, step = Samples(), max(piece // max(max(size for _, size in everyone), 1), 1)
    if folder is not None:
        whole.spill(folder)
    for start in range(0, len(order), step):
        numbers = order[start : start + step]
        rows = [owners[number][1] for number in numbers if owners[number][0] == _rank()]
        together = Samples()
        for rank, part in enumerate(gather_objects(own.take(rows) if rows else None)):
            if part is not None:
                together.append([number for number in numbers if owners[number][0] == rank], *part)
        places = {number: place for place, number in enumerate(together.index)}
        whole.append(numbers, *together.take([places[number] for number in numbers]))
    return whole


def _rank() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def check_pair(outputs: Any, targets: Any) -> None:
    """Raise a UsageError if one of the two is missing."""
    if outputs is None or targets is None:
        missing = "outputs" if outputs is None else "targets"
        raise UsageError(
            f"EvalTotal needs the {missing} of each evaluation batch: let validation_step and test_step return "
            "{'outputs': ..., 'targets': ...}, or (outputs, targets); LightFrameModule does if unpack(batch) gives both"
        )
