import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightframe.datamodules import SyntheticCocoDataModule
from lightframe.datamodules.synthetic_coco import SHAPES, draw_image
from lightframe.errors import UsageError

TINY = {"train_images": 6, "eval_images": 3, "image_size": 64, "num_workers": 0}


def write(root: Path, **settings: Any) -> SyntheticCocoDataModule:
    data = SyntheticCocoDataModule(str(root), **{**TINY, **settings})
    data.prepare_data()
    return data


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def alone(name: str, size: int = 96) -> list[tuple[np.ndarray, Any]]:
    """Ten images with nothing but one such shape."""
    found: list[tuple[np.ndarray, Any]] = []
    seed = 0
    while len(found) < 10:
        pixels, shapes = draw_image(np.random.default_rng(seed), size, max_shapes=1)
        seed += 1
        if [shape.name for shape in shapes] == [name]:
            found.append((pixels, shapes[0]))
    return found


def mask_of(pixels: np.ndarray, shape: Any) -> np.ndarray:
    """The pixels with the colour of the middle of the box, which every shape covers; some way round the box, too."""
    x, y, width, height = shape.box
    mask = (pixels == pixels[y + height // 2, x + width // 2]).all(axis=-1)
    near = np.zeros_like(mask)
    near[max(y - 8, 0) : y + height + 8, max(x - 8, 0) : x + width + 8] = True
    return mask & near


@pytest.mark.parametrize("name", SHAPES)
def test_boxes_reach_round_the_shapes_pixels(name: str) -> None:
    for pixels, shape in alone(name):
        rows, columns = mask_of(pixels, shape).nonzero()
        x, y, width, height = shape.box
        # Pixels at the edge are blended with what is behind, so up to one on each side has another colour.
        for found, expected in (
            (columns.min(), x),
            (rows.min(), y),
            (columns.max(), x + width - 1),
            (rows.max(), y + height - 1),
        ):
            assert abs(int(found) - expected) <= 2
        assert 0 <= x < x + width <= 96
        assert 0 <= y < y + height <= 96
        assert 0.15 * 96 - 3 <= max(width, height) <= 0.44 * 96 + 2


@pytest.mark.parametrize(("name", "corners"), [("square", 4), ("triangle", 3), ("circle", None)])
def test_areas_are_those_of_the_figures(name: str, corners: int | None) -> None:
    """The farthest pixel from the centre of gravity gives the radius, and that the area."""
    for pixels, shape in alone(name, size=256):
        points = np.argwhere(mask_of(pixels, shape))
        radius = np.linalg.norm(points - points.mean(axis=0), axis=1).max() + 0.5
        figure = np.pi if corners is None else corners / 2 * np.sin(2 * np.pi / corners)
        assert shape.area == pytest.approx(figure * radius**2, rel=0.12)


def test_shapes_overlap_a_little_and_some_images_have_none() -> None:
    from torchvision.ops import box_convert, box_iou

    counts, overlaps, names = [], [], []
    for seed in range(300):
        _, shapes = draw_image(np.random.default_rng(seed), 64, max_shapes=4)
        counts.append(len(shapes))
        names += [shape.name for shape in shapes]
        if len(shapes) > 1:
            boxes = box_convert(torch.tensor([shape.box for shape in shapes]).float(), "xywh", "xyxy")
            overlaps.append(box_iou(boxes, boxes).fill_diagonal_(0).max().item())
    assert set(counts) == {0, 1, 2, 3, 4}
    assert 15 <= counts.count(0) <= 50
    assert 0.2 < max(overlaps) <= 0.3
    assert min(names.count(name) for name in SHAPES) > len(names) / 4


def test_the_files_are_what_pycocotools_reads(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    write(tmp_path / "world")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "world" / "annotations" / "instances_val.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(SHAPES)
    for number in coco.getImgIds():
        (listed,) = coco.loadImgs(number)
        with Image.open(tmp_path / "world" / "val" / listed["file_name"]) as image:
            assert image.size == (listed["width"], listed["height"]) == (64, 64)
            pixels, shapes = draw_image(np.random.default_rng([0, 1, number]), 64, 4)
            assert (np.asarray(image) == pixels).all()
        boxes = coco.loadAnns(coco.getAnnIds(number))
        assert [tuple(box["bbox"]) for box in boxes] == [shape.box for shape in shapes]
        assert [SHAPES[box["category_id"] - 1] for box in boxes] == [shape.name for shape in shapes]
    assert min(coco.getAnnIds()) == 1


def test_it_is_a_data_module(tmp_path: Path) -> None:
    data = SyntheticCocoDataModule(str(tmp_path / "world"), **TINY)
    assert data.num_classes == 4  # before anything is written
    data.prepare_data()
    data.setup("fit")
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [6, 3, 3]
    batch = next(iter(data.val_dataloader()))
    assert [tuple(image.shape) for image in batch.images] == [(3, 64, 64)] * 3


def test_two_folders_are_equal_byte_by_byte(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        write(tmp_path / name, seed=seed)
    one, again, other = (content(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert len(set(one.values())) == len(one)
    assert all(one[name] != other[name] for name in one)


def test_a_complete_set_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path / "world")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "world").rglob("*")}
    write(tmp_path / "world")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "world").rglob("*")} == before


@pytest.mark.parametrize("damage", ["missing", "short", "stopped"])
def test_what_is_not_whole_is_written_anew(tmp_path: Path, damage: str) -> None:
    root = tmp_path / "world"
    write(root)
    whole = content(root)
    path = root / "val" / "00001.png"
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.unlink()
    if damage == "stopped":
        manifest = root / "lightframe-synthetic.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": {}}))
    write(root)
    assert content(root) == whole


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="exists and was not written by lightframe"):
        write(tmp_path / "mine")
    write(tmp_path / "world")
    with pytest.raises(UsageError, match="holds a synthetic set with other settings"):
        write(tmp_path / "world", seed=1)


@pytest.mark.parametrize("settings", [{"train_images": 0}, {"max_shapes": 0}, {"image_size": 31}])
def test_settings(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be at least 1, image_size at least 32"):
        SyntheticCocoDataModule(**settings)
