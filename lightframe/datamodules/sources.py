"""From folders and annotation files to a list of videos with their class names."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightframe.errors import UsageError, did_you_mean

# fmt: off
VIDEO_EXTENSIONS = frozenset([
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
])
# fmt: on
ANNOTATION_EXTENSIONS = frozenset({".csv", ".txt"})
_MOST_UNSEEN = 1000  # classes that indices may leave without a video before they are taken for a mistake
_SPLIT_FOLDERS = frozenset({"train", "val", "valid", "validation", "test"})
# Asking a network drive for hundreds of thousands of files takes minutes; a wrong prefix shows in the first few.
_CHECKED_PATHS = 1000

Source = str | Path | Sequence[str | Path]


class Video(NamedTuple):
    """One video of a split.

    Attributes:
        path: the file.
        labels: its class names, or class indices from an annotation file; none for prediction, several in a
            multi-label set.
        origin: where the label comes from, for messages: a folder, or a file and line.
    """

    path: str
    labels: tuple[str | int, ...]
    origin: str


def as_list(source: Source | None) -> list[Path]:
    """One path or several, as a list of paths."""
    if source is None:
        return []
    several: Any = source if isinstance(source, Sequence) and not isinstance(source, str) else [source]
    for path in several:
        if not isinstance(path, str | os.PathLike) or not str(path):
            raise UsageError(f"give a path, or a list of paths, to the videos, not {path!r}")
    return [Path(path) for path in several]


def require(path: Path, what: str) -> Path:
    """The path itself, or a UsageError that names the neighbour most like it."""
    try:
        if path.exists():
            return path
    except OSError as error:  # longer than the system can have, or behind a folder that may not be entered
        raise UsageError(f"{what} '{_shortened(path)}' cannot be looked for: {error.strerror}") from None
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UsageError(f"{what} '{path}' does not exist{did_you_mean(path.name, siblings)}")


def require_folder(path: Path, what: str) -> Path:
    """The path itself, or a UsageError that says that it does not exist or is a file."""
    if not require(path, what).is_dir():
        raise UsageError(f"{what} '{path}' is a file: give the folder, {what} {path.parent}, or the file as train")
    return path


def _shortened(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-40:]}"


def read_lines(file: Path, what: str) -> list[str]:
    """The lines of a text file, or a UsageError that names it."""
    try:
        return require(file, what).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} '{file}' is not UTF-8 text: {error}; save it as UTF-8") from None
    except IsADirectoryError:
        raise UsageError(f"{what} '{file}' is a folder; give a text file") from None
    except OSError as error:
        raise UsageError(f"{what} '{file}' cannot be read: {error.strerror}") from None


def find_videos(source: Source, base: Path | None = None) -> list[Video]:
    """The labelled videos of a split: class folders, annotation files, or any mix of them.

    Args:
        source: a folder whose sub-folders are classes, a .csv or .txt file of "path label" lines, or a list of those.
        base: folder to which relative paths in annotation files refer; None: the annotation file's own.

    Raises:
        UsageError: something does not exist, is empty or is malformed; names it, with file and line.
    """
    videos: list[Video] = []
    for path in as_list(source):
        if require(path, "video source").is_dir():
            videos += _class_folders(path)
        elif path.suffix.lower() in ANNOTATION_EXTENSIONS:
            videos += _annotation_file(path, base or path.parent)
        else:
            raise UsageError(
                f"'{path}' is neither a folder of class folders nor a .csv or .txt annotation file: give one of those, "
                "of lines 'path label'"
            )
    return videos


def find_unlabelled(source: Source, base: Path | None = None) -> list[Video]:
    """The videos to predict: every video below a folder, a single file, or the first column of an annotation file."""
    videos: list[Video] = []
    for path in as_list(source):
        if require(path, "video source").is_dir():
            found = [Video(str(file), (), str(path)) for file in _walk(path)]
            if not found:
                raise UsageError(f"'{path}' holds no videos ({', '.join(sorted(VIDEO_EXTENSIONS))})")
            videos += found
        elif path.suffix.lower() in ANNOTATION_EXTENSIONS:
            videos += _listed_videos(path, base or path.parent)
        else:
            videos.append(Video(str(path), (), str(path)))
    return videos


def _listed_videos(file: Path, base: Path) -> list[Video]:
    """The videos of a file with a path, or an annotation, on each line."""
    videos = []
    for number, fields in _rows(file):
        # A path may have spaces: the last word is a label only if the line is no path with it.
        whole = base / " ".join(fields)
        path = whole if whole.is_file() else base / fields[0]
        videos.append(Video(str(path), (), f"{file}, line {number}"))
    return _checked(file, videos, base)


def _walk(folder: Path) -> list[Path]:
    """Every video below a folder, links followed, hidden files left out, in one order on every system."""
    files: list[Path] = []
    seen: set[str] = set()  # a link may lead back to where it came from
    for where, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(where, name) for name in names if not name.startswith(".")]
    return sorted(file for file in files if file.suffix.lower() in VIDEO_EXTENSIONS)


def _refuse(error: OSError) -> None:
    # Passed over, it would be a class without videos, or with some of them.
    raise UsageError(f"'{error.filename}' cannot be read ({error.strerror}): give yourself the right, or take it away")


def _class_folders(folder: Path) -> list[Video]:
    try:
        classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        _refuse(error)
    if {entry.name for entry in classes} & {"train"} and {entry.name for entry in classes} <= _SPLIT_FOLDERS:
        raise UsageError(f"'{folder}' holds the splits and not the classes: give it as root, or '{folder / 'train'}'")
    if not classes:
        reason = "holds videos but no class folders" if _walk(folder) else "holds neither class folders nor videos"
        raise UsageError(f"'{folder}' {reason}; expected {folder}/<class name>/<video file>")
    videos = []
    for entry in classes:
        files = _walk(entry)
        if not files:
            raise UsageError(f"class folder '{entry}' holds no videos; fill it or take it away")
        videos += [Video(str(file), (entry.name,), str(entry)) for file in files]
    return videos


def _annotation_file(file: Path, base: Path) -> list[Video]:
    videos = []
    for number, fields in _rows(file):
        if len(fields) != 2 or not all(fields):
            separator = "," if file.suffix.lower() == ".csv" else " "
            expected = f"path{separator}label"
            raise UsageError(f"{file}, line {number}: expected '{expected}', got {separator.join(fields)!r}")
        labels = tuple(label.strip() for label in fields[1].split("|"))
        if not all(labels):
            raise UsageError(f"{file}, line {number}: an empty label in {fields[1]!r}; several labels read 'a|b'")
        indices = tuple(int(label) if label.removeprefix("-").isdecimal() else label for label in labels)
        videos.append(Video(str(base / fields[0]), indices, f"{file}, line {number}"))
    return _checked(file, videos, base)


def _checked(file: Path, videos: list[Video], base: Path) -> list[Video]:
    """The videos themselves, or a UsageError that names the first that is missing."""
    if not videos:
        raise UsageError(f"annotation file '{file}' lists no video")
    checked = videos
    folders = {os.path.dirname(video.path) for video in videos}  # noqa: PTH120  # on 100,000 names ten times as quick
    if len(folders) > _CHECKED_PATHS:
        checked = videos[:: max(len(videos) // _CHECKED_PATHS, 1)]
        folders = {os.path.dirname(video.path) for video in checked}  # noqa: PTH120
    # A folder is listed once: asking for each file takes minutes on a network drive.
    there = {os.path.join(folder, name) for folder in folders for name in _list(folder)}  # noqa: PTH118
    unlisted = [video for video in checked if video.path not in there]
    asked = unlisted[:: max(len(unlisted) // _CHECKED_PATHS, 1)]
    missing = [video for video in asked if not _is_file(video.path)]
    if missing:
        first, looked = missing[0], len(checked) if len(asked) == len(unlisted) else len(asked)
        header = file.suffix.lower() == ".csv" and first.origin.endswith("line 1")
        hint = "; a first line that names the columns begins with 'path'" if header and len(missing) == 1 else ""
        raise UsageError(
            f"{first.origin}: no file '{_shortened(Path(first.path))}' ({len(missing)} of {looked} looked for are "
            f"missing); relative paths refer to '{base}'{hint}"
        )
    return videos


def _list(folder: str) -> list[str]:
    try:
        # Folders among them are seen when they are read: to ask what each entry is takes as long as opening it.
        return [name for name in os.listdir(folder or ".") if Path(name).suffix]  # noqa: PTH208  # names, not paths
    except OSError:
        return []


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:
        return False


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line that is neither empty nor a comment nor a header."""
    lines = [
        (number, line)
        for number, line in enumerate(read_lines(file, "annotation file"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    commas = file.suffix.lower() == ".csv" and any("," in line for _, line in lines)
    for place, (number, line) in enumerate(lines):
        # A label is one word in a text file; what stands before it is the path, spaces included.
        fields = next(csv.reader([line], skipinitialspace=True)) if commas else line.rsplit(maxsplit=1)
        fields = [field.strip() for field in fields]
        if place == 0 and file.suffix.lower() == ".csv" and fields[0].lower() in {"path", "video", "file", "filename"}:
            continue
        yield number, fields


def class_names(videos: Sequence[Video]) -> list[str]:
    """The classes of a training split: names sorted; of indices, every one up to the largest.

    >>> class_names([Video("a.mp4", ("wave",), ""), Video("b.mp4", ("jump", "run"), "")])
    ['jump', 'run', 'wave']
    >>> class_names([Video("a.mp4", (2,), ""), Video("b.mp4", (0,), "")])
    ['0', '1', '2']
    """
    labels = {label for video in videos for label in video.labels}
    indices = [label for label in labels if isinstance(label, int)]
    if len(indices) < len(labels):
        return sorted({str(label) for label in labels})
    for video in videos:
        if any(isinstance(label, int) and label < 0 for label in video.labels):
            raise UsageError(f"{video.origin}: label {min(indices)} is out of range; class indices begin at 0")
    count = max(indices) + 1
    if count > max(_MOST_UNSEEN, 10 * len(videos)):
        largest = next(video for video in videos if count - 1 in video.labels)
        raise UsageError(
            f"{largest.origin}: label {count - 1} would make {count} classes of {len(videos)} videos; class indices go "
            "from 0 to the number of classes - 1: mend it, or give classes"
        )
    return [str(number) for number in range(count)]


def label_indices(
    videos: Iterable[Video], classes: Sequence[str], origin: str = "the training split"
) -> list[tuple[int, ...]]:
    """The class indices of each video.

    Args:
        videos: with their labels.
        classes: the class list.
        origin: where that comes from, for messages.

    Raises:
        UsageError: a class that the list lacks, or an index out of its range; names the place and the label.
    """
    numbers = {name: number for number, name in enumerate(classes)}

    def index_of(label: str | int, video: Video) -> int:
        if str(label) in numbers:
            return numbers[str(label)]
        if isinstance(label, str):
            raise UsageError(
                f"{video.origin}: {origin} has no class '{label}'{did_you_mean(label, classes)}; "
                + (
                    "the class list is made from the training split alone: add videos of it there, or take these away"
                    if origin == "the training split"
                    else "add it there, or leave classes out to make the list from the training split"
                )
            )
        if not 0 <= label < len(classes):
            raise UsageError(
                f"{video.origin}: label {label} is out of range; the {len(classes)} classes of {origin} "
                f"are numbered 0 to {len(classes) - 1}"
            )
        return label

    return [tuple(index_of(label, video) for label in video.labels) for video in videos]


def split_per_class(
    videos: Sequence[Video], fraction: float, shuffle: Callable[[str, int], Sequence[int]]
) -> tuple[list[Video], list[Video]]:
    """Take a share of each class away from the training videos; a class with two videos or more keeps one in each.

    Args:
        videos: labelled videos; the first label counts.
        fraction: share of each class for validation, between 0 and 1.
        shuffle: gives a permutation of n for a class name; it must not depend on the other classes.

    Returns:
        What remains for training, and what was taken for validation.
    """
    by_class: dict[str, list[int]] = {}
    for number, video in enumerate(videos):
        by_class.setdefault(str(video.labels[0]), []).append(number)
    taken: set[int] = set()
    for name, members in by_class.items():
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        taken.update(members[place] for place in shuffle(name, len(members))[:count])
    train = [video for number, video in enumerate(videos) if number not in taken]
    return train, [video for number, video in enumerate(videos) if number in taken]
