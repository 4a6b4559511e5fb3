"""Many times of one thing as a median and quartiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The middle of some times and how far they lie apart.

    The median and the quartiles are those of numpy's `percentile`, linear between two neighbours: a single time that
    something else on the machine disturbed moves them little, as it would a mean.

    Attributes:
        median: seconds.
        q1: seconds; a quarter of the times are shorter.
        q3: seconds; a quarter of the times are longer.
        count: how many times there were.
    """

    median: float
    q1: float
    q3: float
    count: int

    @classmethod
    def of(cls, times: Sequence[float]) -> "Spread":
        """The spread of at least one time, in seconds.

        >>> Spread.of([1.0, 2.0, 4.0, 3.0, 100.0])
        Spread(median=3.0, q1=2.0, q3=4.0, count=5)
        """
        q1, median, q3 = np.percentile(times, [25, 50, 75]).tolist()
        return cls(median, q1, q3, len(times))
