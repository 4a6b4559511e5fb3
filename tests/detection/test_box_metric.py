"""What detection metrics share: the order of images, several processes, names, and torchmetrics' contract."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from recording import quiet_trainer
from torch.utils.data import DataLoader
from typing_extensions import override

from lightframe.detection import CocoMAP, VocMAP
from lightframe.epoch_values import EpochValues
from lightframe.errors import UsageError
from lightframe.metric_collection import build_metrics
from lightframe.metrics import METRICS

METRIC = pytest.mark.parametrize("kind", [CocoMAP, VocMAP])
TIES = {"grid": 3, "scores": 3, "classes": 3}


def figures(kind: Any, outputs: Any, targets: Any) -> dict[str, float]:
    metric = kind(class_metrics=True)
    metric.update(outputs, targets)
    return {name: value.item() for name, value in metric.compute().items()}


@METRIC
def test_order_of_images(make_set: Any, kind: Any) -> None:
    """Equal scores make it matter, unless the images have ids."""
    outputs, targets = make_set(seed=2, **TIES)
    expected = figures(kind, outputs, targets)
    assert figures(kind, outputs[::-1], targets[::-1]) == expected
    for target in targets:
        del target["image_id"]
    assert figures(kind, outputs[::-1], targets[::-1]) == expected  # ids fell from image to image
    assert figures(kind, outputs, targets) != expected


class Evaluating(pl.LightningModule):
    """Its metric sees each image once: a sample that Lightning's sampler repeats is left out."""

    def __init__(self, kind: Any, images: Any, folder: Path) -> None:
        super().__init__()
        self.metric = kind(class_metrics=True)
        self.images, self.folder = images, folder

    @override
    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        outputs, targets = self.images
        share = range(self.global_rank, len(outputs), self.trainer.world_size)
        place = int(batch)
        if place in share:
            self.metric.update([outputs[place]], [targets[place]])

    @override
    def on_test_epoch_end(self) -> None:
        values = self.metric.compute()
        self.log_dict({name: values[name] for name in ("AP", "mAP") if name in values}, sync_dist=True, reduce_fx="max")
        exact = {name: value.item() for name, value in values.items()}
        path = self.folder / f"{self.trainer.world_size}-{self.global_rank}.json"
        path.write_text(json.dumps([exact, len(self.metric.detections)]))


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
@pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders")
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")  # of the process without images
@METRIC
@pytest.mark.parametrize("count", [1, 11])
def test_two_processes(make_set: Any, tmp_path: Path, kind: Any, count: int) -> None:
    outputs, targets = make_set(seed=4, images=11, **TIES)
    images = outputs[:count], targets[:count]
    for settings in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
        trainer = quiet_trainer(default_root_dir=tmp_path, **settings)
        trainer.test(Evaluating(kind, images, tmp_path), DataLoader(range(count)), verbose=False)
    (one, all_of_them), (first, ours), (second, others) = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    )
    assert (ours, others, all_of_them) == (count - count // 2, count // 2, count)
    assert first == second == pytest.approx(one, rel=0, abs=0, nan_ok=True)
    assert one == pytest.approx(figures(kind, *images), rel=0, abs=0, nan_ok=True)


@METRIC
def test_torchmetrics_contract(make_set: Any, kind: Any) -> None:
    outputs, targets = make_set(seed=6)
    expected = figures(kind, outputs, targets)
    metric = kind(class_metrics=True)
    assert (metric.higher_is_better, metric.is_differentiable, metric.full_state_update) == (True, False, False)
    metric.update(outputs[:5], targets[:5])
    metric.reset()
    for i in range(0, len(outputs), 10):  # forward computes for the batch and keeps it for the set
        batch = metric(outputs[i : i + 10], targets[i : i + 10])
        assert batch == figures(kind, outputs[i : i + 10], targets[i : i + 10])
    for copied in (metric, copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert copied.compute() == expected
    merged = kind(class_metrics=True)
    merged.update(outputs[:9], targets[:9])
    rest = kind(class_metrics=True)
    rest.update(outputs[9:], targets[9:])
    merged.merge_state(rest)
    assert merged.compute() == expected


@METRIC
def test_results_are_logged_to_the_last_digit(make_set: Any, kind: Any) -> None:
    metric = kind()
    metric.update(*make_set(seed=6))
    values = metric.compute()
    assert {(value.ndim, value.dtype) for value in values.values()} == {(0, torch.float64)}


@METRIC
def test_states_stay_where_and_what_they_are(make_set: Any, kind: Any) -> None:
    """A private method of torchmetrics is overridden for this."""
    outputs, targets = make_set(seed=6, dtype=torch.float64)
    metric = kind(class_metrics=True)
    metric.update(outputs, targets)
    rounded = torch.nn.ModuleList([metric]).to(torch.bfloat16)[0]
    assert rounded.compute() == figures(kind, outputs, targets)
    moved = metric.to("meta")
    assert moved.device.type == "meta"
    assert {rows.device.type for rows in moved.metric_state["detections"]} == {"cpu"}


def test_registered_by_name(make_set: Any) -> None:
    assert METRICS["COCO_MAP"] is CocoMAP
    assert METRICS["voc_map"] is VocMAP
    assert {"coco_map", "voc_map", "top1"} <= set(METRICS.names())
    spec = {"coco_map": {"class_metrics": True}, "voc_map": {"class_metrics": True, "method": "11point"}}
    metrics = build_metrics(spec, num_classes=5)
    metrics.update(*make_set(seed=1))
    values = metrics.compute()
    assert {"AP", "AP50", "AR_small", "mAP"} <= set(values)  # no two alike, so torchmetrics prefixes none of them
    assert {name for name in values if "/" in name} == {f"{of}/{n}" for of in ("AP", "mAP") for n in (3, 6, 9, 12)}


def test_one_metric_twice(make_set: Any) -> None:
    """Torchmetrics puts the free keys before the names."""
    metrics = build_metrics({"loose": VocMAP(0.5), "tight": VocMAP(0.75)})
    metrics.update(*make_set(seed=1))
    assert set(metrics.compute()) == {"loose_mAP", "tight_mAP"}


def test_values_of_an_epoch(make_set: Any) -> None:
    outputs, targets = make_set(seed=1)
    values = EpochValues(CocoMAP())
    for i in range(0, len(outputs), 4):
        values.update_metrics(outputs[i : i + 4], targets[i : i + 4])
    metric = CocoMAP()
    metric.update(outputs, targets)
    assert values.compute() == metric.compute()


def test_a_name_for_classes() -> None:
    with pytest.raises(UsageError, match="classes: give a list of names, not 'cat'"):
        CocoMAP(classes="cat")


def test_import_is_put_off() -> None:
    code = (
        "import sys, lightframe, lightframe.metrics; "
        "late = [name for name in sys.modules if name.startswith(('pycocotools', 'lightframe.detection'))]; "
        "assert not late, late; lightframe.metrics.METRICS.names(); assert 'pycocotools' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
