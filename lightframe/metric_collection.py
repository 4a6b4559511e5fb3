"""The `metrics` argument of an adapter, in any of its forms, becomes one torchmetrics MetricCollection."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torchmetrics import Metric, MetricCollection

from lightframe.errors import UsageError
from lightframe.metrics import METRICS
from lightframe.registry import accepts, check_arguments, split_spec

_FORMS = (
    "a name or import path, {name: ..., argument: value}, a torchmetrics Metric or MetricCollection, "
    "a list of these, a dict of names to these, or None"
)
_COUNTS = ("num_classes", "num_labels")  # how torchmetrics' factories call the number of classes


def build_metrics(
    metrics: Any, num_classes: int | None = None, classes: Sequence[str] | None = None
) -> MetricCollection:
    """The metrics that a config or a caller asks for.

    Args:
        metrics: one of
            - a name in METRICS or an import path: `"top1"`, `"torchmetrics.classification.MulticlassAUROC"`;
            - the same with arguments: `{"name": "top1"}` or `{"class_path": ..., "init_args": {...}}`;
            - a torchmetrics Metric or MetricCollection, which is cloned;
            - a list of these;
            - a dict of a name to its arguments or None, or of a free key to any of the above;
            - None: no metrics.
        num_classes: given to each factory that takes `num_classes` or `num_labels` and was not given it.
        classes: their names, likewise to each that takes `classes`.

    Returns:
        The metrics under a registered name in lower case, the last part of an import path, a Metric's class name, a
        MetricCollection's own names, or the free key. They share no states: torchmetrics' compute groups would merge
        top3 and top5 for good if they agreed on the first batch.

    Raises:
        UsageError: two metrics under one name, arguments that do not fit, or `num_classes` is needed and not given.
        UnknownNameError: neither a name in METRICS nor an import path.

    >>> list(build_metrics(["top1", {"name": "auroc"}], num_classes=10))
    ['auroc', 'top1']
    """
    built: dict[str, Metric | MetricCollection] = {
        key: spec.clone() if isinstance(spec, Metric) else _build(spec, num_classes, classes)
        for key, spec in _entries(metrics)
    }
    return MetricCollection(built, compute_groups=False)


def check_metrics(metrics: Any) -> None:
    """Raise what `build_metrics` would for the names and arguments, before the number of classes is known.

    >>> check_metrics("top_5")
    Traceback (most recent call last):
    ...
    lightframe.errors.UnknownNameError: unknown metric 'top_5'; did you mean 'top5'? ...
    """
    for _, spec in _entries(metrics):
        if not isinstance(spec, Metric):
            name, arguments = split_spec("metric", spec)
            counts = dict.fromkeys(_missing_counts(name, arguments), 2)
            check_arguments("metric", name, METRICS[name], (), {**counts, **arguments})


def _entries(metrics: Any) -> list[tuple[str, Any]]:
    """(key, Metric or spec) of each metric."""
    entries: dict[str, Any] = {}
    for key, spec in _items(metrics):
        if key in entries:
            raise UsageError(f"two metrics are named '{key}'; give them names of your own: {{my_{key}: ...}}")
        entries[key] = spec
    return list(entries.items())


def _items(metrics: Any) -> Iterator[tuple[str, Any]]:
    if metrics is None:
        return
    # Before Mapping and Sequence: a MetricCollection is a ModuleDict.
    if isinstance(metrics, MetricCollection):
        yield from metrics.items(keep_base=False)
    elif isinstance(metrics, Metric):
        yield type(metrics).__name__, metrics
    elif isinstance(metrics, str) or _is_spec(metrics):
        name = split_spec("metric", metrics)[0]
        key = name.rpartition(".")[2]
        yield key.lower() if name.lower() in METRICS.names() else key, metrics
    elif isinstance(metrics, Mapping):
        for key, value in metrics.items():
            if isinstance(value, MetricCollection):  # named as torchmetrics does
                yield from ((f"{key}_{name}", metric) for name, metric in value.items(keep_base=False))
            else:
                yield _named(key, value)
    elif isinstance(metrics, Sequence):
        for metric in metrics:
            yield from _items(metric)
    else:
        raise UsageError(f"metrics may be {_FORMS}, not {_described(metrics)}")


def _described(value: Any) -> str:
    name = getattr(value, "__name__", repr(value))
    if isinstance(value, type):
        return f"the class {name}: make an object of it, {name}(...)"
    return f"the function {name}: metrics.EvalTotal takes functions" if callable(value) else name


def _is_spec(value: Any) -> bool:
    return isinstance(value, Mapping) and ("name" in value or "class_path" in value)


def _named(key: Any, value: Any) -> tuple[str, Any]:
    """One pair of a dict: a name and its arguments, or a free key and a metric."""
    if not isinstance(key, str):
        raise UsageError(f"a metric's name must be a string, not {key!r}")
    if isinstance(value, (str, Metric)) or _is_spec(value):
        return key, value
    if value is None or isinstance(value, Mapping):
        return next(_items({"name": key, **(value or {})}))
    raise UsageError(f"metric '{key}' may be {_FORMS}, not {value!r}")


def _missing_counts(name: str, arguments: Mapping[str, Any]) -> list[str]:
    return [count for count in _COUNTS if count not in arguments and accepts(METRICS[name], count)]


def _build(spec: str | Mapping[str, Any], num_classes: int | None, classes: Sequence[str] | None) -> Metric:
    name, arguments = split_spec("metric", spec)
    if classes is not None and accepts(METRICS[name], "classes"):
        arguments.setdefault("classes", list(classes))
    for count in _missing_counts(name, arguments):
        if num_classes is not None:
            arguments[count] = num_classes
        elif inspect.signature(METRICS[name]).parameters[count].default is inspect.Parameter.empty:
            raise UsageError(f"metric '{name}' needs the number of classes: give num_classes")
    try:
        metric = METRICS.build(name, **arguments)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"metric '{name}': {error}") from error
    if not isinstance(metric, Metric):
        raise UsageError(f"metric '{name}' makes a {type(metric).__name__}, not a torchmetrics Metric")
    return metric
