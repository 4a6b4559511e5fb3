"""LightFrameModule: the adapter between a user's net and Lightning."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection
from typing_extensions import override

from lightframe.arguments import check_whole
from lightframe.checkpoint_io import SafeCheckpointIO, foreign_refused, loadable, read_checkpoint
from lightframe.datamodules import VideoBatch, VideoDataModule
from lightframe.epoch_values import EpochValues, write_table
from lightframe.errors import UsageError
from lightframe.evaluation.counting import Counters, batch_index, batch_size, first_samples
from lightframe.first_loss import check_first_loss
from lightframe.freezing import Freezing
from lightframe.library_errors import explained, floats_hint, shown
from lightframe.load_errors import missing_objects_named, other_net_refused
from lightframe.loss_result import LossResult, check_has_gradient
from lightframe.losses import BinaryCrossEntropy, CrossEntropy
from lightframe.metric_collection import check_metrics
from lightframe.models import Detector
from lightframe.monitors import check_monitors
from lightframe.net import build_net
from lightframe.optimizers import build_optimizer, check_optimizer, group_options
from lightframe.parameters import parameter_groups
from lightframe.plain import plain_where_possible, split_plain, to_plain
from lightframe.resuming import Resuming
from lightframe.schedulers import RunLength, build_scheduler, check_scheduler, tell_of_long_warmup
from lightframe.version import __version__
from lightframe.views import average_views
from lightframe.weighted_losses import Losses, build_losses
from lightframe.weights import init_net

if TYPE_CHECKING:
    Net = str | Mapping[str, Any] | nn.Module
    Loss = str | Sequence[Any] | Mapping[str, Any] | Callable[..., Any] | nn.Module
    OptimizerLike = str | Callable[..., Optimizer]
    SchedulerLike = str | Callable[..., LRScheduler]
    Metrics = str | Sequence[Any] | Mapping[str, Any] | Metric | MetricCollection
    InitFrom = str | Path | Mapping[str, Any]
else:
    # What a config may hold: the command line reads its schema from these.
    Net = str | dict[str, Any]
    Loss = str | list[Any] | dict[str, Any]
    OptimizerLike = str
    SchedulerLike = str
    Metrics = str | list[Any] | dict[str, Any]
    InitFrom = str | dict[str, Any]


DEFAULT_METRICS = ("top1", "top5")


class LightFrameModule(LightningModule):
    """Trains any net: it brings the losses, the optimizer with its schedule, and the metrics.

    There are two ways to a loss. With `loss`, `outputs = net(inputs)` and each loss is `loss(outputs, targets)`. With
    `loss=None` the net computes its own, `net(batch)`, and returns a tensor, a dict of losses, which are summed, or a
    pair (losses, metrics).

    Made to be subclassed: `unpack`, `forward`, `compute_loss` and `parameter_groups` are the points to override.

    | logged key                          | what                                          | when             |
    |-------------------------------------|-----------------------------------------------|------------------|
    | train/loss, train/loss_<name>       | the sum, and each loss without its weight     | each step        |
    | train/loss_epoch                    | mean over the samples of the epoch            | end of an epoch  |
    | train/<metric>                      | metrics over the epoch                        | end of an epoch  |
    | val/loss, val/loss_<name>, test/... | means over the samples of the split           | end of the split |
    | val/<metric>, test/<metric>         | metrics over the split                        | end of the split |
    | data/skipped                        | videos that could not be read so far          | end of each      |

    A metric that is not one number (`confusion_matrix`) is written to a .csv file in the run folder instead.

    Args:
        net: a net's name (see `lightframe.models.MODELS`), an import path, either with arguments as
            {name: ..., argument: value}, or an nn.Module.
        loss: a name (ce, bce, focal, mse, l1) or import path, a list of them, or a dict of name to weight or
            arguments: {ce: 1.0, focal: {weight: 0.5, gamma: 2}}. A function or nn.Module in Python. Null: the net
            computes its own.
        optimizer: a name (sgd, adam, adamw, ...; any of torch's), or an import path; in Python also a function of
            the parameters.
        lr: learning rate. Null: the optimizer's own default.
        optimizer_args: its other arguments (momentum, weight_decay, betas, ...), and larc, no_decay_norm_bias,
            layer_decay and head_lr, the learning rate of the net's last layer, which go with any of them.
        scheduler: a name (step, multistep, exponential, constant, linear, cosine, cosine_with_restarts, polynomial,
            one_cycle, plateau), or an import path; in Python also a function of the optimizer. It steps once per
            optimizer step.
        scheduler_args: its arguments, and warmup_steps, warmup_method and warmup_factor, which go with any of them.
        metrics: names (top1, top3, top5, mean_class_accuracy, f1, auroc, multilabel_map, confusion_matrix; coco_map and
            voc_map for detectors) or import paths; in Python also torchmetrics objects. Null: none.
        num_classes: passed to a net built by name, and to the metrics. The command line takes it from the data.
        init_from: weights that the net starts from: a file, a URL or a name of torchvision's, or {path: ..., inflate:
            true, min_match: 0.3}, see `load_weights`. A checkpoint that training goes on from has its own.
        freeze: the parts of the net that are not trained, by the beginnings of their names: a regular expression such
            as stem|blocks.0, or a list of them, see `lightframe.freezing.Freezing`. Their norm layers keep their
            statistics.

    Raises:
        UsageError: an unknown name or an argument that does not fit; says which, and the nearest right one.

    >>> import torch
    >>> module = LightFrameModule("tiny3d", loss="ce", optimizer="adamw", lr=1e-3, num_classes=6)
    >>> module(torch.zeros(2, 3, 4, 32, 32)).shape
    torch.Size([2, 6])
    """

    def __init__(
        self,
        net: Net,
        loss: Loss | None = None,
        optimizer: OptimizerLike = "sgd",
        lr: float | None = None,
        optimizer_args: dict[str, Any] | None = None,
        scheduler: SchedulerLike | None = None,
        scheduler_args: dict[str, Any] | None = None,
        metrics: Metrics | None = DEFAULT_METRICS,
        num_classes: int | None = None,
        init_from: InitFrom | None = None,
        freeze: str | list[str] | None = None,
    ) -> None:
        super().__init__()
        self._save_plain_hyperparameters(_constructor_arguments(self, inspect.currentframe()))
        if num_classes is not None:
            check_whole("num_classes", num_classes, 1)
        self.num_classes = num_classes
        self.net, self.net_classes = build_net(net, num_classes)
        if init_from is not None:
            init_net(self.net, init_from)
        self._freezing = None if freeze is None else Freezing(freeze)
        if self._freezing is not None:
            self._freezing.apply(self.net)
        self.losses: Losses | None = build_losses(loss) if loss is not None else None
        # A numpy number as learning rate would end up in the optimizer's state, and make the checkpoint unreadable.
        lr, optimizer_args = plain_where_possible(lr), plain_where_possible(optimizer_args)
        scheduler_args = plain_where_possible(scheduler_args)
        check_optimizer(optimizer, lr, optimizer_args)
        self.optimizer, self.lr, self.optimizer_args = optimizer, lr, optimizer_args
        check_scheduler(scheduler, scheduler_args)
        self.scheduler, self.scheduler_args = scheduler, scheduler_args
        check_metrics(metrics)
        self.epoch_values = {phase: EpochValues(metrics, num_classes) for phase in ("train", "val", "test")}
        self._counters = Counters()
        self._resuming = Resuming(self.epoch_values["train"])
        self._first_step = False  # its loss is due to be looked at

    # The points to override

    def forward(self, inputs: Any) -> Any:
        """Outputs of the net, for a classifier logits (B, classes), for inputs (B, 3, T, H, W)."""
        with explained(
            lambda: f"the net, a {type(self.net).__name__}, cannot take {shown(inputs)}{floats_hint(inputs)}"
        ):
            return self.net(inputs)

    def unpack(self, batch: Any) -> tuple[Any, Any]:
        """Inputs and targets of a batch: by default its first two items, or `video` and `label` of a dict."""
        if isinstance(batch, Mapping) and {"video", "label"} <= batch.keys():
            return batch["video"], batch["label"]
        if isinstance(batch, Sequence) and len(batch) >= 2:
            return batch[0], batch[1]
        raise UsageError(
            f"cannot tell inputs and targets of a batch of type {type(batch).__name__}: give (inputs, targets, ...) or "
            "{'video': ..., 'label': ...}, or override unpack(batch)"
        )

    def compute_loss(self, outputs: Any, targets: Any) -> Any:
        """The loss of a batch: a scalar tensor, a dict of them, which are summed, or a pair (losses, metrics)."""
        assert self.losses is not None
        return self.losses(outputs, targets)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of trainable parameters for the optimizer, as `no_decay_norm_bias`, `layer_decay`, `head_lr` ask."""
        return parameter_groups(self, self.net, **group_options(self.optimizer, self.lr, self.optimizer_args))

    # One step, three thin phases

    def step(self, batch: Any, phase: str) -> dict[str, Any]:
        """Outputs, loss and logging of one batch.

        Returns:
            `loss` (None in evaluation when the net gives none), `outputs`, `targets` and `index`, the latter three
            None where they are not known. In evaluation all of them are of the samples that count, see `Counter`.
        """
        outputs = targets = None
        result: LossResult | None
        if self._net_computes_loss:
            with explained(lambda: self._whole_batch_refused(batch)):
                returned = self.net(batch)
            if phase == "train" or _is_loss(returned):
                result = LossResult.of(returned)
            else:  # detectors give their losses in training only
                result, outputs, targets = None, returned, self._targets(batch)
        else:
            inputs, targets = self.unpack(batch)
            outputs = self(inputs) if phase == "train" else self._scores(batch, inputs)
            result = LossResult.of(self.compute_loss(outputs, targets))
        if phase == "train" and result is not None and self.automatic_optimization:
            check_has_gradient(result)
        self._log_step(phase, result, outputs, targets, batch_size(batch))
        return {
            "loss": None if result is None else result.total,
            "outputs": _detach(outputs),
            "targets": targets,
            "index": batch_index(batch),
        }

    @override
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        result = self.step(batch, "train")
        if self._first_step:  # once: to read it waits for the device
            self._first_step = False
            check_first_loss(result["loss"], batch, result["outputs"])
        return result

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any] | None:
        return self._evaluation_step("val", batch, batch_idx, dataloader_idx)

    @override
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any] | None:
        return self._evaluation_step("test", batch, batch_idx, dataloader_idx)

    def _evaluation_step(self, phase: str, batch: Any, batch_idx: int, dataloader_idx: int) -> dict[str, Any] | None:
        """The step of the samples that count; None where there are none."""
        # Called by hand, without a trainer, every sample counts.
        counted = self._counters.count(self._attached_trainer(), batch, batch_idx, dataloader_idx)
        if batch is None:  # not one of its videos could be read
            return None
        if counted.rows == 0:
            # The net runs all the same: where its weights are spread over the devices, all of them wait for this one.
            self.predict_step(batch, batch_idx, dataloader_idx)
            return None
        return {**self.step(first_samples(batch, counted.rows, counted.size), phase), "index": counted.index}

    @override
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Scores of a batch: `outputs` as `forward` gives them, and `index`; both None for a batch that is None."""
        if batch is None:
            return {"outputs": None, "index": None}
        if self._net_computes_loss:
            return {"outputs": self.net(batch), "index": batch_index(batch)}
        inputs = batch if isinstance(batch, Tensor) else self.unpack(batch)[0]
        return {"outputs": self._scores(batch, inputs), "index": batch_index(batch)}

    @property
    def _net_computes_loss(self) -> bool:
        return self.losses is None and type(self).compute_loss is LightFrameModule.compute_loss

    def _targets(self, batch: Any) -> Any:
        """The targets of a batch that a net takes whole, where they can be told."""
        try:
            return self.unpack(batch)[1]
        except UsageError:
            return None

    def _scores(self, batch: Any, inputs: Any) -> Any:
        """Outputs in evaluation, where a video may come in several views: (B, views, 3, T, H, W)."""
        if not (isinstance(batch, VideoBatch) and inputs.ndim == 6):
            return self(inputs)
        # One view of all videos at a time: thirty views of a video at once would not fit where training fits.
        outputs = [self(view) for view in inputs.unbind(1)]
        return average_views(torch.stack(outputs, 1), sigmoid=self.sigmoid)

    @property
    def sigmoid(self) -> bool:
        """Whether the losses judge each class by itself; else the scores are a softmax over the classes."""
        return BinaryCrossEntropy in self._loss_kinds and CrossEntropy not in self._loss_kinds

    @property
    def _loss_kinds(self) -> set[type]:
        return {type(loss) for loss in self.losses.modules()} if self.losses is not None else set()

    def _whole_batch_refused(self, batch: Any) -> str:
        if isinstance(self.net, Detector):
            return (
                "the detector cannot take this batch: give a list of images (3, H, W), and for each image a dict of "
                "boxes (n, 4), x1 y1 x2 y2 in pixels, and labels (n,), whole numbers from 1 below its num_classes"
            )
        return (
            f"without loss the net gets the whole batch, and a {type(self.net).__name__} cannot take {shown(batch)}; "
            "give loss, as ce, unless the net computes its own"
        )

    def _attached_trainer(self) -> Any:
        try:
            return self.trainer
        except RuntimeError:
            return None

    def _log_step(self, phase: str, result: LossResult | None, outputs: Any, targets: Any, count: int) -> None:
        values: dict[str, Any] = {}
        if result is not None:
            values = {"loss": result.total, **{f"loss_{name}": part for name, part in result.parts.items()}}
            values = {name: value.detach() for name, value in values.items()} | result.metrics
        epoch = self.epoch_values[phase]
        if phase == "train":
            self.log_dict({f"train/{name}": value for name, value in values.items()}, batch_size=count)
            self.log("loss", values["loss"], prog_bar=True, logger=False, batch_size=count)
            values = {"loss_epoch": values["loss"]}
        epoch.update(values, count, self.device)
        # The default metrics are a classifier's; what a net that computes its own loss gives may be anything.
        suited = isinstance(outputs, Tensor) or not (self._net_computes_loss and _is_default(epoch.spec))
        if outputs is not None and targets is not None and suited:
            with explained(lambda: f"the metrics cannot take {shown(outputs)} and targets {shown(targets)}"):
                epoch.update_metrics(_detach(outputs), targets)

    # Starts and ends of epochs

    @override
    def on_train_start(self) -> None:
        self._resuming.start(self)

    @override
    def on_train_epoch_start(self) -> None:
        self.epoch_values["train"].reset()  # of an epoch whose end a checkpoint did not see

    @override
    def on_train_epoch_end(self) -> None:
        self._resuming.epoch_ended(self.trainer, self._log_epoch("train"))

    @override
    def on_fit_end(self) -> None:
        self._resuming.finish(self.trainer)

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")
        if self.trainer.sanity_checking and type(self) is LightFrameModule:  # a subclass may log more later
            check_monitors(self.trainer)

    @override
    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def _log_epoch(self, phase: str) -> dict[str, Tensor]:
        """Log the values of an epoch, and give those that are one number by their keys."""
        values: dict[str, Tensor] = {}
        # A callback that computes a metric of the same name of the whole set (EvalTotal) has logged it.
        logged = {key for callback in self.trainer.callbacks for key in getattr(callback, "logged_keys", ())}  # type: ignore[attr-defined]
        for name, value in self.epoch_values[phase].compute(self.device).items():
            if f"{phase}/{name}" in logged:
                continue
            if value.ndim == 0:
                shown = name in ("top1", "loss") and phase != "train"
                # Summed over all processes already: the largest of equal values is that value, to the last bit.
                self.log(f"{phase}/{name}", value, prog_bar=shown, sync_dist=True, reduce_fx="max")
                values[f"{phase}/{name}"] = value
            else:
                self._write_table(f"{phase}-{name}.csv", value)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, VideoDataModule) and not self.trainer.sanity_checking:
            values["data/skipped"] = torch.tensor(float(data.count_skipped()))
            self.log("data/skipped", values["data/skipped"], sync_dist=True, reduce_fx="max")
        return values

    def _write_table(self, name: str, value: Tensor) -> None:
        folder = self.trainer.log_dir  # on every rank: it is broadcast
        if folder and self.trainer.is_global_zero and not self.trainer.sanity_checking and not _fast_dev_run(self):
            classes = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
            write_table(Path(folder) / name, value, classes)

    # Set-up and checkpoints

    @override
    def train(self, mode: bool = True) -> "LightFrameModule":
        super().train(mode)
        if mode and self._freezing is not None:
            self._freezing.keep_statistics(self.net)
        return self

    @override
    def on_fit_start(self) -> None:
        resting = [module for module in self.modules() if not module.training]
        if self._freezing is not None and resting and set(resting) == set(self._freezing.norms(self.net)):
            # Lightning asks whether they are meant to be so. With others besides them the count would be another.
            message = rf"Found {len(resting)} module\(s\) in eval mode at the start of training"
            warnings.filterwarnings("ignore", message=message)

    @override
    def setup(self, stage: str) -> None:
        self._first_step = stage == "fit" and not any(
            getattr(callback, "guards_loss", False)
            for callback in self.trainer.callbacks  # type: ignore[attr-defined]
        )
        if type(self.trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # unless the user has chosen another
            self.trainer.strategy.checkpoint_io = SafeCheckpointIO()
        classifiers = ("lightframe.models.", "torchvision.models.video.")
        own = type(self.net).__module__.startswith(classifiers) and not isinstance(self.net, Detector)
        if self._net_computes_loss and own:
            raise UsageError(f"the net, a {type(self.net).__name__}, computes no loss of its own: give loss, as ce")
        if stage == "fit":
            if self.losses is not None and isinstance(self.net, Detector):
                raise UsageError("a detector computes its own loss: leave loss out, or null")
            data = getattr(self.trainer, "datamodule", None)
            self.check_classes(data)
            if CrossEntropy in self._loss_kinds and isinstance(data, VideoDataModule) and data.splits.multilabel:
                raise UsageError(
                    "the loss ce takes one label for each video, and some have several: give loss=bce (or focal), and "
                    "metrics=multilabel_map"
                )

    def check_classes(self, data: Any) -> None:
        """Raise a UsageError where a net that was built by name has another number of outputs than `data` classes."""
        classes = getattr(data, "num_classes", None)
        if classes and self.net_classes not in (None, classes):
            raise UsageError(
                f"the net has {self.net_classes} outputs and the data {classes} classes: give num_classes={classes}"
            )

    @override
    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.optimizer, self.parameter_groups(), self.lr, self.optimizer_args)
        if self.scheduler is None and not self.scheduler_args:
            return optimizer
        run = RunLength.of(self.trainer)
        tell_of_long_warmup(self.scheduler_args, run)
        return [optimizer], build_scheduler(self.scheduler, optimizer, self.scheduler_args, run)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = getattr(self.trainer, "datamodule", None)
        settings = getattr(data, "settings", None)
        checkpoint["lightframe"] = {
            "version": __version__,
            "class_path": class_path(type(self)),
            "objects": self._objects,
            "data": to_plain(settings()) if callable(settings) else {},
            # Whose settings they are: for a subclass with data of its own, the class that others are read with.
            "data_class": next((class_path(kind) for kind in type(data).__mro__ if "settings" in vars(kind)), None),
        }
        # Else it is of weights only, or of no training.
        if "callbacks" in checkpoint and self.trainer.state.fn == TrainerFn.FITTING:
            checkpoint["lightframe"]["resume"] = self._resuming.state(self)
            for logger in self.trainer.loggers:
                logger.save()  # what came before this step is logged by no run that goes on from it
        # Lightning asks no callback about checkpoints of weights only, and EMA has the weights that belong there.
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if finalize := getattr(callback, "finalize_checkpoint", None):
                finalize(self.trainer, self, checkpoint)

    @_restricted_classmethod  # Lightning's own, which refuses an instance: that would stay as it is
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As Lightning's, from a checkpoint or from exported weights; see `SafeCheckpointIO` for what is refused."""
        path = loadable(checkpoint_path, weights_only, kwargs)
        with (
            foreign_refused(checkpoint_path),
            missing_objects_named(lambda: read_checkpoint(Path(checkpoint_path), mmap=True)),
        ):
            return super().load_from_checkpoint(path, map_location, hparams_file, strict, True, **kwargs)

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's; a UsageError where the weights are those of another net."""
        with other_net_refused(type(self.net).__name__):
            return super().load_state_dict(state_dict, strict=strict, assign=assign)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trainer = self._attached_trainer()
        if trainer is not None and trainer.state.fn == TrainerFn.FITTING:
            self._resuming.load(checkpoint, trainer)

    def _save_plain_hyperparameters(self, given: Mapping[str, Any]) -> None:
        # What the net was made of is in its weights from then on: a checkpoint does not need that file again.
        plain, objects = split_plain({name: value for name, value in given.items() if name != "init_from"})
        # Of what was given as an object nothing but its class can be told: enough to say what is missing.
        self._objects = {name: _type_name(value) for name, value in objects.items()}
        if plain:
            # Only these, by name: Lightning would pickle a net or a function with the rest.
            self.save_hyperparameters(*plain)
            self.hparams.update(plain)
            self.hparams_initial.update(plain)


def _constructor_arguments(self: object, frame: FrameType | None) -> dict[str, Any]:
    """What the outermost `__init__` was given: the arguments that rebuild a module of a subclass, too."""
    given: dict[str, Any] = {}
    while frame is not None and frame.f_code.co_name == "__init__":
        names, _, keywords, values = inspect.getargvalues(frame)
        if not names or values[names[0]] is not self:
            break
        given = {name: values[name] for name in names[1:]} | (values[keywords] if keywords else {})
        frame = frame.f_back
    return given


def _is_loss(returned: Any) -> bool:
    """Whether a net in evaluation returned one of the three kinds of losses, and not its predictions."""
    losses = returned[0] if isinstance(returned, tuple) and len(returned) == 2 else returned
    values = list(losses.values()) if isinstance(losses, Mapping) else [losses]
    return bool(values) and all(isinstance(value, Tensor) and value.ndim == 0 for value in values)


def _is_default(metrics: Any) -> bool:
    # The command line gives lists. A torchmetrics Metric is equal to anything: its == makes another metric.
    return (
        isinstance(metrics, list | tuple)
        and all(isinstance(one, str) for one in metrics)
        and (tuple(metrics) == DEFAULT_METRICS)
    )


def _detach(outputs: Any) -> Any:
    return outputs.detach() if isinstance(outputs, Tensor) else outputs


def class_path(named: Any) -> str:
    """The import path of a class or function."""
    return f"{named.__module__}.{named.__qualname__}"


def _type_name(value: Any) -> str:
    return class_path(value if isinstance(value, type) or inspect.isfunction(value) else type(value))


def _fast_dev_run(module: LightningModule) -> bool:
    return bool(getattr(module.trainer, "fast_dev_run", False))
