"""The table of what was loaded."""

from rich.console import Console

from lightframe.pretrained.report import WeightsReport, too_little

REPORT = WeightsReport(
    source="x.pth",
    kind="a state dict",
    loaded=[f"layer{number}.weight" for number in range(7)],
    reshaped={"conv.weight": "4x3x3x3 inflated to 4x3x3x3x3"},
    skipped={"fc.weight": "a new head: its shape is 4x2, the net's 5x2", "x": "the net has no such tensor"},
    missing=["head.weight"],
    elements={"loaded": 5000, "reshaped": 1000, "missing": 2000, "head": 1500},
)


def text(report: WeightsReport) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(report)
    return capture.get()


def test_shares() -> None:
    assert REPORT.from_file == 6000
    assert REPORT.share == 0.75
    assert REPORT.match == 6000 / 6500


def test_the_table_has_the_counts_and_the_first_names() -> None:
    lines = [line.replace("│", " ").split() for line in text(REPORT).splitlines()]
    assert ["loaded", "7", "5,000", "layer0.weight"] in lines
    assert ["...", "4", "more"] in lines
    assert ["missing", "1", "2,000", "head.weight"] in lines
    assert ["6,000", "of", "8,000", "parameters", "are", "from", "the", "file", "(75", "%)."] in lines
    assert "conv.weight: 4x3x3x3 inflated to 4x3x3x3x3" in text(REPORT)
    assert "Note" not in text(REPORT)


def test_names_are_no_markup_and_notes_are_shown() -> None:
    report = WeightsReport(
        "[red]x.pth", "k", ["[bold]a"], {}, {}, [], {"loaded": 1, "reshaped": 0, "missing": 0, "head": 0}, ["see here"]
    )
    assert "[red]x.pth" in text(report)
    assert "[bold]a" in text(report)
    assert "Note: see here." in text(report)


def test_why_they_were_refused() -> None:
    names = ["a", "b", "c", "d"]
    said = too_little(REPORT, names, ["e"], 0.95, inflated=0.5)
    assert said == (
        "of the net's parameters x.pth (a state dict) has 92.3 %, less than min_match=0.95: it holds a, b, c, ..., and "
        "the net e; fc.weight is not used: a new head: its shape is 4x2, the net's 5x2"
    )
    assert too_little(REPORT, names, ["e"], 0.95, inflated=1.0).endswith("; with inflate=True it would be 100 %")
