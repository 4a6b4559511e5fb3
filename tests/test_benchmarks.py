"""The machinery of benchmarks/data.py on tiny files, without the peers that need installing."""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from rich.console import Console

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
WIDTH, HEIGHT, FRAMES = 64, 48, 80


@pytest.fixture(scope="module")
def parts() -> Iterator[SimpleNamespace]:
    """The benchmark's modules, which find each other as its script does: from its own folder."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        names = "bare check encoding flatness jobs ours peers pipeline plot report rounds sources summary targets"
        modules = {name: import_module(f"data_path.{name}") for name in names.split()}
        yield SimpleNamespace(data=import_module("data"), **modules)
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def video(parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small H.264 file with several key frames."""
    folder = tmp_path_factory.mktemp("benchmark")
    parts.encoding.make_synthetic(folder / "source.mp4", WIDTH, HEIGHT, FRAMES)
    parts.encoding.encode(folder / "source.mp4", folder / "video.mp4", 12, {"crf": "20"})
    return parts.sources.Video.open(folder / "video.mp4")


def test_files_are_what_the_columns_say(parts, video, tmp_path):
    assert (video.width, video.height, len(video.pts), len(video.durations)) == (WIDTH, HEIGHT, FRAMES, FRAMES)
    keys = [video.pts.index(key) for key in video.keys]
    assert keys[0] == 0
    assert max(np.diff([*keys, FRAMES])) == 12  # x264 puts more of them at what it takes for cuts
    parts.encoding.encode(Path(video.path), tmp_path / "small.mp4", 250, {"crf": "23"}, short_side=24)
    small = parts.sources.Video.open(tmp_path / "small.mp4")
    assert (small.width, small.height, len(small.pts), len(small.keys)) == (32, 24, FRAMES, 1)


def test_clips_are_drawn_as_described(parts, video):
    drawn = parts.jobs.draw_clips([video], 200, [0, 1])
    assert drawn == parts.jobs.draw_clips([video], 200, [0, 1])
    assert drawn != parts.jobs.draw_clips([video], 200, [0, 2])
    assert {len(job.indices) for job in drawn} == {32}
    assert {int(step) for job in drawn for step in np.diff(job.indices)} == {2}
    assert {job.indices[0] for job in drawn} == set(range(FRAMES - 62))
    few = np.array(
        [parts.jobs.draw_clips([video], 6, [seed])[place].indices[0] for seed in range(50) for place in range(6)]
    )
    assert (np.bincount(few // 3, minlength=6) == 50).all()  # the 18 places in 6 equal parts, each time one from each
    boxes = np.array([job.box for job in drawn])
    assert (boxes % 2 == 0).all()
    assert (boxes[:, 0] + boxes[:, 2]).max() <= HEIGHT
    assert (boxes[:, 1] + boxes[:, 3]).max() <= WIDTH
    ratios = boxes[:, 3] / boxes[:, 2]
    assert 0.65 < ratios.min() < ratios.max() < 1.5  # 3/4 to 4/3, up to the rounding of a small box
    assert parts.jobs.draw_sparse([video], 1, [0])[0].indices == (5, 15, 25, 35, 45, 55, 65, 75)


def test_a_clip_of_the_origin_shows_the_same_place(parts, video):
    large = video._replace(path="large", height=3 * HEIGHT, width=3 * WIDTH)
    job = parts.jobs.Job(video, (0, 2), (4, 6, 20, 30))
    assert parts.jobs.on_origin(job, {video.path: large}) == parts.jobs.Job(large, (0, 2), (12, 18, 60, 90))


def test_bare_decode_needs_all_frames(parts, video):
    for job in parts.jobs.draw_clips([video], 4, [0]):
        parts.bare.bare_decode(job)
    lying = video._replace(pts=(*video.pts[:70], video.pts[70] + 1, *video.pts[71:]))
    with pytest.raises(RuntimeError, match="31 of 32"):
        parts.bare.bare_decode(parts.jobs.Job(lying, tuple(range(40, 72)), (0, 0, HEIGHT, WIDTH)))


def test_the_check_tells_a_wrong_frame_from_other_rounding(parts, video):
    with av.open(video.path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    whole = (0, 0, HEIGHT, WIDTH)
    job = parts.jobs.Job(video, (10, 20, 30, 40), whole)
    pictures = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()
    clips = torch.nn.functional.interpolate(pictures, (parts.jobs.SIZE,) * 2, mode="bilinear", antialias=True)
    error, wrong = parts.check.compare(clips[[10, 20, 30, 40]] + 1.0, job)
    assert error == pytest.approx(1.0, abs=0.3)
    assert wrong == 0
    assert parts.check.compare(clips[[10, 21, 30, 38]], job)[1] == 2


def test_a_column_is_measured_with_what_is_installed(parts, video, monkeypatch):
    chosen = [pipeline for pipeline in parts.peers.PEERS if pipeline.name.startswith(("PyTorchVideo", "PySlowFast"))]
    monkeypatch.setattr(parts.data, "PEERS", chosen)
    column = parts.sources.Column("transcoded", "a title", [video], origins=[video])
    result = parts.data.measure_clips(column, rounds=2, clips=1)
    rows = result["rows"]
    assert len(rows) == 6
    always = [row for row in rows.values() if row["name"] != parts.data.ON_SOURCE]  # which needs OpenCV
    for row in always:
        assert row["status"] == "ok"
        assert len(row["rounds_ms"]) == 2
        assert min(row["rounds_ms"]) > 0
    checked = [row for row in always if "error" in row]
    assert len(checked) == 4
    assert [row["wrong_frames"] for row in checked] == [0] * 4
    assert max(row["error"] for row in checked) < 4
    targets = parts.targets.judge({"columns": {"transcoded": result}})
    measured = {target["name"].removeprefix("transcoded: "): target["value"] for target in targets}
    assert measured["share of bare decode"] > 0
    if rows[parts.data.ON_SOURCE]["status"] != "ok":
        assert measured["speed relative to the old way on the source"] is None


def test_a_peer_that_is_missing_or_fails_is_a_row(parts, video):
    def missing() -> Any:
        import no_such_decoder  # noqa: F401

    def later_broken() -> Any:
        calls = iter([True, True, False, True])  # the check, and three rounds

        def read(job: Any) -> None:
            if not next(calls):
                raise ValueError("no more\nand a long story")

        return read

    make = parts.pipeline.Pipeline
    pipelines = [make("missing", missing), make("broken", later_broken, pixels=None)]
    rows = parts.rounds.measure(pipelines, lambda number: parts.jobs.draw_clips([video], 1, [0]), rounds=3)
    assert rows["missing"]["status"] == "not installed: no_such_decoder"
    assert rows["broken"]["status"] == "ValueError: no more"
    assert len(rows["broken"]["rounds_ms"]) == 1
    parts.summary.summarize_cpu(rows)
    assert [row["best"] for row in rows.values()] == [True, True]
    assert not any("ms" in row for row in rows.values())


def _row(name: str, *rounds: float, variant: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "variant": variant,
        "status": "ok",
        "rounds_ms": list(rounds),
        "error": 0.0,
        "wrong_frames": 0,
        "checked_frames": 32,
    }


@pytest.fixture
def results(parts: SimpleNamespace) -> dict[str, Any]:
    """Made-up figures whose ratios are easy to see."""
    rows = {
        "the old way": _row("the old way", 100, 120, 300),
        "peer [a]": _row("peer", 60, 60, 60, variant="a"),
        "peer [b]": _row("peer", 50, 48, 50, variant="b"),
        "lightframe": _row("lightframe", 40, 40, 100),
        "bare decode": _row("bare decode", 30, 36, 95),
        "absent": {"name": "absent", "variant": "", "status": "not installed: absent", "rounds_ms": []},
    }
    parts.summary.summarize_cpu(rows, "the old way")
    loader = {
        "bare decode": {"name": "bare decode", "status": "ok", "rounds_clips_per_s": [40.0, 50.0]},
        "lightframe": {"name": "lightframe", "status": "ok", "rounds_clips_per_s": [36.0, 40.0]},
    }
    parts.summary.summarize_rates(loader)
    flat = {
        "opens": 5000,
        "rss_mib": {"start": 300.0, "end": 301.0},
        "open_files": {"start": 5, "end": 45},
        "rss_mib_per_1000": 0.2,
        "series": [],
    }
    found = {
        "machine": {"cpu": "a processor", "cores": 2},
        "settings": {"workers": 2},
        "columns": {"h264": {"title": "H.264, small", "baseline": "the old way", "rows": rows}},
        "loader": {"h264": loader},
        "flatness": flat,
    }
    return {**found, "targets": parts.targets.judge(found)}


def test_ratios_are_taken_within_a_round_and_targets_judged_by_them(results):
    targets = {target["name"]: (target["value"], target["holds"]) for target in results["targets"]}
    assert targets == {
        "h264: speed relative to the old way": (3.0, True),  # 2.5, 3, 3
        "h264: speed relative to the best peer": (1.2, True),  # 1.25, 1.2, 0.5
        "h264: share of bare decode": (0.9, True),  # 0.75, 0.9, 0.95
        "h264: loader's share of bare decode": (pytest.approx(0.85), True),  # 0.9, 0.8
        "MiB per 1,000 opened videos, at most": (0.2, True),
        "files left open, at most": (40, False),
    }


def test_results_are_printed_and_drawn(parts, results, tmp_path):
    console = Console(record=True, width=100, file=(tmp_path / "out.txt").open("w"))
    parts.report.print_results(results, console)
    console.file.close()
    text = console.export_text()
    assert "absent: not installed" in text
    assert "peer (b)" in text
    assert "peer (a)" not in text
    json.dumps(results)
    pytest.importorskip("matplotlib")
    parts.plot.draw(results, tmp_path / "plot.svg")
    assert "H.264" in (tmp_path / "plot.svg").read_text()


def test_memory_and_open_files_are_watched(parts, video):
    pytest.importorskip("psutil")
    flat = parts.flatness.measure_flatness([video], opens=100)
    assert [opened for opened, *_ in flat["series"]] == [50, 100]
    assert flat["open_files"]["start"] == flat["open_files"]["end"]


def test_a_missing_folder_is_named(parts, tmp_path, capsys):
    with pytest.raises(SystemExit):
        parts.data.parse(["--clips", str(tmp_path / "nowhere")])
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="kinetics"):
        parts.sources.find_originals(tmp_path)
