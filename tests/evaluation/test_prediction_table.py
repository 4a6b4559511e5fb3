import csv
from itertools import chain
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from torch import Tensor

from lightframe import UsageError
from lightframe.evaluation.prediction_table import best_classes, write_predictions
from lightframe.evaluation.samples import Samples

PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])


def collected(targets: Tensor) -> Samples:
    samples = Samples()
    samples.append([0, 2], PROBABILITIES.log(), targets)
    return samples


def table(file: Path) -> list[list[str | float]]:
    if file.suffix == ".parquet":
        read = parquet.read_table(file)
        return [read.column_names, *map(list, zip(*(column.to_pylist() for column in read.columns), strict=True))]
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as opened:
        return [*csv.reader(opened)]  # type: ignore[list-item]


def scores(rows: list[list[str | float]], *columns: int) -> list[list[float]]:
    return [[float(row[column]) for column in columns] for row in rows[1:]]


def test_best_classes() -> None:
    named, values = best_classes(PROBABILITIES.log(), ["a", "b", "c"], top=2)
    assert named == [["a", "b"], ["c", "b"]]
    assert [*chain.from_iterable(values)] == pytest.approx([0.7, 0.2, 0.6, 0.3])
    assert best_classes(PROBABILITIES.log()[:1], ["a", "b", "c"], top=9)[0] == [["a", "b", "c"]]
    assert best_classes(torch.zeros(1, 1), ["a"], top=1, sigmoid=True) == ([["a"]], [[0.5]])


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_table(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"predictions.{suffix}"
    write_predictions(
        file, collected(torch.tensor([1, -1])), ["a.mp4", "b.mp4", "\udcff.mp4"], ["run", "jump", "a,b"], top=2
    )
    rows = table(file)
    assert rows[0] == ["path", "label", "class_1", "score_1", "class_2", "score_2"]
    name = "\udcff.mp4" if suffix == "csv" else "\\xff.mp4"
    assert [row[:3] for row in rows[1:]] == [["a.mp4", "jump", "run"], [name, "", "a,b"]]
    assert [*chain.from_iterable(scores(rows, 3, 5))] == pytest.approx([0.7, 0.2, 0.6, 0.3])
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_several_labels(tmp_path: Path) -> None:
    """Each class by itself, without names; a table that stood there is replaced."""
    file = tmp_path / "predictions.csv"
    file.write_text("old")
    write_predictions(file, collected(torch.tensor([[1, 0, 1], [0, 0, 0]])), top=5, sigmoid=True)
    rows = table(file)
    assert [row[:3] for row in rows[1:]] == [["0", "0|2", "0"], ["2", "", "2"]]
    # The logits are logarithms of p; their sigmoid is p / (1 + p).
    assert scores(rows, 3, 5, 7)[0] == pytest.approx([0.7 / 1.7, 0.2 / 1.2, 0.1 / 1.1], abs=1e-4)


def test_long_tables(tmp_path: Path) -> None:
    samples = Samples()
    samples.append(list(range(2500)), torch.eye(3)[torch.arange(2500) % 3], torch.arange(2500) % 3)
    for suffix in ("parquet", "csv"):
        write_predictions(tmp_path / f"p.{suffix}", samples)
        rows = table(tmp_path / f"p.{suffix}")
        assert [row[:3] for row in rows[1:]] == [[str(n), str(n % 3), str(n % 3)] for n in range(2500)]


def test_other_outputs(tmp_path: Path) -> None:
    samples = Samples()
    samples.append([0], [{"boxes": torch.zeros(0, 4)}], [{"boxes": torch.zeros(0, 4)}])
    with pytest.raises(UsageError, match="leave predictions out"):
        write_predictions(tmp_path / "p.csv", samples)
    assert not [*tmp_path.iterdir()]
