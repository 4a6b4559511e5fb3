"""Checks of single arguments: the value itself, or a UsageError that says what it must be."""

import math
import operator
from collections.abc import Collection
from typing import Any

from lightframe.errors import UsageError, did_you_mean


def is_number(value: Any) -> bool:
    """Whether this is a real number, numpy's included, and neither a bool nor a string.

    >>> is_number(1e-3), is_number("1e-3"), is_number(True)
    (True, False, False)
    """
    return not isinstance(value, bool | str | bytes) and hasattr(value, "__float__") and getattr(value, "ndim", 0) == 0


def check_whole(name: str, value: Any, low: float, high: int | None = None) -> int:
    """`value` as an int, or a UsageError unless it is a whole number from `low` to `high`.

    >>> check_whole("frames", "16", 1)
    Traceback (most recent call last):
    ...
    lightframe.errors.UsageError: frames must be a whole number, got '16'
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise UsageError(f"{name} must be a whole number, got {value!r}")
    if number < low:
        raise UsageError(f"{name} must be at least {low}, got {value}")
    if high is not None and number > high:
        raise UsageError(f"{name} must be at most {high}, got {value}")
    return number


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """`value`, or a UsageError unless it is a finite number within these bounds.

    >>> check_number("eval_crop", 1.5, above=0, high=1)
    Traceback (most recent call last):
    ...
    lightframe.errors.UsageError: eval_crop must be a number above 0 and at most 1, got 1.5
    """
    if is_number(value) and math.isfinite(value) and low <= value <= high and above < value < below:
        return value
    given = {"above": above, "at least": low, "below": below, "at most": high}
    bounds = " and ".join(f"{word} {bound:g}" for word, bound in given.items() if math.isfinite(bound))
    raise UsageError(f"{name} must be a number{bounds and ' ' + bounds}, got {value!r}")


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """`value`, or a UsageError unless it is one of `choices`.

    >>> check_choice("action", "skp", ["stop", "skip"])
    Traceback (most recent call last):
    ...
    lightframe.errors.UsageError: action must be one of stop, skip, got 'skp'; did you mean 'skip'?
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got '{value}'{did_you_mean(value, choices)}")
    return value
