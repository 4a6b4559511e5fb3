"""Collecting values of any form: tensors, lists with an item for each sample, and dicts and tuples of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightframe.errors import UsageError
from lightframe.evaluation.rows import Rows


class Column:
    """Grows by the samples of a batch, and gives any of them in the form in which they came."""

    def append(self, value: Any) -> None:
        """Add the samples of a batch."""
        raise NotImplementedError

    def take(self, rows: slice | Sequence[int]) -> Any:
        """These samples, in the form of a batch."""
        raise NotImplementedError

    def stores(self) -> Iterator[Rows]:
        """Where the tensors are."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(store.nbytes for store in self.stores())

    def spill(self, folder: Path) -> None:
        """Keep the tensors in files of this folder from now on."""
        for store in self.stores():
            store.spill(folder / f"{len([*folder.iterdir()])}.rows")


class TensorColumn(Column):
    """Tensors (B, ...)."""

    def __init__(self) -> None:
        self._rows = Rows()

    def append(self, value: Any) -> None:
        self._rows.append(value)

    def take(self, rows: slice | Sequence[int]) -> Tensor:
        return self._rows.all()[rows if isinstance(rows, slice) else torch.tensor(rows, dtype=torch.long)]

    def stores(self) -> Iterator[Rows]:
        yield self._rows


class RaggedColumn(Column):
    """A tensor for each sample, of any length: they are kept end to end."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._ends = [0]
        self._scalars: list[bool] = []

    def append(self, value: Any) -> None:
        for item in value:
            # Without boxes some nets give a tensor (0,), others one (0, 4).
            flat = item.reshape(1) if item.ndim == 0 else item
            self._rows.append(flat)
            self._ends.append(len(self._rows))
            self._scalars.append(item.ndim == 0)

    def take(self, rows: slice | Sequence[int]) -> list[Tensor]:
        flat = self._rows.all()
        numbers = range(len(self._scalars))[rows] if isinstance(rows, slice) else rows
        items = [flat[self._ends[number] : self._ends[number + 1]] for number in numbers]
        if not isinstance(rows, slice):  # sent to another process, a view would take all that it is a view of with it
            items = [item.clone() for item in items]
        return [item[0] if self._scalars[number] else item for number, item in zip(numbers, items, strict=True)]

    def stores(self) -> Iterator[Rows]:
        yield self._rows


class ObjectColumn(Column):
    """Anything else that there is for each sample: numbers, names."""

    def __init__(self) -> None:
        self._items: list[Any] = []

    def append(self, value: Any) -> None:
        self._items += value

    def take(self, rows: slice | Sequence[int]) -> list[Any]:
        return self._items[rows] if isinstance(rows, slice) else [self._items[number] for number in rows]

    def stores(self) -> Iterator[Rows]:
        yield from ()


class RecordColumn(Column):
    """A list with a dict for each sample, as detectors give it; all have the same keys."""

    def __init__(self) -> None:
        self._columns: dict[Any, Column] | None = None
        self._count = 0

    def append(self, value: Any) -> None:
        if not value:
            return
        keys = set(value[0]) if self._columns is None else set(self._columns)
        for item in value:
            if set(item) != keys:
                raise UsageError(f"a sample has {sorted(map(str, item))} where another has {sorted(map(str, keys))}")
        lists = {key: [item[key] for item in value] for key in value[0]}
        if self._columns is None:
            self._columns = {key: column_for(items, len(items)) for key, items in lists.items()}
        for key, column in self._columns.items():
            column.append(lists[key])
        self._count += len(value)

    def take(self, rows: slice | Sequence[int]) -> list[dict[Any, Any]]:
        columns = {key: column.take(rows) for key, column in (self._columns or {}).items()}
        count = len(range(self._count)[rows]) if isinstance(rows, slice) else len(rows)
        return [{key: items[number] for key, items in columns.items()} for number in range(count)]

    def stores(self) -> Iterator[Rows]:
        for column in (self._columns or {}).values():
            yield from column.stores()


class DictColumn(Column):
    """A dict of any of these, as of a net with several heads."""

    def __init__(self, columns: Mapping[Any, Column]) -> None:
        self._columns = dict(columns)

    def append(self, value: Any) -> None:
        for key, column in self._columns.items():
            column.append(value[key])

    def take(self, rows: slice | Sequence[int]) -> dict[Any, Any]:
        return {key: column.take(rows) for key, column in self._columns.items()}

    def stores(self) -> Iterator[Rows]:
        for column in self._columns.values():
            yield from column.stores()


class TupleColumn(Column):
    """A tuple of any of these."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = list(columns)

    def append(self, value: Any) -> None:
        for column, item in zip(self._columns, value, strict=True):
            column.append(item)

    def take(self, rows: slice | Sequence[int]) -> tuple[Any, ...]:
        return tuple(column.take(rows) for column in self._columns)

    def stores(self) -> Iterator[Rows]:
        for column in self._columns:
            yield from column.stores()


def column_for(value: Any, size: int) -> Column:
    """An empty column for batches like this one.

    Args:
        value: outputs or targets of a batch.
        size: its number of samples.

    Raises:
        UsageError: it cannot be told apart into samples.
    """
    if isinstance(value, Tensor) and value.ndim and len(value) == size:
        return TensorColumn()
    if isinstance(value, Mapping):
        return DictColumn({key: column_for(item, size) for key, item in value.items()})
    if isinstance(value, list) and len(value) == size:
        if all(isinstance(item, Mapping) for item in value):
            return RecordColumn()
        if all(isinstance(item, Tensor) for item in value):
            return RaggedColumn()
        return ObjectColumn()
    if isinstance(value, tuple):
        return TupleColumn([column_for(item, size) for item in value])
    shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise UsageError(
        f"outputs and targets of {size} samples must be tensors or lists of that length, or dicts and tuples of them, "
        f"not {shown}"
    )
