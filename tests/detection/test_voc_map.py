"""VOC's average precision against a plain loop, and by hand."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from lightframe.detection import VocMAP
from lightframe.detection.voc_map import average_precision
from lightframe.errors import UsageError


def area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = width * height if width > 0 and height > 0 else 0.0
    return shared / (area(a) + area(b) - shared)


def plain(outputs: Any, targets: Any, label: int, threshold: float, method: str) -> float | None:
    """One detection after the other, as VOC's paper and kit describe it; None when there is nothing to find."""
    order = sorted(range(len(targets)), key=lambda i: targets[i].get("image_id", i))
    wanted: dict[int, list[tuple[list[float], bool]]] = {}
    found = []
    for i in order:
        difficult = targets[i].get("difficult", torch.zeros(len(targets[i]["labels"]), dtype=torch.bool)).tolist()
        rows = zip(targets[i]["boxes"].tolist(), targets[i]["labels"].tolist(), difficult, strict=True)
        wanted[i] = [(box, hard) for box, of, hard in rows if of == label]
        rows = zip(*(outputs[i][key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
        found += [(score, i, box) for box, of, score in rows if of == label]
    positives = sum(not hard for objects in wanted.values() for _, hard in objects)
    if not positives:
        return None
    taken, marks = set(), []
    for _, i, box in sorted(found, key=lambda row: -row[0]):  # stable
        best, at = -1.0, -1
        for j, (other, _) in enumerate(wanted[i]):
            if iou(box, other) > best:
                best, at = iou(box, other), j
        if best < threshold:
            marks.append(False)
        elif not wanted[i][at][1]:
            marks.append((i, at) not in taken)
            taken.add((i, at))
    points, right = [], 0
    for count, mark in enumerate(marks, start=1):
        right += mark
        points.append((Fraction(right, positives), Fraction(right, count)))
    if method == "11point":
        tenths = [[p for r, p in points if r >= Fraction(j, 10)] for j in range(11)]
        return float(sum(max(ps, default=Fraction(0)) for ps in tenths) / 11)
    total, last = Fraction(0), Fraction(0)
    for recall in sorted({r for r, _ in points}):
        total += (recall - last) * max(p for r, p in points if r >= recall)
        last = recall
    return float(total)


@pytest.mark.parametrize("method", ["area", "11point"])
@pytest.mark.parametrize("threshold", [0.5, 0.75])
@pytest.mark.parametrize(
    "settings",
    [{}, {"extras": False}, {"grid": 4, "scores": 5}, {"grid": 3, "classes": 3, "detections": 60}, {"objects": 3}],
)
def test_figures(make_set: Any, settings: dict[str, Any], threshold: float, method: Any) -> None:
    outputs, targets = make_set(seed=3, **settings)
    metric = VocMAP(threshold, method, class_metrics=True)
    for i in range(0, len(outputs), 4):
        metric.update(outputs[i : i + 4], targets[i : i + 4])
    values = {name: value.item() for name, value in metric.compute().items()}
    labels = sorted({label for target in targets for label in target["labels"].tolist()})
    expected = {label: plain(outputs, targets, label, threshold, method) for label in labels}
    assert values == pytest.approx(
        {"mAP": np.mean(list(expected.values())), **{f"mAP/{label}": value for label, value in expected.items()}},
        rel=1e-13,
    )
    assert 0 < values["mAP"] < 1


def compute(found: list[Any], wanted: list[Any], **settings: Any) -> float:
    """mAP of one image and class: found are (box, score), wanted (box, difficult)."""
    output = {
        "boxes": torch.tensor([box for box, _ in found], dtype=torch.float32),
        "labels": torch.ones(len(found), dtype=torch.long),
        "scores": torch.tensor([score for _, score in found], dtype=torch.float32),
    }
    target = {
        "boxes": torch.tensor([box for box, _ in wanted], dtype=torch.float32),
        "labels": torch.ones(len(wanted), dtype=torch.long),
        "difficult": torch.tensor([hard for _, hard in wanted], dtype=torch.bool),
    }
    metric = VocMAP(**settings)
    metric.update([output], [target])
    return metric.compute()["mAP"].item()


A, B = [0, 0, 10, 10], [20, 0, 30, 10]


@pytest.mark.parametrize(
    ("found", "wanted", "value"),
    [
        ([(A, 0.9), (B, 0.8)], [(A, False), (B, False)], 1.0),
        ([], [(A, False)], 0.0),
        ([(A, 0.9), (A, 0.8), (B, 0.7)], [(A, False), (B, False)], (1 + 2 / 3) / 2),  # the second on A is wrong
        ([(A, 0.9), (A, 0.8), (B, 0.7)], [(A, True), (B, False)], 1.0),  # those on a difficult one count neither way
        ([(B, 0.9), (A, 0.8)], [(A, False)], 0.5),
        ([([0, 0, 10, 5], 0.9)], [(A, False)], 1.0),  # an IoU of the threshold is enough
        ([([0, 0, 10, 4.999], 0.9)], [(A, False)], 0.0),
        # The best object is taken: no other is looked at, though it lies well enough on the one below, too.
        ([(A, 0.9), ([0, 0, 10, 10.5], 0.8)], [(A, False), ([0, 0, 10, 12], False)], 0.5),
        # Of two that lie alike the first is looked at.
        ([(A, 0.9)], [(A, True), (A, False)], 0.0),
        ([(A, 0.9)], [(A, False), (A, True)], 1.0),
        # Continuous corners: with the kit's pixels this IoU would be 5 * 11 / (11 * 11) < 0.5.
        ([([0, 0, 10, 5], 0.9)], [([0, 0, 10, 10], False)], 1.0),
    ],
)
def test_by_hand(found: list[Any], wanted: list[Any], value: float) -> None:
    assert compute(found, wanted) == pytest.approx(value, abs=1e-15)


def test_the_kits_pixels() -> None:
    """One more at x2 and y2 of all boxes: 6 of 11 rows are 0.545, not 0.5."""
    found, wanted = [([0, 0, 11, 6], 0.9)], [([0, 0, 11, 11], False)]
    assert compute(found, wanted, iou_threshold=0.54) == 1
    assert compute(found, wanted, iou_threshold=0.55) == 0


def test_eleven_points_in_whole_numbers() -> None:
    """3 of 10 have the recall 0.3, though 3 * 0.1 is above 0.3 in floats: 0, 0.1, 0.2 and 0.3 are reached."""
    assert average_precision(np.ones(3, dtype=bool), 10, "11point") == pytest.approx(4 / 11, abs=1e-15)


def test_nothing_to_find() -> None:
    assert np.isnan(compute([(A, 0.9)], []))
    assert np.isnan(compute([(A, 0.9)], [(A, True)]))
    metric = VocMAP()
    metric.update([], [])
    assert np.isnan(metric.compute()["mAP"].item())


def test_a_class_without_objects_to_find_is_not_in_the_mean() -> None:
    """Of label 1 there is a difficult object, of 2 none; 3 is found."""
    target = {
        "boxes": torch.tensor([A, B], dtype=torch.float32),
        "labels": torch.tensor([1, 3]),
        "difficult": torch.tensor([True, False]),
    }
    output = {
        "boxes": torch.tensor([A, A, B], dtype=torch.float32),
        "labels": torch.tensor([1, 2, 3]),
        "scores": torch.ones(3),
    }
    metric = VocMAP(class_metrics=True)
    metric.update([output], [target])
    values = {name: value.item() for name, value in metric.compute().items()}
    assert values == pytest.approx({"mAP": 1.0, "mAP/1": float("nan"), "mAP/3": 1.0}, nan_ok=True)


def test_arguments() -> None:
    with pytest.raises(UsageError, match="method is 'area' or '11point', not '11points'; did you mean '11point'"):
        VocMAP(method="11points")  # type: ignore[arg-type]
    for threshold in (0.0, 1.1, 50):
        with pytest.raises(UsageError, match="iou_threshold is above 0 and at most 1"):
            VocMAP(iou_threshold=threshold)
