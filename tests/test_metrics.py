"""Metrics against plain loops, on targets of every kind."""

import copy
import math
import pickle

import pytest
import torch
from torchmetrics import Metric

from lightframe.errors import UsageError
from lightframe.metric_collection import build_metrics
from lightframe.metrics import METRICS

N, C = 40, 6
ABSENT = 4  # predicted at times, but no sample's class
NAMES = ["top1", "top3", "top5", "mean_class_accuracy", "f1", "auroc", "multilabel_map"]


@pytest.fixture
def data():
    """Logits without ties, labels, and multi-hot targets with some rows of several classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(ABSENT, (N,), generator=generator)
    outputs = torch.randn(N, C, generator=generator)
    outputs[torch.arange(N), labels] += 1
    multi_hot = (torch.rand(N, C, generator=generator) < 0.4).long()
    multi_hot[torch.arange(N), labels] = 1
    multi_hot[:, ABSENT] = 0
    return outputs, labels, multi_hot


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def best(row):
    return max(range(len(row)), key=row.__getitem__)


def recalls(outputs, labels):
    pairs = list(zip((best(row) for row in outputs.tolist()), labels.tolist(), strict=True))
    return {c: mean(float(p == c) for p, y in pairs if y == c) for c in set(labels.tolist())}


def f1(outputs, labels):
    pairs = list(zip((best(row) for row in outputs.tolist()), labels.tolist(), strict=True))
    classes = {c for pair in pairs for c in pair}
    scores = []
    for c in classes:
        tp, fp, fn = (
            sum((p == c, y == c) == kind for p, y in pairs) for kind in ((True, True), (True, False), (False, True))
        )
        scores.append(2 * tp / (2 * tp + fp + fn))
    return mean(scores)


def auroc(scores, positives):
    pairs = [
        (a, b)
        for a, p in zip(scores, positives, strict=True)
        if p
        for b, n in zip(scores, positives, strict=True)
        if not n
    ]
    return mean((a > b) + (a == b) / 2 for a, b in pairs)


def average_precision(scores, positives):
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits = [positives[i] for i in order]
    return mean(sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit)


def softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def value(name, outputs, targets, num_classes=C, batch=7):
    metric = METRICS.build(name, num_classes=num_classes)
    for i in range(0, len(outputs), batch):
        metric.update(outputs[i : i + batch], targets[i : i + batch])
    return metric.compute()


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k(data, k):
    outputs, labels, multi_hot = data
    tops = [sorted(range(C), key=row.__getitem__)[-k:] for row in outputs.tolist()]
    expected = mean(float(y in top) for top, y in zip(tops, labels.tolist(), strict=True))
    assert value(f"top{k}", outputs, labels).item() == pytest.approx(expected)
    # MixUp of each label with the next sample's: the major class counts
    hot = torch.eye(C)[labels]
    assert value(f"top{k}", outputs, 0.7 * hot + 0.3 * hot.roll(1, 0)).item() == pytest.approx(expected)
    # several labels: any of them
    expected = mean(float(any(row[c] for c in top)) for top, row in zip(tops, multi_hot.tolist(), strict=True))
    assert value(f"top{k}", outputs, multi_hot).item() == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_k_is_clipped_to_the_number_of_classes(data, num_classes):
    outputs, labels, _ = data
    assert value("top5", outputs[:, :num_classes], labels % num_classes, num_classes) == 1


def test_mean_class_accuracy_leaves_absent_classes_out(data):
    outputs, labels, _ = data
    assert ABSENT in outputs.argmax(1)
    assert value("mean_class_accuracy", outputs, labels).item() == pytest.approx(
        mean(recalls(outputs, labels).values())
    )


def test_f1(data):
    outputs, labels, _ = data
    assert value("f1", outputs, labels).item() == pytest.approx(f1(outputs, labels))


def test_confusion_matrix(data):
    outputs, labels, _ = data
    expected = [[0] * C for _ in range(C)]
    for row, label in zip(outputs.tolist(), labels.tolist(), strict=True):
        expected[label][best(row)] += 1
    assert value("confusion_matrix", outputs, labels).tolist() == expected


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_auroc(data, scale):
    outputs, labels, _ = data
    outputs = (
        outputs - outputs.min()
    ) * scale  # with 0.01 all logits lie in [0, 1], where they look like probabilities
    scores = list(zip(*(softmax(row) for row in outputs.tolist()), strict=True))
    expected = mean(auroc(scores[c], [y == c for y in labels.tolist()]) for c in set(labels.tolist()))
    raw = mean(auroc(outputs[:, c].tolist(), [y == c for y in labels.tolist()]) for c in set(labels.tolist()))
    assert abs(expected - raw) > 1e-3  # taking logits for probabilities shows
    assert value("auroc", outputs, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["multi-hot", "labels", "soft"])
def test_multilabel_map(data, kind):
    outputs, labels, multi_hot = data
    hot = torch.eye(C, dtype=torch.long)[labels] if kind == "labels" else multi_hot
    targets = {"multi-hot": multi_hot, "labels": labels, "soft": 0.2 + 0.6 * multi_hot}[kind]
    expected = mean(average_precision(outputs[:, c].tolist(), hot[:, c].tolist()) for c in range(C) if hot[:, c].any())
    assert value("multilabel_map", outputs, targets).item() == pytest.approx(expected)


def test_multilabel_map_orders_batches_alike_and_large_logits():
    # One batch inside [0, 1], one outside; and a sigmoid in float32 is 1 for 20 as for 30.
    outputs = torch.tensor([[0.9], [0.8], [0.7], [20.0], [30.0]]).expand(-1, 2)
    targets = torch.tensor([0, 0, 1, 0, 1])[:, None].expand(-1, 2)
    expected = (1 / 1 + 2 / 5) / 2  # in the order 30, 20, 0.9, 0.8, 0.7
    assert value("multilabel_map", outputs, targets, num_classes=2, batch=3).item() == pytest.approx(expected)


def test_ties_count_half_in_auroc_and_as_one_threshold_in_map():
    outputs = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0], [0.0, 0.0]])
    labels = torch.tensor([1, 0, 1, 0])
    assert value("auroc", outputs, labels, num_classes=2).item() == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    targets = labels[:, None].expand(-1, 2)
    # class 1: precision 1 at recall 1/2, 2/3 at recall 1; class 0: one threshold, precision 1/2
    expected = (0.5 * 1 + 0.5 * 2 / 3 + 0.5) / 2
    assert value("multilabel_map", outputs, targets, num_classes=2).item() == pytest.approx(expected)


def test_undefined_means_are_nan():
    outputs = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert value("multilabel_map", outputs, torch.zeros(2, 2), num_classes=2).isnan()
    assert value("auroc", outputs, torch.tensor([1, 1]), num_classes=2).isnan()


@pytest.mark.parametrize("shape", [(N, 1), (N,)])
@pytest.mark.parametrize("num_classes", [1, 2])
def test_a_single_logit_is_two_classes(data, shape, num_classes):
    logits = data[0][:, 0]
    labels = (data[1] % 2).long()
    two = torch.stack([torch.zeros(N), logits], dim=1)
    for name in ["top1", "top5", "mean_class_accuracy", "f1", "auroc"]:
        for targets in (labels, labels[:, None], 0.2 + 0.6 * labels):
            assert value(name, logits.view(shape), targets, num_classes) == value(name, two, labels, 2), name
    expected = average_precision(logits.tolist(), labels.tolist())
    assert value("multilabel_map", logits.view(shape), labels, 1).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_merged_shards_give_what_the_whole_gives(data, name):
    outputs, labels, multi_hot = data
    for targets in (labels, multi_hot):
        parts = [METRICS.build(name, num_classes=C) for _ in range(2)]
        parts[0].update(outputs[:11], targets[:11])
        parts[1].update(outputs[11:20], targets[11:20])
        parts[1].update(outputs[20:], targets[20:])
        parts[0].merge_state(parts[1])
        assert parts[0].compute() == value(name, outputs, targets, batch=N)


@pytest.mark.parametrize("name", [*NAMES, "confusion_matrix"])
def test_registered_metrics_sum_or_concatenate_states(name):
    metric = METRICS.build(name, num_classes=C)
    assert {reduction.__name__ for reduction in metric._reductions.values()} <= {"dim_zero_sum", "dim_zero_cat"}
    # A process without samples gives torch.tensor([]) for a list state: the others' must be alike.
    metric.update(torch.rand(3, C, dtype=torch.float64), torch.tensor([0, 1, 2]))
    states = [state for state in metric.metric_state.values() if isinstance(state, list)]
    assert {(tensor.ndim, tensor.dtype) for state in states for tensor in state} <= {(1, torch.float32)}


@pytest.mark.parametrize("name", [*NAMES, "confusion_matrix"])
def test_metrics_are_copied_reset_and_take_half_precision(data, name):
    outputs, labels, _ = data
    metric = pickle.loads(pickle.dumps(METRICS.build(name, num_classes=C)))
    metric.update(torch.rand(3, C), torch.tensor([0, 1, 2]))
    metric.reset()
    copy.deepcopy(metric).update(outputs.half(), labels)
    metric.update(outputs, labels)
    assert torch.equal(metric.compute(), value(name, outputs, labels))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit(name):
    metric = METRICS.build(name, num_classes=C)
    with pytest.raises(UsageError, match=r"outputs of shape \(3, 5\) are not \(B, 6\) as num_classes says"):
        metric.update(torch.zeros(3, C - 1), torch.tensor([0, 1, 2]))
    with pytest.raises(UsageError, match="as one tensor, not list"):
        metric.update([], torch.tensor([0, 1, 2]))
    for targets in (torch.zeros(2, dtype=torch.long), torch.zeros(3, C - 1), torch.zeros(3)):
        with pytest.raises(UsageError, match="targets"):
            metric.update(torch.zeros(3, C), targets)
    with pytest.raises(UsageError, match="label 6 is out of range"):
        metric.update(torch.zeros(3, C), torch.tensor([0, 1, 6]))


def test_metrics_do_not_share_states_after_an_agreeing_batch():
    metrics = build_metrics(["top3", "top5"], num_classes=10)
    outputs = torch.arange(10.0).expand(4, -1)  # the top 3 are 9, 8, 7, the top 5 also 6 and 5
    metrics.update(outputs, torch.tensor([9, 8, 7, 9]))
    metrics.update(outputs, torch.tensor([6, 5, 6, 5]))
    assert {name: v.item() for name, v in metrics.compute().items()} == {"top3": 0.5, "top5": 1.0}


def test_every_registered_metric_is_a_torchmetrics_metric():
    detection = {"coco_map", "voc_map"}
    assert set(METRICS.names()) == {*NAMES, "confusion_matrix", *detection}
    assert all(isinstance(METRICS.build(name), Metric) for name in detection)
    assert all(isinstance(METRICS.build(name, num_classes=C), Metric) for name in {*METRICS.names()} - detection)
