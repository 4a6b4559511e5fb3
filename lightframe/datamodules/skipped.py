"""The videos of a split that could not be read: said once, listed, counted, and not too many."""

import csv
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lightframe.datamodules.decoding import VideoError
from lightframe.datamodules.video_index import VideoIndex
from lightframe.errors import UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """A video that could not be read.

    Attributes:
        index: its position in the data set.
        path: the file.
        reason: why, in a sentence that names the file.
    """

    index: int
    path: str
    reason: str


class SkippedVideos:
    """What the training process hears of from the loader's workers.

    Args:
        split: its name, for messages.
        total: videos in the split.
        limit: more than so many are an error; 0 makes the first one an error.
    """

    def __init__(self, split: str, total: int, limit: int) -> None:
        self.split, self.total, self.limit = split, total, limit
        self.file: Path | None = None
        self._reasons: dict[int, str] = {}

    @property
    def reasons(self) -> dict[int, str]:
        """Why, for each video by its position in the data set."""
        return dict(self._reasons)

    def record(self, skipped: Iterable[Skipped]) -> None:
        """Log and list those that are new.

        Raises:
            VideoError: there are more than `limit`.
        """
        for one in skipped:
            if one.index in self._reasons:
                continue
            self._reasons[one.index] = one.reason
            if self.limit == 0:
                raise VideoError(one.reason)
            log.warning("%s video left out: %s", self.split, one.reason)
            if self.file is not None:
                self._list(self.file, one)
            self.check(self._reasons)

    def check(self, reasons: Mapping[int, str]) -> None:
        """Raise a VideoError if these are too many; those of all processes may be more than this one's."""
        count, first = len(reasons), next(iter(reasons.values()), "")
        if count and count == self.total:
            raise VideoError(f"not one of the {count} {self.split} videos can be read; the first: {first}")
        if count > self.limit:
            raise VideoError(
                f"{count} of the {self.total} {self.split} videos cannot be read, more than max_errors={self.limit} "
                f"({first}): repair or remove them, or allow more"
            )

    def _list(self, file: Path, one: Skipped) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = not file.exists()
        # A name that is not UTF-8 is written as the bytes that it is.
        with file.open("a", newline="", encoding="utf-8", errors="surrogateescape") as opened:
            writer = csv.writer(opened)
            if new:
                writer.writerow(["split", "path", "reason"])
            writer.writerow([self.split, one.path, one.reason])


def error_limit(split: str, videos: int, strict: bool, max_errors: int | None) -> int:
    """How many videos of a split may be unreadable.

    Args:
        split: in evaluation all but one may: it is no worse for the others.
        videos: how many there are.
        strict: none may.
        max_errors: in training; None: a hundredth, at least 10.

    >>> error_limit("train", 5000, strict=False, max_errors=None)
    50
    """
    if strict:
        return 0
    if split != "train":
        return videos
    return max(videos // 100, 10) if max_errors is None else max_errors


def without_broken(
    split: str, paths: list[str], labels: Tensor, index: VideoIndex, strict: bool
) -> tuple[list[str], Tensor]:
    """Paths and labels without those of the videos that a scan found to be broken.

    Raises:
        UsageError: there are any and `strict`, or nothing is left.
    """
    errors = {number: error for number, path in enumerate(paths) if (error := index.error(path)) is not None}
    if not errors:
        return paths, labels
    first, reason = next(iter(errors.items()))
    found = f"as lightframe scan found ({paths[first]}: {reason})"
    message = f"{len(errors)} of the {len(paths)} {split} videos are broken, {found}"
    if strict or len(errors) == len(paths):
        raise UsageError(f"{message}: repair or remove them, or scan again")
    log.warning("%s: they are left out", message)
    kept = [number for number in range(len(paths)) if number not in errors]
    return [paths[number] for number in kept], labels[kept]
