"""Where the annotation file and the images of each split of a detection set stand."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lightframe.errors import UsageError

# An annotation file, whose images stand in its own folder; or both; to predict, a folder of images alone.
Source = str | os.PathLike[str] | list[str]


class Split(NamedTuple):
    """The images of a split.

    Attributes:
        annotations: the .json file; None for a folder of images to predict.
        images: the folder to which its file names refer.
    """

    annotations: Path | None
    images: Path


def read_source(name: str, source: Source) -> Split:
    """A split as it was given.

    Raises:
        UsageError: it is neither of the forms.

    >>> read_source("train", ["instances.json", "images"])
    Split(annotations=PosixPath('instances.json'), images=PosixPath('images'))
    """
    for part in source if isinstance(source, list | tuple) else [source]:
        if not isinstance(part, str | os.PathLike):
            raise UsageError(f"{name}: give paths, [annotations.json, images], not {part!r}")
    if isinstance(source, list | tuple):
        if len(source) != 2:
            raise UsageError(f"{name}: give [annotations.json, images], not {len(source)} paths")
        return Split(Path(source[0]), Path(source[1]))
    path = Path(source)
    if name == "predict" and path.is_dir():
        return Split(None, path)
    if path.is_dir():
        raise UsageError(f"{name}: '{path}' is a folder; give the annotation file, or [annotations.json, images]")
    return Split(path, path.parent)


def find_split(root: Path, name: str) -> Split | None:
    """A split in a folder laid out as COCO's or as Roboflow's exports; None where there is none.

    COCO's: `annotations/instances_val2017.json` and `val2017/`, with or without the year. Roboflow's:
    `valid/_annotations.coco.json` beside its images.

    Raises:
        UsageError: there are several, as of two years.
    """
    found = sorted((root / "annotations").glob(f"instances_{name}*.json"))
    if len(found) > 1:
        raise UsageError(
            f"'{found[0].parent}' holds {found[0].name} and {found[1].name}: say which, "
            f"{name}=[annotations.json, images]"
        )
    if found:
        return Split(found[0], root / found[0].stem.removeprefix("instances_"))
    beside = root / ("valid" if name == "val" else name) / "_annotations.coco.json"
    return Split(beside, beside.parent) if beside.is_file() else None


def find_splits(root: Source | None, given: Mapping[str, Source | None]) -> dict[str, Split]:
    """Every split that there is.

    Args:
        root: folder of all splits.
        given: single ones, which win over `root`; None where there is none.

    Raises:
        UsageError: `root` is no folder, or a source has none of the forms.
    """
    splits = {name: read_source(name, source) for name, source in given.items() if source is not None}
    if root is None:
        return splits
    if isinstance(root, list) or not Path(root).is_dir():
        raise UsageError(f"root: there is no folder '{root}'")
    missing = [name for name in given if name not in splits]
    return splits | {name: split for name in missing if (split := find_split(Path(root), name)) is not None}
