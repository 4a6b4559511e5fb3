"""Files of figures, what stands beside what, and what is shown."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lightframe.errors import UsageError
from lightframe.plain import to_plain
from lightframe.speed import Report, Row, Setting, Spread
from lightframe.speed.compare import beside, ratio, refusals
from lightframe.speed.processes import slowest, unevenness
from lightframe.speed.reference import shipped_reports
from lightframe.speed.table import show

RESNET = Setting("resnet50", (64, 3, 224, 224), "train", "tf32", optimizer="sgd", cudnn="benchmark", parameters=25)


def row(seconds: float | None = 0.5, status: str = "ok", **changes) -> Row:
    time = Spread(seconds, seconds / 2, seconds * 2, 30) if seconds else None
    return Row(replace(RESNET, **changes), status, time)


def report(*rows: Row, name: str = "A GPU") -> Report:
    return Report({"name": name, "kind": "cuda"}, list(rows))


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    first = report(replace(row(), with_copy=Spread(1.0, 1.0, 1.0, 3), peak_memory=2**30), row(None, "out of memory"))
    first.save(tmp_path / "new" / "speed.json")
    read = Report.load(tmp_path / "new" / "speed.json")
    assert read == replace(first, source=str(tmp_path / "new" / "speed.json"))
    plain = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert plain["rows"][0]["setting"]["shape"] == [64, 3, 224, 224]
    assert plain["rows"][0]["time"]["median"] == 0.5
    assert to_plain(plain) == plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "was not written by lightframe benchmark"),
        ("[1]", "was not written by lightframe benchmark"),
        ('{"format": "lightframe speed 0"}', "whose figures mean something else"),
        (None, "cannot be read"),
    ],
)
def test_other_files(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "speed.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=message):
        Report.load(file)


def test_a_report_tells_its_device_and_versions() -> None:
    made = Report.of(torch.device("cpu"))
    assert made.device["kind"] == "cpu"
    assert f"{torch.get_num_threads()} thread" in made.name
    assert made.versions["torch"] == torch.__version__.split("+")[0] or made.versions["torch"] == torch.__version__


def test_the_very_same_setting_stands_beside() -> None:
    here, there = row(0.5), row(2.0)
    assert beside(here, report(row(3.0, mode="forward"), there)) is there
    assert ratio(here, there) == 4.0


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (16, 3, 224, 224)},
        {"mode": "forward", "optimizer": ""},
        {"precision": "32-true"},
        {"memory_format": "channels_last"},
        {"compiled": True},
        {"optimizer": "adamw"},
        {"cudnn": "default"},
        {"parameters": 24},
    ],
)
def test_unlike_settings_never_stand_beside_each_other(changes: dict) -> None:
    other = report(row(2.0, **changes))
    assert beside(row(), other) is None
    (said,) = refusals([row()], other)
    assert all(name in said for name in changes)
    assert "x)" not in shown(report(row()), [other])
    assert said in shown(report(row()), [other])


def test_what_has_no_figures_stands_beside_nothing() -> None:
    assert beside(row(None, "out of memory"), report(row())) is None
    assert beside(row(), report(row(None, "out of memory"))) is None
    assert refusals([row(None, "out of memory")], report(row())) == []
    assert refusals([row()], report(row(net="vgg16"))) == ["resnet50/train/tf32: there are no figures of resnet50"]


def shown(made: Report, references: list[Report], width: int = 200) -> str:
    text = StringIO()
    show(made, references, Console(file=text, width=width))
    return text.getvalue()


def lines(made: Report, references: list[Report]) -> list[list[str]]:
    return [line.split() for line in shown(made, references).splitlines()]


def test_the_table() -> None:
    measured = replace(row(0.5), with_copy=Spread(0.75, 0.75, 0.75, 3), peak_memory=3 * 2**20)
    said = lines(report(measured, row(0.25, compiled=True)), [report(row(2.0), name="Other")])
    assert ["ms", "quartiles", "samples/s", "with", "copy", "memory", "Other", "[1]"] in said
    assert ["resnet50", "64x3x224x224"] in said
    assert ["train", "tf32", "500", "250-1000", "128", "750", "3", "MiB", "2000", "(here", "4.00x)"] in said
    assert ["train", "tf32", "compiled", "250", "125-500", "256"] in said


def test_each_reference_has_its_source() -> None:
    other = replace(report(row(2.0), name="Other"), source="results/other.json", date="2026-01-02")
    assert "[1] Other: torch" in shown(report(row()), [other])
    assert "2026-01-02: results/other.json" in shown(report(row()), [other])


def test_rows_without_figures_say_why() -> None:
    reasons = ["out of memory", "skipped: no TF32", "failed: ValueError: [bold]"]
    rows = [row(None, reason, precision=name) for reason, name in zip(reasons, ("fp32", "tf32", "x"), strict=True)]
    text = shown(report(*rows), [])
    assert ["fp32", "out", "of", "memory"] in [line.split() for line in text.replace("train", "").splitlines()]
    assert "resnet50/train/tf32: skipped: no TF32" in text
    assert "failed: ValueError: [bold]" in text


def test_many_reasons_are_cut_short() -> None:
    rows = [row(shape=(size, 3, 224, 224)) for size in range(1, 21)]
    text = shown(report(*rows), [report(row(2.0))])
    assert "... and 12 more" in text


def test_the_old_figures_stand_by_themselves() -> None:
    text = shown(report(row()), [])
    before, _, after = text.partition("Figures of another kind")
    assert "3090" not in before
    words = [line.split() for line in after.splitlines()]
    assert ["resnet50", "64x3x224x224", "19", "s", "33", "s", "24", "s"] in words
    assert ["resnet50", "16x3x224x224", "7", "s", "9", "s", "8", "s"] in words
    assert "vgg16" not in after
    assert "without a warm-up" in after
    assert "Source: torch-frame 1.7" in after
    assert "another kind" not in shown(report(row(net="resnet18")), [])


def test_references_that_come_with_the_package(tmp_path: Path) -> None:
    for name in ("b", "a"):
        report(row(), name=name).save(tmp_path / f"{name}.json")
    (tmp_path / "README.md").touch()
    nets = [row().setting.net]
    assert [(one.name, one.source) for one in shipped_reports(nets, tmp_path)] == [("a", "a.json"), ("b", "b.json")]
    assert shipped_reports(["another"], tmp_path) == shipped_reports(nets, tmp_path / "nowhere") == []
    assert [one.source for one in shipped_reports(["resnet50"])] == ["amd-epyc-2-cores.json"]


def test_an_earlier_report_is_added_to() -> None:
    earlier = report(row(1.0), row(None, "out of memory", mode="forward", parameters=0))
    later = report(row(2.0, mode="forward"), row(3.0, compiled=True))
    assert later.over(earlier).rows == [earlier.rows[0], *later.rows]
    assert later.over(report()).rows == later.rows
    for other in (report(row(), name="B"), replace(earlier, versions={"torch": "1.0"})):
        with pytest.raises(UsageError, match="choose another output"):
            later.over(other)


def test_of_several_processes_the_slowest_counts() -> None:
    first = [row(1.0), row(0.5, mode="forward"), row(0.25, compiled=True)]
    second = [row(1.25), row(0.25, mode="forward"), row(None, "out of memory", compiled=True)]
    assert slowest([first, second]) == [second[0], first[1], second[2]]
    assert slowest([first]) == first
    assert [said.split(": ")[1] for said in unevenness([first, second])] == [
        "the device of process 1 takes 1.25 times as long as that of process 0",
        "the device of process 0 takes 2.00 times as long as that of process 1",
    ]
    assert unevenness([first, first]) == []


def test_names_within_a_run() -> None:
    keys = {row(**changes).setting.key for changes in ({}, {"mode": "forward"}, {"compiled": True})}
    keys |= {row(memory_format="channels_last", compiled=flag).setting.key for flag in (False, True)}
    assert len(keys) == 5
