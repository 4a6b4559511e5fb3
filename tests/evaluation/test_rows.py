from pathlib import Path

import pytest
import torch

from lightframe import UsageError
from lightframe.evaluation.rows import Rows

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spilled", ["never", "first", "between"])
def test_rows(dtype: torch.dtype, spilled: str, tmp_path: Path) -> None:
    values = torch.arange(24).reshape(6, 2, 2).to(dtype)
    rows = Rows()
    if spilled == "first":
        rows.spill(tmp_path / "a.rows")
    rows.append(values[:3])
    if spilled == "between":
        rows.spill(tmp_path / "a.rows")
    rows.append(values[:0])
    rows.append(values[3:])
    assert torch.equal(rows.all(), values)
    assert rows.all().dtype == dtype
    assert (len(rows), rows.nbytes) == (6, values.nbytes)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == ([] if spilled == "never" else [values.nbytes])
    rows.append(values[:1])  # after it was read
    assert torch.equal(rows.all(), torch.cat([values, values[:1]]))


def test_a_copy_is_kept() -> None:
    """A net may write its next outputs to the same memory, and a row is not to hold its whole batch."""
    values, rows = torch.zeros(4, 2), Rows()
    rows.append(values[:1])
    values += 1
    assert rows.all().tolist() == [[0, 0]]
    assert rows.all().untyped_storage().nbytes() == 8


def test_shapes_that_differ() -> None:
    rows = Rows()
    rows.append(torch.zeros(0))  # without boxes some nets give this
    rows.append(torch.zeros(2, 4))
    rows.append(torch.zeros(0))
    assert rows.all().shape == (2, 4)
    with pytest.raises(UsageError, match=r"shape \(5,\).*after samples of shape \(4,\).*a list"):
        rows.append(torch.zeros(2, 5))
    with pytest.raises(UsageError, match="int64"):
        rows.append(torch.zeros(2, 4, dtype=torch.int64))
    assert Rows().all().shape == (0,)
