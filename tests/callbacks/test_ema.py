"""EMA inside Lightning's loops; its defects E1 to E16 are those found in Lightning's own WeightAveraging."""

import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from recording import quiet_trainer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightframe import LightFrameModule, UsageError
from lightframe.callbacks import EMA, LossGuard

Weights = dict[str, Tensor]
DECAY, RAMP = 0.9, 5

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


class Net(nn.Module):
    """With batch statistics, a table of integers that never changes, and a count of the forward passes in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
        self.register_buffer("table", torch.arange(1000) * 7919 % 10007)
        self.register_buffer("passes", torch.tensor(0))

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
        return self.layers(inputs)


class Watched(LightFrameModule):
    """Keeps the weights that each phase ran with, and the raw ones at the start and after each optimizer step.

    Attributes:
        seen: for each phase one entry per evaluation.
        raw: what training used.
    """

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            net = Net()
        super().__init__(net, "ce", lr=0.1, metrics=None)
        self.seen: dict[str, list[Weights]] = {"sanity": [], "val": [], "test": [], "predict": []}
        self.raw: list[Weights] = []

    def watch(self, phase: str, batch_idx: int) -> None:
        if batch_idx == 0:
            self.seen["sanity" if self.trainer.sanity_checking else phase].append(held(self))

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.watch("val", batch_idx)
        return super().validation_step(batch, batch_idx)

    @override
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.watch("test", batch_idx)
        return super().test_step(batch, batch_idx)

    @override
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.watch("predict", batch_idx)
        return super().predict_step(batch, batch_idx)

    @override
    def on_train_start(self) -> None:
        self.raw.append(held(self))

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step >= len(self.raw):
            self.raw.append(held(self))


def held(module: nn.Module) -> Weights:
    """A copy of what is averaged."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named if tensor.is_floating_point()}


def averages(raw: list[Weights], decay: float = DECAY, ramp: float = RAMP) -> list[Weights]:
    """The average after each step, in float64: the first is what training starts with."""
    found = [{name: value.double() for name, value in raw[0].items()}]
    for n, weights in enumerate(raw[1:], 1):
        d = decay * (1 - math.exp(-n / ramp)) if ramp else decay
        found.append({name: d * found[-1][name] + (1 - d) * value.double() for name, value in weights.items()})
    return found


def close(weights: Weights, expected: Weights) -> bool:
    """Within a relative error of 1e-6, tensor by tensor."""
    assert weights.keys() == expected.keys()
    return all((weights[name].double() - value).norm() < 1e-6 * value.norm() for name, value in expected.items())


def same(weights: Weights, expected: Weights) -> bool:
    """Bit for bit."""
    assert weights.keys() == expected.keys()
    return all(torch.equal(weights[name], value) for name, value in expected.items())


def floats(state: dict[str, Any]) -> Weights:
    return {name: value for name, value in state.items() if value.is_floating_point()}


def batches(count: int = 12) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(count, 4, generator=generator), torch.arange(count) % 3), batch_size=2)


def ema(**settings: Any) -> EMA:
    return EMA(**{"decay": DECAY, "ramp": RAMP, **settings})


def trainer_with(*callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return quiet_trainer(callbacks=list(callbacks), **{"enable_checkpointing": saves, "max_epochs": 2, **settings})


def checkpoint(path: Any) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def saving(folder: Path, **settings: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder, **{"monitor": "val/loss", "save_last": True, "filename": "best", **settings})


# The average


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 12),
        ({"accumulate_grad_batches": 4}, 4),  # 4 batches and 2 batches, twice
        ({"precision": "bf16-mixed"}, 12),
        ({"val_check_interval": 2}, 12),
    ],
)
def test_the_average_counts_optimizer_steps(settings: dict[str, Any], steps: int) -> None:
    module, average = Watched(), ema()
    trainer_with(average, **settings).fit(module, batches(), batches())
    assert average.n == steps == len(module.raw) - 1
    expected = averages(module.raw)
    assert close(held(module), expected[-1])
    assert not close(held(module), module.raw[-1])
    per_epoch = 3 if "val_check_interval" in settings else 1
    assert len(module.seen["val"]) == 2 * per_epoch
    for number, weights in enumerate(module.seen["val"], 1):
        assert close(weights, expected[number * steps // (2 * per_epoch)])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's compiler looks
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_compiled(whole: bool) -> None:
    module, average = Watched(), ema()
    if whole:
        trainer_with(average).fit(torch.compile(module, backend="eager"), batches(), batches())
    else:
        module.net = torch.compile(module.net, backend="eager")
        trainer_with(average).fit(module, batches(), batches())
    assert average.n == 12
    assert close(held(module), averages(module.raw)[-1])
    assert close(module.seen["val"][0], averages(module.raw)[6])


def test_steps_that_a_scaler_skips_are_counted_as_lightning_counts_them() -> None:
    """At first float16 overflows, and the scaler skips steps until its scale is small enough."""

    class Counting(Watched):
        taken = 0

        @override
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            optimizer.register_step_post_hook(self.count)
            return optimizer

        def count(self, *_: Any) -> None:
            self.taken += 1

    module, average = Counting(), ema()
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**20))
    trainer_with(average, plugins=[plugin], max_epochs=4).fit(module, batches(), batches())
    assert 0 < module.taken < 24
    assert average.n == 24 == len(module.raw) - 1
    assert close(held(module), averages(module.raw)[-1])


def test_integer_buffers_are_copied() -> None:
    """E3."""
    module = Watched()
    trainer_with(ema()).fit(module, batches())
    assert torch.equal(module.net.table, torch.arange(1000) * 7919 % 10007)
    assert module.net.passes == 12
    assert module.net.layers[1].num_batches_tracked == 12


def test_kept_on_the_cpu() -> None:
    module, average = Watched(), ema(device="cpu")
    trainer_with(average).fit(module, batches(), batches())
    assert {mean.device.type for mean in average.average.values()} == {"cpu"}
    assert close(held(module), averages(module.raw)[-1])


def test_no_update_fetches_a_value_from_the_device() -> None:
    """E13."""
    fetched: list[str] = []

    class Fetches(TorchDispatchMode):
        @override
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func._schema.name == "aten::_local_scalar_dense":
                fetched.append(func._schema.name)
            return func(*args, **(kwargs or {}))

    class Inspected(EMA):
        @override
        def on_train_batch_end(self, *args: Any) -> None:
            with Fetches():
                super().on_train_batch_end(*args)

    average = Inspected()
    trainer_with(average).fit(Watched(), batches())
    assert average.n == 12
    assert not fetched


def test_half_precision_weights() -> None:
    """Of bfloat16 weights, too, the average moves, and is evaluated as near as they come."""
    module, average = Watched(), ema(decay=0.999, ramp=0)
    trainer_with(average, precision="bf16-true").fit(module, batches(), batches())
    assert {mean.dtype for mean in average.average.values()} == {torch.float32}
    assert close(average.average, averages(module.raw, 0.999, 0)[-1])
    expected = {name: mean.bfloat16() for name, mean in average.average.items()}
    assert same(held(module), {name: expected[name].to(value) for name, value in held(module).items()})


# What is evaluated


def test_before_the_first_update_the_current_weights_are_evaluated() -> None:
    """E4: so is it in the sanity check, and for as long as should_update says no."""

    class Late(EMA):
        @override
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return step_idx is not None and step_idx >= 8

    module, average = Watched(), Late(decay=DECAY, ramp=RAMP)
    trainer_with(average, num_sanity_val_steps=1, val_check_interval=3).fit(module, batches(), batches())
    assert same(module.seen["sanity"][0], module.raw[0])
    assert [average.n, len(module.seen["val"])] == [4, 4]
    assert same(module.seen["val"][0], module.raw[3])
    assert same(module.seen["val"][1], module.raw[6])
    # The ninth step is the first that counts, and what came before it is forgotten.
    expected = averages([module.raw[9], *module.raw[9:]])
    assert same(module.seen["val"][2], module.raw[9])
    assert close(held(module), expected[4])


def test_batch_statistics_before_the_first_update() -> None:
    """E4: with accumulated gradients there may be a validation before the first optimizer step."""
    module = Watched()
    trainer_with(ema(), accumulate_grad_batches=4, val_check_interval=2, max_epochs=1).fit(module, batches(), batches())
    first, second = module.seen["val"][:2]
    assert not torch.equal(first["net.layers.1.running_mean"], module.raw[0]["net.layers.1.running_mean"])
    assert torch.equal(first["net.layers.0.weight"], module.raw[0]["net.layers.0.weight"])
    assert close(second, averages(module.raw)[1])


def test_the_hooks_around_validation_see_what_is_validated() -> None:
    class Looking(Watched):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[Weights] = []

        @override
        def on_validation_start(self) -> None:
            self.found.append(held(self))

        @override
        def on_validation_epoch_end(self) -> None:
            super().on_validation_epoch_end()
            self.found.append(held(self))

        @override
        def on_train_end(self) -> None:
            self.found.append(held(self))

    module = Looking()
    trainer_with(ema(), max_epochs=1).fit(module, batches(), batches())
    expected = averages(module.raw)[6]
    assert len(module.found) == 3
    assert all(close(weights, expected) for weights in module.found)


@pytest.mark.parametrize("place", [None, "best", "last"])
def test_the_same_trainer_evaluates_the_average_after_fitting(folder: Path, place: str | None) -> None:
    """E1."""
    module = Watched()
    best = saving(folder, mode="max")  # the first epoch's, as the loss falls
    trainer = trainer_with(ema(), best)
    trainer.fit(module, batches(), batches())
    assert best.best_model_score is not None
    files = {"best": best.best_model_path, "last": best.last_model_path}  # Lightning's "last" is the last that it saved
    step = checkpoint(files[place])["global_step"] if place else 12
    expected = averages(module.raw)[step]
    for phase, evaluate in (("val", trainer.validate), ("test", trainer.test), ("predict", trainer.predict)):
        module.seen[phase].clear()
        evaluate(module, batches(), ckpt_path=place, weights_only=True)
        assert close(module.seen[phase][0], expected)


@pytest.mark.parametrize("callbacks", [[], [EMA()]])
def test_a_new_trainer_evaluates_the_average(folder: Path, callbacks: list[pl.Callback]) -> None:
    first = Watched()
    trainer_with(ema(), saving(folder)).fit(first, batches(), batches())
    expected = averages(first.raw)[-1]
    module, trainer = Watched(), trainer_with(*callbacks)
    for phase, evaluate in (("val", trainer.validate), ("test", trainer.test), ("predict", trainer.predict)):
        evaluate(module, batches(), ckpt_path=folder / "last.ckpt", weights_only=True)
        assert close(module.seen[phase][0], expected)
    assert close(held(Watched.load_from_checkpoint(folder / "last.ckpt")), expected)


def test_another_process_evaluates_the_average(tmp_path: Path) -> None:
    linear = {"name": "torch.nn.Linear", "in_features": 4, "out_features": 3}
    module, average = LightFrameModule(linear, "ce", lr=0.1, metrics=None), ema()
    trainer = trainer_with(average)
    trainer.fit(module, batches())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    script = f"""
import torch
from lightframe import LightFrameModule
from lightning.pytorch import Trainer

module = LightFrameModule({linear!r}, "ce", metrics=None)
data = torch.utils.data.DataLoader([(torch.zeros(4), 0)])
trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)
trainer.test(module, data, ckpt_path={str(tmp_path / "a.ckpt")!r}, weights_only=True, verbose=False)
loaded = LightFrameModule.load_from_checkpoint({str(tmp_path / "a.ckpt")!r})
print(loaded.net.weight.tolist())
print(module.net.weight.tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-2:] == 2 * [str(average.average["net.weight"].tolist())]


# Checkpoints


@pytest.mark.parametrize("every", [{"every_n_train_steps": 4}, {}])
def test_weights_only_checkpoints_hold_the_average(folder: Path, every: dict[str, int]) -> None:
    """E2."""
    module = Watched()
    saver = ModelCheckpoint(folder, filename="{step}", save_weights_only=True, save_top_k=-1, **every)
    trainer = trainer_with(ema(), saver)
    trainer.fit(module, batches(), batches())
    trainer.save_checkpoint(folder / "step=12.ckpt", weights_only=True)
    expected = averages(module.raw)
    steps = [4, 8, 12] if every else [6, 12]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"step={step}.ckpt" for step in steps)
    for step in steps:
        content = checkpoint(folder / f"step={step}.ckpt")
        assert close(floats(content["state_dict"]), expected[step])
        assert not {"current_model_state", "averaging_state", "callbacks"} & content.keys()


def test_weights_only_checkpoints_of_a_foreign_module(folder: Path) -> None:
    """Lightning calls no callback for them: the module must call the callback, or the user hears of it."""

    class Foreign(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        @override
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.layer(batch[0]).square().mean()

        @override
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Asking(Foreign):
        @override
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            average.finalize_checkpoint(self.trainer, self, checkpoint)

    average = ema()
    with pytest.raises(UsageError, match="weights-only checkpoints of Foreign would hold the raw weights"):
        trainer_with(average, saving(folder, monitor=None, save_weights_only=True)).fit(Foreign(), batches())
    trainer_with(average, ModelCheckpoint(folder, save_weights_only=True, filename="a")).fit(Asking(), batches())
    assert same(checkpoint(folder / "a.ckpt")["state_dict"], average.average)
    trainer_with(ema(), ModelCheckpoint(folder, filename="b")).fit(Foreign(), batches())
    assert checkpoint(folder / "b.ckpt").keys() >= {"current_model_state", "averaging_state"}


def test_a_checkpoint_has_the_average_and_the_raw_weights(folder: Path) -> None:
    """E16: also one that is saved at the end of validation."""
    module = Watched()
    saver = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, monitor="val/loss")
    trainer_with(ema(), saver).fit(module, batches(), batches())
    for step, expected in ((6, averages(module.raw)[6]), (12, averages(module.raw)[12])):
        content = checkpoint(folder / f"step={step}.ckpt")
        assert close(floats(content["state_dict"]), expected)
        assert same(floats(content["current_model_state"]), module.raw[step])
        assert content["averaging_state"] == {"n_averaged": torch.tensor(step)}
        assert content["state_dict"]["net.passes"] == step


class Stumbling(Watched):
    """Fails in the second epoch's validation."""

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if self.current_epoch == 1 and batch_idx == 1:
            raise ZeroDivisionError
        return super().validation_step(batch, batch_idx)


def test_an_exception_in_validation_mixes_nothing_up(folder: Path) -> None:
    """E5."""
    module = Stumbling()
    average, saver = ema(), ModelCheckpoint(folder, filename="{step}", save_on_exception=True, save_top_k=-1)
    trainer = trainer_with(average, saver)
    with pytest.raises(ZeroDivisionError):
        trainer.fit(module, batches(), batches())
    assert same(held(module), module.raw[12])
    (path,) = [path for path in folder.iterdir() if checkpoint(path)["global_step"] == 12]
    content = checkpoint(path)
    assert close(floats(content["state_dict"]), averages(module.raw)[12])
    assert same(floats(content["current_model_state"]), module.raw[12])
    # The same trainer goes on with weights and average.
    trainer.fit_loop.max_epochs = 3
    module.train()
    module.validation_step = lambda *_: None
    trainer.fit(module, batches(), batches())
    assert average.n == trainer.global_step > 12


@pytest.mark.parametrize("every", [{}, {"save_last": True, "every_n_train_steps": 1000}])
def test_a_save_after_fitting_has_both(folder: Path, every: dict[str, Any]) -> None:
    """E6."""
    module, average = Watched(), ema()
    trainer = trainer_with(average, ModelCheckpoint(folder, **every))
    trainer.fit(module, batches(), batches())
    trainer.save_checkpoint(folder / "after.ckpt")
    for path in folder.glob("*.ckpt"):
        content = checkpoint(path)
        if content["global_step"] == 12:
            assert close(floats(content["state_dict"]), averages(module.raw)[12])
            assert same(floats(content["current_model_state"]), module.raw[12])
    assert same(held(module), average.average)


def test_saved_before_the_first_step(folder: Path) -> None:
    class Early(pl.Callback):
        @override
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.save_checkpoint(folder / "early.ckpt")

    module = Watched()
    trainer_with(ema(), Early()).fit(module, batches())
    content = checkpoint(folder / "early.ckpt")
    assert same(floats(content["state_dict"]), module.raw[0])
    assert "averaging_state" not in content
    resumed, average = Watched(), ema()
    trainer_with(average).fit(resumed, batches(), ckpt_path=folder / "early.ckpt", weights_only=True)
    assert average.n == 12
    assert same(held(resumed), held(module))


def test_a_callback_that_saves_before_the_update_saves_it_updated(folder: Path) -> None:
    class Hasty(pl.Callback):
        @override
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            if trainer.global_step == 4:
                trainer.save_checkpoint(folder / "four.ckpt")

    module, average = Watched(), ema()
    trainer_with(Hasty(), average).fit(module, batches())
    assert average.n == 12
    content = checkpoint(folder / "four.ckpt")
    assert content["averaging_state"]["n_averaged"] == 4
    assert close(floats(content["state_dict"]), averages(module.raw)[4])


# Going on


def resumable(skip: int, count: int = 12) -> DataLoader[Any]:
    """The batches without the first: what is left of an epoch that was interrupted."""
    data = batches(count).dataset
    return DataLoader(torch.utils.data.Subset(data, range(2 * skip, count)), batch_size=2)


@pytest.mark.parametrize(
    "settings",
    [{}, {"accumulate_grad_batches": 4}, {"precision": "bf16-mixed"}, {"precision": "bf16-true"}],
)
@pytest.mark.parametrize("device", [None, "cpu"])
def test_interrupted_and_resumed_is_bit_equal(folder: Path, settings: dict[str, Any], device: str | None) -> None:
    whole, average = Watched(), ema(device=device)
    trainer_with(average, max_epochs=4, **settings).fit(whole, batches(), batches())
    trainer_with(ema(device=device), saving(folder), **settings).fit(Watched(), batches(), batches())
    module, resumed = Watched(), ema(device=device)
    trainer = trainer_with(resumed, max_epochs=4, **settings)
    trainer.fit(module, batches(), batches(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert resumed.n == average.n == trainer.global_step
    assert same(resumed.average, average.average)
    assert same(held(module), held(whole))
    assert [same(*pair) for pair in zip(module.seen["val"], whole.seen["val"][2:], strict=True)] == [True, True]
    assert same(module.raw[0], whole.raw[average.n // 2])
    assert torch.equal(module.net.passes, whole.net.passes)


def test_resumed_in_the_middle_of_an_epoch(folder: Path) -> None:
    whole, average = Watched(), ema()
    trainer_with(average, max_epochs=1).fit(whole, batches())
    saver = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=4, save_top_k=-1)
    trainer_with(ema(), saver, max_epochs=1).fit(Watched(), batches())
    module, resumed = Watched(), ema()
    trainer_with(resumed, max_epochs=1, limit_train_batches=6).fit(
        module, resumable(skip=0), ckpt_path=folder / "step=4.ckpt", weights_only=True
    )
    assert resumed.n == 6
    assert same(module.raw[0], whole.raw[4])
    # A plain loader begins anew: the fifth and sixth batch of this run are its first two.
    assert close(held(module), averages_from(whole.raw[:5], module.raw[1:]))


def averages_from(before: list[Weights], after: list[Weights]) -> Weights:
    return averages([*before, *after])[-1]


def test_resumed_where_it_had_ended(folder: Path) -> None:
    """Nothing is left to train, and the module holds the average all the same."""
    first = Watched()
    trainer_with(ema(), saving(folder)).fit(first, batches(), batches())
    module = Watched()
    trainer = trainer_with(ema())
    trainer.fit(module, batches(), batches(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert same(held(module), held(first))
    trainer.save_checkpoint(folder / "again.ckpt")
    assert same(floats(checkpoint(folder / "again.ckpt")["current_model_state"]), first.raw[-1])


def test_a_second_fit_of_the_same_trainer_goes_on() -> None:
    module, average = Watched(), ema()
    trainer = trainer_with(average, max_epochs=1)
    trainer.fit(module, batches(), batches())
    raw = module.raw[-1]
    trainer.fit_loop.max_epochs = 2
    module.raw = module.raw[:-1]
    trainer.fit(module, batches(), batches())  # notes the raw weights it starts from
    assert same(module.raw[6], raw)
    assert average.n == 12
    assert close(held(module), averages(module.raw)[-1])


def test_a_second_fit_with_other_weights_starts_a_new_average(folder: Path) -> None:
    module, average = Watched(), ema()
    trainer = trainer_with(average, saving(folder), max_epochs=1)
    trainer.fit(module, batches(), batches())
    with torch.no_grad():
        module.net.layers[0].weight.fill_(0.125)
    trainer.save_checkpoint(folder / "changed.ckpt")
    assert same(floats(checkpoint(folder / "changed.ckpt")["state_dict"]), held(module))
    assert "averaging_state" not in checkpoint(folder / "changed.ckpt")
    trainer.fit_loop.max_epochs = 2
    module.raw.clear()
    trainer.fit(module, batches(), batches())
    assert average.n == 6
    assert (module.raw[0]["net.layers.0.weight"] == 0.125).all()


def test_another_trainer_starts_a_new_average() -> None:
    """From what the module holds, which is the average of the first."""
    module, average = Watched(), ema()
    trainer_with(average).fit(module, batches())
    first = held(module)
    module.raw.clear()
    trainer_with(average, max_epochs=1).fit(module, batches())
    assert average.n == 6
    assert same(module.raw[0], first)
    assert close(held(module), averages(module.raw)[-1])


def test_another_module_starts_a_new_average() -> None:
    average = ema()
    trainer = trainer_with(average)
    with pytest.raises(ZeroDivisionError):
        trainer.fit(Stumbling(), batches(), batches())
    assert average.n == trainer.global_step == 12
    other = Watched()
    trainer.fit(other, batches(), batches())
    assert average.n == trainer.global_step - 12 > 0
    assert close(held(other), averages([other.raw[0], *other.raw[-average.n :]])[-1])


def test_of_a_run_without_ema(folder: Path) -> None:
    trainer_with(saving(folder)).fit(Watched(), batches(), batches())
    module, average = Watched(), ema()
    trainer = trainer_with(average, max_epochs=3, accumulate_grad_batches=2)
    trainer.fit(module, batches(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert average.n == trainer.global_step - 12 == 3
    steps = [module.raw[number] for number in (0, 2, 4, 6)]  # it notes each batch, as it counts from 0
    assert close(held(module), averages(steps)[-1])


def test_lightnings_own_checkpoints_and_ours_have_one_layout(folder: Path) -> None:
    theirs = Watched()
    trainer_with(EMAWeightAveraging(decay=DECAY, use_buffers=False), saving(folder)).fit(theirs, batches(), batches())
    module, average = Watched(), ema()
    trainer_with(average, max_epochs=3).fit(module, batches(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert average.n == 18
    assert same(floats(checkpoint(folder / "last.ckpt")["current_model_state"]), module.raw[0])

    trainer_with(ema(), saving(folder / "ours")).fit(Watched(), batches(), batches())
    trainer_with(EMAWeightAveraging(decay=DECAY), max_epochs=3).fit(
        Watched(), batches(), ckpt_path=folder / "ours" / "last.ckpt", weights_only=True
    )


def test_epochs_of_updates_are_saved(folder: Path) -> None:
    """E14: an average that is updated once per epoch is not updated twice for the epoch it was saved in."""

    class PerEpoch(EMA):
        @override
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return epoch_idx is not None

    def fit(epochs: int, **resume: Any) -> tuple[Watched, EMA]:
        module, average = Watched(), PerEpoch(decay=DECAY, ramp=RAMP)
        saver = [] if resume else [saving(folder / str(epochs))]
        trainer_with(average, *saver, max_epochs=epochs).fit(module, batches(), batches(), **resume)
        return module, average

    whole, average = fit(4)
    fit(2)
    module, resumed = fit(4, ckpt_path=folder / "2" / "last.ckpt", weights_only=True)
    assert resumed.n == average.n == 4
    assert same(held(module), held(whole))
    assert close(held(whole), averages([whole.raw[6], *(whole.raw[step] for step in (6, 12, 18, 24))])[-1])
    state = average.state_dict()
    assert state == {"latest_update_step": 24, "latest_update_epoch": 3}
    fresh = PerEpoch()
    fresh.load_state_dict(state)
    assert fresh.state_dict() == state


# The module's own ways


def test_state_dicts_that_leave_frozen_weights_out(folder: Path) -> None:
    """E7."""

    class Frozen(Watched):
        def __init__(self) -> None:
            super().__init__()
            self.net.layers[0].requires_grad_(False)
            self.strict_loading = False

        @override
        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            state = super().state_dict(*args, **kwargs)
            return {name: value for name, value in state.items() if "layers.0" not in name}

    whole = Frozen()
    trainer_with(ema(), max_epochs=4).fit(whole, batches(), batches())
    trainer_with(ema(), saving(folder)).fit(Frozen(), batches(), batches())
    content = checkpoint(folder / "last.ckpt")
    assert not any("layers.0" in name for name in (*content["state_dict"], *content["current_model_state"]))
    module = Frozen()
    trainer_with(ema(), max_epochs=4).fit(module, batches(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert same(held(module), held(whole))


def test_state_dicts_with_other_names(folder: Path) -> None:
    class Renaming(Watched):
        @override
        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {name.removeprefix("net."): value for name, value in super().state_dict(*args, **kwargs).items()}

        @override
        def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            named = {f"net.{name}": value for name, value in state_dict.items()}
            return super().load_state_dict(named, *args, **kwargs)

    whole = Renaming()
    trainer_with(ema(), max_epochs=4).fit(whole, batches(), batches())
    trainer_with(ema(), saving(folder)).fit(Renaming(), batches(), batches())
    module = Renaming()
    trainer_with(ema(), max_epochs=4).fit(module, batches(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert same(held(module), held(whole))


def test_buffers_that_change_their_shape_or_place(folder: Path) -> None:
    """E8."""

    class Growing(Watched):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("one", torch.ones(2))
            self.register_buffer("two", torch.full((2,), 2.0))
            self.register_buffer("memory", torch.zeros(1), persistent=False)

        @override
        def on_train_epoch_start(self) -> None:
            del self.one
            self.register_buffer("one", torch.ones(2))
            self.memory = torch.full((self.current_epoch + 2,), 1.0)

        @override
        def on_validation_epoch_start(self) -> None:
            self.held = (self.one.clone(), self.two.clone(), self.memory.clone())

    module = Growing()
    trainer_with(ema()).fit(module, batches(), batches())
    assert [tensor.tolist() for tensor in module.held] == [[1, 1], [2, 2], [1, 1, 1]]


def test_configure_model_runs_once(folder: Path) -> None:
    """E9: and the average starts from its layers, though they are made anew each time."""

    class Configured(Watched):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        @override
        def configure_model(self) -> None:
            self.calls += 1
            self.head = nn.Linear(3, 3)

        @override
        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(super().forward(inputs))

    module = Configured()
    trainer_with(ema()).fit(module, batches(), batches())
    assert module.calls == 1
    assert close(held(module), averages(module.raw)[-1])


@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
def test_weights_that_are_split_over_devices_are_refused(strategy: Callable[..., Any]) -> None:
    """E10."""

    class Stub:
        callbacks: tuple[()] = ()

    trainer: Any = Stub()
    trainer.strategy = strategy()
    with pytest.raises(UsageError, match=rf"{strategy.__name__} splits over devices: train with strategy=ddp"):
        EMA().setup(trainer, Watched(), "fit")


@pytest.mark.parametrize("other", [EMAWeightAveraging(), StochasticWeightAveraging(0.1)])
def test_two_averages_are_refused(other: pl.Callback) -> None:
    with pytest.raises(UsageError, match="leave one of them out"):
        trainer_with(EMA(), other).fit(Watched(), batches())


def test_migrations_are_applied_to_both_kinds_of_weights(folder: Path) -> None:
    """E15."""

    class Migrating(Watched):
        @override
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["state_dict"] = {
                name.replace("old.", "net."): value for name, value in checkpoint["state_dict"].items()
            }

    whole = Watched()
    trainer_with(ema(), max_epochs=4).fit(whole, batches(), batches())
    trainer_with(ema(), saving(folder)).fit(Watched(), batches(), batches())
    content = checkpoint(folder / "last.ckpt")
    for name in ("state_dict", "current_model_state"):
        content[name] = {key.replace("net.", "old."): value for key, value in content[name].items()}
    torch.save(content, folder / "old.ckpt")
    module = Migrating()
    trainer_with(ema(), max_epochs=4).fit(module, batches(), ckpt_path=folder / "old.ckpt", weights_only=True)
    assert same(held(module), held(whole))


def test_a_search_for_the_learning_rate_leaves_no_trace(folder: Path) -> None:
    class Searching(LearningRateFinder):
        @override
        def on_fit_start(self, *args: Any) -> None:
            super().on_fit_start(*args)
            args[1].raw.clear()

    module, average = Watched(), ema()
    finder = Searching(num_training_steps=4, update_attr=False)
    trainer_with(average, finder, default_root_dir=folder).fit(module, batches(), batches())
    assert average.n == 12
    assert close(held(module), averages(module.raw)[-1])


# Several processes


@pytest.fixture
def one_folder_each(tmp_path: Path) -> Path:
    (tmp_path / "ranks").mkdir()
    return tmp_path / "ranks"


class Telling(Watched):
    """Writes what each rank saw."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        with torch.no_grad():  # each rank's own, until DDP makes them equal
            self.net.layers[0].weight.add_(int(torch.distributed.is_initialized()))

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        with torch.no_grad():
            self.net.layers[0].weight.add_(self.trainer.global_rank)

    @override
    def on_train_end(self) -> None:
        told = {"raw": self.raw, "val": self.seen["val"], "end": held(self)}
        torch.save(told, self.folder / f"{self.trainer.global_rank}.pt")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
@pytest.mark.filterwarnings("ignore:It is recommended to use `self.log.*sync_dist")
def test_two_processes_evaluate_the_same_average(one_folder_each: Path, folder: Path) -> None:
    """E11: also of the batch statistics, which differ from rank to rank in training; rank 0's are what counts."""
    module = Telling(one_folder_each)
    trainer = trainer_with(ema(), saving(folder), devices=2, strategy="ddp_fork")
    trainer.fit(module, batches(), batches())
    first, second = (torch.load(one_folder_each / f"{rank}.pt") for rank in (0, 1))
    assert len(first["raw"]) == 7  # 3 steps in each of 2 epochs
    assert not same(first["raw"][-1], second["raw"][-1])
    expected = averages(first["raw"])
    for told in (first, second):
        assert close(told["val"][0], expected[3])
        assert close(told["val"][1], expected[6])
        assert close(told["end"], expected[6])
    assert same(first["end"], second["end"])
    assert same(held(module), first["end"])  # and what comes back from rank 0
    content = checkpoint(folder / "last.ckpt")
    assert same(floats(content["state_dict"]), first["end"])
    assert same(floats(content["current_model_state"]), first["raw"][-1])


# Use


def test_pickled_before_and_after_a_fit() -> None:
    assert pickle.loads(pickle.dumps(EMA(0.5, 3, "cpu"))).__dict__ == EMA(0.5, 3, "cpu").__dict__
    average = ema()
    trainer_with(average).fit(Watched(), batches())
    copied = pickle.loads(pickle.dumps(average))
    assert copied.n == 12
    assert same(copied.average, average.average)
    module = Watched()
    trainer_with(copied, max_epochs=1).fit(module, batches())
    assert copied.n == 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"decay": 1.5}, "decay is 1.5: give one from 0 to 1"),
        ({"decay": math.nan}, "decay is nan"),
        ({"ramp": -1}, "ramp is -1: give a number of steps"),
        ({"device": "gpu"}, "device 'gpu' is none"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        EMA(**settings)


def test_every_hook_of_lightnings_is_replaced() -> None:
    """A hook that a later Lightning adds to its WeightAveraging must be looked at."""
    theirs = {name for name in vars(WeightAveraging) if not name.startswith("_")}
    validation = {"on_validation_epoch_start", "on_validation_epoch_end"}  # do nothing without Lightning's own average
    assert theirs - set(vars(EMA)) == {"should_update"} | validation
    assert EMA()._average_model is None


def test_from_the_command_line(tmp_path: Path, make_folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightframe.cli import main

    make_folders(train={"jump": 4, "wave": 4}, val={"jump": 2, "wave": 2})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # main() puts the current folder there
    words = ["--data.root=videos", "--data.frames=2", "--data.size=16", "--data.batch_size=2", "--data.num_workers=0"]
    words += ["--model.net=tiny3d", "--model.loss=ce", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    words += ["--trainer.callbacks+=lightframe.callbacks.EMA", "--trainer.callbacks.decay", "0.999"]
    main(["fit", *words, "--trainer.callbacks.ramp=2", "--trainer.callbacks.device=cpu"])
    content = checkpoint("runs/run_0/checkpoints/last.ckpt")
    assert content["averaging_state"]["n_averaged"] == 4
    assert content["state_dict"].keys() == content["current_model_state"].keys()
    assert not same(floats(content["state_dict"]), floats(content["current_model_state"]))
    config = Path("runs/run_0/config.yaml").read_text()
    assert "decay: 0.999" in config


def test_beside_a_loss_guard_that_skips_steps() -> None:
    """Neither the weights nor the batch statistics of a skipped step reach the average."""
    data = batches()
    data.dataset.tensors[0][2] = torch.nan  # in the second batch
    module, average = Watched(), ema()
    with pytest.warns(UserWarning, match="skipped a step"):
        trainer_with(average, LossGuard(action="skip")).fit(module, data)
    assert average.n == 12
    assert same(module.raw[2], module.raw[1])
    assert close(held(module), averages(module.raw)[-1])
