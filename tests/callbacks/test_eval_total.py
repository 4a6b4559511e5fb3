import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from pyarrow import parquet
from recording import quiet_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from lightframe import LightFrameModule, UsageError, VideoDataModule
from lightframe.callbacks import EMA, EvalTotal

pytestmark = [
    # Lightning's advice on evaluating with several devices, which is what this is about.
    pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders"),
]
distributed = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")

COUNTS = (1, 2, 3, 11)  # fewer samples than processes, and numbers that do not divide
CLASSES = 4


class Table(Dataset[Any]):
    """Samples whose outputs are stored with them: what comes out of a net differs from batch size to batch size."""

    def __init__(self, count: int, form: str = "tuple") -> None:
        generator = torch.Generator().manual_seed(count)
        self.outputs = torch.randn(count, CLASSES, generator=generator)
        self.labels = torch.randint(0, CLASSES, (count,), generator=generator)
        self.form = form

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> Any:
        output, label = self.outputs[number], self.labels[number]
        return {"video": output, "label": label, "index": number} if self.form == "dict" else (output, label)


def loaders(size: int, form: str = "tuple", counts: tuple[int, ...] = COUNTS) -> list[DataLoader[Any]]:
    return [DataLoader(Table(count, form), batch_size=size) for count in counts]


def rounded(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Sums in float32, which change with the order and the grouping of what is added."""
    chosen = outputs.exp().gather(1, targets[:, None])
    product = (1 + chosen.flatten() / 10).prod()
    return {"sum": outputs.sum(), "product": product, "first": outputs[0, 0], "n": torch.tensor(float(len(targets)))}


METRICS = ["top1", "auroc", rounded]


class Told(pl.LightningModule):
    """Returns the outputs that stand in the batch."""

    def __init__(self, form: str = "dict") -> None:
        super().__init__()
        self.form = form

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if isinstance(batch, dict):
            return {"outputs": batch["video"], "targets": batch["label"], "index": batch["index"]}
        return {"outputs": batch[0], "targets": batch[1]} if self.form == "dict" else (batch[0], batch[1])

    test_step = validation_step

    @override
    def on_validation_end(self) -> None:
        tell(self.trainer)


def tell(trainer: pl.Trainer) -> None:
    """Write what this process knows, to the last bit."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EvalTotal):
            known = {
                "results": {key: value.hex() for key, value in callback.results.items() if isinstance(value, float)},
                "logged": {key: float(value).hex() for key, value in trainer.callback_metrics.items()},
            }
            file = Path(trainer.default_root_dir, f"{trainer.world_size}-{trainer.global_rank}.json")
            file.write_text(json.dumps(known))


def evaluated(folder: Path, world: int, module: pl.LightningModule, data: Any, callback: EvalTotal) -> list[Any]:
    """What each process of an evaluation knows at its end."""
    folder.mkdir()
    several: dict[str, Any] = {"devices": world, "strategy": "ddp_fork"} if world > 1 else {}
    quiet_trainer(default_root_dir=folder, callbacks=[callback], **several).validate(module, data, verbose=False)
    return [json.loads((folder / f"{world}-{rank}.json").read_text()) for rank in range(world)]


def expected() -> dict[str, float]:
    """By plain loops, and for sums in float32 from all samples at once."""
    values: dict[str, float] = {}
    for place, count in enumerate(COUNTS):
        table = Table(count)
        hits = [int(row.argmax()) == int(label) for row, label in zip(table.outputs, table.labels, strict=True)]
        found = {"top1": sum(hits) / count, **rounded(table.outputs, table.labels)}
        values |= {f"val/{name}/dataloader_idx_{place}": float(value) for name, value in found.items()}
    return values


@distributed
@pytest.mark.parametrize("form", ["dict", "tuple"])
def test_the_same_for_any_number_of_processes_and_batch_size(tmp_path: Path, form: str) -> None:
    """With the index in the batch and without: bit-equal on 1, 2 and 3 processes, and equal to plain loops."""
    runs = [
        evaluated(tmp_path / f"{world}-{size}", world, Told(form), loaders(size, form), EvalTotal(METRICS))
        for world, size in ((1, 1), (1, 4), (2, 1), (2, 4), (3, 2), (3, 16))
    ]
    results = [known["results"] for run in runs for known in run]
    assert len(results) == 1 + 1 + 2 + 2 + 3 + 3
    assert all(each == results[0] for each in results)
    values = {key: float.fromhex(value) for key, value in results[0].items()}
    for key, value in expected().items():
        assert values[key] == pytest.approx(value, abs=1e-7 if "top1" in key else 0), key
    for known in (known for run in runs for known in run):
        logged = {key: float.fromhex(value) for key, value in known["logged"].items()}
        # Lightning keeps float32; auroc of one class alone is not a number.
        assert logged == pytest.approx({key: torch.tensor(value).item() for key, value in values.items()}, nan_ok=True)


@distributed
def test_in_files(tmp_path: Path) -> None:
    """Too much for the memory that it may take: the same figures, and no file stays."""
    callbacks = [EvalTotal(METRICS, max_memory=memory) for memory in (10, "4 GB")]
    runs = [
        evaluated(tmp_path / f"{world}-{number}", world, Told(), loaders(2), callback)
        for world in (1, 2)
        for number, callback in enumerate(callbacks)
    ]
    results = [known["results"] for run in runs for known in run]
    assert len(results) == 6
    assert all(each == results[0] for each in results)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json"}
    assert not [*tmp_path.rglob("eval_total*")]


def test_files_are_there_and_go(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def metric(outputs: Tensor, targets: Tensor) -> float:
        seen.append([path.parent.name.split("-")[0] for path in tmp_path.rglob("*.rows")])
        if len(seen) == 2:
            raise RuntimeError("a mistake in the metric")
        return float(outputs.sum())

    callback = EvalTotal(metric, max_memory=10)
    trainer = quiet_trainer(default_root_dir=tmp_path, callbacks=[callback])
    trainer.validate(Told(), loaders(2, counts=(11,)), verbose=False)
    assert seen == [["eval_total"] * 2]
    with pytest.raises(RuntimeError, match="a mistake"):
        trainer.validate(Told(), loaders(2, counts=(11,)), verbose=False)
    assert not [*tmp_path.rglob("eval_total*")]
    trainer.validate(Told(), loaders(2, counts=(11,)), verbose=False)  # nothing is left of what failed
    assert len(seen) == 3


def test_estimate(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        for memory in ("4 GB", 100):
            trainer = quiet_trainer(default_root_dir=tmp_path, callbacks=[EvalTotal("top1", max_memory=memory)])
            for _ in range(2):
                trainer.validate(Told(), loaders(2, counts=(11,)), verbose=False)
    said = [record.getMessage() for record in caplog.records if "EvalTotal" in record.getMessage()]
    line = f"EvalTotal: 11 samples × 4 classes: {11 * (4 * 4 + 8)} B"  # noqa: RUF001
    assert said == [line, f"{line}, kept in files in {tmp_path}"]


# With the adapter


def elementwise(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.gather(1, targets[:, None]) ** 2).mean()


def adapter(**settings: Any) -> LightFrameModule:
    return LightFrameModule(nn.Identity(), **{"loss": elementwise, "metrics": ["top1", "auroc"], **settings})


class Telling(LightFrameModule):
    @override
    def on_validation_end(self) -> None:
        tell(self.trainer)


@distributed
@pytest.mark.parametrize("count", COUNTS)
def test_loss_and_metrics_of_the_adapter(tmp_path: Path, count: int) -> None:
    """Without EvalTotal's help: a repeated sample counts in neither, with as many samples as batches and with fewer."""
    table = Table(count)
    losses = table.outputs.double().gather(1, table.labels[:, None]) ** 2
    top1 = float((table.outputs.argmax(1) == table.labels).double().mean())
    for world, size in ((1, 4), (2, 1), (2, 4), (3, 2)):
        module = Telling(nn.Identity(), loss=elementwise, metrics=["top1"])
        run = evaluated(tmp_path / f"{world}-{size}", world, module, loaders(size, counts=(count,)), EvalTotal(rounded))
        for known in run:
            logged = {key: float.fromhex(value) for key, value in known["logged"].items()}
            assert logged["val/top1"] == pytest.approx(top1, abs=1e-7)
            assert logged["val/loss"] == pytest.approx(float(losses.mean()), rel=1e-6)
            assert logged["val/n"] == count


def test_a_metric_that_the_adapter_has_too() -> None:
    """EvalTotal's counts, under the same key."""
    values = []
    for callbacks in ([], [EvalTotal(["top1", {"mine": "top1"}])]):
        trainer = quiet_trainer(callbacks=callbacks)
        values.append(trainer.validate(adapter(), loaders(3, counts=(11,)), verbose=False)[0])
    assert values[1] == {**values[0], "val/mine": values[0]["val/top1"]}


def fitted(folder: Path, callbacks: list[Any], **settings: Any) -> pl.Trainer:
    """Three epochs of a net that learns, validated."""
    torch.manual_seed(0)
    trainer = quiet_trainer(
        default_root_dir=folder,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=callbacks,
        **{"max_epochs": 3, "log_every_n_steps": 1, "enable_checkpointing": True, **settings},
    )
    module = LightFrameModule(nn.Linear(CLASSES, CLASSES), loss="ce", lr=0.5, metrics="top1")
    trainer.fit(module, DataLoader(Table(64), batch_size=16), DataLoader(Table(11), batch_size=4))
    return trainer


def test_monitored_and_logged(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="val/error", mode="min", save_top_k=-1, filename="{epoch}")
    stopping = EarlyStopping("val/error", stopping_threshold=math.inf)

    def error(outputs: Tensor, targets: Tensor) -> float:
        return float((outputs.argmax(1) != targets).double().mean())

    trainer = fitted(tmp_path, [EvalTotal(error), checkpoint, stopping], num_sanity_val_steps=2)
    assert trainer.current_epoch == 1  # it was below the threshold in the very first epoch
    top1, value = trainer.callback_metrics["val/top1"], trainer.callback_metrics["val/error"]
    assert float(value) == pytest.approx(1 - float(top1), abs=1e-7)
    assert checkpoint.best_model_score == value
    assert "val/error" in (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")


def test_every_n_epochs(tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(outputs: Tensor, targets: Tensor) -> int:
        calls.append(len(targets))
        return len(calls)

    trainer = fitted(tmp_path, [EvalTotal({"calls": counted}, every_n_epochs=2)], max_epochs=5, num_sanity_val_steps=1)
    assert calls == [4, 11, 11]  # the sanity check's one batch, and epochs 2 and 4
    assert trainer.callback_metrics["val/calls"] == 3
    trainer.validate(trainer.lightning_module, DataLoader(Table(7), batch_size=4), verbose=False)
    assert calls == [4, 11, 11, 7]


def test_under_ema(tmp_path: Path) -> None:
    """The averaged weights are what is evaluated; the fit ends with them."""
    callback, raw = EvalTotal(rounded), []

    class Raw(pl.Callback):
        @override
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            raw.append(pl_module.net.weight.detach().clone())  # type: ignore[union-attr]

    trainer = fitted(tmp_path, [EMA(decay=0.9, ramp=2), Raw(), callback])
    net = trainer.lightning_module.net
    assert not torch.equal(net.weight, raw[-1])  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        outputs = torch.cat([net(batch) for batch, _ in DataLoader(Table(11), batch_size=4)])  # type: ignore[operator]
    assert callback.results["val/sum"] == float(rounded(outputs, Table(11).labels)["sum"])


def test_evaluation_of_another_set_after_fit(tmp_path: Path) -> None:
    """`trainer.val_dataloaders` are still those of the fit then."""
    callback = EvalTotal(rounded)
    trainer = fitted(tmp_path, [callback])
    assert callback.results["val/n"] == 11
    trainer.validate(Told(), loaders(2, counts=(3, 2)), verbose=False)
    assert [value for key, value in callback.results.items() if "/n/" in key] == [3, 2]
    trainer.test(Told(), loaders(2, counts=(7,)), verbose=False)
    assert callback.results["test/n"] == 7


def test_tables(tmp_path: Path) -> None:
    trainer = quiet_trainer(default_root_dir=tmp_path, callbacks=[EvalTotal("confusion_matrix")])
    trainer.validate(Told(), loaders(2, counts=(11,)), verbose=False)
    rows = (tmp_path / "val-confusion_matrix.csv").read_text().splitlines()
    counts = [[int(cell) for cell in row.split(",")[1:]] for row in rows[1:]]
    assert [sum(row) for row in counts] == Table(11).labels.bincount(minlength=CLASSES).tolist()


def test_predictions_of_videos(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folders(train={"jump": 1, "run": 1}, test={"jump": 2, "run": 1})
    data = VideoDataModule(root, frames=2, stride=1, size=8, batch_size=2, num_workers=0, views=(2, 1))
    module = _mean_net()
    trainer = quiet_trainer(default_root_dir=tmp_path / "run", callbacks=[EvalTotal("top1", predictions="parquet")])
    trainer.test(module, data, verbose=False)
    rows = parquet.read_table(tmp_path / "run" / "predictions.parquet").to_pylist()
    assert [row["path"] for row in rows] == data.dataset("test").paths
    assert [row["label"] for row in rows] == ["jump", "jump", "run"]
    assert all(row["score_1"] + row["score_2"] == pytest.approx(1) for row in rows)
    assert {row["class_1"] for row in rows} <= {"jump", "run"}


def _mean_net() -> LightFrameModule:
    class Mean(nn.Module):
        def forward(self, video: Tensor) -> Tensor:
            mean = video.mean((1, 2, 3, 4))
            return torch.stack([mean, -mean], 1)

    return LightFrameModule(Mean(), loss="ce", metrics=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "topp1"}, "did you mean 'top1'"),
        ({"metric": "top1", "every_n_epochs": 0}, "every_n_epochs must be at least 1"),
        ({"metric": "top1", "max_memory": "lots"}, "no amount of memory"),
        ({"metric": "top1", "predictions": "parket"}, "did you mean 'parquet'"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EvalTotal(**settings)


class Silent(Told):
    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return torch.tensor(1.0)


def test_a_step_that_returns_no_outputs() -> None:
    trainer = quiet_trainer(callbacks=[EvalTotal("top1")])
    with pytest.raises(UsageError, match="needs the outputs of each evaluation batch"):
        trainer.validate(Silent(), loaders(2), verbose=False)
