"""COCO's figures against pycocotools run by hand on the same boxes."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightframe.detection import CocoMAP

FIGURES = [
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
]


def xywh(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def write_json(outputs: Any, targets: Any, folder: Path) -> tuple[str, str]:
    """An annotation file and a file of results, as COCO has them."""
    ids = [target.get("image_id", place) for place, target in enumerate(targets)]
    annotations: list[dict[str, Any]] = []
    for image, target in zip(ids, targets, strict=True):
        for i, box in enumerate(target["boxes"].tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": target["labels"][i].item(),
                    "bbox": xywh(box),
                    "iscrowd": target["iscrowd"][i].item() if "iscrowd" in target else 0,
                    "area": target["area"][i].item() if "area" in target else xywh(box)[2] * xywh(box)[3],
                }
            )
    results = [
        {"image_id": image, "category_id": label, "bbox": xywh(box), "score": score}
        for image, output in zip(ids, outputs, strict=True)
        for box, label, score in zip(*(output[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
    ]
    labels = {label for images in (outputs, targets) for image in images for label in image["labels"].tolist()}
    dataset = {
        "images": [{"id": image} for image in ids],
        "annotations": annotations,
        "categories": [{"id": label} for label in sorted(labels)],
    }
    paths = folder / "annotations.json", folder / "results.json"
    for path, content in zip(paths, (dataset, results), strict=True):
        path.write_text(json.dumps(content))
    return str(paths[0]), str(paths[1])


def by_hand(outputs: Any, targets: Any, folder: Path) -> COCOeval:
    """pycocotools from the files to the figures."""
    annotations, results = write_json(outputs, targets, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        if json.loads(Path(results).read_text()):
            found = truth.loadRes(results)
        else:  # loadRes fails on an empty file
            found = COCO()
            found.dataset = truth.dataset | {"annotations": []}
            found.createIndex()
        return evaluate(COCOeval(truth, found, "bbox"))


def evaluate(evaluation: COCOeval) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def figures(outputs: Any, targets: Any, batch: int = 4, **settings: Any) -> dict[str, float]:
    metric = CocoMAP(**settings)
    metric.update([], [])
    for i in range(0, len(outputs), batch):
        metric.update(outputs[i : i + batch], targets[i : i + batch])
    return {name: value.item() for name, value in metric.compute().items()}


def expected(outputs: Any, targets: Any, folder: Path) -> dict[str, float]:
    return dict(zip(FIGURES, by_hand(outputs, targets, folder).stats.tolist(), strict=True))


SETS = {
    "any corners": {},
    "float64": {"dtype": torch.float64},
    "no extras": {"extras": False},
    "whole corners": {"grid": 5},
    "equal scores": {"scores": 4},
    "whole corners and equal scores": {"grid": 3, "scores": 3, "classes": 2},
    "crowded": {"grid": 9, "classes": 3, "objects": 40, "detections": 120, "images": 12},
    "above 100 of a class": {"classes": 2, "objects": 60, "detections": 420, "images": 6},
    "above 100, equal scores": {"classes": 2, "objects": 60, "detections": 420, "images": 6, "scores": 20},
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SETS)
def test_figures(make_set: Any, tmp_path: Path, name: str, seed: int) -> None:
    outputs, targets = make_set(seed=seed, **SETS[name])
    if name.startswith("above 100"):
        counts = [torch.bincount(output["labels"]).max() for output in outputs if len(output["labels"])]
        assert max(counts) > 100
    values = figures(outputs, targets)
    assert values == expected(outputs, targets, tmp_path)
    assert list(values) == FIGURES
    assert 0 < values["AP"] < values["AP50"] < 1


def test_areas_on_the_bounds(tmp_path: Path) -> None:
    """Of exactly 32² and 96² pixels, which are of both sizes; some found, some not, some found where nothing is."""
    sizes = torch.tensor([[32.0, 32], [16, 64], [96, 96], [48, 192], [31, 32], [96, 97]]).repeat(4, 1)
    corners = (torch.arange(len(sizes)) * 200.0)[:, None].expand(-1, 2)
    boxes = torch.cat([corners, corners + sizes], 1)
    labels = torch.arange(len(sizes)) % 2
    target = {"boxes": boxes[:18], "labels": labels[:18]}
    scores = torch.linspace(1, 0, 18)[torch.randperm(18, generator=torch.Generator().manual_seed(0))]
    output = {"boxes": boxes[6:], "labels": labels[6:], "scores": scores}
    values = figures([output], [target])
    assert values == expected([output], [target], tmp_path)
    assert 0 < values["AP_medium"] < 1


@pytest.mark.parametrize("name", ["any corners", "whole corners and equal scores"])
def test_classes(make_set: Any, tmp_path: Path, name: str) -> None:
    """Each as pycocotools gives it alone; a class of detections only has none."""
    outputs, targets = make_set(seed=5, **SETS[name])
    labels = sorted({label for target in targets for label in target["labels"].tolist()})
    for target in targets:
        target["iscrowd"][target["labels"] == labels[0]] = 1  # none to find of this one
    values = figures(outputs, targets, class_metrics=True)
    evaluation = by_hand(outputs, targets, tmp_path)
    assert [name for name in values if "/" in name] == [f"AP/{label}" for label in labels]
    assert values["AP/3"] == -1
    for label in labels:
        evaluation.params.catIds = [label]
        assert values[f"AP/{label}"] == evaluate(evaluation).stats[0]


@pytest.mark.parametrize("missing", ["objects", "detections", "both", "images"])
def test_nothing(make_set: Any, tmp_path: Path, missing: str) -> None:
    outputs, targets = make_set()
    if missing in ("objects", "both"):
        targets = [{key: value[:0] for key, value in t.items() if key != "image_id"} for t in targets]
    if missing in ("detections", "both"):
        outputs = [{key: value[:0] for key, value in o.items()} for o in outputs]
    if missing == "images":
        outputs, targets = [], []
    values = figures(outputs, targets)
    assert values == (dict.fromkeys(FIGURES, -1.0) if missing == "images" else expected(outputs, targets, tmp_path))
    assert values["AP"] == (0 if missing == "detections" else -1)


def test_by_hand() -> None:
    """Two cats, one found at an IoU of 0.6; a crowd swallows one detection, and nothing is to be found of the dog."""
    boxes = torch.tensor([[0.0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 600, 200]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 1, 1]), "iscrowd": torch.tensor([0, 0, 1])}
    found = torch.tensor([[0.0, 0, 100, 60], [450, 50, 500, 100], [0, 0, 9, 9]])
    output = {"boxes": found, "labels": torch.tensor([1, 1, 2]), "scores": torch.tensor([0.5, 0.9, 1.0])}
    values = figures([output], [target], class_metrics=True, classes=["background", "cat", "dog"])
    half = 51 / 101  # the recalls 0, 0.01, ..., 0.5 are reached with a precision of 1
    assert values["AP50"] == pytest.approx(half, abs=1e-15)
    assert values["AP75"] == 0
    assert values["AP"] == values["AP/cat"] == pytest.approx(half * 3 / 10, abs=1e-15)  # at 0.5, 0.55 and 0.6
    assert values["AR_100"] == pytest.approx(0.5 * 3 / 10, abs=1e-15)
    assert values["AP_small"] == -1
    assert "AP/dog" not in values


def test_names_of_classes(make_set: Any) -> None:
    """Torchvision's lists have a name several times for labels that are not used."""
    outputs, targets = make_set(seed=1, classes=6)
    names = ["N/A"] * 20
    names[6] = "cat"
    values = figures(outputs, targets, class_metrics=True, classes=names[:10])
    assert [name for name in values if "/" in name] == ["AP/3", "AP/cat", "AP/9", "AP/12", "AP/15"]


def test_nothing_is_printed(make_set: Any, capsys: pytest.CaptureFixture[str]) -> None:
    figures(*make_set())
    assert capsys.readouterr() == ("", "")


def test_boxes_that_are_not_numbers_match_nothing(make_set: Any) -> None:
    outputs, targets = make_set()
    before = figures(outputs, targets)
    for output in outputs:
        output["boxes"] = torch.cat([output["boxes"], torch.full((1, 4), torch.nan)])
        output["labels"] = torch.cat([output["labels"], torch.tensor([6])])
        output["scores"] = torch.cat([output["scores"], torch.tensor([-1.0])])
    assert figures(outputs, targets) == pytest.approx(before)


def test_pycocotools_has_the_values_of_coco() -> None:
    """The names of the figures say them."""
    params = COCOeval(iouType="bbox").params
    assert np.allclose(params.iouThrs, np.arange(0.5, 1, 0.05))
    assert len(params.recThrs) == 101
    assert params.maxDets == [1, 10, 100]
    assert params.areaRng == [[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]]
