"""A report as tables on the terminal, beside the reports of other devices."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightframe.speed.compare import beside, ratio, refusals
from lightframe.speed.reference import TORCH_FRAME, TORCH_FRAME_CAVEAT, TORCH_FRAME_ROWS
from lightframe.speed.report import Report
from lightframe.speed.row import Row
from lightframe.speed.setting import shape_text

_MOST_REASONS = 8
_LEGEND = (
    "ms: median of a call on a batch that is on the device. forward: evaluation mode, nothing recorded; train: "
    "forward, loss, backward, a step of the optimizer."
)
_COPY = "with copy: each call first copies its batch from pinned host memory, without overlap."
_HERE = "here 2.00x: this device takes half as long as the other."


class _Column(NamedTuple):
    """A column, which is left out where no row has anything to say in it."""

    title: str
    cell: Callable[[Row], str]


_COLUMNS = (
    _Column("ms", lambda row: _milliseconds(row)),
    _Column("quartiles", lambda row: f"{row.time.q1 * 1e3:.4g}-{row.time.q3 * 1e3:.4g}" if row.time else ""),
    _Column("samples/s", lambda row: f"{row.samples_per_second:.4g}" if row.samples_per_second else ""),
    _Column("with copy", lambda row: f"{row.with_copy.median * 1e3:.4g}" if row.with_copy else ""),
    _Column("memory", lambda row: f"{row.peak_memory / 2**20:,.0f} MiB" if row.peak_memory is not None else ""),
)


def show(report: Report, references: Sequence[Report], console: Console) -> None:
    """Print what was measured, beside what other devices did in the very same settings.

    Args:
        report: the figures.
        references: those of other devices. What has no equal among them is named below, with what is different.
        console: where to.
    """
    console.print(_table(report, references))
    copies, stands_beside = any(row.with_copy for row in report.rows), any(_overlap(report, one) for one in references)
    _say(console, " ".join([_LEGEND, *([_COPY] if copies else []), *([_HERE] if stands_beside else [])]))
    for row in report.rows:
        if ": " in row.status:
            _say(console, f"{row.setting.key}: {row.status}")
    for number, other in enumerate(references, 1):
        _say(console, f"[{number}] {_source(other)}")
        _say_reasons(console, refusals(report.rows, other))
    _show_torch_frame(report, console)


def _table(report: Report, references: Sequence[Report]) -> Table:
    columns = [column for column in _COLUMNS if any(column.cell(row) for row in report.rows)]
    others = [(number, other) for number, other in enumerate(references, 1) if _overlap(report, other)]
    table = Table(title=f"\n{_title(report)}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for title in (column.title for column in columns):
        table.add_column(title, justify="right", overflow="fold")
    for number, other in others:
        table.add_column(escape(f"{other.name} [{number}]"), justify="right", overflow="fold")
    for (net, shape), rows in groupby(report.rows, lambda row: (row.setting.net, row.setting.shape)):
        table.add_row(escape(f"{net} {shape_text(shape)}"), style="bold")
        for row in rows:
            cells = [column.cell(row) for column in columns] + [_beside(row, other) for _, other in others]
            table.add_row(f"  {_way(row)}", *cells)
    return table


def _way(row: Row) -> str:
    """The setting without net and batch."""
    return " ".join(row.setting.key.removeprefix(row.setting.net + "/").split("/"))


def _title(report: Report) -> str:
    versions = report.versions
    return f"{report.name}: torch {versions.get('torch', '?')}, Python {versions.get('python', '?')}"


def _source(report: Report) -> str:
    return f"{_title(report)}, lightframe {report.versions.get('lightframe', '?')}, {report.date}: {report.source}"


def _overlap(report: Report, other: Report) -> bool:
    return any(beside(row, other) is not None for row in report.rows)


def _milliseconds(row: Row) -> str:
    return f"{row.time.median * 1e3:.4g}" if row.time is not None else row.status.split(":")[0]


def _beside(row: Row, other: Report) -> str:
    equal = beside(row, other)
    return f"{_milliseconds(equal)} (here {ratio(row, equal):.2f}x)" if equal is not None else ""


def _say_reasons(console: Console, reasons: Sequence[str]) -> None:
    if not reasons:
        return
    _say(console, "    not set beside it, because it has other settings:")
    for reason in reasons[:_MOST_REASONS]:
        _say(console, f"      {reason}")
    if len(reasons) > _MOST_REASONS:
        _say(console, f"      ... and {len(reasons) - _MOST_REASONS} more")


def _show_torch_frame(report: Report, console: Console) -> None:
    """The old framework's table, by itself, where one of its nets was measured."""
    measured = {row.setting.net for row in report.rows}
    rows = [row for row in TORCH_FRAME_ROWS if row.net in measured]
    if not rows:
        return
    table = Table(title="\nFigures of another kind", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("net", "batch", *rows[0].seconds):
        table.add_column(title, justify="left" if title in ("net", "batch") else "right")
    for row in rows:
        table.add_row(row.net, shape_text(row.shape), *(f"{seconds} s" for seconds in row.seconds.values()))
    console.print(table)
    _say(console, f"Source: {TORCH_FRAME}. {TORCH_FRAME_CAVEAT}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
