"""Timing pipelines against each other, round by round."""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from data_path.check import compare
from data_path.jobs import Job
from data_path.pipeline import Pipeline, Read

Row = dict[str, Any]


def measure(
    pipelines: Sequence[Pipeline], draw: Callable[[int], list[Job]], rounds: int, checks: int = 4
) -> dict[str, Row]:
    """CPU time per clip of each pipeline, all threads of the process together.

    In each round all pipelines do the same jobs, one pipeline after the other, each round another one first: what
    slows the machine down for a while falls on all of them.

    Args:
        pipelines: what to time; one that is not installed or fails becomes a row that says so.
        draw: the jobs of a round, by its number. Those of round -1 are for warming up and checking the frames.
        rounds: how many.
        checks: on how many jobs the frames are checked; at least one for each file, which is then known.

    Returns:
        For each pipeline's key a row: name, variant, status ("ok", "not installed: ...", or an error), rounds_ms (a
        figure per round), error (mean absolute difference in levels of 255), wrong_frames, checked_frames.
    """
    torch.set_num_threads(1)
    rows: dict[str, Row] = {}
    ready: dict[str, tuple[Pipeline, Read]] = {}
    for pipeline in pipelines:
        row = rows[pipeline.key] = {"name": pipeline.name, "variant": pipeline.variant, "status": "ok", "rounds_ms": []}
        try:
            read = pipeline.load()
            row.update(_check(pipeline, read, draw(-1)[:checks]))
            ready[pipeline.key] = pipeline, read
        except Exception as error:
            row["status"] = reason(error)
    for number in range(rounds):
        jobs = draw(number)
        keys = list(ready)
        first = number % max(len(keys), 1)
        for key in keys[first:] + keys[:first]:
            pipeline, read = ready[key]
            try:
                rows[key]["rounds_ms"].append(_cpu_ms(read, [pipeline.prepare(job) for job in jobs]))
            except Exception as error:
                rows[key]["status"] = reason(error)
                del ready[key]
    return rows


def _check(pipeline: Pipeline, read: Read, jobs: Sequence[Job]) -> Row:
    """Run the jobs once, and compare what comes out with a sequential decode."""
    errors, wrong, frames = [], 0, 0
    for job in map(pipeline.prepare, jobs):
        clip = read(job)
        if pipeline.pixels is not None:
            error, count = compare(pipeline.pixels(clip), job)
            errors.append(error)
            wrong += count
            frames += len(job.indices)
    if not errors:
        return {}
    return {"error": sum(errors) / len(errors), "wrong_frames": wrong, "checked_frames": frames}


def _cpu_ms(read: Read, jobs: Sequence[Job]) -> float:
    gc.collect()
    start = time.process_time()
    for job in jobs:
        read(job)
    return 1000 * (time.process_time() - start) / len(jobs)


def reason(error: Exception) -> str:
    """Why a pipeline gives no figure, in one line."""
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name}"
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line}"[:120]
