"""The videos of a split that could not be read: said once, listed, counted, and not too many."""

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
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
        index: its position in the data set; of one that was left out beforehand, before that.
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
        known: those that a scan found and that were left out beforehand. They are listed and counted with the others,
            and no error: their number is known.
    """

    def __init__(self, split: str, total: int, limit: int, known: Sequence[Skipped] = ()) -> None:
        self.split, self.total, self.limit = split, total, limit
        self.known = list(known)
        self.file: Path | None = None
        self._reasons: dict[int, str] = {}
        self._listed: set[Path] = set()

    @property
    def reasons(self) -> dict[int, str]:
        """Why, for each video by its position in the data set; without the known ones, which have none there."""
        return dict(self._reasons)

    def list_known(self) -> None:
        """Write those that a scan found to `file`, unless they stand there."""
        if self.file is not None and self.file not in self._listed:
            self._listed.add(self.file)
            for one in self.known:
                self._list(self.file, one)

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
                raise VideoError(f"{one.reason}: repair or remove it, or give on_error=skip to go on without it")
            log.warning("%s video left out: %s", self.split, one.reason)
            if self.file is not None:
                self._list(self.file, one)
            self.check(self._reasons)

    def state(self, paths: Sequence[str]) -> dict[str, tuple[str, int, int]]:
        """For a checkpoint: path -> (reason, size and time of the file), by the paths of the data set."""
        return {paths[index]: (reason, *_size_and_time(paths[index])) for index, reason in self._reasons.items()}

    def restore(self, state: Mapping[str, tuple[str, int, int]], paths: Sequence[str]) -> None:
        """Count and list those of `state` again whose files are still as they were."""
        index = {path: number for number, path in enumerate(paths)}
        for path, (reason, *stamp) in state.items():
            if path in index and tuple(stamp) == _size_and_time(path):
                self._reasons[index[path]] = reason
                if self.file is not None:
                    self._list(self.file, Skipped(index[path], path, reason))

    def check(self, reasons: Mapping[int, str]) -> None:
        """Raise a VideoError if these are too many; those of all processes may be more than this one's."""
        count, first = len(reasons), next(iter(reasons.values()), "")
        if count and count == self.total:
            raise VideoError(
                f"not one of the {count} {self.split} videos can be read; the first: {first}; give others, or see "
                "with lightframe scan what is wrong with them"
            )
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
            writer.writerow([self.split, one.path, one.reason.removeprefix(f"{one.path}: ")])


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns


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
) -> tuple[list[str], Tensor, list[Skipped]]:
    """Paths and labels without those of the videos that a scan found to be broken, and these.

    Raises:
        UsageError: there are any and `strict`, or nothing is left.
    """
    errors = {number: error for number, path in enumerate(paths) if (error := index.error(path)) is not None}
    if not errors:
        return paths, labels, []
    first, reason = next(iter(errors.items()))
    found = f"as lightframe scan found ({paths[first]}: {reason})"
    message = f"{len(errors)} of the {len(paths)} {split} videos are broken, {found}"
    if strict or len(errors) == len(paths):
        raise UsageError(f"{message}: repair or remove them, or scan again")
    log.warning("%s: they are left out", message)
    kept = [number for number in range(len(paths)) if number not in errors]
    broken = [Skipped(number, paths[number], error) for number, error in errors.items()]
    return [paths[number] for number in kept], labels[kept], broken
