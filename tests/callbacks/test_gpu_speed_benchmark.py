"""A training that is measured first is the same training; what is measured is what will be trained."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.compile import from_compiled
from recording import quiet_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from lightframe import LightFrameModule, UsageError, VideoBatch
from lightframe.callbacks import GPUSpeedBenchmark
from lightframe.callbacks import gpu_speed_benchmark as callback_module
from lightframe.speed import Report, Row, Spread
from lightframe.speed import own as own_module

QUICK = {"iterations": 2}


class Clips(Dataset):
    """Ten clips that are drawn anew each time, by every generator that there is."""

    def __len__(self) -> int:
        return 10

    @override
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(3, 2, 16, 16) + random.random() + np.random.rand(), index % 2


class Net(nn.Module):
    """With all that a forward pass can change: batch norm, dropout, counters, and the very input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, (1, 3, 3))
        self.norm = nn.BatchNorm3d(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.seen = 0
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @override
    def forward(self, video: Tensor) -> Tensor:
        video *= 0.5
        self.seen += 1
        self.steps += 1
        return self.head(self.dropout(self.norm(self.conv(video)).relu_().mean((2, 3, 4))))


class Adapter(LightFrameModule):
    """Keeps whatever is left for a measurement to disturb, as it is at the first step and at the end."""

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.global_step == 0:
            self.first = {
                "training": [module.training for module in self.modules()],
                "grads": [parameter.grad for parameter in self.parameters()],
                "seen": self.net.seen,
                "batch": batch[0].clone(),
                "versions": [tensor._version for tensor in (*self.parameters(), *self.buffers(), batch[0])],
                "random": [random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()],
                "flags": [
                    torch.backends.cudnn.benchmark,
                    torch.get_float32_matmul_precision(),
                    torch.is_grad_enabled(),
                ],
            }


def adapter(**kwargs: Any) -> Adapter:
    pl.seed_everything(1, verbose=False)
    settings = {"loss": "ce", "lr": 0.1, "optimizer_args": {"momentum": 0.9}, "metrics": None, "num_classes": 2}
    return Adapter(Net(), **{**settings, **kwargs})


def fit(*callbacks: pl.Callback, module: pl.LightningModule | None = None, ckpt: Any = None, **settings: Any):
    module = adapter() if module is None else module
    trainer = quiet_trainer(callbacks=list(callbacks), max_epochs=settings.pop("max_epochs", 2), **settings)
    loader = DataLoader(Clips(), batch_size=4, shuffle=True)
    trainer.fit(module, loader, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return module


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    return first == second


def test_the_training_is_the_same_bit_for_bit() -> None:
    plain = fit()
    benchmark = GPUSpeedBenchmark(
        ["own", "tiny3d"], memory_format=["contiguous", "channels_last"], precision=["fp32", "16-mixed"], **QUICK
    )
    measured = fit(benchmark)
    assert [row.status for row in benchmark.report.rows].count("ok") == 8
    for name, value in plain.state_dict().items():
        assert torch.equal(value, measured.state_dict()[name]), name
    for name, value in plain.first.items():
        assert equal(value, measured.first[name]), name
    assert measured.net.seen == plain.net.seen == 6


def test_it_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test before would see a measurement of the net itself."""
    monkeypatch.setattr(own_module, "_copy", lambda module: module)
    plain, measured = fit(), fit(GPUSpeedBenchmark(**QUICK))
    assert any(not torch.equal(value, measured.state_dict()[name]) for name, value in plain.state_dict().items())


def test_what_is_measured() -> None:
    benchmark = GPUSpeedBenchmark(**QUICK)
    module = fit(benchmark)
    forward, train = benchmark.report.rows
    assert (forward.setting.mode, train.setting.mode) == ("forward", "train")
    for row in (forward, train):
        assert row.status == "ok"
        assert row.setting.net == "Net"
        assert row.setting.shape == (4, 3, 2, 16, 16)
        assert row.setting.precision == "fp32"
        assert row.setting.parameters == sum(parameter.numel() for parameter in module.parameters())
        assert row.time.count == 2
    assert (forward.setting.optimizer, train.setting.optimizer) == ("", "sgd")


def test_the_runs_own_precision() -> None:
    benchmark = GPUSpeedBenchmark(**QUICK)
    fit(benchmark, precision="bf16-mixed", max_epochs=1)
    assert {row.setting.precision for row in benchmark.report.rows} == {"bf16-mixed"}
    assert [row.status for row in benchmark.report.rows] == ["ok", "ok"]
    benchmark = GPUSpeedBenchmark(["own", "tiny3d"], **QUICK)
    module = adapter()
    fit(benchmark, module=module.double(), precision="64-true", max_epochs=1)
    assert {row.status for row in benchmark.report.rows} == {
        "skipped: a run in 64-true is not measured: give another precision"
    }


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nets that are measured from now on."""
    seen: list[str] = []
    measure = callback_module.measure

    def counting(make: Any, setting: Any, *args: Any) -> Row:
        seen.append(f"{setting.net}/{setting.mode}")
        return measure(make, setting, *args)

    monkeypatch.setattr(callback_module, "measure", counting)
    return seen


def test_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in later epochs, fits or resumed runs; unless it shall."""
    seen = counted(monkeypatch)
    once, both = GPUSpeedBenchmark(**QUICK), ["Net/forward", "Net/train"]
    fit(once)
    assert seen == both
    fit(once)
    assert seen == both
    save = pl.callbacks.ModelCheckpoint(tmp_path, filename="last")
    fit(GPUSpeedBenchmark(**QUICK), save, max_epochs=1, enable_checkpointing=True)
    seen.clear()
    fit(GPUSpeedBenchmark(**QUICK), ckpt=tmp_path / "last.ckpt")
    assert seen == []
    fit(GPUSpeedBenchmark(repeat=True, **QUICK), ckpt=tmp_path / "last.ckpt")
    assert seen == both


def test_logged_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Spread(0.5, 0.25, 0.75, 3)
    monkeypatch.setattr(
        callback_module, "measure", lambda make, setting, *_: Row(setting, "ok", told, Spread(1, 1, 1, 3), 3 * 2**20)
    )
    logger = CSVLogger(tmp_path, name="", version="")
    names = {"name": "tiny3d", "width": 2}
    module = LightFrameModule(names, "ce", optimizer="adamw", lr=0.01, metrics=None, num_classes=2)
    benchmark = GPUSpeedBenchmark(memory_format=["channels_last"], compile=[True], output="speed.json")
    fit(benchmark, module=module, logger=logger, log_every_n_steps=50, max_epochs=1)
    values = {}
    for line in [dict(zip(*pair, strict=True)) for pair in _csv(tmp_path / "metrics.csv")]:
        values.update({name: float(value) for name, value in line.items() if value and name.startswith("speed/")})
    expected = {"ms": 500.0, "samples_per_s": 8.0, "with_copy_ms": 1000.0, "peak_mib": 3.0}
    assert values == {
        f"speed/own/{mode}/fp32/channels_last/compiled/{name}": value
        for mode in ("forward", "train")
        for name, value in expected.items()
    }
    read = Report.load(tmp_path / "speed.json")
    assert read.rows == benchmark.report.rows
    assert [row.setting.optimizer for row in read.rows] == ["", "adamw"]
    assert [row.setting.net for row in read.rows] == ["tiny3d"] * 2


def _csv(file: Path) -> Iterator[tuple[list[str], list[str]]]:
    header, *rows = [line.split(",") for line in file.read_text().splitlines()]
    return ((header, row) for row in rows)


def test_too_little_memory_stops_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Hungry(Adapter):
        @override
        def unpack(self, batch: Any) -> Any:
            if self._trainer is None:  # the copy
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return super().unpack(batch)

    benchmark = GPUSpeedBenchmark(**QUICK)
    module = Hungry(Net(), "ce", lr=0.1, metrics=None, num_classes=2)
    fit(benchmark, module=module, max_epochs=1)
    assert [row.status for row in benchmark.report.rows] == ["out of memory"] * 2
    assert "out of memory" in capsys.readouterr().out
    assert module.net.seen == 3


def test_other_modules_train_unmeasured() -> None:
    class Plain(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(16, 2)

        @override
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.net(batch[0]).mean()

        @override
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    benchmark = GPUSpeedBenchmark(["own", "tiny3d"], modes=["forward"], **QUICK)
    fit(benchmark, module=Plain(), max_epochs=1)
    own, tiny = benchmark.report.rows
    assert own.status.startswith("skipped: the steps of a Plain are not known")
    assert tiny.status == "ok"


def test_optimizers_of_the_users_own_making() -> None:
    class Own(Adapter):
        @override
        def configure_optimizers(self) -> Any:
            return torch.optim.Adagrad(self.parameters())

    benchmark = GPUSpeedBenchmark(**QUICK)
    fit(benchmark, module=Own(Net(), "ce", metrics=None, num_classes=2), max_epochs=1)
    forward, train = benchmark.report.rows
    assert (forward.status, train.status) == (
        "ok",
        "skipped: configure_optimizers is overridden, and without a training it cannot be called",
    )


def test_nets_that_compute_their_own_loss() -> None:
    class Losing(Net):
        @override
        def forward(self, batch: Any) -> Any:  # type: ignore[override]
            loss = nn.functional.cross_entropy(super().forward(batch[0]), batch[1])
            return {"a": loss, "b": loss} if self.training else loss

    benchmark = GPUSpeedBenchmark(**QUICK)
    fit(benchmark, module=LightFrameModule(Losing(), lr=0.1, metrics=None), max_epochs=1)
    assert [row.status for row in benchmark.report.rows] == ["ok", "ok"]


def test_a_module_that_logs_in_its_loss() -> None:
    """A warning would be an error here."""

    class Logging(Adapter):
        @override
        def compute_loss(self, outputs: Any, targets: Any) -> Any:
            self.log("mine", outputs.mean())
            return super().compute_loss(outputs, targets)

    benchmark = GPUSpeedBenchmark(**QUICK)
    fit(benchmark, module=Logging(Net(), "ce", lr=0.1, metrics=None, num_classes=2), max_epochs=1)
    assert [row.status for row in benchmark.report.rows] == ["ok", "ok"]


def test_a_compiled_net_is_measured_in_a_copy_too() -> None:
    plain, module, benchmark = fit(max_epochs=1), adapter(), GPUSpeedBenchmark(**QUICK)
    module.net.compile(backend="eager")
    fit(benchmark, module=module, max_epochs=1)
    assert [row.status for row in benchmark.report.rows] == ["ok", "ok"]
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, module.state_dict()[name], atol=1e-5), name
    assert module.net.seen == 3


def test_a_compiled_module_is_measured_in_a_copy_too() -> None:
    """What torch.compile makes of a module's methods is shared by its copies, and would train the module."""
    module = from_compiled(torch.compile(adapter(), backend="eager"))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    subject = own_module.own_subject(module, next(iter(DataLoader(Clips(), batch_size=4))))
    subject.loss(subject.batch).backward()
    assert all(parameter.grad is not None for parameter in subject.module.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items())
    assert (subject.module.net.seen, module.net.seen) == (1, 0)
    assert module._compiler_ctx is not None  # still compiled


def test_a_video_batch(tmp_path: Path) -> None:
    """As the data module gives it, a named tuple."""

    class Batches(Dataset):
        def __len__(self) -> int:
            return 4

        @override
        def __getitem__(self, index: int) -> VideoBatch:
            return VideoBatch(torch.rand(3, 2, 16, 16), torch.tensor(index % 2), torch.tensor(index))

    benchmark = GPUSpeedBenchmark(**QUICK)
    quiet_trainer(callbacks=[benchmark]).fit(adapter(), DataLoader(Batches(), batch_size=2))
    assert [(row.status, row.setting.shape) for row in benchmark.report.rows] == [("ok", (2, 3, 2, 16, 16))] * 2


def test_two_processes(tmp_path: Path) -> None:
    """Each measures its own device, synchronised batch norm included, and both know the slowest."""

    class Telling(Adapter):
        @override
        def on_train_end(self) -> None:
            (benchmark,) = (one for one in self.trainer.callbacks if isinstance(one, GPUSpeedBenchmark))
            rows = [row.to_plain() for row in benchmark.report.rows]
            weights = [parameter.sum().item() for parameter in self.parameters()]
            (tmp_path / f"{self.global_rank}.json").write_text(json.dumps([rows, weights]))

    class Differing(GPUSpeedBenchmark):
        """A process that cannot measure while the other can."""

        @override
        def _own_rows(self, trainer: pl.Trainer, *args: Any) -> list[Row]:
            rows = super()._own_rows(trainer, *args)
            return rows if trainer.global_rank == 0 else [Row(rows[0].setting, "out of memory"), *rows[1:]]

    def run(*callbacks: pl.Callback) -> list[Any]:
        pl.seed_everything(1, verbose=False)
        module = Telling(Net(), "ce", lr=0.1, metrics=None, num_classes=2)
        trainer = quiet_trainer(callbacks=list(callbacks), devices=2, strategy="ddp_fork")
        trainer.fit(module, DataLoader(Clips(), batch_size=2))
        return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]

    first, second = run(Differing(**QUICK))
    assert first == second
    statuses = [row["status"] for row in first[0]]
    assert statuses == ["out of memory", "ok"]


def test_synchronised_batch_norm_is_measured_without_the_others() -> None:
    module = adapter()
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    copy = own_module._copy(synchronised)
    assert not any(isinstance(one, nn.SyncBatchNorm) for one in copy.modules())
    assert any(isinstance(one, nn.SyncBatchNorm) for one in synchronised.modules())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nets": ["tiny4d"]}, "did you mean 'tiny3d'"),
        ({"nets": ["s3d"]}, "needs the shape"),
        ({"modes": ["training"]}, "did you mean 'train'"),
        ({"modes": []}, "nothing is left to measure"),
        ({"precision": ["bf16"]}, "did you mean 'bf16-mixed'"),
        ({"memory_format": ["channels_first"]}, "did you mean 'channels_last'"),
    ],
)
def test_wrong_arguments(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GPUSpeedBenchmark(**wrong)
