"""What is computed of a whole evaluation set: metrics of torchmetrics, by name or as objects, and functions."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightframe.errors import UsageError
from lightframe.evaluation.samples import Samples
from lightframe.metric_collection import build_metrics, check_metrics
from lightframe.metrics import METRICS
from lightframe.registry import split_spec

# So many samples at a time, whatever the batch size and the number of processes: sums are rounded alike.
_CHUNK = 1024

Values = dict[str, Tensor]


class WholeSetMetric:
    """Computes the values of a whole set by name.

    Args:
        metric: any form that `build_metrics` takes; a function (outputs, targets) of the whole set, or its import path,
            which returns a dict or a number; an object with update(outputs, targets), compute() and reset(); a list of
            these; a dict of a name of one's own to any of them.

    Raises:
        UsageError: none of these, or an argument that does not fit.
        UnknownNameError: neither a name in METRICS nor an import path.

    >>> samples = Samples()
    >>> samples.append([0, 1], torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([0, 0]))
    >>> def mean_output(outputs, targets):
    ...     return outputs.mean()
    >>> WholeSetMetric(["top1", mean_output])(samples)
    {'top1': tensor(0.5000), 'mean_output': tensor(0.5000)}
    """

    def __init__(self, metric: Any) -> None:
        self._parts: list[tuple[str, Any]] = []
        for key, part in _parts(metric):
            if not (_is_function(part) or _is_accumulator(part)):
                check_metrics(part)
            self._parts.append((key, part))
        if not self._parts:
            raise UsageError("EvalTotal needs a metric: a name such as top1 or coco_map, an object, or a function")

    def __call__(
        self, samples: Samples, num_classes: int | None = None, classes: Sequence[str] | None = None
    ) -> Values:
        """The values of these samples.

        Args:
            samples: all of the set, in the order of their index.
            num_classes: for metrics built by name; None: the last dimension of outputs (N, classes).
            classes: names of the classes, for metrics that take them.

        Raises:
            UsageError: a function returns something else than numbers by name, or two values have one name.
        """
        values: Values = {}
        for key, part in self._parts:
            if _is_function(part):
                new = _named(key, _function(part)(*samples.take(slice(None))))
            elif _is_accumulator(part):
                new = _named(key, _accumulate(part, samples))
            else:
                new = _compute(part, samples, num_classes, classes)
            if both := new.keys() & values.keys():
                raise UsageError(f"two metrics of EvalTotal give '{min(both)}': name them, as {{my_name: metric}}")
            values.update(new)
        return values


def _parts(metric: Any, key: str = "") -> list[tuple[str, Any]]:
    """(name, function, object or spec of `build_metrics`) of each metric."""
    if metric is None:
        return []
    if isinstance(metric, Metric | MetricCollection):
        return [(key, {key: metric} if key else metric)]
    if _is_accumulator(metric) or callable(metric):
        return [(key or _name(metric), metric)]
    if isinstance(metric, str) or (isinstance(metric, Mapping) and {"name", "class_path"} & metric.keys()):
        name, arguments = split_spec("metric", metric)
        if not arguments and _is_function(name):
            return [(key or name.rpartition(".")[2], name)]
        return [(key, {key: metric} if key else metric)]
    if isinstance(metric, Mapping):
        return [
            part
            for name, value in metric.items()
            for part in ([("", {name: value})] if _is_arguments(value) else _parts(value, name))
        ]
    if isinstance(metric, Sequence):
        return [part for one in metric for part in _parts(one)]
    return [(key, metric)]  # for `check_metrics` to refuse


def _is_arguments(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and not {"name", "class_path"} & value.keys())


def _is_accumulator(part: Any) -> bool:
    methods = all(callable(getattr(part, method, None)) for method in ("update", "compute", "reset"))
    return methods and not isinstance(part, Metric | MetricCollection | type)


def _is_function(part: Any) -> bool:
    """Whether it is a function of outputs and targets, and none that makes a metric."""
    if isinstance(part, str):
        if "." not in part:
            return False
        part = METRICS[part]
    if isinstance(part, type | Metric | MetricCollection) or not callable(part) or _is_accumulator(part):
        return False
    try:
        parameters = inspect.signature(part).parameters.values()
    except (TypeError, ValueError):
        return True
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) == 2


def _function(part: Any) -> Callable[[Any, Any], Any]:
    return METRICS[part] if isinstance(part, str) else part


def _name(metric: Any) -> str:
    return str(getattr(metric, "__name__", type(metric).__name__))


def _accumulate(part: Any, samples: Samples) -> Any:
    part.reset()
    for outputs, targets in samples.chunks(_CHUNK):
        part.update(outputs, targets)
    value = part.compute()
    part.reset()  # it may hold on to what lies in files that are removed
    return value


def _compute(spec: Any, samples: Samples, num_classes: int | None, classes: Sequence[str] | None) -> Values:
    first, _ = samples.take(slice(0, 1))
    if num_classes is None and isinstance(first, Tensor) and first.ndim == 2:
        num_classes = first.shape[1]
    metrics = build_metrics(spec, num_classes, classes)
    for module in metrics.modules():
        if isinstance(module, Metric):
            # All processes have all samples: theirs must not be added.
            module.distributed_available_fn = _alone
    for outputs, targets in samples.chunks(_CHUNK):
        metrics.update(outputs, targets)
    return {name: torch.as_tensor(value) for name, value in metrics.compute().items()}


def _alone() -> bool:
    return False


def _named(key: str, value: Any) -> Values:
    """What a function or an object of the user's computed, by name."""
    values = value if isinstance(value, Mapping) else {key: value}
    try:
        return {str(name): torch.as_tensor(each) for name, each in values.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"metric '{key}' must return a number, or a dict of names to numbers ({error})") from None
