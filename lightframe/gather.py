"""What each process has, for all of them."""

from typing import Any, TypeVar

from lightning.pytorch.trainer.states import TrainerStatus
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


def gather_for_checkpoint(trainer: Any, value: T) -> list[T]:
    """The `value` of every process, as `gather_objects`; of this one alone after an error, which others need not meet.

    Args:
        trainer: of Lightning, or None.
        value: anything that can be pickled.
    """
    failed = trainer is not None and trainer.state.status == TrainerStatus.INTERRUPTED
    return [value] if failed else gather_objects(value)
