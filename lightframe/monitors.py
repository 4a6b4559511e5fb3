"""What schedulers and callbacks go by, held against what is logged before an epoch is lost to a mistyped name."""

import re
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from lightframe.errors import UsageError, did_you_mean

_KNOWN = ("lightning.", "lightframe.")


def check_monitors(trainer: Any) -> None:
    """Raise a UsageError where a value of the validation is monitored that validation does not log.

    To be called at the end of the sanity check, when all that validation logs is known. With callbacks of other
    packages nothing is said: they may log more later.

    Args:
        trainer: of Lightning, or what has its `callbacks`, `lr_scheduler_configs` and `callback_metrics`.
    """
    if not all(type(callback).__module__.startswith(_KNOWN) for callback in trainer.callbacks):
        return
    logged = list(trainer.callback_metrics)
    for who, monitor in _monitored(trainer):
        if monitor.startswith("val/") and monitor not in logged:
            known = sorted(name for name in logged if name.startswith("val/"))
            raise UsageError(
                f"{who} '{monitor}', which is not logged{did_you_mean(monitor, known)} (logged: {', '.join(known)})"
            )


def named_by(callback: Any) -> Iterator[tuple[str, str]]:
    """The values that a callback needs: what it does with each, and the value's name.

    >>> from lightframe.callbacks import Checkpointer
    >>> list(named_by(Checkpointer("val/loss", filename="{epoch}-{val/top1:.3f}")))
    [('Checkpointer monitors', 'val/loss'), ("Checkpointer's filename has", 'val/top1')]
    """
    name = type(callback).__name__
    if isinstance(monitor := getattr(callback, "monitor", None), str):
        yield f"{name} monitors", monitor
    if isinstance(callback, ModelCheckpoint):  # which writes 0 for what is not there
        for field in re.findall(r"\{([^{}:]+/[^{}:]+)", callback.filename or ""):
            if field != monitor:
                yield f"{name}'s filename has", field


def _monitored(trainer: Any) -> Iterator[tuple[str, str]]:
    """Who goes by what."""
    for config in trainer.lr_scheduler_configs:
        if isinstance(config.monitor, str):
            yield "the scheduler goes by", config.monitor
    for callback in trainer.callbacks:
        yield from named_by(callback)
