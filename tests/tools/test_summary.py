"""The tables of a summary."""

from io import StringIO
from pathlib import Path

import numpy as np
from rich.console import Console

from lightframe.datamodules.video_index import index_table
from lightframe.tools.summary import show_summary


def shown(rows: list[dict]) -> list[list[str]]:
    """The words of each line of the summary."""
    text = StringIO()
    defaults = {"size_bytes": 1000, "frames": 50, "fps": 25.0, "duration": 2.0, "width": 320, "height": 240,
                "codec": "h264", "pixel_format": "yuv420p", "key_frames": [0], "seekable": True}  # fmt: skip
    show_summary(Console(file=text, width=200), index_table([{**defaults, **row} for row in rows]), Path("videos"))
    return [line.split() for line in text.getvalue().splitlines()]


def test_quartiles() -> None:
    durations = [3.0, 1.0, 10.0, 4.0, 2.5, 7.25]
    lines = shown([{"path": f"a/{n}.mp4", "duration": duration} for n, duration in enumerate(durations)])
    row = next(line for line in lines if line[:1] == ["duration"])
    assert [float(word) for word in row[2:]] == [round(q, 3) for q in np.percentile(durations, [0, 25, 50, 75, 100])]


def test_key_frames_are_those_of_seekable_videos() -> None:
    lines = shown(
        [
            {"path": "a/1.mp4", "frames": 48, "key_frames": [0, 12, 24, 36]},
            {"path": "a/2.avi", "frames": 1000, "key_frames": [0], "seekable": False},
        ]
    )
    assert ["frames", "per", "key", "frame", *["12"] * 5] in lines
    lines = shown([{"path": "a/2.avi", "seekable": False}])
    assert not any(line[:2] == ["frames", "per"] and "key" in line for line in lines)


def test_of_many_classes_the_largest_and_the_smallest_are_shown() -> None:
    rows = [{"path": f"class{size:02d}/{number}.mp4"} for size in range(1, 51) for number in range(size)]
    lines = shown(rows)
    named = [line for line in lines if line and line[0].startswith("class") and line[0] != "class"]
    assert named == [[f"class{size:02d}", str(size)] for size in [*range(50, 30, -1), *range(20, 0, -1)]]
    assert ["...", "10", "more"] in lines
    assert ["50", "classes"] in lines


def test_names_that_look_like_markup() -> None:
    lines = shown([{"path": "[red]/1.mp4"}, {"path": "2.mp4"}])
    assert ["[red]", "1"] in lines
    assert ["(none)", "1"] in lines


def test_nothing_but_broken_videos() -> None:
    lines = shown([{"path": f"a/{n:02d}.mp4", "error": "[bold]bad", "duration": None} for n in range(25)])
    assert ["a/19.mp4:", "[bold]bad"] in lines
    assert ["a/20.mp4:", "[bold]bad"] not in lines
    assert ["...", "and", "5", "more"] in lines
