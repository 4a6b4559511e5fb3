"""Checks of the arguments that several augmentations share."""

import math
from collections.abc import Sequence

from lightframe.errors import UsageError


def check_interval(name: str, values: Sequence[float], low: float, high: float = math.inf) -> tuple[float, float]:
    """The two numbers `values`, or a UsageError unless `low` < first <= second <= `high`.

    >>> check_interval("scale", [0.5, 1], 0, 1)
    (0.5, 1.0)
    """
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be two numbers, the smallest and the largest, not {values!r}") from None
    if not (low < first <= second <= high and math.isfinite(second)):
        bounds = f"above {low:g}" if high == math.inf else f"above {low:g} and at most {high:g}"
        raise UsageError(f"{name} must be two numbers {bounds}, the smaller one first, not {values!r}")
    return first, second


def check_probability(name: str, value: float) -> float:
    """`value`, or a UsageError unless it lies in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{name} must be a probability, from 0 to 1, not {value!r}")
    return float(value)


def check_count(name: str, value: int, low: int) -> int:
    """`value`, or a UsageError unless it is a whole number of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UsageError(f"{name} must be a whole number of at least {low}, not {value!r}")
    return value
