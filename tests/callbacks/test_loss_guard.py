"""A loss that is not finite, held against plain loops that never met it."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from labelled_rows import CLASSES, Data, Rows, as_batch, make_net
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from recording import quiet_trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from typing_extensions import override

from lightframe import LightFrameModule, UsageError, VideoBatch
from lightframe.callbacks import LossGuard
from lightframe.callbacks.loss_guard import NotFiniteError

SGD = {"optimizer": "sgd", "lr": 0.1, "optimizer_args": {"momentum": 0.9, "weight_decay": 0.1}}
ADAMW = {"optimizer": "adamw", "lr": 0.01, "optimizer_args": {"weight_decay": 0.1}}


def module(settings: dict[str, Any] = SGD) -> LightFrameModule:
    return LightFrameModule(make_net(), loss={"ce": 1.0, "bce": 0.5}, metrics=None, **settings)


def plain_loop(
    steps: Iterable[Sequence[int]], settings: dict[str, Any] = SGD
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A net trained on clean rows; each step accumulates these batches."""
    net, rows = make_net(), Rows()
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[settings["optimizer"]]
    optimizer = kind(net.parameters(), lr=settings["lr"], **settings["optimizer_args"])
    for step in steps:
        optimizer.zero_grad()
        for number in step:
            inputs, labels = rows.batch(number)
            outputs = net(inputs)
            targets = F.one_hot(labels, CLASSES).float()
            loss = F.cross_entropy(outputs, labels) + 0.5 * F.binary_cross_entropy_with_logits(outputs, targets)
            (loss / len(step)).backward()
        optimizer.step()
    return net, optimizer


def check_equal(net: nn.Module, expected: nn.Module) -> None:
    for name, value in expected.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


# Stopping


def test_stopping_says_what_and_saves_what_was_good(tmp_path: Path) -> None:
    """Of two epochs of 6 batches, the fourth of the first holds NaN."""
    trainer = quiet_trainer(callbacks=[LossGuard()], max_epochs=2, default_root_dir=tmp_path)
    with pytest.raises(NotFiniteError) as raised:
        trainer.fit(module(), datamodule=Data(bad=[13]))
    said = str(raised.value)
    path = tmp_path / "last-finite-step=3.ckpt"
    for part in (
        "the loss of step 3 (epoch 0) is not finite",
        "train/loss nan, train/loss_ce nan, train/loss_bce nan on videos/12.mp4, videos/13.mp4, ",
        str(path),
        "a lower learning rate than 0.1",
    ):
        assert part in said
    assert isinstance(raised.value, UsageError)  # one line on the command line
    assert "\n" not in said

    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == 3
    saved, (three, optimizer) = module(), plain_loop([[0], [1], [2]])
    saved.load_state_dict(checkpoint["state_dict"])
    check_equal(saved.net, three)
    momenta = [state["momentum_buffer"] for state in checkpoint["optimizer_states"][0]["state"].values()]
    for one, other in zip(momenta, optimizer.state.values(), strict=True):
        assert torch.equal(one, other["momentum_buffer"])


def test_training_goes_on_from_there(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError):
        quiet_trainer(callbacks=[LossGuard()], default_root_dir=tmp_path).fit(module(), datamodule=Data(bad=[13]))
    # In its middle Lightning begins the epoch anew with the loader's first batch; rows in this order go on.
    rest = [[0], [1], [2]]
    resumed = module()
    with pytest.warns(UserWarning, match="ended before the epoch ended"):
        quiet_trainer(callbacks=[LossGuard()]).fit(
            resumed, datamodule=Data(), ckpt_path=tmp_path / "last-finite-step=3.ckpt", weights_only=True
        )
    check_equal(resumed.net, plain_loop([[0], [1], [2], *rest])[0])


def test_beside_the_other_checkpoints(tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
    trainer = quiet_trainer(callbacks=[LossGuard(), keeper], default_root_dir=tmp_path, enable_checkpointing=True)
    with pytest.raises(NotFiniteError):
        trainer.fit(module(), datamodule=Data(bad=[0]))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last-finite-step=0.ckpt"]


def test_many_paths_are_not_all_said(tmp_path: Path) -> None:
    data = Data(bad=[3])
    data.train_dataloader = lambda: DataLoader(data.rows, 12, collate_fn=as_batch)  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError, match=r"videos/7\.mp4 and 4 more"):
        quiet_trainer(callbacks=[LossGuard()], default_root_dir=tmp_path).fit(module(), datamodule=data)


def test_batches_without_an_index_and_losses_without_names(tmp_path: Path) -> None:
    class Own(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return (self.weight - batch_idx).log()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = DataLoader(torch.zeros(6, 1), 2)
    with pytest.raises(NotFiniteError, match=r"step 1 .* is not finite: loss nan on a batch of samples without"):
        quiet_trainer(callbacks=[LossGuard()], default_root_dir=tmp_path).fit(Own(), loader)


def test_weights_that_are_bad_already_are_not_saved(tmp_path: Path) -> None:
    """The square root has an infinite derivative at 0: a finite loss spoils the weights."""

    class Steep(LightFrameModule):
        @override
        def compute_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return (outputs * 0).sum().sqrt()

    net = Steep(make_net(), metrics=None, **SGD)
    with pytest.raises(NotFiniteError, match=r"step 1 .*; the weights are not finite either"):
        quiet_trainer(callbacks=[LossGuard()], default_root_dir=tmp_path).fit(net, datamodule=Data())
    assert not list(tmp_path.iterdir())


# Skipping


@pytest.mark.parametrize("settings", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_a_skipped_step_changes_nothing(settings: dict[str, Any]) -> None:
    """Not the weights, not momentum or Adam's moments and count, not batch norm: as if the batch was not there."""
    guard, net = LossGuard("skip"), module(settings)
    trainer = quiet_trainer(callbacks=[guard], gradient_clip_val=1e9)
    with pytest.warns(UserWarning, match="skipped a step: the loss of step 3 .*train/loss_ce nan.*videos/12.mp4"):
        trainer.fit(net, datamodule=Data(bad=[13]))
    expected, optimizer = plain_loop([[0], [1], [2], [4], [5]], settings)
    check_equal(net.net, expected)
    for one, other in zip(trainer.optimizers[0].state.values(), optimizer.state.values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one if isinstance(one[name], Tensor))
    assert guard.skipped == 1
    assert trainer.callback_metrics["train/skipped_steps"] == 1


def test_all_batches_of_an_accumulated_step_are_skipped() -> None:
    guard, net = LossGuard("skip"), module()
    with pytest.warns(UserWarning, match="videos/12.mp4"):
        quiet_trainer(callbacks=[guard], accumulate_grad_batches=2).fit(net, datamodule=Data(bad=[13]))
    check_equal(net.net, plain_loop([[0, 1], [4, 5]])[0])
    guard, net = LossGuard("skip"), module()
    with pytest.warns(UserWarning, match="videos/8.mp4"):  # the first of two
        quiet_trainer(callbacks=[guard], accumulate_grad_batches=2).fit(net, datamodule=Data(bad=[8]))
    check_equal(net.net, plain_loop([[0, 1], [4, 5]])[0])


def test_nothing_but_nan_ends(tmp_path: Path) -> None:
    guard, net = LossGuard("skip", max_skips=2), module()
    trainer = quiet_trainer(callbacks=[guard], default_root_dir=tmp_path, max_epochs=100)
    with (
        pytest.warns(UserWarning, match="skipped a step"),
        pytest.raises(NotFiniteError, match="more than max_skips=2 steps in a row were skipped: the loss of step 4"),
    ):
        trainer.fit(net, datamodule=Data(bad=range(8, 24)))
    saved = module()
    saved.load_state_dict(torch.load(tmp_path / "last-finite-step=4.ckpt", weights_only=True)["state_dict"])
    check_equal(saved.net, plain_loop([[0], [1]])[0])


@pytest.mark.filterwarnings("ignore:skipped a step")
def test_skips_that_do_not_follow_each_other_are_no_reason_to_end() -> None:
    guard, net = LossGuard("skip", max_skips=1), module()
    quiet_trainer(callbacks=[guard], max_epochs=3).fit(net, datamodule=Data(bad=[0, 8, 16]))
    assert guard.skipped == 9
    check_equal(net.net, plain_loop([[1], [3], [5]] * 3)[0])


@pytest.mark.filterwarnings("ignore:skipped a step")
def test_the_count_goes_on_after_a_resume_and_not_into_another_run(tmp_path: Path) -> None:
    first = quiet_trainer(callbacks=[LossGuard("skip")])
    first.fit(module(), datamodule=Data(bad=[13]))
    first.save_checkpoint(tmp_path / "one.ckpt")
    guard = LossGuard("skip")
    quiet_trainer(callbacks=[guard], max_epochs=3).fit(
        module(), datamodule=Data(bad=[13]), ckpt_path=tmp_path / "one.ckpt", weights_only=True
    )
    assert guard.skipped == 3
    quiet_trainer(callbacks=[guard]).fit(module(), datamodule=Data(bad=[13]))
    assert guard.skipped == 1


# Precision, processes, arguments


class Watching(LossGuard):
    """Keeps the scale of the gradients after each step."""

    def __init__(self, action: str) -> None:
        super().__init__(action)
        self.scales: list[float] = []

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self.scales.append(trainer.precision_plugin.scaler.get_scale())  # type: ignore[union-attr]


@pytest.mark.parametrize("action", ["stop", "skip"])
def test_gradients_that_overflow_are_the_scalers_to_mend(action: str) -> None:
    """In half precision, with a scale of 2**30: the losses are finite all the time."""
    guard = Watching(action)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    quiet_trainer(callbacks=[guard], plugins=[plugin], max_epochs=5).fit(module(), datamodule=Data())
    assert guard.scales[0] == 2.0**30
    assert guard.scales[-1] < 2.0**25
    assert guard.skipped == 0


@pytest.mark.filterwarnings("ignore:skipped a step", "ignore:Detected call of `lr_scheduler.step")
def test_nan_in_half_precision_is_met_all_the_same(tmp_path: Path) -> None:
    for action in ("skip", "stop"):
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=16.0))
        guard, net = LossGuard(action), module()
        trainer = quiet_trainer(callbacks=[guard], plugins=[plugin], default_root_dir=tmp_path)
        if action == "stop":
            with pytest.raises(NotFiniteError, match="step 3"):
                trainer.fit(net, datamodule=Data(bad=[13]))
        else:
            trainer.fit(net, datamodule=Data(bad=[13]))
            assert guard.skipped == 1
        assert all(bool(value.isfinite().all()) for value in net.state_dict().values())


class Telling(LightFrameModule):
    """Writes the weights of each process, and how many steps were skipped."""

    folder: Path

    @override
    def on_train_end(self) -> None:
        (guard,) = (one for one in self.trainer.callbacks if isinstance(one, LossGuard))  # type: ignore[attr-defined]
        weights = [value.tolist() for value in self.net.state_dict().values()]
        told = {"weights": weights, "skipped": guard.skipped}
        (self.folder / f"{self.trainer.global_rank}.json").write_text(json.dumps(told))


@pytest.fixture
def two() -> Any:
    if not torch.distributed.is_available():
        pytest.skip("torch without torch.distributed")
    return lambda **settings: quiet_trainer(devices=2, strategy="ddp_fork", **settings)


@pytest.mark.filterwarnings("ignore:skipped a step")
def test_processes_decide_together(two: Any, tmp_path: Path) -> None:
    """The sampler gives rank 1 the odd rows; one of them is bad."""
    net = Telling(make_net(), loss="ce", metrics=None, **SGD)
    net.folder = tmp_path
    two(callbacks=[LossGuard("skip")], use_distributed_sampler=True, max_epochs=2).fit(net, datamodule=Data(bad=[13]))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["skipped"] == second["skipped"] == 2
    for number, name in enumerate(net.net.state_dict()):
        if "running" not in name:  # each process has statistics of its own batches
            assert first["weights"][number] == second["weights"][number], name
    finite = torch.tensor([number for value in first["weights"] + second["weights"] for number in flatten(value)])
    assert bool(finite.isfinite().all())


def test_processes_stop_together_and_say_whose_batch_it_was(two: Any, tmp_path: Path) -> None:
    trainer = two(callbacks=[LossGuard()], default_root_dir=tmp_path, max_epochs=2)
    # The launcher gives the process's error as text. Lightning shuffles the training rows.
    with pytest.raises(Exception, match=r"NotFiniteError: the loss of step \d .* nan on [^;]*videos/13.mp4"):
        trainer.fit(module(), datamodule=Data(bad=[13]))
    (path,) = tmp_path.glob("last-finite-step=*.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in state.values())


def flatten(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for one in value:
            yield from flatten(one)
    else:
        yield float(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "stopp"}, "action must be one of stop, skip, got 'stopp'; did you mean 'stop'?"),
        ({"max_skips": 0}, "max_skips must be at least 1, got 0"),
    ],
)
def test_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        LossGuard(**arguments)
    assert str(raised.value) == message


def test_manual_optimization_skips_nothing() -> None:
    with pytest.raises(UsageError, match="manual optimization"):
        LossGuard("skip").on_train_start(
            quiet_trainer(),
            SimpleNamespace(automatic_optimization=False),  # type: ignore[arg-type]
        )


def test_nothing_is_held_when_training_is_over() -> None:
    guard = LossGuard()
    quiet_trainer(callbacks=[guard]).fit(module(), datamodule=Data())
    held = [value for value in vars(guard).values() if isinstance(value, Tensor | VideoBatch)]
    assert held == []
    assert guard._buffers is None


def test_a_finite_run_is_the_same_with_a_guard() -> None:
    nets = [module(), module()]
    quiet_trainer(max_epochs=2).fit(nets[0], datamodule=Data())
    quiet_trainer(max_epochs=2, callbacks=[LossGuard("skip")]).fit(nets[1], datamodule=Data())
    check_equal(nets[1].net, nets[0].net)
    assert math.isfinite(next(nets[0].parameters()).sum().item())
