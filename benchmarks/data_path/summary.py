"""From figures per round to medians and ratios."""

from typing import Any

import numpy as np

Row = dict[str, Any]


def quartiles(values: list[float]) -> dict[str, float]:
    """Median, first and third quartile.

    >>> quartiles([3.0, 1.0, 2.0])
    {'median': 2.0, 'q1': 1.5, 'q3': 2.5}
    """
    low, middle, high = np.percentile(values, [25, 50, 75]).tolist()
    return {"median": middle, "q1": low, "q3": high}


def ratio(over: Row, under: Row, figure: str) -> dict[str, float] | None:
    """Quartiles of the ratios within each round; None where one of the two has no figures.

    >>> ratio({"ms": [2.0, 6.0, 8.0]}, {"ms": [1.0, 2.0, 2.0]}, "ms")
    {'median': 3.0, 'q1': 2.5, 'q3': 3.5}
    """
    if not over.get(figure) or len(over[figure]) != len(under.get(figure) or []):
        return None
    return quartiles([a / b for a, b in zip(over[figure], under[figure], strict=True)])


def summarize_cpu(rows: dict[str, Row], baseline: str | None = None) -> None:
    """Give each row that has figures `ms`, `speedup` (baseline / row), `bare_share` (bare decode / row), and `best`.

    Of several variants of a pipeline the one with the lowest median is the best; a row without variants always is.
    """
    for row in rows.values():
        row["best"] = False
        if row["status"] != "ok" or not row["rounds_ms"]:
            continue
        row["ms"] = quartiles(row["rounds_ms"])
        if baseline is not None:
            row["speedup"] = ratio(rows[baseline], row, "rounds_ms")
        if "bare decode" in rows:
            row["bare_share"] = ratio(rows["bare decode"], row, "rounds_ms")
    for name in {row["name"] for row in rows.values()}:
        variants = [row for row in rows.values() if row["name"] == name]
        measured = [row for row in variants if "ms" in row]
        best = min(measured, key=lambda row: row["ms"]["median"]) if measured else variants[0]
        best["best"] = True


def summarize_rates(rows: dict[str, Row]) -> None:
    """Give each row that has figures `clips_per_s` and `bare_share` (row / bare decode)."""
    for row in rows.values():
        if row["status"] == "ok":
            row["clips_per_s"] = quartiles(row["rounds_clips_per_s"])
            if "bare decode" in rows:
                row["bare_share"] = ratio(row, rows["bare decode"], "rounds_clips_per_s")
