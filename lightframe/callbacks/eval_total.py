"""EvalTotal: metrics of the whole evaluation set, each sample once, the same on any number of devices."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightframe.arguments import check_choice, check_whole
from lightframe.datamodules import VideoDataModule
from lightframe.epoch_values import write_table
from lightframe.evaluation.counting import Counters, evaluation_loaders, first_rows
from lightframe.evaluation.memory import show_bytes, to_bytes
from lightframe.evaluation.prediction_table import FORMATS, write_predictions
from lightframe.evaluation.samples import Samples, check_pair, gather_samples
from lightframe.evaluation.whole_set_metric import WholeSetMetric

if TYPE_CHECKING:
    MetricLike = Any
else:
    # What a config may hold: the command line reads its schema from this.
    MetricLike = str | list[Any] | dict[str, Any]


class EvalTotal(Callback):
    """Collects what the net makes of the whole evaluation set, over all devices, and then computes.

    Each sample counts once, whatever samplers repeat to give all devices equally many batches, and samples come in the
    order of their index: the values are the same, to the last bit, for any number of devices and any batch size, as
    long as the net's outputs are. Every device computes them, so that checkpoints and early stopping agree.

    | logged key                             | what                            | when                        |
    |----------------------------------------|---------------------------------|-----------------------------|
    | val/<name>, test/<name>                | each value that `metric` gives  | end of the evaluation       |
    | val/<name>/dataloader_idx_<n>, test/.. | of several evaluation loaders   | end of the evaluation       |

    A value that is not one number (`confusion_matrix`) is written to `val-<name>.csv` in the run folder instead. An
    adapter that has a metric of the same name leaves it to this one.

    An evaluation step returns {"outputs": ..., "targets": ...}, with "index" (B,) where samples may be repeated by
    other means than a distributed sampler, or (outputs, targets); LightFrameModule does. Outputs and targets are
    tensors, lists with an item for each sample, or dicts and tuples of those. They leave the device after each batch.

    Args:
        metric: a name (top1, mean_class_accuracy, coco_map, ...), or the import path of a torchmetrics metric or of a
            function (outputs, targets) that returns a number or a dict of numbers; several as a list, or as a dict of
            name to arguments. In Python also such objects themselves, or any with update, compute and reset.
        every_n_epochs: of a training in which this evaluates; validate and test always do.
        max_memory: bytes, or "4 GB", of collected outputs for each process; more are kept in a file in the run folder,
            which is removed afterwards.
        predictions: "parquet" or "csv" to write predictions.parquet or .csv in the run folder: path, label, and the
            five best classes with their scores.

    Attributes:
        results: the values of the last evaluation, as they were computed.

    Raises:
        UsageError: no such metric, or an argument that does not fit.

    Example::

        metric = "mean_class_accuracy"
        trainer = Trainer(callbacks=[EvalTotal(metric), ModelCheckpoint(monitor=f"val/{metric}", mode="max")])
    """

    def __init__(
        self,
        metric: MetricLike,
        every_n_epochs: int = 1,
        max_memory: int | str = "4 GB",
        predictions: str | None = None,
    ) -> None:
        check_whole("every_n_epochs", every_n_epochs, 1)
        if predictions is not None:
            check_choice("predictions", predictions, FORMATS)
        self.metric = WholeSetMetric(metric)
        self.every_n_epochs = every_n_epochs
        self.max_memory = to_bytes(max_memory)
        self.predictions = predictions
        self.results: dict[str, float | list[Any]] = {}
        self.logged_keys: set[str] = set()
        self._folder = Path()
        self._estimated = False
        self._samples: dict[int, Samples] = {}
        self._lengths: dict[int, int] = {}
        self._counters = Counters()
        self._spills: list[Path] = []

    # Lightning's hooks

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder = Path(trainer.log_dir or trainer.default_root_dir)  # on every rank: it is broadcast

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due(trainer):
            self._collect(trainer, outputs, batch, batch_idx, dataloader_idx)

    @override
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._collect(trainer, outputs, batch, batch_idx, dataloader_idx)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            self._finish(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, "test")

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._clear()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._clear()

    # The three steps of an evaluation

    def _begin(self) -> None:
        self._clear()
        self.logged_keys = set()

    def _is_due(self, trainer: Trainer) -> bool:
        in_epoch = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        return not in_epoch or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _collect(self, trainer: Trainer, returned: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        counted = self._counters.count(trainer, batch, batch_idx, dataloader_idx)
        if returned is None:  # not one of the videos of this batch could be read
            return
        outputs, targets, index = _unpack(returned)
        check_pair(outputs, targets)
        if index is None:  # the module knows of no repeated samples
            index = counted.index
            outputs, targets = (first_rows(value, counted.rows, counted.size) for value in (outputs, targets))
        if dataloader_idx not in self._samples:
            self._samples[dataloader_idx] = Samples()
            self._lengths[dataloader_idx] = _length(evaluation_loaders(trainer)[dataloader_idx])
        samples = self._samples[dataloader_idx]
        samples.append(torch.as_tensor(index).tolist(), outputs, targets)
        if len(samples):
            self._bound_memory(trainer, samples, outputs, dataloader_idx)

    def _bound_memory(self, trainer: Trainer, samples: Samples, outputs: Any, dataloader_idx: int) -> None:
        """Say how much there will be, once, and keep in files what is too much."""
        count = max(self._lengths[dataloader_idx], len(samples) * trainer.world_size)
        total = round(samples.nbytes / len(samples) * count)
        too_much = max(total, samples.nbytes * trainer.world_size) > self.max_memory
        if not self._estimated:
            self._estimated = True
            things = "videos" if isinstance(_data(trainer), VideoDataModule) else "samples"
            shape = f" × {outputs.shape[1]:,} classes" if isinstance(outputs, Tensor) and outputs.ndim == 2 else ""  # noqa: RUF001
            where = f", kept in files in {self._folder}" if too_much else ""
            rank_zero_info(f"EvalTotal: {count:,} {things}{shape}: {show_bytes(total)}{where}")
        if too_much and not samples.spilled:
            samples.spill(self._spill_folder(trainer))

    def _spill_folder(self, trainer: Trainer) -> Path:
        folder = self._folder / f"eval_total-rank{trainer.global_rank}-{uuid4().hex[:8]}"
        self._spills.append(folder)
        return folder

    def _finish(self, trainer: Trainer, pl_module: LightningModule, phase: str) -> None:
        self.results = {}
        loaders = evaluation_loaders(trainer)
        for number in range(len(loaders)):
            own = self._samples.pop(number, Samples())
            whole = gather_samples(own, self._spill_folder(trainer) if own.spilled else None)
            if not len(whole):
                rank_zero_warn("EvalTotal: there is no sample to compute anything of")
                continue
            classes = getattr(_data(trainer), "classes", None)
            values = self.metric(whole, getattr(pl_module, "num_classes", None), classes)
            suffix = f"/dataloader_idx_{number}" if len(loaders) > 1 else ""
            for name, value in values.items():
                self._give(trainer, pl_module, phase, name + suffix, value)
            if self.predictions and trainer.is_global_zero and not trainer.sanity_checking:
                self._write_predictions(trainer, pl_module, phase, whole, f"-{number}" if suffix else "")
        self._clear()

    def _give(self, trainer: Trainer, pl_module: LightningModule, phase: str, name: str, value: Tensor) -> None:
        """To the loggers and callbacks, and to whoever asks for `results`."""
        self.results[f"{phase}/{name}"] = value.tolist()
        self.logged_keys.add(f"{phase}/{name}")
        if value.ndim == 0:
            # Equal on all devices already: the largest of equal values is that value, to the last bit.
            on_device = value.detach().float().to(pl_module.device)
            pl_module.log(f"{phase}/{name}", on_device, sync_dist=True, reduce_fx="max", add_dataloader_idx=False)
        elif trainer.is_global_zero and not trainer.sanity_checking and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            write_table(
                self._folder / f"{phase}-{name.replace('/', '-')}.csv", value, getattr(_data(trainer), "classes", None)
            )

    def _write_predictions(
        self, trainer: Trainer, pl_module: LightningModule, phase: str, samples: Samples, suffix: str
    ) -> None:
        data = _data(trainer)
        paths = data.dataset(phase).paths if isinstance(data, VideoDataModule) else None
        self._folder.mkdir(parents=True, exist_ok=True)
        write_predictions(
            self._folder / f"predictions{suffix}.{self.predictions}",
            samples,
            paths,
            getattr(data, "classes", None),
            sigmoid=getattr(pl_module, "sigmoid", False),
        )

    def _clear(self) -> None:
        self._samples, self._counters = {}, Counters()
        for folder in self._spills:
            shutil.rmtree(folder, ignore_errors=True)
        self._spills = []


def _unpack(returned: Any) -> tuple[Any, Any, Any]:
    """Outputs, targets and index of what an evaluation step returned; None for what is not there."""
    if isinstance(returned, Mapping):
        return returned.get("outputs"), returned.get("targets"), returned.get("index")
    if isinstance(returned, tuple | list) and len(returned) in (2, 3):
        return returned[0], returned[1], returned[2] if len(returned) == 3 else None
    return None, None, None


def _length(loader: Any) -> int:
    """How many samples a loader gives to all processes together; 0 for a stream, of which it is not known before."""
    try:
        return len(loader.dataset) if hasattr(loader, "dataset") else 0
    except TypeError:
        return 0


def _data(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)
