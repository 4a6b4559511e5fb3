import re
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor

from lightframe import UsageError
from lightframe.evaluation.samples import Samples
from lightframe.evaluation.whole_set_metric import WholeSetMetric

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(2500, 5, generator=GENERATOR)
LABELS = torch.randint(0, 4, (2500,), generator=GENERATOR)
RIGHT = float((SCORES.argmax(1) == LABELS).double().mean())


def samples(count: int = 2500) -> Samples:
    made = Samples()
    made.append(list(range(count)), SCORES[:count], LABELS[:count])
    return made


def share(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).double().mean()


def several(outputs: Tensor, targets: Tensor) -> dict[str, Any]:
    return {"right": share(outputs, targets), "count": len(targets)}


class Share:
    """Neither a torchmetrics metric nor a function."""

    def __init__(self) -> None:
        self.right = self.count = 17  # of something that was computed before

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.right += int((outputs.argmax(1) == targets).sum())
        self.count += len(targets)

    def compute(self) -> float:
        return self.right / self.count

    def reset(self) -> None:
        self.right = self.count = 0


FORMS: list[tuple[Any, list[str]]] = [
    ("top1", ["top1"]),
    (["top1", share], ["top1", "share"]),
    ({"mine": "top1", "own": share, "top1": None}, ["mine", "own", "top1"]),
    ({"name": "top1"}, ["top1"]),
    (share, ["share"]),
    (lambda outputs, targets: {"right": share(outputs, targets)}, ["right"]),
    (Share(), ["Share"]),
    ({"mine": Share()}, ["mine"]),
    (f"{__name__}.share", ["share"]),
    ({"mine": f"{__name__}.share"}, ["mine"]),
    (torchmetrics.classification.MulticlassAccuracy(5, average="micro"), ["MulticlassAccuracy"]),
    (
        torchmetrics.MetricCollection({"a": torchmetrics.classification.MulticlassAccuracy(5, average="micro")}),
        ["a"],
    ),
    ({"torchmetrics.classification.MulticlassAccuracy": {"average": "micro"}}, ["MulticlassAccuracy"]),
]


@pytest.mark.parametrize(("metric", "names"), FORMS)
def test_forms(metric: Any, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(share=share))
    values = WholeSetMetric(metric)(samples())
    assert list(values) == names
    assert [float(value) for value in values.values()] == pytest.approx([RIGHT] * len(names), abs=1e-7)


def test_a_function_gets_the_whole_set() -> None:
    values = WholeSetMetric(several)(samples())
    assert {name: float(value) for name, value in values.items()} == {"right": RIGHT, "count": 2500}


def test_again() -> None:
    """Nothing of one evaluation is left in the next."""
    for metric in ("top1", Share(), torchmetrics.classification.MulticlassAccuracy(5, average="micro")):
        whole = WholeSetMetric(metric)
        first, other, again = (float(*whole(samples(count)).values()) for count in (2500, 3, 2500))
        assert first == again == pytest.approx(RIGHT)
        assert other == pytest.approx(float(share(SCORES[:3], LABELS[:3])))


def test_number_of_classes() -> None:
    """Of the outputs, or as it is given: torchmetrics' confusion matrix shows which."""
    assert WholeSetMetric("confusion_matrix")(samples())["confusion_matrix"].shape == (5, 5)
    with pytest.raises(UsageError, match="as num_classes says"):
        WholeSetMetric("confusion_matrix")(samples(), num_classes=7)


def test_class_names() -> None:
    """They reach the metrics that have a use for them."""
    made, box = Samples(), torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    made.append(
        [0],
        [{"boxes": box, "labels": torch.tensor([1]), "scores": torch.ones(1)}],
        [{"boxes": box, "labels": torch.tensor([1])}],
    )
    values = WholeSetMetric({"coco_map": {"class_metrics": True}})(made, classes=["background", "cat"])
    assert [float(values[name]) for name in ("AP/cat", "AP50")] == pytest.approx([1, 1])


def nothing(outputs: Tensor, targets: Tensor) -> None:
    pass


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (None, "EvalTotal needs a metric"),
        ([], "EvalTotal needs a metric"),
        ("top_1", "did you mean 'top1'"),
        ("top1.5", "there is no module 'top1'"),
        ({"top1": {"wide": 3}}, "it takes no 'wide'"),
        (7, "metrics may be"),
    ],
)
def test_refused_at_once(metric: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        WholeSetMetric(metric)


def test_refused_when_computed() -> None:
    with pytest.raises(UsageError, match="metric 'nothing' must return a number, or a dict"):
        WholeSetMetric(nothing)(samples())
    with pytest.raises(UsageError, match="two metrics of EvalTotal give 'top1'"):
        WholeSetMetric(["top1", lambda outputs, targets: {"top1": 1.0}])(samples())
