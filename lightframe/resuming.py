"""What Lightning's checkpoints lack for a training that goes on as if it had never been stopped."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightframe.epoch_values import EpochValues
from lightframe.errors import UsageError
from lightframe.gather import gather_for_checkpoint
from lightframe.random_state import random_state, restore_random_state


class Resuming:
    """Puts into an adapter's checkpoints what a training needs to go on exactly, and takes it out again.

    That are, of each process, the states of all random number generators, the running values of the epoch and, between
    two optimizer steps, the gradients that are accumulated; the metrics of validations before; and, in a checkpoint
    that is saved at the end of an epoch, what Lightning does with the epoch only after that: log its values, and step
    the schedules that watch a metric.

    Args:
        values: of the training phase.
    """

    def __init__(self, values: EpochValues) -> None:
        self.values = values
        self._state: dict[str, Any] | None = None  # of the checkpoint that training goes on from
        self._epoch_end: dict[str, Any] | None = None  # of the last epoch that ended
        self._new_epoch = False  # a training that goes on begins with one

    def state(self, module: LightningModule) -> dict[str, Any]:
        """For a checkpoint. All processes must call it, unless one has met an error: then its own is all."""
        trainer = module.trainer
        own = {
            "random": random_state(module.device),
            "epoch_values": self.values.state(),
            "gradients": accumulated_gradients(module),
        }
        logged = self._epoch_end is None or self._epoch_end["epoch"] != trainer.current_epoch
        return {
            "ranks": gather_for_checkpoint(trainer, own),
            "callback_metrics": {
                name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()
            },
            "epoch_end": None if logged else self._epoch_end,
        }

    def load(self, checkpoint: dict[str, Any], trainer: Trainer) -> None:
        """Keep what the checkpoint has until training starts.

        Raises:
            UsageError: its weights are an average, beside which it has those that training goes on from, and nothing
                here takes these.
        """
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        if "averaging_state" in checkpoint and not any(isinstance(one, WeightAveraging) for one in callbacks):
            raise UsageError(
                "the checkpoint is of a training that averaged its weights, and this one does not: give the callback, "
                "EMA for one, again, or begin anew from the averaged weights with init_from"
            )
        self._state = checkpoint.get("lightframe", {}).get("resume")
        if "loops" in checkpoint and complete_epoch(checkpoint, trainer):  # EMA loads twice, and it is so once
            self._new_epoch = True

    def start(self, module: LightningModule) -> None:
        """Put it back, before the first batch."""
        trainer = module.trainer
        state, self._state = self._state, None
        if state is not None:
            self._restore(state, module)
            # What checkpoints, early stopping and plateau schedules go by is of validations before this run.
            trainer.callback_metrics.update(state["callback_metrics"])
            self._end_epoch(trainer, state)
        if self._new_epoch:
            self._new_epoch = trainer.fit_loop.epoch_loop.restarting = False

    def epoch_ended(self, trainer: Trainer, values: Mapping[str, Tensor]) -> None:
        """Keep what Lightning is to do with an epoch after its hooks; `values` are those that are logged."""
        # In the epoch in which a training was resumed Lightning has no metrics for plateau schedules, and leaves them
        # out.
        if trainer.fit_loop.restarting:
            step_plateaus(trainer)
        self._epoch_end = {
            "values": {name: float(value) for name, value in values.items()},
            "epoch": trainer.current_epoch,
            "step": trainer.global_step - 1,  # as Lightning numbers it
            "plateaus": not trainer.fit_loop.restarting,
        }

    def finish(self, trainer: Trainer) -> None:
        """A run that goes on from the end of its last epoch has nothing to train, and no start."""
        state, self._state = self._state, None
        if state is not None:
            self._end_epoch(trainer, state)

    def _restore(self, state: dict[str, Any], module: LightningModule) -> None:
        ranks, trainer = state["ranks"], module.trainer
        if len(ranks) != trainer.world_size:
            rank_zero_warn(
                f"the checkpoint is of {len(ranks)} processes and there are {trainer.world_size}: training goes on "
                "with other random numbers, and train/loss_epoch covers the rest of the epoch"
            )
            return
        own = ranks[trainer.global_rank]
        restore_random_state(own["random"], module.device)
        self.values.load_state(own["epoch_values"])
        for name, gradient in own["gradients"].items():
            module.get_parameter(name).grad = gradient.to(module.device)

    def _end_epoch(self, trainer: Trainer, state: dict[str, Any]) -> None:
        if (end := state["epoch_end"]) is None:
            return
        for logger in trainer.loggers:
            logger.log_metrics({**end["values"], "epoch": end["epoch"]}, step=end["step"])
        if end["plateaus"]:
            step_plateaus(trainer, end["epoch"])


def accumulated_gradients(module: LightningModule) -> dict[str, Tensor]:
    """The gradients of this process that the next optimizer step will add to, by parameter; none where one was made."""
    loop: Any = module.trainer.fit_loop.epoch_loop
    progress = loop.batch_progress
    if progress.current.processed % module.trainer.accumulate_grad_batches == 0 or progress.is_last_batch:
        return {}
    named = module.named_parameters()
    return {name: one.grad.detach().cpu().clone() for name, one in named if one.grad is not None}


def step_plateaus(trainer: Trainer, epoch: int | None = None) -> None:
    """Step the schedules that watch a metric as Lightning does at the end of an epoch."""
    epoch = trainer.current_epoch if epoch is None else epoch
    for config in trainer.lr_scheduler_configs:
        due = config.interval == "epoch" and (epoch + 1) % config.frequency == 0
        if config.reduce_on_plateau and due and config.monitor in trainer.callback_metrics:
            config.scheduler.step(trainer.callback_metrics[config.monitor])  # type: ignore[arg-type]


# Lightning's loops, as they stand in a checkpoint. Their layout is private; tests/test_resuming.py resumes from all of
# these places, and notices when it changes.


def repeat_validation(checkpoint: dict[str, Any]) -> None:
    """Make a run that goes on from a checkpoint that was saved in validation begin with that validation.

    Lightning's own, of a validation broken off, goes on with the rest of it, and loses what was computed before.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    progress["current"] = dict.fromkeys(progress["current"], 0)
    progress["total"] = {**dict.fromkeys(progress["total"], 0), "ready": 1, "started": 1}
    progress["is_last_batch"] = False


def complete_epoch(checkpoint: dict[str, Any], trainer: Trainer) -> bool:
    """Whether a run that is limited by `max_steps` goes on from the end of an epoch: then that is marked as completed.

    Lightning 2.6 would go on within that epoch, and make one more of a single batch.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
    current = progress["current"]
    limited = trainer.max_epochs == -1 and trainer.max_steps != -1
    if not limited or not current["started"] == current["processed"] == current["completed"] + 1:
        return False
    for count in ("current", "total"):
        progress[count]["completed"] += 1
    return True
