"""What every exported callback keeps to: a new export has no entry here, and fails until it has one."""

import contextlib
import json
import logging
import multiprocessing
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from labelled_rows import BATCH, CLASSES, FEATURES, Data, as_batch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger
from recording import quiet_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from typing_extensions import override

from lightframe import LightFrameModule, VideoBatch, callbacks
from lightframe.cli.main import LightFrameCLI

# Arguments as they are typed; each is an attribute of the same name.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "Checkpointer": {"every_n_epochs": 1},
    "DetectionWriter": {},
    "EMA": {"decay": 0.9, "ramp": 2.0},
    "EnvironmentReport": {},
    "EvalTotal": {"metric": "top1", "every_n_epochs": 1},
    "GPUSpeedBenchmark": {"nets": ["own"], "iterations": 1},
    "LastCheckpoint": {"every_minutes": 0.0},
    "LossGuard": {"action": "skip", "max_skips": 3},
    "PredictionWriter": {"top": 2},
    "StepTimer": {"verbose": True},
}
# Those that keep their argument in another form.
CONVERTED = {("EvalTotal", "metric")}

pytestmark = [
    pytest.mark.usefixtures("elsewhere"),
    # Lightning's advice on evaluating with several devices.
    pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders"),
]
every_callback = pytest.mark.parametrize("name", callbacks.__all__)


def make(name: str) -> Any:
    return getattr(callbacks, name)(**ARGUMENTS[name])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder and a folder for temporary files, both empty."""
    for name in ("current", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


# A training with all that is random in it


class RowsToTrainAndPredict(Data):
    @override
    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, batch_size=BATCH, collate_fn=as_batch, generator=torch.Generator())

    predict_dataloader = test_dataloader = val_dataloader


class Net(LightFrameModule):
    """With dropout and batch norm; it may fail in the middle, and tells its weights at the end."""

    def __init__(self, fail_in: str = "", tell: Path | None = None) -> None:
        torch.default_generator.manual_seed(0)
        layers = [nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES)]
        optimizer = {"lr": 0.1, "optimizer_args": {"momentum": 0.9}}
        super().__init__(nn.Sequential(*layers), loss="ce", metrics=["top1"], num_classes=CLASSES, **optimizer)
        self.fail_in, self.tell = fail_in, tell

    @override
    def training_step(self, batch: VideoBatch, batch_idx: int) -> Any:
        if self.fail_in == "train" and batch_idx == 2:
            raise ZeroDivisionError
        return super().training_step(batch, batch_idx)

    @override
    def validation_step(self, batch: VideoBatch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if self.fail_in == "val" and batch_idx == 2:
            raise ZeroDivisionError
        return super().validation_step(batch, batch_idx, dataloader_idx)

    @override
    def on_train_end(self) -> None:
        if self.tell is not None:
            weights = [value.tolist() for value in self.parameters()]
            (self.tell / f"rank{self.trainer.global_rank}.json").write_text(json.dumps(weights))


class Run(NamedTuple):
    trainer: Trainer
    net: Net

    def checkpoint(self, folder: Path) -> dict[str, Any]:
        """A checkpoint, read as a stranger's."""
        self.trainer.save_checkpoint(folder / "run.ckpt")
        return torch.load(folder / "run.ckpt", weights_only=True)

    def weights(self, folder: Path) -> dict[str, Tensor]:
        """Those that training would go on from, without a callback's hands in them."""
        checkpoint = self.checkpoint(folder)
        return checkpoint.get("current_model_state", checkpoint["state_dict"])


def train(folder: Path, *used: Any, net: Net | None = None, checkpoint: Path | None = None, **settings: Any) -> Run:
    logger = CSVLogger(folder, name="", version="")
    trainer = quiet_trainer(
        **{"max_epochs": 2, "callbacks": list(used), "logger": logger, "log_every_n_steps": 1, **settings},
        enable_checkpointing=any(isinstance(one, Checkpoint) for one in used),
        default_root_dir=folder,
    )
    net = net or Net()
    resume = {"ckpt_path": checkpoint, "weights_only": True} if checkpoint else {}
    trainer.fit(net, datamodule=RowsToTrainAndPredict(), **resume)
    return Run(trainer, net)


def same(one: Any, other: Any) -> bool:
    """Whether nested plain values and tensors are equal to the last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def state(callback: Any, *folders: Path) -> Any:
    """Its state, with the folders of trainings taken out of all paths."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {without(key): without(item) for key, item in value.items()}
        for folder in folders if isinstance(value, str) else ():
            value = value.replace(str(folder), "")
        return value

    return without(callback.state_dict())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a training without a callback."""
    folder = tmp_path_factory.mktemp("bare")
    return train(folder / "run").weights(folder)


# The contract


def test_every_export_has_an_entry() -> None:
    assert sorted(callbacks.__all__) == sorted(ARGUMENTS)
    assert list(callbacks.__all__) == sorted(callbacks.__all__)


@every_callback
def test_from_the_command_line(name: str, make_folders: Callable[..., Path], tmp_path: Path) -> None:
    videos = make_folders(train={"jump": 2, "wave": 2}, val={"jump": 2, "wave": 2})
    words = [f"--trainer.callbacks.{key}={value}" for key, value in ARGUMENTS[name].items()]
    with warnings.catch_warnings():  # the command line adds filters
        cli = LightFrameCLI(
            [
                "fit",
                f"--data.root={videos}",
                *("--data.frames=2", "--data.size=16", "--data.batch_size=2", "--data.num_workers=0"),
                *("--model.net=tiny3d", "--model.net.width=2", "--model.loss=ce"),
                *("--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"),
                *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
                f"--trainer.callbacks+=lightframe.callbacks.{name}",
                *words,
            ]
        )
    os.environ.pop("LIGHTFRAME_RUN_FOLDER", None)
    (found,) = [one for one in cli.trainer.callbacks if type(one) is getattr(callbacks, name)]
    for key, value in ARGUMENTS[name].items():
        assert (name, key) in CONVERTED or getattr(found, key) == value
    assert cli.trainer.state.finished


@every_callback
def test_trains_twice(name: str, tmp_path: Path, bare: dict[str, Tensor]) -> None:
    """It does not change what training makes of the weights, and a second training finds nothing of the first."""
    callback = make(name)
    first = train(tmp_path / "first", callback)
    assert same(first.weights(tmp_path), bare)
    states = [state(callback, tmp_path / "first")]
    first.trainer.validate(first.net, datamodule=RowsToTrainAndPredict(), verbose=False)
    first.trainer.predict(first.net, datamodule=RowsToTrainAndPredict())
    second = train(tmp_path / "second", callback)
    assert same(second.weights(tmp_path), bare)
    states.append(state(callback, tmp_path / "second"))
    assert same(*states)


@every_callback
def test_one_trainer_trains_on(name: str, tmp_path: Path) -> None:
    weights = []
    for folder, used in (("bare", []), ("run", [make(name)])):
        run = train(tmp_path / folder, *used, max_epochs=1)
        run.trainer.fit_loop.max_epochs = 2
        run.trainer.fit(run.net, datamodule=RowsToTrainAndPredict())
        weights.append(run.weights(tmp_path))
    assert same(*weights)


@every_callback
def test_saves_and_resumes(name: str, tmp_path: Path) -> None:
    """What goes on from a checkpoint ends as what was not stopped, weights and state."""
    whole, stopped, resumed = make(name), make(name), make(name)
    expected = train(tmp_path / "whole", whole).weights(tmp_path)
    states = train(tmp_path / "half", stopped, max_epochs=1).checkpoint(tmp_path)["callbacks"]
    assert same(states.get(stopped.state_key, {}), stopped.state_dict())
    run = train(tmp_path / "rest", resumed, checkpoint=tmp_path / "run.ckpt")
    assert run.trainer.global_step == 12
    assert same(run.weights(tmp_path), expected)
    folders = tmp_path / "whole", tmp_path / "half", tmp_path / "rest"
    assert same(state(resumed, *folders), state(whole, *folders))


@every_callback
def test_pickles(name: str, tmp_path: Path, bare: dict[str, Tensor]) -> None:
    """Before a training, for processes that are started for it, and after."""
    callback = pickle.loads(pickle.dumps(make(name)))
    assert same(train(tmp_path / "first", callback).weights(tmp_path), bare)
    again = pickle.loads(pickle.dumps(callback))
    assert same(again.state_dict(), callback.state_dict())
    assert same(train(tmp_path / "second", again).weights(tmp_path), bare)


@every_callback
@pytest.mark.parametrize("phase", ["train", "val"])
def test_survives_an_exception(name: str, phase: str, tmp_path: Path, bare: dict[str, Tensor]) -> None:
    callback, net = make(name), Net(fail_in=phase)
    with world_unchanged(), pytest.raises(ZeroDivisionError):
        train(tmp_path / "failed", callback, net=net)
    expected = Net(fail_in=phase)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "without", net=expected)
    assert same(net.state_dict(), expected.state_dict())  # what training had made of them by then
    assert vars(net).keys() == vars(expected).keys()  # nothing is put in the place of a method
    assert same(train(tmp_path / "again", callback).weights(tmp_path), bare)


@every_callback
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
def test_two_processes(name: str, tmp_path: Path) -> None:
    """They end with the same weights, which are those of two without the callback."""
    told = {}
    for folder, used in (("without", []), ("with", [make(name)])):
        (tmp_path / folder).mkdir()
        # Lightning leaves the address of the processes in the environment, the first time.
        with world_unchanged() if used else contextlib.nullcontext():
            train(tmp_path / f"run_{folder}", *used, net=Net(tell=tmp_path / folder), devices=2, strategy="ddp_fork")
        told[folder] = [json.loads((tmp_path / folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
        assert told[folder][0] == told[folder][1]
    assert name == "EMA" or told["with"] == told["without"]  # it leaves the averages in the module


@every_callback
def test_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    """No file but in the run folder, no thread, no process, no setting, no random number drawn."""
    states = []
    for folder, used in (("bare", []), ("run", [make(name)])):
        with world_unchanged():
            run = train(tmp_path / folder, *used)
        states.append((torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()))
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in run.net.modules()]
        assert not any(hooks)
    assert states[0] == states[1]
    left = {path.name for path in tmp_path.iterdir()} - {"bare", "run"}
    assert left == {"current", "temporary"}
    assert list((tmp_path / "current").iterdir()) == list((tmp_path / "temporary").iterdir()) == []


# Of a whole process


class world_unchanged:
    """Checks that what belongs to the whole process is after the block as it was before."""

    def __enter__(self) -> None:
        self.before = dict(world())

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        after = dict(world())
        assert {key: (self.before[key], after[key]) for key in after if after[key] != self.before[key]} == {}


def world() -> Iterator[tuple[str, Any]]:
    yield "threads", {thread.ident for thread in threading.enumerate()}
    yield "processes", {process.pid for process in multiprocessing.active_children()} | children()
    yield "signals", {one: signal.getsignal(one) for one in signal.valid_signals()}
    yield "environment", dict(os.environ)
    yield "folder", str(Path.cwd())
    yield "path", list(sys.path)
    yield "streams", (sys.stdout, sys.stderr, sys.excepthook, threading.excepthook)
    yield "warnings", list(warnings.filters)
    for name in ("", "lightning", "lightning.pytorch", "lightframe"):
        logger = logging.getLogger(name)
        yield f"logger {name}", (logger.level, list(logger.handlers), list(logger.filters))
    cudnn = torch.backends.cudnn
    yield "cudnn", (cudnn.enabled, cudnn.benchmark, cudnn.deterministic)
    yield (
        "precision",
        (torch.get_float32_matmul_precision(), torch.get_default_dtype(), torch.is_autocast_enabled("cpu")),
    )
    yield "gradients", (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled())
    yield "determinism", (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())


def children() -> set[int]:
    """Processes that this one started, where the system tells."""
    found = Path("/proc/self/task").glob("*/children")
    return {int(number) for file in found for number in file.read_text().split()}
