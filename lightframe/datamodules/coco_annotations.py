"""COCO's annotation files: read by torchvision and pycocotools, and checked before any training starts."""

import io
import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightframe.errors import UsageError

if TYPE_CHECKING:
    from torchvision.datasets import CocoDetection

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_coco(annotations: Path, images: Path) -> "CocoDetection":
    """The images and boxes that a file of COCO's format lists.

    What a box may lack is put in: `iscrowd` 0, and `area` its width times its height. Outlines are dropped.

    Args:
        annotations: the .json file.
        images: the folder to which its file names refer.

    Raises:
        UsageError: the file or the folder does not exist, or an image is missing there; the file is not of COCO's
            format; an annotation is of an image or a category that the file does not list.
    """
    from torchvision.datasets import CocoDetection

    if not annotations.is_file():
        raise UsageError(f"there is no annotation file '{annotations}'")
    if not images.is_dir():
        raise UsageError(f"there is no folder '{images}' for the images of '{annotations}'")
    try:
        with redirect_stdout(io.StringIO()):  # pycocotools tells what it does
            found = CocoDetection(str(images), str(annotations))
        complete(found.coco.dataset)
    except (ValueError, AssertionError, KeyError, TypeError, AttributeError) as error:
        # What pycocotools, which checks nothing, stumbles over.
        reason = f"something in it has no {error}" if isinstance(error, KeyError) else str(error).split("\n")[0][:120]
        raise UsageError(
            f"'{annotations}' is no annotation file of COCO's format ({reason}): it must list images, annotations and "
            "categories"
        ) from None
    check_missing(images, [image["file_name"] for image in found.coco.dataset["images"]], annotations)
    return found


def complete(dataset: Mapping[str, Any]) -> None:
    """Check the content of an annotation file, and put into its boxes what they may lack.

    Raises:
        KeyError, TypeError, ValueError: it is not as COCO's format says; the message names the entry.

    >>> box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 2]}
    >>> complete({"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [], "annotations": [box]})
    Traceback (most recent call last):
    ...
    ValueError: annotation 1 is of category 3, which is not listed
    """
    images, categories, annotations = (_entries(dataset, name) for name in ("images", "categories", "annotations"))
    for one in images.values():
        if not isinstance(one["file_name"], str):
            raise ValueError(f"the file_name of image {one['id']} is {one['file_name']!r}")
    if len({category["name"] for category in categories.values()}) < len(categories):
        raise ValueError("two categories have one name")
    if not images:
        raise ValueError("it lists no image")
    over = 0
    for number, box in annotations.items():
        for kind, known in (("image", images), ("category", categories)):
            if box[f"{kind}_id"] not in known:
                raise ValueError(f"annotation {number} is of {kind} {box[f'{kind}_id']}, which is not listed")
        sides = box["bbox"]
        if len(sides) != 4 or not all(math.isfinite(side) for side in sides):
            raise ValueError(f"the bbox of annotation {number} is {sides!r}, not x, y, width, height")
        if min(sides[2:]) < 0:
            raise ValueError(f"the width or height of the bbox of annotation {number} is negative: {sides!r}")
        over += _reaches_over(sides, images[box["image_id"]])
        box.setdefault("iscrowd", 0)
        box.setdefault("area", sides[2] * sides[3])
        box.pop("segmentation", None)  # most of the memory, and nobody here asks for it
    if over > max(len(annotations) / 2, 2):  # one or two say nothing of the form
        raise ValueError(
            f"{over} of the {len(annotations)} boxes reach over their image: are they x1, y1, x2, y2? COCO's are x, y, "
            "width, height"
        )


def _reaches_over(box: Sequence[float], image: Mapping[str, Any]) -> bool:
    """Whether a box ends far behind the image, where that says how large it is."""
    ends = zip(box[:2], box[2:], (image.get("width"), image.get("height")), strict=True)
    return any(isinstance(size, int) and 0 < 1.1 * size < start + length for start, length, size in ends)


def _entries(dataset: Mapping[str, Any], name: str) -> dict[int, Any]:
    """The entries of a list by their numbers, which must differ."""
    entries = dataset[name]
    if not isinstance(entries, list):
        raise TypeError(f"'{name}' is no list")
    by_id = {entry["id"]: entry for entry in entries}
    if len(by_id) < len(entries):
        twice = Counter(entry["id"] for entry in entries).most_common(1)[0][0]
        raise ValueError(f"id {twice} occurs twice in '{name}'")
    if any(type(number) is not int for number in by_id):
        raise ValueError(f"an id in '{name}' is not a whole number")
    return by_id


def check_missing(folder: Path, names: Sequence[str], source: Path) -> None:
    """Raise a UsageError that names one unless all these files stand in `folder`."""
    parents = {os.path.dirname(name) for name in names}  # noqa: PTH120  # on 100,000 names ten times as quick
    # A folder is listed once: asking for each file takes minutes on a network's disk.
    there = {os.path.join(parent, name) for parent in parents for name in _list(folder / parent)}  # noqa: PTH118
    missing = [name for name in names if name not in there and not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"{len(missing)} of the {len(names)} images of '{source}' are not in '{folder}', '{missing[0]}' for one: "
            "give the annotation file together with the folder of its images, [annotations.json, images]"
        )


def _list(folder: Path) -> Iterable[str]:
    return os.listdir(folder) if folder.is_dir() else ()  # noqa: PTH208  # names, not paths


def coco_of_folder(folder: Path) -> "CocoDetection":
    """All images in a folder, in the order of their names, as an annotation file would list them, without boxes.

    Raises:
        UsageError: the folder does not exist or holds no image.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'")
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
    if not names:
        raise UsageError(f"there is no image in '{folder}'")
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "images.json")
        path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
        return read_coco(path, folder)


def category_names(found: "CocoDetection") -> list[str]:
    """The names of a file's categories, in the order of their ids."""
    return [found.coco.cats[number]["name"] for number in sorted(found.coco.cats)]


def category_labels(found: "CocoDetection", classes: Sequence[str], source: str) -> dict[int, int]:
    """The label of each category: its place in `classes`, whose first is the background.

    Raises:
        UsageError: a category that has annotations is none of the classes.
    """
    places = {name: place for place, name in enumerate(classes)}
    labels = {number: places[one["name"]] for number, one in found.coco.cats.items() if one["name"] in places}
    for number, box in found.coco.anns.items():
        if box["category_id"] not in labels:
            name = found.coco.cats[box["category_id"]]["name"]
            raise UsageError(
                f"annotation {number} of '{source}' is of category '{name}', which is none of the classes "
                f"({', '.join(classes[1:])})"
            )
    return labels
