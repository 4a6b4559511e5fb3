"""LightFrameModule: the adapter between a user's net and Lightning."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection
from typing_extensions import override

from lightframe.datamodules import VideoBatch, VideoDataModule
from lightframe.epoch_values import EpochValues, write_table
from lightframe.errors import UsageError
from lightframe.evaluation.counting import Counters, batch_index, batch_size, first_samples
from lightframe.loss_result import LossResult
from lightframe.losses import BinaryCrossEntropy, CrossEntropy
from lightframe.metric_collection import check_metrics
from lightframe.models import MODELS, Detector
from lightframe.optimizers import build_optimizer, check_optimizer, group_options
from lightframe.parameters import parameter_groups
from lightframe.plain import plain_where_possible, split_plain, to_plain
from lightframe.registry import accepts, check_arguments, split_spec
from lightframe.schedulers import RunLength, build_scheduler, check_scheduler
from lightframe.version import __version__
from lightframe.views import average_views
from lightframe.weighted_losses import Losses, build_losses

if TYPE_CHECKING:
    Net = str | Mapping[str, Any] | nn.Module
    Loss = str | Sequence[Any] | Mapping[str, Any] | Callable[..., Any] | nn.Module
    OptimizerLike = str | Callable[..., Optimizer]
    SchedulerLike = str | Callable[..., LRScheduler]
    Metrics = str | Sequence[Any] | Mapping[str, Any] | Metric | MetricCollection
else:
    # What a config may hold: the command line reads its schema from these.
    Net = str | dict[str, Any]
    Loss = str | list[Any] | dict[str, Any]
    OptimizerLike = str
    SchedulerLike = str
    Metrics = str | list[Any] | dict[str, Any]


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
        optimizer_args: its other arguments (momentum, weight_decay, betas, ...), and larc, no_decay_norm_bias and
            layer_decay, which go with any of them.
        scheduler: a name (step, multistep, exponential, constant, linear, cosine, cosine_with_restarts, polynomial,
            one_cycle, plateau), or an import path; in Python also a function of the optimizer. It steps once per
            optimizer step.
        scheduler_args: its arguments, and warmup_steps, warmup_method and warmup_factor, which go with any of them.
        metrics: names (top1, top3, top5, mean_class_accuracy, f1, auroc, multilabel_map, confusion_matrix; coco_map and
            voc_map for detectors) or import paths; in Python also torchmetrics objects. Null: none.
        num_classes: passed to a net built by name, and to the metrics. The command line takes it from the data.

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
    ) -> None:
        super().__init__()
        self._save_plain_hyperparameters(_constructor_arguments(self, inspect.currentframe()))
        self.num_classes = num_classes
        self.net, self.net_classes = _build_net(net, num_classes)
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

    # The points to override

    def forward(self, inputs: Any) -> Any:
        """Outputs of the net, for a classifier logits (B, classes), for inputs (B, 3, T, H, W)."""
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
        """Groups of trainable parameters for the optimizer, as `no_decay_norm_bias` and `layer_decay` ask for them."""
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
            returned = self.net(batch)
            if phase == "train" or _is_loss(returned):
                result = LossResult.of(returned)
            else:  # detectors give their losses in training only
                result, outputs, targets = None, returned, self._targets(batch)
        else:
            inputs, targets = self.unpack(batch)
            outputs = self(inputs) if phase == "train" else self._scores(batch, inputs)
            result = LossResult.of(self.compute_loss(outputs, targets))
        self._log_step(phase, result, outputs, targets, batch_size(batch))
        return {
            "loss": None if result is None else result.total,
            "outputs": _detach(outputs),
            "targets": targets,
            "index": batch_index(batch),
        }

    @override
    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return self.step(batch, "train")

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any] | None:
        return self._evaluation_step("val", batch, batch_idx, dataloader_idx)

    @override
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any] | None:
        return self._evaluation_step("test", batch, batch_idx, dataloader_idx)

    def _evaluation_step(self, phase: str, batch: Any, batch_idx: int, dataloader_idx: int) -> dict[str, Any] | None:
        """The step of the samples that count; None where there are none."""
        try:
            trainer = self.trainer
        except RuntimeError:  # called by hand: every sample counts
            trainer = None
        counted = self._counters.count(trainer, batch, batch_idx, dataloader_idx)
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
            epoch.update_metrics(_detach(outputs), targets)

    # Ends of epochs

    @override
    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    @override
    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def _log_epoch(self, phase: str) -> None:
        # A callback that computes a metric of the same name of the whole set (EvalTotal) has logged it.
        logged = {key for callback in self.trainer.callbacks for key in getattr(callback, "logged_keys", ())}  # type: ignore[attr-defined]
        for name, value in self.epoch_values[phase].compute(self.device).items():
            if f"{phase}/{name}" in logged:
                continue
            if value.ndim == 0:
                shown = name in ("top1", "loss") and phase != "train"
                # Summed over all processes already: the largest of equal values is that value, to the last bit.
                self.log(f"{phase}/{name}", value, prog_bar=shown, sync_dist=True, reduce_fx="max")
            else:
                self._write_table(f"{phase}-{name}.csv", value)
        self._log_skipped()

    def _log_skipped(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, VideoDataModule) and not self.trainer.sanity_checking:
            self.log("data/skipped", float(data.count_skipped()), sync_dist=True, reduce_fx="max")

    def _write_table(self, name: str, value: Tensor) -> None:
        folder = self.trainer.log_dir  # on every rank: it is broadcast
        if folder and self.trainer.is_global_zero and not self.trainer.sanity_checking and not _fast_dev_run(self):
            classes = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
            write_table(Path(folder) / name, value, classes)

    # Set-up and checkpoints

    @override
    def setup(self, stage: str) -> None:
        if stage == "fit":
            classifiers = ("lightframe.models.", "torchvision.models.video.")
            own = type(self.net).__module__.startswith(classifiers) and not isinstance(self.net, Detector)
            if self._net_computes_loss and own:
                raise UsageError(f"the net, a {type(self.net).__name__}, computes no loss of its own: give loss, as ce")
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
        # Lightning asks no callback about checkpoints of weights only, and EMA has the weights that belong there.
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if finalize := getattr(callback, "finalize_checkpoint", None):
                finalize(self.trainer, self, checkpoint)

    def _save_plain_hyperparameters(self, given: Mapping[str, Any]) -> None:
        plain, objects = split_plain(given)
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


def _build_net(net: Any, num_classes: int | None) -> tuple[nn.Module, int | None]:
    """The net, and how many classes it was built for, where that is known."""
    if isinstance(net, nn.Module):
        return net, None
    if not isinstance(net, str | Mapping):
        raise UsageError(f"net must be a name, an import path or an nn.Module, not {type(net).__name__}")
    name, args = split_spec("net", net)
    factory, classes = MODELS[name], None
    if accepts(factory, "num_classes"):
        if num_classes is not None:
            args.setdefault("num_classes", num_classes)
        classes = args.get("num_classes", inspect.signature(factory).parameters["num_classes"].default)
    check_arguments("net", name, factory, (), args, partial=True)
    if classes is inspect.Parameter.empty:
        raise UsageError(f"net '{name}' needs the number of classes: give num_classes")
    built = MODELS.build(name, **args)
    if not isinstance(built, nn.Module):
        raise UsageError(f"net '{name}' makes a {type(built).__name__}, not an nn.Module")
    return built, classes


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
