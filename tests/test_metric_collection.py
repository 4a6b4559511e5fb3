"""Every form of the `metrics` argument, and every error."""

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassRecall

from lightframe.errors import UnknownNameError, UsageError
from lightframe.metric_collection import build_metrics, check_metrics
from lightframe.metrics import METRICS

PATH = "torchmetrics.classification."
OWN = MetricCollection([MulticlassAccuracy(3), MulticlassRecall(3)], prefix="own/")
FORMS = {
    "none": (None, []),
    "empty": ([], []),
    "name": ("TOP1", ["top1"]),
    "list": (["top1", {"name": "auroc"}], ["auroc", "top1"]),
    "tuple": (("top1", "top5"), ["top1", "top5"]),
    "spec": ({"name": "f1"}, ["f1"]),
    "import path": (f"{PATH}MulticlassAUROC", ["MulticlassAUROC"]),
    "of labels": (f"{PATH}MultilabelF1Score", ["MultilabelF1Score"]),
    "without classes": (f"{PATH}BinaryAUROC", ["BinaryAUROC"]),
    "class_path": (
        {"class_path": f"{PATH}MulticlassAccuracy", "init_args": {"top_k": 2}},
        ["MulticlassAccuracy"],
    ),
    "task": ({"class_path": "torchmetrics.Accuracy", "init_args": {"task": "multiclass"}}, ["Accuracy"]),
    "metric": (MulticlassRecall(3), ["MulticlassRecall"]),
    "collection": (OWN, ["own/MulticlassAccuracy", "own/MulticlassRecall"]),
    "mixed list": (["top1", OWN], ["own/MulticlassAccuracy", "own/MulticlassRecall", "top1"]),
    "dict of arguments": ({"Top1": None, "top3": {"k": 2}}, ["top1", "top3"]),
    "dict of free keys": (
        {"a": "top1", "b": MulticlassRecall(3), "c": {"name": "top1"}, "d": MetricCollection(MulticlassRecall(3))},
        ["a", "b", "c", "d_MulticlassRecall"],
    ),
}


@pytest.mark.parametrize(("metrics", "names"), FORMS.values(), ids=FORMS)
def test_forms_of_the_argument(metrics, names):
    check_metrics(metrics)
    built = build_metrics(metrics, num_classes=3)
    assert list(built) == names
    assert list(built.clone(prefix="val/")) == [f"val/{name}" for name in names]
    if names and not {"BinaryAUROC", "MultilabelF1Score"} & set(names):
        built.update(torch.eye(3), torch.tensor([0, 1, 2]))
        assert all(value == 1 for value in built.compute().values())


def test_the_number_of_classes_is_filled_in_unless_given():
    assert build_metrics(f"{PATH}MultilabelF1Score", 4)["MultilabelF1Score"].num_labels == 4
    spec = {"class_path": f"{PATH}MulticlassAUROC", "init_args": {"num_classes": 7}}
    assert build_metrics(spec, 4)["MulticlassAUROC"].num_classes == 7
    assert build_metrics(spec)["MulticlassAUROC"].num_classes == 7


def test_given_metrics_are_cloned():
    metric = MulticlassAccuracy(3)
    built = build_metrics([metric, OWN.clone(prefix="own/")], 3)
    built.update(torch.eye(3), torch.tensor([0, 1, 2]))
    assert metric.update_count == 0
    assert OWN["own/MulticlassRecall"].update_count == 0


@pytest.mark.parametrize("metrics", ["top1", ["top5", "auroc"], f"{PATH}MulticlassAUROC", f"{PATH}MultilabelF1Score"])
def test_a_missing_number_of_classes_is_asked_for(metrics):
    check_metrics(metrics)
    with pytest.raises(UsageError, match="needs the number of classes: give num_classes"):
        build_metrics(metrics)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (3, "metrics may be a name or import path"),
        ([3], "metrics may be a name or import path"),
        ({1: "top1"}, "a metric's name must be a string, not 1"),
        ({"top1": 3}, "metric 'top1' may be a name"),
        (["top1", "TOP1"], "two metrics are named 'top1'; give them names of your own: {my_top1: ...}"),
        ({"name": "top1", "kk": 1}, "metric 'top1': it takes no 'kk'; did you mean 'k'?"),
        ({"name": "confusion_matrix", "k": 1}, "it takes no 'k'"),
        ({"class_path": f"{PATH}BinaryFBetaScore"}, "missing a required argument: 'beta'"),
    ],
)
def test_what_cannot_be_metrics(metrics, message):
    with pytest.raises(UsageError, match=message):
        check_metrics(metrics)
    with pytest.raises(UsageError, match=message):
        build_metrics(metrics, num_classes=3)


@pytest.mark.parametrize("build", [check_metrics, build_metrics])
def test_an_unknown_name_is_answered_with_the_nearest(build):
    with pytest.raises(UnknownNameError, match="unknown metric 'top_1'; did you mean 'top1'"):
        build(["top_1", "auroc"])


def test_a_factory_s_own_error_names_the_metric():
    with pytest.raises(UsageError, match="MulticlassAUROC': Expected argument `num_classes` to be an integer"):
        build_metrics(f"{PATH}MulticlassAUROC", num_classes=1)
    with pytest.raises(UsageError, match="OrderedDict' makes a OrderedDict, not a torchmetrics Metric"):
        build_metrics("collections.OrderedDict")


def test_registered_factories_need_not_take_the_number_of_classes(monkeypatch):
    monkeypatch.setattr(METRICS, "_factories", dict(METRICS._factories))
    METRICS.register("mine")(lambda threshold=0.5: MulticlassAccuracy(3))
    assert list(build_metrics({"mine": {"threshold": 0.1}}, num_classes=3)) == ["mine"]
