"""What checkpoints and early stopping go by has to be logged; that it is not would show after an epoch only."""

from collections.abc import Sequence
from typing import Any

from torchmetrics import Metric

from lightframe.callbacks import EvalTotal
from lightframe.errors import UsageError, did_you_mean
from lightframe.metric_collection import build_metrics
from lightframe.module import LightFrameModule
from lightframe.monitors import named_by

_OURS = ("lightframe.", "lightning.")


def check_monitors(callbacks: Sequence[Any], module: Any, validates: bool) -> None:
    """Raise a UsageError for a callback that needs what nobody logs, as far as that can be known.

    What a user's own module, callback or metric logs cannot, and is left to Lightning to see.

    Args:
        callbacks: of the Trainer.
        module: that is trained.
        validates: whether there is anything to validate with.
    """
    foreign = any(not type(one).__module__.startswith(_OURS) for one in callbacks)
    for does, monitor in (named for callback in callbacks for named in named_by(callback)):
        if not monitor.startswith(("train/", "val/", "test/")):
            continue
        phase = monitor.partition("/")[0]
        if phase == "test":
            raise UsageError(f"{does} '{monitor}', and a training does not test: give one of val/...")
        if foreign or type(module) is not LightFrameModule:
            return
        if phase == "val" and not validates:
            raise UsageError(
                f"{does} '{monitor}', and there is no validation: give a val split, data.val_fraction, or a value of "
                "train/..."
            )
        known = logged(module, phase)
        if known is None or (phase == "val" and any(isinstance(one, EvalTotal) for one in callbacks)):
            continue
        if monitor not in known:
            hint = did_you_mean(monitor, known)
            raise UsageError(f"{does} '{monitor}', which is not logged{hint} (there are: {', '.join(known)})")


def logged(module: LightFrameModule, phase: str) -> list[str] | None:
    """The names that a module logs in a phase; None where they show only when it runs.

    >>> logged(LightFrameModule("tiny3d", "ce", metrics=["top1"], num_classes=2), "val")
    ['val/loss', 'val/loss_ce', 'val/top1']
    """
    if module.losses is None:
        return None
    built = build_metrics(module.epoch_values[phase].spec, module.num_classes or 2)
    if not all(_is_one_number(metric) for metric in built.values()):
        return None
    values = ["loss", *(f"loss_{name}" for name in module.losses.losses), *(["loss_epoch"] if phase == "train" else [])]
    asked = module.epoch_values[phase].spec
    order = {name: place for place, name in enumerate(asked)} if isinstance(asked, list | tuple) else {}
    metrics = sorted((str(name) for name in built), key=lambda name: order.get(name, len(order)))
    return [f"{phase}/{name}" for name in (*values, *metrics)]


def _is_one_number(metric: Metric) -> bool:
    known = type(metric).__module__.startswith(("torchmetrics.classification.", "lightframe."))
    return known and not hasattr(metric, "figure")
