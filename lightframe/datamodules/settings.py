"""What the arguments of a VideoDataModule may be, said before any video is looked for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightframe.datamodules import sources
from lightframe.errors import UsageError
from lightframe.registry import import_path


def check_settings(given: Mapping[str, Any]) -> None:
    """Raise a UsageError where numbers make no clip, or no batch.

    Args:
        given: the arguments of a VideoDataModule by their names.
    """
    speeds, views, mean, std = (tuple(given[name]) for name in ("speeds", "views", "mean", "std"))
    sizes = ("frames", "stride", "size", "clips_per_video", "batch_size", "global_batch_size", "epoch_length")
    for name in (*sizes, "threads", "views"):
        value = min(views, default=0) if name == "views" else given[name]
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    workers, fps, most = given["num_workers"], given["fps"], given["max_errors"]
    rules = {
        "num_workers must not be negative": workers is None or workers >= 0,
        "views must be two numbers, clips and crops": len(views) == 2,
        "speeds must be one or more numbers > 0": bool(speeds) and min(speeds) > 0,
        "fps must be above 0": fps is None or fps > 0,
        "val_fraction must be at least 0 and below 1": 0 <= given["val_fraction"] < 1,
        "eval_crop must lie above 0 and at most 1": 0 < given["eval_crop"] <= 1,
        "on_error must be 'skip' or 'raise'": given["on_error"] in ("skip", "raise"),
        "max_errors must be at least 1; on_error='raise' stops at the first": most is None or most >= 1,
        "mean and std must be three numbers each, std above 0": len(mean) == len(std) == 3 and min(std) > 0,
    }
    for rule, holds in rules.items():
        if not holds:
            raise UsageError(rule)


def resolve_transform(transform: str | Callable[..., Any] | None) -> Callable[..., Any] | None:
    """A callable, or the one at an import path; a class there is called without arguments."""
    found = import_path(transform, "transform") if isinstance(transform, str) else transform
    if isinstance(found, type):
        found = found()
    if found is not None and not callable(found):
        raise UsageError(f"transform {transform!r} is not callable")
    return found


def read_classes(classes: str | list[str] | None) -> list[str] | None:
    """Class names as they are given, or from a text file with one a line."""
    if isinstance(classes, str):
        classes = [line.strip() for line in sources.read_lines(Path(classes), "class file") if line.strip()]
    if classes is not None and (not classes or len(set(classes)) < len(classes)):
        raise UsageError(f"classes must be different names, at least one, got {classes}")
    return classes
