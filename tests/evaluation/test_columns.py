from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightframe import UsageError
from lightframe.evaluation.columns import column_for


def boxes(count: int, first: float) -> dict[str, Tensor]:
    """What a detector says of an image."""
    return {
        "boxes": first + torch.arange(4.0 * count).reshape(count, 4) if count else torch.zeros(0),
        "labels": torch.arange(count),
        "image_id": torch.tensor(int(first)),
    }


BATCHES: dict[str, tuple[Any, Any]] = {
    "tensor": (torch.arange(6.0).reshape(2, 3), torch.ones(3, 3)),
    "ragged": ([torch.arange(2), torch.arange(0)], [torch.arange(1), torch.arange(5), torch.arange(2)]),
    "numbers": ([1, 2], [3, 4, 5]),
    "names": (["a", "b"], ["c", "d", "e"]),
    "records": ([boxes(2, 0), boxes(0, 9)], [boxes(1, 3), boxes(3, 4), boxes(0, 5)]),
    "no boxes at first": ([boxes(0, 0), boxes(0, 9)], [boxes(1, 3), boxes(3, 4), boxes(0, 5)]),
    "heads": ({"a": torch.zeros(2, 3), "b": [1, 2]}, {"a": torch.ones(3, 3), "b": [3, 4, 5]}),
    "pair": ((torch.zeros(2), torch.zeros(2, 5)), (torch.ones(3), torch.ones(3, 5))),
}


def plain(value: Any) -> Any:
    """Tensors as lists, those without boxes alike."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def samples_of(value: Any, size: int) -> list[Any]:
    """One by one: the oracle."""
    if isinstance(value, dict):
        return [{key: samples_of(item, size)[n] for key, item in value.items()} for n in range(size)]
    if isinstance(value, tuple):
        return [tuple(samples_of(item, size)[n] for item in value) for n in range(size)]
    return [value[n] for n in range(size)]


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize("kind", BATCHES)
def test_columns(kind: str, spilled: bool, tmp_path: Path) -> None:
    first, second = BATCHES[kind]
    column = column_for(first, 2)
    column.append(first)
    if spilled:
        column.spill(tmp_path)
    column.append(second)
    expected = [*samples_of(first, 2), *samples_of(second, 3)]
    for rows in ([0, 1, 2, 3, 4], [4, 0, 3], [], slice(None), slice(1, 4)):
        taken = column.take(rows)
        numbers = range(5)[rows] if isinstance(rows, slice) else rows
        assert type(taken) is type(first)
        assert plain(samples_of(taken, len(numbers))) == plain([expected[number] for number in numbers])
    if kind == "records":
        assert column.take([2])[0]["boxes"].shape == (1, 4)
        assert column.take([1])[0]["boxes"].shape == (0, 4)
        assert column.take([1])[0]["image_id"].ndim == 0
    assert column.nbytes == sum(path.stat().st_size for path in tmp_path.iterdir()) or not spilled


def test_taken_rows_hold_no_more_than_themselves() -> None:
    """What is sent to another process is pickled with all the memory that it is a view of."""
    column = column_for([torch.zeros(1000), torch.zeros(2)], 2)
    column.append([torch.zeros(1000), torch.zeros(2)])
    assert column.take([1])[0].untyped_storage().nbytes() == 8


def test_no_samples() -> None:
    for value, shown in ((torch.zeros(3, 2), "shape (3, 2)"), (torch.tensor(1.0), "shape ()"), (None, "NoneType")):
        with pytest.raises(UsageError, match="2 samples must be") as caught:
            column_for(value, 2)
        assert shown in str(caught.value)
    column = column_for([{"a": 1}], 1)
    with pytest.raises(UsageError, match=r"\['b'\] where another has \['a'\]"):
        column.append([{"a": 1}, {"b": 2}])
