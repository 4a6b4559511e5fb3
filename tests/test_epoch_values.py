import math
import random

import pytest
import torch

from lightframe.epoch_values import EpochValues, SampleMean


def test_means_do_not_depend_on_the_batches() -> None:
    """Many values: a running sum in float32 would be off in the sixth digit."""
    rng = random.Random(0)
    values = torch.tensor([1 + rng.random() for _ in range(20_000)])
    exact = math.fsum(values.tolist()) / len(values)
    for size in (1, 7, 64):
        mean = SampleMean()
        for part in values.split(size):
            mean.update(part.double().mean(), len(part))
        assert float(mean.compute()) == pytest.approx(exact, rel=1e-7)
        assert mean.compute().dtype == torch.float32


def test_what_saw_no_batch_is_not_there() -> None:
    values = EpochValues(["top1"], num_classes=2)
    assert values.compute() == {}
    values.update({"loss": torch.tensor(2.0)}, count=2, device="cpu")
    assert {name: float(value) for name, value in values.compute().items()} == {"loss": 2.0}
    assert values.compute() == {}  # each epoch begins anew


def test_a_loss_that_is_not_finite_shows() -> None:
    values = EpochValues(None)
    for loss in (1.0, math.nan):
        values.update({"loss": torch.tensor(loss)}, count=1, device="cpu")
    assert math.isnan(values.compute()["loss"])


def test_scores() -> None:
    """What a run may be judged by, in the order in which it was asked for."""
    assert EpochValues(["confusion_matrix", "top5", "top1"]).scores() == ["top5", "top1"]
    assert EpochValues(["voc_map", "coco_map"]).scores() == ["mAP", "AP"]
    assert EpochValues(None).scores() == []
