"""What the arguments of a VideoDataModule may be, said before any video is looked for."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightframe.arguments import check_whole, is_number
from lightframe.cores import cores
from lightframe.datamodules import sources
from lightframe.errors import UsageError
from lightframe.registry import check_arguments, import_path

_LARGEST_CLIP = 8 * 2**30  # bytes; decoding it would only fill the memory
_LARGEST_COLOUR = 10.0  # of a mean or a standard deviation, which are shares of full brightness
_MOST_WORKERS = 64
_HIGHEST_RATE = 1000  # of a slow-motion camera; each frame at a rate is a number in memory


def check_settings(given: Mapping[str, Any]) -> None:
    """Raise a UsageError where numbers make no clip, or no batch.

    Args:
        given: the arguments of a VideoDataModule by their names.
    """
    for name in ("frames", "stride", "size", "clips_per_video", "batch_size", "threads"):
        check_whole(name, given[name], 1)
    for name in ("global_batch_size", "epoch_length"):
        if given[name] is not None:
            check_whole(name, given[name], 1)
    _check_views(given["views"])
    check_workers(given["num_workers"])
    check_whole("seed", given["seed"], 0)
    speeds = given["speeds"]
    if not _all_numbers(speeds) or not speeds or min(speeds) <= 0:
        raise UsageError(f"speeds must be one or more numbers > 0, as (0.5, 1.0, 2.0), got {speeds!r}")
    fps = given["fps"]
    if fps is not None and not (is_number(fps) and 0 < fps <= _HIGHEST_RATE):
        raise UsageError(f"fps must be above 0 and at most {_HIGHEST_RATE} frames a second, got {fps!r}")
    fraction = given["val_fraction"]
    if not (is_number(fraction) and 0 <= fraction < 1):
        raise UsageError(f"val_fraction must be at least 0 and below 1, as 0.1 for a tenth, got {fraction!r}")
    if not (is_number(given["eval_crop"]) and 0 < given["eval_crop"] <= 1):
        raise UsageError(f"eval_crop must lie above 0 and at most 1, got {given['eval_crop']!r}")
    if given["on_error"] not in ("skip", "raise"):
        raise UsageError(f"on_error must be 'skip' or 'raise', got {given['on_error']!r}")
    most = given["max_errors"]
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise UsageError(
            "max_errors must be at least 1; on_error='raise' stops at the first; "
            f"it is a number of videos, got {most!r}"
        )
    if given["index"] is not None and not isinstance(given["index"], str | os.PathLike):
        raise UsageError(f"index must be the file that lightframe scan wrote, got {given['index']!r}")
    _check_colours(given["mean"], given["std"])
    clip = given["frames"] * given["size"] ** 2 * 3
    if clip > _LARGEST_CLIP:
        raise UsageError(
            f"frames={given['frames']} of size={given['size']} pixels make a clip of {clip / 2**30:,.0f} GiB: "
            "give fewer, or smaller ones, as frames=32 and size=224"
        )


def _all_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(is_number(value) and math.isfinite(value) for value in values)


def _check_views(views: Any) -> None:
    if isinstance(views, Sequence) and not isinstance(views, str):
        for value in views or [0]:
            check_whole("views", value, 1)
        if len(views) == 2:
            return
    raise UsageError(f"views must be two numbers, clips and crops, as (10, 3), got {views!r}")


def check_workers(workers: Any) -> None:
    """Raise a UsageError unless this is a number of loader processes that the machine can have, or None."""
    if workers is None:
        return
    if is_number(workers) and workers < 0:
        raise UsageError(f"num_workers must not be negative, got {workers}; 0 decodes in the training process itself")
    most = max(_MOST_WORKERS, 16 * cores())
    if check_whole("num_workers", workers, 0) > most:
        raise UsageError(
            f"num_workers={workers} processes would decode on {cores()} CPU cores: give at most {most}, or leave it out"
        )


def _check_colours(mean: Any, std: Any) -> None:
    if not (_all_numbers(mean) and _all_numbers(std) and len(mean) == len(std) == 3 and min(std) > 0):
        raise UsageError(f"mean and std must be three numbers each, std above 0, got {mean!r} and {std!r}")
    if max(*mean, *std) > _LARGEST_COLOUR:
        raise UsageError(
            f"mean and std are for pixels from 0 to 1, not to 255: divide them by 255, got {mean!r} and {std!r}"
        )


def resolve_transform(transform: str | Callable[..., Any] | None) -> Callable[..., Any] | None:
    """A callable, or the one at an import path; a class there is called without arguments."""
    found = import_path(transform, "transform") if isinstance(transform, str) else transform
    if isinstance(found, type):
        # One with arguments cannot be named: it is made in the user's own module, or in Python.
        check_arguments("transform", transform if isinstance(transform, str) else found.__name__, found, (), {})
        found = found()
    if found is not None and not callable(found):
        raise UsageError(f"transform {transform!r} is not callable: give a function of a clip, or its import path")
    return found


def read_classes(classes: str | list[str] | None) -> list[str] | None:
    """Class names as they are given, or from a text file with one a line."""
    if isinstance(classes, str | os.PathLike):
        classes = [line.strip() for line in sources.read_lines(Path(classes), "class file") if line.strip()]
    if classes is None:
        return None
    names = isinstance(classes, Sequence) and all(isinstance(name, str) for name in classes)
    if not names or not classes or len(set(classes)) < len(classes):
        shown = repr(classes) if len(repr(classes)) < 200 else f"{len(classes)} of them"
        raise UsageError(f"classes must be different names, at least one, or a text file of them, got {shown}")
    return list(classes)
