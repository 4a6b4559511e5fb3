"""A way from a file to a clip."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from data_path.jobs import Job

Read = Callable[[Job], Any]


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Pipeline:
    """A way from a file to a clip.

    Attributes:
        name: of the row.
        load: imports what it needs and gives the function to be timed.
        variant: one of several ways to set the same thing up; the fastest stands in the table.
        pixels: what the function gives as (T, 3, SIZE, SIZE) in [0, 255], for the check of the frames alone; None where
            it gives no pixels.
        prepare: turns the job that all get into this pipeline's, before the clock starts.
    """

    name: str
    load: Callable[[], Read]
    variant: str = ""
    pixels: Callable[[Any], Tensor] | None = _as_it_is
    prepare: Callable[[Job], Job] = _as_it_is

    @property
    def key(self) -> str:
        return f"{self.name} [{self.variant}]" if self.variant else self.name
