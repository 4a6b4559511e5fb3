"""A loss that is not finite spoils no weights."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightframe.arguments import check_choice, check_whole
from lightframe.buffer_copies import BufferCopies
from lightframe.errors import UsageError
from lightframe.evaluation.counting import batch_index
from lightframe.gather import gather_objects
from lightframe.host_flag import HostFlag

ACTIONS = ("stop", "skip")
_SHOWN = 8  # paths of a batch


class NotFiniteError(UsageError):
    """A loss became NaN or infinite."""


class LossGuard(Callback):
    """Stops a training whose loss is not finite, or skips the step, before it touches the weights.

    The message names the step, each loss with its value, and the videos of the batch. When it stops, the weights as
    they were before that step are saved beside the other checkpoints as `last-finite-step=<n>.ckpt`, from which
    training can go on. A step that is skipped changes nothing: not the weights, not the optimizer's state, not the
    running statistics of batch norm, which the forward pass has changed by then. `train/loss_epoch` still shows it.

    On a GPU the host reads the loss when the backward pass is queued, so that the GPU does not wait. Several processes
    decide together: a loss that is not finite in one of them makes all their gradients so. With accumulated gradients
    all batches of the step go. In 16-mixed precision the gradients may overflow while the loss is finite: that is the
    scaler's to mend, and no reason to stop.

    | logged key          | what                                        | when                              |
    |---------------------|---------------------------------------------|-----------------------------------|
    | train/skipped_steps | steps skipped so far, with `action="skip"`  | when one is, and end of an epoch  |

    Of Lightning's own, `detect_anomaly` is slow and sees the backward pass alone, SpikeDetection looks when the step is
    done, and EarlyStopping(check_finite=True) at the end of an epoch.

    Args:
        action: "stop" or "skip".
        max_skips: more steps than these skipped one after another stop the training too.

    Raises:
        UsageError: another action, or `max_skips` below 1.
        NotFiniteError: the training is stopped.
    """

    guards_loss = True  # the adapter leaves the first step to it

    def __init__(self, action: str = "stop", max_skips: int = 10) -> None:
        check_choice("action", action, ACTIONS)
        check_whole("max_skips", max_skips, 1)
        self.action, self.max_skips = action, max_skips
        self.skipped = 0
        self._in_a_row = 0
        self._forget()

    def _forget(self) -> None:
        """Let go of all that belongs to one training: tensors of its device, and the batch."""
        self._flag = HostFlag()
        self._buffers: BufferCopies | None = None
        self._batch: Any = None
        self._loss: Tensor | None = None
        self._reason: str | None = None  # of the step that is being made
        self._new_step = True

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not trainer.global_step:
            self.skipped = 0  # a new training; that of a resumed one comes from its checkpoint

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.action == "skip" and not pl_module.automatic_optimization:
            raise UsageError("LossGuard skips no steps of manual optimization: use action='stop'")
        self._forget()
        self._in_a_row = 0
        self._buffers = BufferCopies(pl_module)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._batch = batch
        if self._new_step and self._buffers:
            self._buffers.take()
            self._new_step = False

    @override
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach()
        bad = torch.isfinite(self._loss).logical_not()
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce(bad.float(), reduce_op="max")
        self._flag.send(bad)

    @override
    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._flag.read():
            self._reason = self._reason or self._describe(trainer)
            if self.action == "stop":
                self._stop(trainer, self._reason)
        self._batch = self._loss = None

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        reason, self._reason, self._new_step = self._reason, None, True
        if reason is None:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row > self.max_skips:
            self._stop(trainer, f"more than max_skips={self.max_skips} steps in a row were skipped: {reason}")
        self.skipped += 1
        # Optimizers leave weights without gradients alone; zeros would still move them by momentum and decay.
        optimizer.zero_grad(set_to_none=True)
        assert self._buffers is not None
        self._buffers.restore()
        self._log(pl_module)
        rank_zero_warn(f"skipped a step: {reason}")

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.action == "skip":
            self._log(pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._forget()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def _log(self, pl_module: LightningModule) -> None:
        # All processes count the same: the largest of equal values.
        pl_module.log("train/skipped_steps", float(self.skipped), sync_dist=True, reduce_fx="max")

    def _describe(self, trainer: Trainer) -> str:
        """What happened, from all processes whose loss is not finite. All must call it."""
        assert self._loss is not None
        mine = None
        if not math.isfinite(self._loss.item()):
            logged = {name: value.item() for name, value in trainer.callback_metrics.items() if _is_loss(name)}
            losses = logged or {"loss": self._loss.item()}
            shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            mine = f"{shown} on {describe_samples(self._batch, getattr(trainer, 'datamodule', None))}"
        found = "; ".join(one for one in gather_objects(mine) if one is not None)
        return f"the loss of step {trainer.global_step} (epoch {trainer.current_epoch}) is not finite: {found}"

    def _stop(self, trainer: Trainer, reason: str) -> None:
        assert self._buffers is not None
        self._buffers.restore()
        where = self._save(trainer)
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        raise NotFiniteError(
            f"{reason}; {where}; look at these samples, or try a lower learning rate than {max(rates):.3g}, warmup, "
            "gradient_clip_val, or LossGuard(action='skip')"
        )

    def _save(self, trainer: Trainer) -> str:
        """Save a checkpoint if the weights are worth it, and say where. All processes must call it."""
        if not all(bool(torch.isfinite(weights).all()) for weights in trainer.lightning_module.parameters()):
            return "the weights are not finite either, which a finite loss with infinite gradients makes of them"
        if getattr(trainer, "fast_dev_run", False):
            return "nothing is saved in a fast_dev_run"
        folder = getattr(trainer.checkpoint_callback, "dirpath", None) or trainer.log_dir or trainer.default_root_dir
        path = Path(folder) / f"last-finite-step={trainer.global_step}.ckpt"
        trainer.save_checkpoint(path)
        return f"the weights before it are in {path}"


def describe_samples(batch: Any, data: Any) -> str:
    """The paths of a batch's samples where the data module knows them, else their indices.

    >>> from lightframe import VideoBatch
    >>> describe_samples(VideoBatch(torch.zeros(2, 3, 1, 4, 4), torch.zeros(2), torch.tensor([7, 9])), data=None)
    'samples 7, 9'
    """
    index = batch_index(batch)
    if index is None:
        return "a batch of samples without an index"
    numbers = dict.fromkeys(index.tolist())  # a video may be there in several clips
    paths = getattr(data.dataset("train"), "paths", None) if hasattr(data, "dataset") else None
    names = [str(number if paths is None else paths[number]) for number in numbers]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ("samples " if paths is None else "") + ", ".join(names[:_SHOWN]) + more


def _is_loss(name: str) -> bool:
    return name.startswith("train/loss") and name != "train/loss_epoch"
