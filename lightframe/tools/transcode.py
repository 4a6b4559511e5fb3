"""`lightframe transcode`: a folder of videos, re-encoded for training."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lightframe.datamodules.sources import find_unlabelled, require
from lightframe.datamodules.video_index import index_path
from lightframe.errors import UsageError
from lightframe.tools.broken import Broken, reason_of, show_broken, write_broken
from lightframe.tools.clip_cost import FRAMES, SIZE, STRIDE, clip_costs
from lightframe.tools.encoding import PARTIAL, TranscodeSettings, transcode_file
from lightframe.tools.parallel import Lost, check_limits, in_processes
from lightframe.tools.progress import file_progress

MANIFEST = "lightframe-transcode.json"
BROKEN = "lightframe-transcode-broken.csv"
_MEASURED = 16  # videos whose decoding is measured


class Job(NamedTuple):
    """One video to re-encode.

    Attributes:
        source: the file.
        target: the file to write.
        settings: how to encode it.
        size: of the source, bytes.
        due: whether the target is not there yet, or older than the source.
    """

    source: Path
    target: Path
    settings: TranscodeSettings
    size: int
    due: bool


class Transcoded(NamedTuple):
    """What `transcode` did.

    Attributes:
        written: number of videos re-encoded by this call.
        kept: number of videos that were there already.
        broken: the videos that could not be read to their end.
    """

    written: int
    kept: int
    broken: list[Broken]


def transcode(
    source: Path,
    target: Path,
    short_side: int = 256,
    keyframe_interval: int = 12,
    crf: int = 20,
    workers: int | None = None,
    time_limit: float = 3600.0,
) -> Transcoded:
    """Re-encode every video below a folder so that training clips decode several times faster.

    The videos become H.264 in MP4 with many key frames, tuned for fast decoding, upright and without sound: frame for
    frame the same, at the same time stamps. The tree of folders is kept, and only the extension changes. Other files
    are not copied; an annotation file has to name the new paths.

    A run that was stopped is taken up again by the same command: what stands under its final name is complete, and is
    done again only when its source has become newer. Broken videos are left out, shown at the end and listed in
    lightframe-transcode-broken.csv. At the end, sizes and the measured cost of decoding are compared: large or H.264
    videos gain much, small MPEG-4 ones (UCF101, HMDB51) may gain nothing. One run at a time may write to a folder.

    Args:
        source: folder with videos.
        target: folder to write to: new, empty, or of an earlier run with the same settings.
        short_side: pixels of the shorter side, an even number; smaller videos are not enlarged.
        keyframe_interval: most frames from one key frame to the next; fewer make random access faster, files larger.
        crf: H.264's constant rate factor: the quality, from 0 (no loss) over 20 (hard to tell apart) to 51 (worst).
        workers: processes, each of which encodes one video at a time; by default one per core.
        time_limit: seconds that one video may take before it is given up as broken.

    Raises:
        UsageError: wrong settings or folders, a full disk, or not one video can be transcoded.
    """
    check_limits(workers, time_limit)
    settings = TranscodeSettings(short_side, keyframe_interval, crf)
    jobs = plan(source, target, settings)
    _claim(source, target, settings)
    broken = sorted(_run([job for job in jobs if job.due], source, target, workers, time_limit))
    write_broken(target / BROKEN, broken)
    if len(broken) == len(jobs):
        raise UsageError(f"not one of the {len(jobs)} videos in '{source}' can be transcoded; {': '.join(broken[0])}")
    report = Transcoded(sum(job.due for job in jobs) - len(broken), sum(not job.due for job in jobs), broken)
    _show(report, [job for job in jobs if job.target.exists()], target)
    return report


def plan(source: Path, target: Path, settings: TranscodeSettings) -> list[Job]:
    """What there is to do, one job for each video below `source`.

    Raises:
        UsageError: there are no videos, the folders stand in each other, or two videos would become one.
    """
    if not require(source, "source").is_dir():
        raise UsageError(f"source '{source}' is not a folder")
    here, there = source.resolve(), target.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise UsageError(f"target '{target}' and source '{source}' must not stand in each other: choose another target")
    jobs: dict[Path, Job] = {}
    for video in find_unlabelled(source):
        path = Path(video.path)
        goal = target / path.relative_to(source).with_suffix(".mp4")
        if goal in jobs:
            raise UsageError(f"'{jobs[goal].source}' and '{path}' would both become '{goal}': rename one of them")
        size, modified = _size_and_time(path)
        jobs[goal] = Job(path, goal, settings, size, due=modified > _size_and_time(goal)[1] or not goal.exists())
    return list(jobs.values())


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # not there, or a link to nowhere, which decoding will report
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _claim(source: Path, target: Path, settings: TranscodeSettings) -> None:
    """Make the target folder ours, or make sure that it is, from a run like this one."""
    manifest = target / MANIFEST
    ours = {"source": str(source.resolve()), **asdict(settings)}
    if not manifest.is_file():
        if target.exists() and (not target.is_dir() or any(target.glob("[!.]*"))):
            raise UsageError(f"'{target}' exists and was not written by lightframe transcode: choose another target")
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make '{target}' ({error.strerror}): choose another target") from error
        partial = target / f".{MANIFEST}{PARTIAL}"
        partial.write_text(json.dumps(ours, indent=1))
        partial.replace(manifest)
        return
    found = json.loads(manifest.read_text())
    for name, value in ours.items():
        if found.get(name) != value:
            raise UsageError(
                f"'{target}' was written with {name}={found.get(name)}, not {value}: choose another target, or edit "
                f"'{manifest}' if that is what its videos are"
            )


def _run(due: Sequence[Job], source: Path, target: Path, workers: int | None, time_limit: float) -> list[Broken]:
    broken = []
    _remove_partials(target)
    try:
        with (
            file_progress("Transcoding", len(due), sum(job.size for job in due)) as advance,
            closing(in_processes(transcode_job, due, workers, time_limit)) as results,
        ):
            for job, reason in results:
                if reason is not None:
                    reason = reason.reason if isinstance(reason, Lost) else reason
                    broken.append(Broken(index_path(job.source.relative_to(source)), reason))
                advance(job.size)
    finally:
        _remove_partials(target)
    return broken


def transcode_job(job: Job) -> str | None:
    """Do a job; gives the reason if the source is broken."""
    try:
        transcode_file(job.source, job.target, job.settings)
    except UsageError:
        raise
    except Exception as error:  # whatever one video does, the others are to be had
        return reason_of(error, job.source)
    return None


def _remove_partials(target: Path) -> None:
    for path in target.rglob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


def _measure(jobs: Sequence[Job]) -> tuple[float, float]:
    """CPU milliseconds for a training clip before and after, on average over some of the videos."""
    rng = np.random.default_rng(0)
    chosen = [jobs[place] for place in rng.permutation(len(jobs))[:_MEASURED]]
    clip_costs(chosen[0].source, chosen[0].target, rng)  # the first clip of a process loads libraries
    costs = []
    with file_progress("Measuring", len(chosen), sum(job.size for job in chosen)) as advance:
        for job in chosen:
            costs.append(clip_costs(job.source, job.target, rng))
            advance(job.size)
    before, after = np.mean(costs, axis=0).tolist()
    return before, after


def _show(report: Transcoded, jobs: Sequence[Job], target: Path) -> None:
    sizes = [sum(job.size for job in jobs), sum(job.target.stat().st_size for job in jobs)]
    costs = _measure(jobs)
    table = Table(title=f"{len(jobs)} videos in {index_path(target)}", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "before", "after", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("size", *map(decimal, sizes), f"{sizes[1] / sizes[0]:.2f}")
    table.add_row("CPU time of a training clip", *(f"{cost:.1f} ms" for cost in costs), f"{costs[1] / costs[0]:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"Written now: {report.written}; there already: {report.kept}. A training clip: {FRAMES} frames at stride "
        f"{STRIDE}, cropped and scaled to {SIZE} x {SIZE}; measured on {min(len(jobs), _MEASURED)} of the videos.",
        soft_wrap=True,
    )
    show_broken(console, report.broken, report.written + report.kept + len(report.broken), target / BROKEN)
