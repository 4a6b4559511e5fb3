"""Figures of two devices, side by side where they are figures of the same thing and nowhere else."""

from collections.abc import Sequence

from lightframe.speed.report import Report
from lightframe.speed.row import Row


def beside(row: Row, other: Report) -> Row | None:
    """The other report's row of the very same setting, if both have figures."""
    if row.time is None:
        return None
    return next((one for one in other.rows if one.setting == row.setting and one.time is not None), None)


def ratio(row: Row, other: Row) -> float:
    """How many times faster `row` is than `other`, by the medians."""
    assert row.time is not None
    assert other.time is not None
    return other.time.median / row.time.median


def refusals(rows: Sequence[Row], other: Report) -> list[str]:
    """Why rows have nothing beside them in a report: what its nearest row has otherwise.

    >>> from lightframe.speed.setting import Setting
    >>> from lightframe.speed.spread import Spread
    >>> here, there = (Row(Setting("vgg16", (size, 3, 224, 224)), time=Spread(1.0, 1.0, 1.0, 3)) for size in (16, 64))
    >>> refusals([here], Report({"name": "a GPU"}, [there]))
    ['vgg16/train/fp32: shape 64x3x224x224 instead of 16x3x224x224']
    """
    said = []
    for row in rows:
        if row.time is None or beside(row, other) is not None:
            continue
        same_net = [one for one in other.rows if one.setting.net == row.setting.net and one.time is not None]
        if not same_net:
            said.append(f"{row.setting.key}: there are no figures of {row.setting.net}")
            continue
        nearest = min((row.setting.differences(one.setting) for one in same_net), key=len)
        said.append(f"{row.setting.key}: {', '.join(nearest)}")
    return list(dict.fromkeys(said))
