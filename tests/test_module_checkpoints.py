"""Checkpoints of the adapter: plain values only, from Python as from subclasses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from test_module import CLASSES, fit, loader, make_data, make_net, make_trainer
from torch import nn
from torch.nn import functional as F

from lightframe import LightFrameModule


class Wrapped(LightFrameModule):
    """A subclass that fixes some arguments and takes others of its own."""

    def __init__(self, hidden: int, backbone: nn.Module | None = None, **kwargs: Any) -> None:
        net = backbone or nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))
        super().__init__(net=net, loss="ce", **kwargs)


class Teacher(LightFrameModule):
    """Makes another adapter while it is made itself."""

    def __init__(self, temperature: float = 2.0) -> None:
        self_made = LightFrameModule(make_net(), loss="mse", lr=0.5)
        super().__init__(self_made.net, loss="ce")


def save(module: LightFrameModule, folder: Path) -> Path:
    trainer = fit(module, epochs=1, callbacks=[ModelCheckpoint(folder, filename="x")], enable_checkpointing=True)
    assert trainer.checkpoint_callback is not None
    return folder / "x.ckpt"


def test_hyperparameters_are_plain_and_a_module_is_rebuilt_from_them(tmp_path: Path) -> None:
    module = LightFrameModule(
        make_net(),
        loss={"ce": {"label_smoothing": 0.1}},
        optimizer="adamw",
        lr=np.float64(0.01),
        optimizer_args={"betas": (0.8, 0.9)},
        scheduler="cosine",
        scheduler_args={"warmup_steps": 2},
        metrics=["top1"],
    )
    path = save(module, tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["hyper_parameters"] == {
        "loss": {"ce": {"label_smoothing": 0.1}},
        "optimizer": "adamw",
        "lr": 0.01,
        "optimizer_args": {"betas": (0.8, 0.9)},
        "scheduler": "cosine",
        "scheduler_args": {"warmup_steps": 2},
        "metrics": ["top1"],
        "num_classes": None,
        "freeze": None,
    }
    assert checkpoint["lightframe"]["objects"] == {"net": "torch.nn.modules.container.Sequential"}
    loaded = LightFrameModule.load_from_checkpoint(path, net=make_net(seed=9))
    assert loaded.lr == 0.01
    assert loaded.optimizer_args == {"betas": (0.8, 0.9)}
    for ours, theirs in zip(loaded.parameters(), module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_objects_of_every_kind_stay_out_of_the_checkpoint(tmp_path: Path) -> None:
    module = LightFrameModule(
        make_net(),
        loss=F.cross_entropy,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3),
        metrics=None,
    )
    path = save(module, tmp_path)
    assert set(torch.load(path, weights_only=True)["lightframe"]["objects"]) == {
        "net",
        "loss",
        "optimizer",
        "scheduler",
    }
    make_trainer().test(LightFrameModule(make_net(3), loss="ce"), loader(make_data()), ckpt_path=path, verbose=False)


def test_a_subclass_is_rebuilt_from_its_own_arguments(tmp_path: Path) -> None:
    path = save(Wrapped(4, optimizer="adam"), tmp_path)
    loaded = Wrapped.load_from_checkpoint(path)
    assert loaded.net[0].out_features == 4
    assert dict(loaded.hparams) == {"hidden": 4, "backbone": None, "optimizer": "adam"}
    assert "backbone" not in Wrapped(4, backbone=make_net()).hparams


def test_an_adapter_made_inside_another_does_not_lend_it_its_arguments() -> None:
    assert dict(Teacher().hparams) == {"temperature": 2.0}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_schedule_goes_on_where_it_stopped(tmp_path: Path, accumulate: int) -> None:
    """Interrupted after one of three epochs: the learning rates are those of the run that was not."""

    def module() -> LightFrameModule:
        args = {"warmup_steps": 0.5, "warmup_factor": 0.0}
        return LightFrameModule(make_net(), "ce", lr=1.0, scheduler="linear", scheduler_args=args, metrics=None)

    def rates(ckpt_path: Path | None, **settings: Any) -> list[float]:
        seen: list[float] = []
        one = module()
        original = one.on_before_optimizer_step
        one.on_before_optimizer_step = lambda optimizer: (  # type: ignore[method-assign]
            seen.append(optimizer.param_groups[0]["lr"]),
            original(optimizer),
        )
        trainer = make_trainer(max_epochs=3, accumulate_grad_batches=accumulate, **settings)
        trainer.fit(one, loader(make_data()), ckpt_path=ckpt_path)
        return seen

    whole = rates(None)
    steps = 3 * -(-6 // accumulate)
    warmup = round(steps * 0.5)
    expected = [(1 - t / steps) * min(t / warmup, 1.0) for t in range(steps)]
    assert whole == pytest.approx(expected)

    checkpoint = ModelCheckpoint(tmp_path, filename="first", save_on_train_epoch_end=True)

    class Stop(Exception):
        pass

    class Killer(ModelCheckpoint):
        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:
                raise Stop

    with pytest.raises(Stop):
        rates(None, callbacks=[checkpoint, Killer(tmp_path / "none", save_top_k=0)], enable_checkpointing=True)
    resumed = rates(tmp_path / "first.ckpt")
    assert resumed == pytest.approx(expected[steps // 3 :])
