"""What is known only when an epoch is over: means over samples, and metrics."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightframe.errors import UsageError
from lightframe.gather import gather_objects
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
        # In float64, where batches of any sizes and from any number of processes give the same sum; MPS has none.
        dtype = torch.float32 if torch.backends.mps.is_available() else torch.float64
        self.add_state("total", default=torch.tensor(0.0, dtype=dtype), dist_reduce_fx="sum")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: Tensor | float, count: int) -> None:
        """Add the mean over `count` samples."""
        self.total += torch.as_tensor(value).to(self.total) * count
        self.count += count

    def compute(self) -> Tensor:
        """The mean over all samples."""
        return (self.total / self.count).float()


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
            detections = isinstance(outputs, list)  # which coco_map and voc_map take
            if not isinstance(outputs, Tensor) and not detections and _has_names(self.spec):
                raise UsageError(
                    f"metrics by name need one tensor of outputs, not {type(outputs).__name__}: give metrics=None, and "
                    "return metrics from compute_loss as (losses, metrics)"
                )
            if self.num_classes is None and isinstance(outputs, Tensor) and outputs.ndim == 2:
                self.num_classes = outputs.shape[1]
            self.metrics = build_metrics(self.spec, self.num_classes)
        device = outputs.device if isinstance(outputs, Tensor) else None
        (self.metrics if device is None else self.metrics.to(device)).update(outputs, targets)

    def scores(self) -> list[str]:
        """The names of the values that are better when they are higher, one for each metric, in their order."""
        built = build_metrics(self.spec, self.num_classes or 2)
        order = {name: place for place, name in enumerate(self.spec)} if isinstance(self.spec, Sequence) else {}
        names = [name for name, metric in built.items() if metric.higher_is_better]
        names.sort(key=lambda name: order.get(name, len(order)))
        # A metric of several values says which of them to go by.
        return [getattr(built[name], "figure", name) for name in names]

    def state(self) -> dict[str, Any]:
        """What this process has added up so far, as tensors and plain values."""
        means = {name: (mean.total.cpu().clone(), mean.count.cpu().clone()) for name, mean in self.means.items()}
        state: dict[str, Any] = {"means": means, "num_classes": self.num_classes, "metrics": None}
        if self.metrics is not None:
            self.metrics.persistent(True)
            state["metrics"] = {name: _copied(value) for name, value in self.metrics.state_dict().items()}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; metrics that it does not have begin anew."""
        self.means, self.metrics, self.num_classes = {}, None, state["num_classes"]
        for name, (total, count) in state["means"].items():
            self.means[name] = SampleMean()
            self.means[name].total, self.means[name].count = total, count
        if state["metrics"] is not None and self.spec is not None:
            metrics = build_metrics(self.spec, self.num_classes)
            metrics.persistent(True)
            if metrics.state_dict().keys() == state["metrics"].keys():  # else others are asked for now
                metrics.load_state_dict(state["metrics"])
                self.metrics = metrics

    def reset(self) -> None:
        """Begin anew."""
        self.means, self.metrics = {}, None

    def compute(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The values of the epoch by name, and a fresh start; nothing for what saw no batch on any process.

        All processes must call it.

        Args:
            device: where the values are added up over the processes.
        """
        self._agree(device)
        values: dict[str, Tensor] = {}
        with warnings.catch_warnings():
            # That a metric saw no batch, which can be so on one process of several.
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            values.update({name: mean.compute() for name, mean in self.means.items()})
            if self.metrics is not None:
                values.update(self.metrics.compute())
        self.reset()
        return {name: value.to(device) for name, value in values.items()}

    def _agree(self, device: torch.device | str) -> None:
        """Make what other processes have and this one, which saw no batch, has not: all of them exchange the same."""
        everyone = gather_objects((list(self.means), self.metrics is not None, self.num_classes))
        for name in (name for means, _, _ in everyone for name in means):
            if name not in self.means:
                self.means[name] = SampleMean().to(device)
        order = dict.fromkeys(name for means, _, _ in everyone for name in means)
        self.means = {name: self.means[name] for name in order}
        if self.metrics is None and any(has_metrics for _, has_metrics, _ in everyone):
            self.num_classes = next((count for _, _, count in everyone if count is not None), None)
            self.metrics = build_metrics(self.spec, self.num_classes).to(device)


def _copied(value: Any) -> Any:
    """A state of a metric, which may be a list of tensors, on the CPU."""
    return [item.cpu().clone() for item in value] if isinstance(value, list) else value.cpu().clone()


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
