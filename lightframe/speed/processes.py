"""What several processes measured, each on its own device, as one."""

from collections.abc import Sequence

from lightframe.speed.row import Row

_UNEVEN = 1.1


def slowest(processes: Sequence[Sequence[Row]]) -> list[Row]:
    """Of each setting the row of the slowest process, for which all others wait; one without figures, if there is any.

    Args:
        processes: the rows of each process, of the same settings in the same order.
    """
    return [max(rows, key=_seconds) for rows in zip(*processes, strict=True)]


def unevenness(processes: Sequence[Sequence[Row]]) -> list[str]:
    """A sentence for each setting in which a process takes over a tenth longer than another.

    >>> from lightframe.speed.setting import Setting
    >>> from lightframe.speed.spread import Spread
    >>> times = [Spread(seconds, seconds, seconds, 5) for seconds in (1.0, 1.05, 1.5)]
    >>> unevenness([[Row(Setting("vgg16", (1, 3, 224, 224)), time=time)] for time in times])
    ['vgg16/train/fp32: the device of process 2 takes 1.50 times as long as that of process 0']
    """
    said = []
    for rows in zip(*processes, strict=True):
        seconds = [row.time.median for row in rows if row.time is not None]
        if len(seconds) == len(rows) and max(seconds) > _UNEVEN * min(seconds):
            slow, fast = seconds.index(max(seconds)), seconds.index(min(seconds))
            said.append(
                f"{rows[0].setting.key}: the device of process {slow} takes {max(seconds) / min(seconds):.2f} times as "
                f"long as that of process {fast}"
            )
    return said


def _seconds(row: Row) -> float:
    return row.time.median if row.time is not None else float("inf")
