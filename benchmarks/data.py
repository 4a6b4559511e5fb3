"""How fast do training clips come out of video files? lightframe against what people use today, on this machine.

python benchmarks/data.py                        # everything; see benchmarks/README.md
python benchmarks/data.py --quick --only h264 clips
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from data_path import jobs
from data_path.flatness import measure_flatness
from data_path.loader import measure_loaders
from data_path.machine import machine, versions
from data_path.ours import BARE, FIRST_VISIT, LIGHTFRAME, WHOLE_FRAMES
from data_path.peers import MMACTION2, OLD_WAY, PEERS
from data_path.plot import draw
from data_path.report import print_results
from data_path.rounds import measure, reason
from data_path.sources import TITLES, Column, find_originals, make_columns, synthetic_originals
from data_path.summary import summarize_cpu, summarize_rates
from data_path.targets import judge
from data_path.torchcodec_peers import TORCHCODEC
from rich.console import Console

HERE = Path(__file__).resolve().parent
SECTIONS = ("clips", "sparse", "whole", "loader", "flat")
SPARSE_AND_LOADER_COLUMNS = ("h264", "fastdecode")
WHOLE_COLUMNS = ("h264", "mpeg4")
ON_SOURCE = "the old way on the source"


def measure_clips(column: Column, rounds: int, clips: int) -> dict[str, Any]:
    """The main section: training clips of one column, all pipelines."""
    pipelines = [*PEERS, FIRST_VISIT, LIGHTFRAME, BARE]
    baseline = OLD_WAY.name
    if column.origins:
        origins = {video.path: origin for video, origin in zip(column.videos, column.origins, strict=True)}
        pipelines.append(replace(OLD_WAY, name=ON_SOURCE, prepare=partial(jobs.on_origin, origins=origins)))
        baseline = ON_SOURCE
    rows = measure(pipelines, lambda number: jobs.draw_clips(column.videos, clips, [0, number + 1]), rounds)
    summarize_cpu(rows, baseline)
    return {"title": column.title, "baseline": baseline, "rows": rows}


def measure_sparse(column: Column, rounds: int, clips: int) -> dict[str, Any]:
    """A few frames spread over the whole video."""
    pipelines = [MMACTION2, *TORCHCODEC, FIRST_VISIT, LIGHTFRAME]
    rows = measure(pipelines, lambda number: jobs.draw_sparse(column.videos, clips, [1, number + 1]), rounds)
    summarize_cpu(rows)
    return {"title": column.title, "rows": rows}


def measure_whole(column: Column, rounds: int, clips: int) -> dict[str, Any]:
    """Whole frames with each of our decoders: the ground of what decoder="auto" chooses."""
    rows = measure(WHOLE_FRAMES, lambda number: jobs.draw_clips(column.videos, clips, [2, number + 1]), rounds)
    summarize_cpu(rows)
    return {"title": column.title, "rows": rows}


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call it in a process of its own: a peer's threads, memory or crash touch no other section."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_start_method, multiprocessing.get_start_method(), function, *args).result()


def _with_start_method(method: str, function: Callable[..., Any], *args: Any) -> Any:
    # A spawned process would spawn its loaders' workers too; they are to start as they do for everybody.
    multiprocessing.set_start_method(method, force=True)
    return function(*args)


def run(options: argparse.Namespace, work: Path, console: Console) -> dict[str, Any]:
    """Make the files, measure the chosen sections of the chosen columns, and judge the result."""
    keys = [key for key in TITLES if key in options.only] or list(TITLES)
    sections = [section for section in SECTIONS if section in options.only] or list(SECTIONS)
    console.print(f"Making the files in {work}")
    originals = synthetic_originals(work) if options.synthetic else find_originals(options.clips)
    columns = make_columns(keys, originals, work)
    results: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "settings": {
            "rounds": options.rounds,
            "clips_per_round": options.clips_per_round,
            "batches": options.batches,
            "workers": options.workers,
            "sources": "synthetic" if options.synthetic else "real",
            "files": {column.key: [Path(video.path).name for video in column.videos] for column in columns},
        },
    }
    amount = options.rounds, options.clips_per_round
    for column in columns:
        few = column.key in SPARSE_AND_LOADER_COLUMNS
        if "clips" in sections:
            console.print(f"Clips: {column.title}")
            results.setdefault("columns", {})[column.key] = in_fresh_process(measure_clips, column, *amount)
        if "sparse" in sections and few:
            console.print(f"Sparse: {column.title}")
            results.setdefault("sparse", {})[column.key] = in_fresh_process(measure_sparse, column, *amount)
        if "whole" in sections and column.key in WHOLE_COLUMNS:
            console.print(f"Whole frames: {column.title}")
            results.setdefault("whole", {})[column.key] = in_fresh_process(measure_whole, column, *amount)
        if "loader" in sections and few:
            console.print(f"Loader: {column.title}")
            rows = in_fresh_process(measure_loaders, column, work, options.rounds, options.batches, options.workers)
            summarize_rates(rows)
            results.setdefault("loader", {})[column.key] = rows
    if "flat" in sections:
        console.print(f"Memory and open files over {options.opens:,} videos")
        videos = [video for column in columns for video in column.videos]
        try:
            results["flatness"] = in_fresh_process(measure_flatness, videos, options.opens)
        except Exception as error:
            results["flatness"] = {"status": reason(error)}
    results["targets"] = judge(results)
    return results


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Measure the video data path against its peers.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    shared = HERE.parents[1] / "shared" / "videos"
    parser.add_argument("--clips", type=Path, default=shared, help="folder of real clips, see benchmarks/README.md")
    parser.add_argument("--synthetic", action="store_true", help="measure synthetic videos instead of real ones")
    parser.add_argument("--only", nargs="+", default=[], choices=[*TITLES, *SECTIONS], help="columns and sections")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in each of which all pipelines take their turn")
    parser.add_argument("--clips-per-round", type=int, default=12, help="clips of each pipeline in a round")
    parser.add_argument("--batches", type=int, default=20, help="batches of 8 clips that a loader is timed on")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the loaders")
    parser.add_argument("--opens", type=int, default=5000, help="videos to open in the section flat")
    parser.add_argument("--quick", action="store_true", help="one round of a few clips: a trial, not a measurement")
    parser.add_argument("--work", type=Path, help="keep the made files here, and use those that are here")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results" / "data.json", help="the JSON; the plot lies beside"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.clips_per_round, options.batches, options.opens = 1, 4, 3, 500
    if not options.synthetic and not options.clips.is_dir():
        parser.error(f"there is no folder {options.clips}: name one with --clips, or measure --synthetic videos")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the JSON and the plot; 1 when a target is missed."""
    options, console = parse(arguments), Console()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        try:
            results = run(options, work.resolve(), console)
        except FileNotFoundError as error:
            console.print(f"error: {error}")
            return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print_results(results, console)
    if "columns" in results:
        try:
            draw(results, options.out.with_suffix(".svg"))
        except ImportError:
            console.print("No plot: matplotlib is not installed")
    console.print(f"Written: {options.out}")
    return int(any(target["holds"] is False for target in results["targets"]))


if __name__ == "__main__":
    sys.exit(main())
