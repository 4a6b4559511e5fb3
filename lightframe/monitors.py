"""What schedulers and callbacks go by, held against what is logged before an epoch is lost to a mistyped name."""

from collections.abc import Iterator
from typing import Any

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
                f"{who} goes by '{monitor}', which is not logged{did_you_mean(monitor, known)} "
                f"(logged: {', '.join(known)})"
            )


def _monitored(trainer: Any) -> Iterator[tuple[str, str]]:
    """Who goes by what."""
    for config in trainer.lr_scheduler_configs:
        if isinstance(config.monitor, str):
            yield "the scheduler", config.monitor
    for callback in trainer.callbacks:
        if isinstance(monitor := getattr(callback, "monitor", None), str):
            yield type(callback).__name__, monitor
