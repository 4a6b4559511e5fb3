"""EMA: an exponential moving average of the weights, which is what is evaluated and exported."""

import copy
import weakref
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from typing_extensions import override

from lightframe.arguments import is_number
from lightframe.averaging import AveragedWeights, ramped_decay
from lightframe.errors import UsageError
from lightframe.module import LightFrameModule


class EMA(WeightAveraging):
    """Evaluates and exports a moving average of the weights: average = d * average + (1 - d) * weights.

    After n optimizer steps the decay d = decay * (1 - exp(-n / ramp)).

    n counts as Lightning counts optimizer steps, among them those that the scaler of 16-mixed precision skips, which
    leave the weights as they are. The average starts from the weights that training starts with. Parameters and
    floating-point buffers are averaged, integer buffers are the current ones: see `AveragedWeights`.

    The averaged weights are what is validated, tested, predicted and exported. While fitting, the module holds them
    from `on_validation_start` to `on_validation_end`, once there was a step, and from `on_train_end` on; after an
    exception in validation it holds the raw ones. A checkpoint has the average as `state_dict` and, as
    `current_model_state`, the raw weights that training goes on from (the layout of Lightning's EMAWeightAveraging);
    one of weights only has the average alone. The module's `on_load_checkpoint` is called for each of the two. A second
    `fit` of the same Trainer goes on with the raw weights and n, unless other weights were loaded meanwhile.

    Override `should_update`, as with Lightning's WeightAveraging, to update more rarely or later: then n counts
    updates, and an average that starts later starts from the weights of that step. Nothing is logged.

    Args:
        decay: from 0 to 1; the average is over about the last 1 / (1 - decay) steps.
        ramp: in how many steps the decay grows to 63 % of that; 0: it has it from the first.
        device: where the average is kept. Null: beside the weights. "cpu" saves the device's memory, and costs a copy
            of the weights to the CPU in each step, for which the step waits.

    Raises:
        UsageError: decay, ramp or device make no sense; or, when fitting starts, weights are split over devices (as by
            FSDP), another callback averages weights, too, or weights-only checkpoints would hold the raw weights, of a
            module that is no LightFrameModule.

    >>> from lightning.pytorch import Trainer
    >>> trainer = Trainer(callbacks=[EMA(decay=0.999)], logger=False, enable_checkpointing=False, accelerator="cpu")
    """

    def __init__(self, decay: float = 0.9999, ramp: float = 2000.0, device: str | torch.device | None = None) -> None:
        super().__init__()
        if not (is_number(decay) and 0 <= decay <= 1):
            raise UsageError(f"EMA's decay is {decay}: give one from 0 to 1, such as 0.9999")
        if not (is_number(ramp) and ramp >= 0):
            raise UsageError(f"EMA's ramp is {ramp}: give a number of steps, or 0 for none")
        try:
            self.device = None if device is None else torch.device(device)
        except RuntimeError as error:
            raise UsageError(f"EMA's device '{device}' is none: give one such as cpu or cuda:0") from error
        self.decay, self.ramp = decay, ramp
        self._weights: AveragedWeights | None = None
        self._module: weakref.ref[LightningModule] | None = None
        self._updated_step, self._updated_epoch = 0, -1

    @property
    def n(self) -> int:
        """How many updates the average has seen."""
        return self._weights.n if self._weights is not None else 0

    @property
    def average(self) -> dict[str, Tensor]:
        """The averaged tensors by name; empty before training starts."""
        return self._weights.tensors if self._weights is not None else {}

    # Start and end of fitting

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        _check(trainer, pl_module)
        weights = self._weights
        if weights is None or trainer.global_step == 0 or self._module is None or self._module() is not pl_module:
            self._forget()
        elif weights.held_by(pl_module):
            weights.restore(pl_module)
        elif weights.raw is not None:  # others were loaded meanwhile: a checkpoint to test, say
            self._forget()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only now are weights loaded, equal on all ranks, on their device, and every layer there.
        if self._weights is None:
            self._weights = AveragedWeights(pl_module, self.device)
        self._weights.move(pl_module)
        self._module = weakref.ref(pl_module)
        self._updated_step = trainer.global_step

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._apply(trainer, pl_module)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that was resumed where it had ended has no on_train_end.
        if self._weights is not None:
            if self.n and self._weights.raw is None:
                self._weights.apply(pl_module)
            self._module = weakref.ref(pl_module)
            self._weights.cpu()  # where Lightning has moved the module to

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.validating:
            self._restore(trainer, pl_module)

    def _forget(self) -> None:
        self._weights, self._module = None, None
        self._updated_step, self._updated_epoch = 0, -1

    # Updates

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._update_after_step(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch > self._updated_epoch and self.should_update(epoch_idx=trainer.current_epoch):
            self._updated_epoch = trainer.current_epoch
            self._update(pl_module)

    def _update_after_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update, if there was an optimizer step since: with accumulated gradients a batch is not always one."""
        if self._weights is None or trainer.global_step <= self._updated_step:
            return
        self._updated_step = trainer.global_step
        if self.should_update(step_idx=trainer.global_step - 1):
            self._update(pl_module)
        elif self.n == 0:
            self._weights.tensors.clear()  # what training started with is long gone when averaging starts

    def _update(self, pl_module: LightningModule) -> None:
        assert self._weights is not None
        self._weights.update(pl_module, ramped_decay(self.n + 1, self.decay, self.ramp))

    # Evaluation while fitting; else the module holds the average already

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._apply(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore(trainer, pl_module)

    def _apply(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _fitting(trainer) and self._weights is not None and self.n and self._weights.raw is None:
            self._share_buffers(trainer, pl_module, self._weights)
            self._weights.apply(pl_module)

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _fitting(trainer) and self._weights is not None and self._weights.raw is not None:
            self._weights.restore(pl_module)

    def _share_buffers(self, trainer: Trainer, pl_module: LightningModule, weights: AveragedWeights) -> None:
        """Rank 0's averages of the buffers for all: under DDP each rank has its own statistics of batch norms."""
        if trainer.world_size > 1:
            names = [name for name, _ in pl_module.named_buffers() if name in weights.tensors]
            shared = trainer.strategy.broadcast({name: weights.tensors[name].cpu() for name in names})
            for name, buffer in shared.items():
                weights.tensors[name].copy_(buffer)

    # Checkpoints

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"latest_update_step": self._updated_step, "latest_update_epoch": self._updated_epoch}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._updated_step = state_dict["latest_update_step"]
        self._updated_epoch = state_dict.get("latest_update_epoch", -1)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.finalize_checkpoint(trainer, pl_module, checkpoint)

    def finalize_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the averaged weights into a checkpoint, and beside them the raw ones, unless it is of weights only.

        Lightning does not ask callbacks about checkpoints of weights only. LightFrameModule therefore calls this from
        its own `on_save_checkpoint`, and so must any other module that is saved so. A second call changes nothing.
        """
        if "averaging_state" in checkpoint:
            return
        fitting = _fitting(trainer)
        if fitting and (self._weights is None or self._weights.raw is None):
            self._update_after_step(trainer, pl_module)  # callbacks before this one may save between step and update
        weights = self._weights
        if weights is None or weights.n == 0:
            return
        averaged = weights.raw is not None
        if averaged and not fitting and not weights.held_by(pl_module):
            return  # other weights were loaded since the fit, and are what is saved
        given, weights_only = checkpoint["state_dict"], "callbacks" not in checkpoint
        if averaged and weights_only:
            return
        other = _other_state(trainer, pl_module, weights)
        if averaged:
            raw = other
        else:
            raw, average = given, copy.copy(given)  # with its metadata
            average.update({name: other[name] for name in given.keys() & other.keys()})
            checkpoint["state_dict"] = average
        if not weights_only:
            checkpoint["current_model_state"] = raw
            checkpoint["averaging_state"] = {"n_averaged": torch.tensor(weights.n)}
            if finer := weights.finer(pl_module):
                checkpoint["averaging_state"]["finer"] = finer

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._weights = None
        if not {"current_model_state", "averaging_state"} <= checkpoint.keys():
            return  # of a run without EMA, or before its first step: the average starts from these weights
        # Lightning has just loaded `state_dict` into the module: the average, as the module's own hooks see to it.
        self._weights = AveragedWeights(pl_module, self.device)
        self._weights.n = int(checkpoint["averaging_state"]["n_averaged"])
        for name, finer in checkpoint["averaging_state"].get("finer", {}).items():
            if name in self._weights.tensors:
                self._weights.tensors[name].copy_(finer)
        raw = {**checkpoint, "state_dict": checkpoint["current_model_state"]}
        if is_overridden("on_load_checkpoint", pl_module):
            pl_module.on_load_checkpoint(raw)
        trainer.strategy.load_model_state_dict(raw, strict=pl_module.strict_loading)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_module": None}  # a weak reference cannot be pickled


def _fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.state.finished


def _other_state(trainer: Trainer, pl_module: LightningModule, weights: AveragedWeights) -> dict[str, Any]:
    """A copy of the module's `state_dict` with the weights that it does not hold just now: the average, or the raw."""
    weights.exchange(pl_module)
    try:
        # Through the module, which may leave weights out of its state_dict or name them in its own way.
        state = trainer.strategy.lightning_module_state_dict()
        state.update({name: value.clone() for name, value in state.items() if isinstance(value, Tensor)})
    finally:
        weights.exchange(pl_module)
    return state


def _check(trainer: Trainer, pl_module: LightningModule) -> None:
    name = type(trainer.strategy).__name__
    if isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy):
        raise UsageError(f"EMA cannot average weights that {name} splits over devices: train with strategy=ddp")
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    averaging = [one for one in callbacks if isinstance(one, WeightAveraging | StochasticWeightAveraging)]
    if len(averaging) > 1:
        names = " and ".join(type(one).__name__ for one in averaging)
        raise UsageError(f"{names} would both change the weights that are evaluated: leave one of them out")
    if isinstance(pl_module, LightFrameModule) or is_overridden("on_save_checkpoint", pl_module):
        return
    if any(isinstance(one, ModelCheckpoint) and one.save_weights_only for one in trainer.checkpoint_callbacks):
        raise UsageError(
            f"weights-only checkpoints of {type(pl_module).__name__} would hold the raw weights, since Lightning asks "
            "no callback about them: save whole ones, or call EMA's finalize_checkpoint in its on_save_checkpoint"
        )
