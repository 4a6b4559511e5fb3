"""The dict form of boxes, and what is said to those who give another."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightframe.detection import CocoMAP, VocMAP
from lightframe.detection.boxes import to_rows
from lightframe.errors import UsageError


def output(count: int = 2, **changes: Any) -> dict[str, Any]:
    boxes = torch.tensor([[1.0, 2.0, 3.0, 5.0]]).expand(count, 4)
    return {"boxes": boxes, "labels": torch.arange(count), "scores": torch.linspace(0, 1, count)} | changes


def target(count: int = 2, **changes: Any) -> dict[str, Any]:
    return {"boxes": torch.rand(count, 4), "labels": torch.arange(count)} | changes


def test_rows() -> None:
    wanted = target(2, iscrowd=torch.tensor([0, 1]), area=torch.tensor([7, 8]), image_id=torch.tensor([42]))
    detections, objects, images = to_rows([output(1), output(0)], [target(0), wanted], "iscrowd")
    assert detections.tolist() == [[1, 2, 3, 5, 0, 0]]
    assert torch.equal(objects[:, :4], wanted["boxes"].double())
    assert objects[:, 4:].tolist() == [[0, 0, 7], [1, 1, 8]]
    assert images[:, :2].tolist() == [[1, 0], [0, 2]]
    assert images[:, 2].isnan().tolist() == [True, False]
    assert images[1, 2] == 42
    assert {rows.dtype for rows in (detections, objects, images)} == {torch.float64}


def test_nothing_is_rounded() -> None:
    """Neither float64 corners nor labels and ids that float32 does not have."""
    fine = torch.tensor([[0.1, 0.2, 1 / 3, 1e5 + 0.1]], dtype=torch.float64)
    many = torch.tensor([2**24 + 1])
    rows, _, images = to_rows([output(1, boxes=fine, labels=many)], [target(0, image_id=2**40 + 1)], "iscrowd")
    assert rows[0].tolist() == [*fine[0].tolist(), 2**24 + 1, 0]
    assert images[0, 2] == 2**40 + 1


@pytest.mark.parametrize("empty", [torch.tensor([]), torch.empty(0, 4), torch.empty(0, dtype=torch.long)])
def test_images_without_boxes(empty: Tensor) -> None:
    none = {"boxes": empty, "labels": torch.tensor([]), "scores": torch.tensor([])}
    rows = to_rows([none, output(1)], [target(1), none], "iscrowd")
    assert [part.shape for part in rows] == [(1, 6), (1, 7), (2, 3)]
    assert [part.shape for part in to_rows([], [], "iscrowd")] == [(0, 6), (0, 7), (0, 3)]


def test_types_may_differ_between_images() -> None:
    half = output(1, boxes=torch.ones(1, 4, dtype=torch.float16), labels=torch.tensor([300], dtype=torch.int32))
    rows, *_ = to_rows([half, output(1)], [target(0, image_id="a.jpg"), target(0)], "iscrowd")
    assert rows[:, :5].tolist() == [[1, 1, 1, 1, 300], [1, 2, 3, 5, 0]]


def test_gradients_are_left_behind() -> None:
    rows, *_ = to_rows([output(1, boxes=torch.rand(1, 4, requires_grad=True))], [target(0)], "iscrowd")
    assert not rows.requires_grad


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (torch.zeros(2, 5), [target()] * 2, r"outputs .* a list with a dict {boxes, labels, scores} .* not Tensor"),
        ({"pred": 1}, [target()], "outputs .* not dict"),
        ([output()], torch.tensor([1]), r"targets .* a list with a dict {boxes, labels} for each image, not Tensor"),
        ([torch.zeros(5)], [target()], "outputs .* not a list with a Tensor"),
        ([output()], [target()] * 2, "2 targets beside 1 outputs"),
        ([output(), {"boxes": torch.zeros(0, 4)}], [target()] * 2, r"outputs\[1\] has no 'labels', only \['boxes'\]"),
        ([target()], [target()], r"outputs\[0\] has no 'scores'"),
        ([output(boxes=[[0, 0, 1, 1]])], [target()], r"outputs\[0\]\['boxes'\] is a list, not a tensor"),
        ([output(boxes=torch.zeros(2, 5))], [target()], r"outputs\[0\]\['boxes'\] have shape \(2, 5\), not \(n, 4\)"),
        ([output()], [target(boxes=torch.zeros(4))], r"targets\[0\]\['boxes'\] have shape \(4,\), not \(n, 4\)"),
        ([output(labels=torch.zeros(2))], [target()], r"outputs\[0\]\['labels'\] are torch.float32, not whole numbers"),
        ([output()], [target(labels=torch.ones(2) > 0)], r"targets\[0\]\['labels'\] are torch.bool, not whole"),
        ([output(labels=torch.tensor([1]))], [target()], r"\['labels'\] have shape \(1,\) beside 2 boxes"),
        ([output(scores=torch.zeros(2, 91))], [target()], r"\['scores'\] have shape \(2, 91\) beside 2 boxes"),
        ([output()], [target(area=torch.zeros(3))], r"targets\[0\]\['area'\] have shape \(3,\) beside 2 boxes"),
    ],
)
@pytest.mark.parametrize("metric", [CocoMAP, VocMAP])
def test_other_forms(metric: type, outputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metric().update(outputs, targets)


def test_marks_of_ignored_objects() -> None:
    for metric, key in ((CocoMAP(), "iscrowd"), (VocMAP(), "difficult")):
        with pytest.raises(UsageError, match=rf"\['{key}'\] have shape \(3,\) beside 2 boxes"):
            metric.update([output()], [target(**{key: torch.zeros(3)})])


def test_torchvisions_boxes_of_another_layout() -> None:
    from torchvision.tv_tensors import BoundingBoxes

    boxes = BoundingBoxes([[1, 2, 3, 4]], format="XYWH", canvas_size=(9, 9))
    with pytest.raises(UsageError, match=r"targets\[0\]\['boxes'\] are XYWH: convert them to XYXY"):
        to_rows([output(1)], [target(1, boxes=boxes)], "iscrowd")
    boxes = BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(9, 9))
    rows = to_rows([output(1)], [target(1, boxes=boxes)], "iscrowd")[1]
    assert type(rows) is Tensor
    assert rows[0, :4].tolist() == [1, 2, 3, 4]
