import statistics

import pytest

from lightframe.speed import Spread


@pytest.mark.parametrize("count", [2, 3, 8, 31])
def test_quartiles_are_those_of_the_standard_library(count: int) -> None:
    times = [((7 * number) % 31 + 1) / 8 for number in range(count)]
    spread = Spread.of(times)
    assert [spread.q1, spread.median, spread.q3] == pytest.approx(statistics.quantiles(times, n=4, method="inclusive"))
    assert spread.median == statistics.median(times)
    assert spread.count == count


def test_one_time() -> None:
    assert Spread.of([0.25]) == Spread(0.25, 0.25, 0.25, 1)
