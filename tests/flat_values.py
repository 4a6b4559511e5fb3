"""Nested plain values and tensors, made comparable."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested values by their path, tensors as lists of their exact values."""
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}/{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for number, item in enumerate(value) for k, v in flat(item, f"{path}/{number}").items()}
    return {path: value.tolist() if isinstance(value, Tensor) else value}
