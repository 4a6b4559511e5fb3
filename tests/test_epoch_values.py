import math
import random
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("metrics", [["top1", "auroc"], None], ids=str)
def test_goes_on_from_a_state(metrics: Any, tmp_path: Path) -> None:
    """As a checkpoint keeps it, in the middle of what one run adds up."""
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3), torch.randint(3, (4,)), torch.rand(())) for _ in range(6)]

    def add(values: EpochValues, some: list[Any]) -> None:
        for outputs, targets, loss in some:
            values.update({"loss": loss}, len(targets), "cpu")
            values.update_metrics(outputs, targets)

    whole, first, second = EpochValues(metrics), EpochValues(metrics), EpochValues(metrics)
    add(whole, batches)
    add(first, batches[:3])
    torch.save(first.state(), tmp_path / "state.pt")
    add(first, batches[3:])
    add(second, batches[:1])  # which is forgotten
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    add(second, batches[3:])
    expected = whole.compute()
    assert expected.keys() == {"loss", *(metrics or ())}
    assert first.compute() == expected
    assert second.compute() == expected
