"""What Lightning's checkpoints lack for a training that goes on as if it had never been stopped."""

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightframe.gather import gather_for_checkpoint
from lightframe.random_state import random_state, restore_random_state

if TYPE_CHECKING:
    from lightframe.module import LightFrameModule


def resume_state(module: "LightFrameModule", epoch_end: dict[str, Any] | None = None) -> dict[str, Any]:
    """The states of the random number generators and the running values of the epoch, of all processes.

    All processes must call it.

    Args:
        module: that is trained.
        epoch_end: what `epoch_end_state` gave, if the epoch is over and Lightning has not logged that yet.

    Returns:
        Plain values and tensors. After an error, which the other processes need not have met, those of this process
        alone.
    """
    trainer = module.trainer
    own = {"random": random_state(module.device), "epoch_values": module.epoch_values["train"].state()}
    metrics = {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()}
    return {"ranks": gather_for_checkpoint(trainer, own), "callback_metrics": metrics, "epoch_end": epoch_end}


def restore_resume_state(module: "LightFrameModule", state: dict[str, Any]) -> None:
    """Put back what `resume_state` gave; to be called when training starts, before the first batch."""
    trainer = module.trainer
    ranks = state["ranks"]
    if len(ranks) == trainer.world_size:
        own = ranks[trainer.global_rank]
        restore_random_state(own["random"], module.device)
        module.epoch_values["train"].load_state(own["epoch_values"])
    else:
        rank_zero_warn(
            f"the checkpoint is of {len(ranks)} processes and there are {trainer.world_size}: training goes on with "
            "other random numbers, and train/loss_epoch covers the rest of the epoch"
        )
    # What checkpoints, early stopping and plateau schedules go by is of validations before this run.
    trainer.callback_metrics.update(state["callback_metrics"])
    if state["epoch_end"] is not None:
        end_epoch(trainer, state["epoch_end"])


def epoch_end_state(trainer: Trainer, values: dict[str, Tensor]) -> dict[str, Any]:
    """What Lightning does with an epoch that is over only after the hooks in which checkpoints are saved.

    Args:
        trainer: of the training.
        values: of the epoch, as they are logged.
    """
    # In the epoch in which a training was resumed Lightning has no metrics for plateau schedules, and leaves them out.
    if trainer.fit_loop.restarting:
        step_plateaus(trainer)
    return {
        "values": {name: float(value) for name, value in values.items()},
        "epoch": trainer.current_epoch,
        "step": trainer.global_step - 1,  # as Lightning numbers it
        "plateaus": not trainer.fit_loop.restarting,
    }


def end_epoch(trainer: Trainer, state: dict[str, Any]) -> None:
    """Do what Lightning had not done with an epoch that was over; `state` is what `epoch_end_state` gave."""
    for logger in trainer.loggers:
        logger.log_metrics({**state["values"], "epoch": state["epoch"]}, step=state["step"])
    if state["plateaus"]:
        step_plateaus(trainer, state["epoch"])


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
