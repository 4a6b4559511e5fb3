"""What each process has, for all of them."""

from typing import TypeVar

from torch import distributed

T = TypeVar("T")


def gather_objects(value: T) -> list[T]:
    """The `value` of every process, in the order of their ranks. All processes must call it.

    >>> gather_objects({1, 2})
    [{1, 2}]
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    gathered: list[T | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]
