"""Predictions as a table: a row for each sample, the best classes first."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lightframe.errors import UsageError
from lightframe.evaluation.samples import Samples

FORMATS = ("parquet", "csv")
_CHUNK = 1024


def best_classes(
    logits: Tensor, classes: Sequence[str], top: int, sigmoid: bool = False
) -> tuple[list[list[str]], list[list[float]]]:
    """Names and probabilities of the best classes of each row (B, C), the best first.

    Args:
        logits: (B, C).
        classes: C names.
        top: how many; all, where there are fewer.
        sigmoid: each class is judged by itself; otherwise one softmax over the classes.

    >>> import torch
    >>> best_classes(torch.tensor([[0.0, 0.0]]), ["jump", "wave"], top=2)
    ([['jump', 'wave']], [[0.5, 0.5]])
    """
    logits = logits.float()
    scores, places = (logits.sigmoid() if sigmoid else logits.softmax(-1)).topk(min(top, logits.shape[1]))
    return [[classes[place] for place in row] for row in places.tolist()], scores.tolist()


def class_names(classes: Sequence[str] | None, count: int) -> Sequence[str]:
    """The names of `count` classes: numbers, where the given ones are not as many."""
    return classes if classes is not None and len(classes) == count else [str(number) for number in range(count)]


def write_predictions(
    file: Path,
    samples: Samples,
    paths: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    top: int = 5,
    sigmoid: bool = False,
) -> None:
    """Write path, label, class_1, score_1, ... of each sample to a .parquet or .csv file.

    Args:
        file: whose suffix says which of the two.
        samples: outputs (N, C); targets (N,), or (N, C) for several labels, which are written as "a|b".
        paths: by index; None: the index itself stands there.
        classes: C names.
        top: how many classes of each sample.
        sigmoid: each class is judged by itself.

    Raises:
        UsageError: outputs are not (N, C).
    """
    first, _ = samples.take(slice(0, 1))
    if not isinstance(first, Tensor) or first.ndim != 2:
        raise UsageError("a table of predictions needs outputs of shape (N, classes): leave predictions out")
    names = class_names(classes, first.shape[1])
    top = min(top, first.shape[1])
    columns = ["path", "label", *(f"{kind}_{place}" for place in range(1, top + 1) for kind in ("class", "score"))]
    chunks = _rows(samples, paths, names, top, sigmoid)
    # Under another name until it is whole: a killed run leaves the table of the evaluation before it.
    partial = file.with_name(f".{file.name}.partial")
    (_write_csv if file.suffix == ".csv" else _write_parquet)(partial, columns, chunks)
    partial.replace(file)


def _rows(
    samples: Samples, paths: Sequence[str] | None, classes: Sequence[str], top: int, sigmoid: bool
) -> Iterator[list[list[Any]]]:
    for start in range(0, len(samples), _CHUNK):
        outputs, targets = samples.take(slice(start, start + _CHUNK))
        named, scores = best_classes(outputs, classes, top, sigmoid)
        labels = _labels(targets, classes)
        yield [
            [
                str(index) if paths is None else paths[index],
                label,
                *(item for pair in zip(best, values, strict=True) for item in pair),
            ]
            for index, label, best, values in zip(
                samples.index[start : start + _CHUNK], labels, named, scores, strict=True
            )
        ]


def _labels(targets: Tensor, classes: Sequence[str]) -> list[str]:
    if targets.ndim == 1:
        return ["" if label < 0 else classes[label] for label in targets.long().tolist()]
    return ["|".join(classes[place] for place in row.nonzero().flatten().tolist()) for row in targets >= 0.5]


def _write_csv(file: Path, columns: list[str], chunks: Iterator[list[list[Any]]]) -> None:
    # A name that is not UTF-8 is written as the bytes that it is.
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns)
        for rows in chunks:
            writer.writerows([f"{item:.4f}" if isinstance(item, float) else item for item in row] for row in rows)


def _write_parquet(file: Path, columns: list[str], chunks: Iterator[list[list[Any]]]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = [pyarrow.float32() if name.startswith("score") else pyarrow.string() for name in columns]
    schema = pyarrow.schema(list(zip(columns, kinds, strict=True)))
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in chunks:
            # Parquet's strings are UTF-8: what else a file's name holds is written as \xff.
            rows = [
                [str(row[0]).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), *row[1:]]
                for row in rows
            ]
            writer.write_table(pyarrow.table(list(map(list, zip(*rows, strict=True))), schema=schema))
