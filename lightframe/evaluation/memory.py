"""Numbers of bytes, as people write them."""

import re

from lightframe.errors import UsageError

_UNITS = {"": 1, **{f"{prefix}B".upper(): 1000**power for power, prefix in enumerate(["", "k", "M", "G", "T"])}}
_UNITS |= {f"{prefix}IB".upper(): 1024**power for power, prefix in enumerate(["K", "M", "G", "T"], start=1)}


def to_bytes(amount: int | float | str) -> int:
    """A number of bytes, or a number with its unit.

    Raises:
        UsageError: no such unit, or nothing above 0.

    >>> to_bytes("1.5 GB"), to_bytes("2 MiB"), to_bytes(4096)
    (1500000000, 2097152, 4096)
    """
    match = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([a-z]*)\s*", str(amount), re.IGNORECASE)
    try:
        value = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    except (KeyError, ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise UsageError(f"'{amount}' is no amount of memory: give bytes, or a number and a unit, as '4 GB'")
    return value


def show_bytes(count: int) -> str:
    """Three digits at most.

    >>> show_bytes(31_832_000), show_bytes(700), show_bytes(2_450_000_000)
    ('32 MB', '700 B', '2.5 GB')
    """
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"
