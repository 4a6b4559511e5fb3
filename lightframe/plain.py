"""Plain values: what a checkpoint may hold and still be loaded with `weights_only=True`."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def to_plain(value: Any) -> Any:
    """The value built of None, bool, int, float, str, list, tuple and dict alone.

    Raises:
        TypeError: it cannot be, as a module or a function.

    >>> to_plain({"lr": np.float64(0.1), "betas": (0.9, 0.99)})
    {'lr': 0.1, 'betas': (0.9, 0.99)}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [to_plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    for kind in (str, int, float):  # subclasses, such as an enumeration of strings
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a plain value")


def plain_where_possible(value: Any) -> Any:
    """`to_plain(value)`, or the value itself where that cannot be."""
    try:
        return to_plain(value)
    except TypeError:
        return value


def split_plain(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values that `to_plain` takes, made plain, and the others as they are.

    >>> split_plain({"lr": np.float64(0.1), "net": max})
    ({'lr': 0.1}, {'net': <built-in function max>})
    """
    plain: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in values.items():
        try:
            plain[name] = to_plain(value)
        except TypeError:
            others[name] = value
    return plain, others
