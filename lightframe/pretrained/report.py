"""What was loaded, and what was not: the report that `load_weights` returns and prints."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_SHOWN = 3  # names of each kind


@dataclass(frozen=True)
class WeightsReport:
    """What became of the tensors of a file and of a net.

    | word     | is                                                                                          |
    |----------|---------------------------------------------------------------------------------------------|
    | loaded   | in the net as it stood in the file, but for the precision, which is the net's               |
    | reshaped | in the net in another shape or order than in the file: inflated, say                        |
    | skipped  | in the file and not used: the net has no such tensor, or its shape or type does not fit     |
    | missing  | in the net and not in the file, or skipped there: it is as it was                           |

    Args:
        source: the file.
        kind: what it was recognised as.
        loaded: names in the net.
        reshaped: names in the net, with what was done.
        skipped: names in the file, with the reason.
        missing: names in the net.
        elements: how many numbers are in the net's parameters of each kind, under the words above and `head`, those
            of `missing` that belong to a head of another size.
        notes: what else should be known.
    """

    source: str
    kind: str
    loaded: Sequence[str]
    reshaped: Mapping[str, str]
    skipped: Mapping[str, str]
    missing: Sequence[str]
    elements: Mapping[str, int]
    notes: Sequence[str] = ()

    @property
    def from_file(self) -> int:
        """How many numbers in the net's parameters came from the file."""
        return self.elements["loaded"] + self.elements["reshaped"]

    @property
    def share(self) -> float:
        """The part of the net's parameters, by their size, that came from the file."""
        return self.from_file / max(self.from_file + self.elements["missing"], 1)

    @property
    def match(self) -> float:
        """`share`, but for a head of another size, which the file cannot have: what `min_match` is held against."""
        return self.from_file / max(self.from_file + self.elements["missing"] - self.elements["head"], 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"Weights from {self.source} ({self.kind}):")
        table = Table()
        table.add_column("")
        table.add_column("tensors", justify="right")
        table.add_column("parameters", justify="right")
        table.add_column("which")
        for word in ("loaded", "reshaped", "skipped", "missing"):
            names = getattr(self, word)
            elements = f"{self.elements[word]:,}" if word in self.elements else ""
            table.add_row(word, f"{len(names):,}", elements, Text(_some(names)))
        total = self.from_file + self.elements["missing"]
        yield table
        yield Text(f"{self.from_file:,} of {total:,} parameters are from the file ({100 * self.share:.4g} %).")
        for note in self.notes:
            yield Text(f"Note: {note}.")


def _some(names: Iterable[str] | Mapping[str, str]) -> str:
    """The first names, with what is to be said of them, and how many more there are."""
    lines = [f"{name}: {names[name]}" if isinstance(names, Mapping) else name for name in names]
    more = [f"... {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
    return "\n".join(lines[:_SHOWN] + more)


def too_little(
    report: WeightsReport, file: Iterable[str], net: Iterable[str], min_match: float, inflated: float
) -> str:
    """Why the weights were refused, in one sentence.

    Args:
        report: what would have been done.
        file: the names in the file.
        net: those in the net.
        min_match: how much had to match.
        inflated: how much would match if 2D kernels were inflated.
    """
    if report.from_file:
        start = f"of the net's parameters {report.source} ({report.kind}) has {100 * report.match:.3g} %, less than "
        start += f"min_match={min_match}"
    else:
        start = f"nothing in {report.source} ({report.kind}) fits the net"
    message = f"{start}: it holds {_first(file)}, and the net {_first(net)}; "
    if inflated > report.match:
        return f"{message}with inflate=True it would be {100 * inflated:.3g} %"
    for name, why in report.skipped.items():
        if "no such tensor" not in why:
            return f"{message}{name} is not used: {why}"
    return f"{message}build the net that they were trained with, or give what stands before its names as strip"


def _first(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
