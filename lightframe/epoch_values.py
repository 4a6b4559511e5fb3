"""What is known only when an epoch is over: means over samples, and metrics."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightframe.errors import UsageError
from lightframe.metric_collection import build_metrics


class SampleMean(Metric):
    """The mean over all samples of means over batches.

    torchmetrics' MeanMetric forgets the weights when it is told to leave NaN alone (1.9, `nan_strategy="disable"`),
    and here a loss that is not finite has to show.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", default=torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: Tensor | float, count: int) -> None:
        """Add the mean over `count` samples."""
        self.total += value * count
        self.count += count

    def compute(self) -> Tensor:
        """The mean over all samples."""
        return self.total / self.count


class EpochValues:
    """The running means and metrics of one phase; exact for any batch size, summed over all processes.

    Args:
        metrics: any form that `build_metrics` takes.
        num_classes: for metrics built by name; None: the last dimension of the first outputs.

    >>> values = EpochValues("top1", num_classes=2)
    >>> values.update({"loss": torch.tensor(1.0)}, count=3, device="cpu")
    >>> values.update({"loss": torch.tensor(5.0)}, count=1, device="cpu")
    >>> values.update_metrics(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    >>> values.compute()
    {'loss': tensor(2.), 'top1': tensor(0.5000)}
    """

    def __init__(self, metrics: Any, num_classes: int | None = None) -> None:
        self.spec = metrics
        self.num_classes = num_classes
        self.means: dict[str, SampleMean] = {}
        self.metrics: MetricCollection | None = None

    def update(self, values: Mapping[str, Tensor | float], count: int, device: torch.device | str) -> None:
        """Add the means over `count` samples."""
        for name, value in values.items():
            if name not in self.means:
                self.means[name] = SampleMean()
            self.means[name].to(device).update(value, count)

    def update_metrics(self, outputs: Any, targets: Any) -> None:
        """Add a batch to the metrics."""
        if self.spec is None:
            return
        if self.metrics is None:
            if not isinstance(outputs, Tensor) and _has_names(self.spec):
                raise UsageError(
                    f"metrics by name need one tensor of outputs, not {type(outputs).__name__}: give metrics=None, and "
                    "return metrics from compute_loss as (losses, metrics)"
                )
            classes = self.num_classes
            if classes is None and isinstance(outputs, Tensor) and outputs.ndim == 2:
                classes = outputs.shape[1]
            self.metrics = build_metrics(self.spec, classes)
        device = outputs.device if isinstance(outputs, Tensor) else None
        (self.metrics if device is None else self.metrics.to(device)).update(outputs, targets)

    def scores(self) -> list[str]:
        """The names of the metrics that are better when they are higher, in their order."""
        built = build_metrics(self.spec, self.num_classes or 2)
        order = {name: place for place, name in enumerate(self.spec)} if isinstance(self.spec, Sequence) else {}
        names = [name for name, metric in built.items() if metric.higher_is_better]
        return sorted(names, key=lambda name: order.get(name, len(order)))

    def compute(self) -> dict[str, Tensor]:
        """The values of the epoch by name, and a fresh start; nothing for what saw no batch."""
        values: dict[str, Tensor] = {}
        for name, mean in self.means.items():
            if mean.update_called:
                values[name] = mean.compute()
            mean.reset()
        if self.metrics is not None:
            if any(metric.update_called for metric in self.metrics.values()):
                values.update(self.metrics.compute())
            self.metrics.reset()
        return values


def _has_names(spec: Any) -> bool:
    return isinstance(spec, str) or (isinstance(spec, Sequence) and any(isinstance(one, str) for one in spec))


def write_table(path: Path, value: Tensor, names: Sequence[str] | None = None) -> None:
    """Write a vector or matrix with one row per class as .csv, with the class names where they fit."""
    rows = value.reshape(value.shape[0], -1).tolist()
    named = names if names is not None and len(names) == len(rows) else [str(number) for number in range(len(rows))]
    header = ["class", *(named if len(rows[0]) == len(named) else ["value"] * len(rows[0]))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *([name, *row] for name, row in zip(named, rows, strict=True))])
