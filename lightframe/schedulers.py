"""Learning-rate schedulers by name, import path or callable; all but `plateau` step once per optimizer step."""

import inspect
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from typing_extensions import override

from lightframe.errors import UnknownNameError, UsageError, did_you_mean
from lightframe.registry import Factory, Registry, accepts, check_arguments
from lightframe.schedules import (
    constant,
    cosine,
    cosine_with_restarts,
    exponential,
    linear,
    multistep,
    polynomial,
    step,
)
from lightframe.warmup import WarmedPlateau, build_warmup, is_number, split_warmup

log = logging.getLogger(__name__)

SCHEDULERS = Registry("scheduler")
ENDLESS = "set max_epochs or max_steps (max_epochs=-1 has no end)"


VALID = {
    "gamma": ("above 0", lambda value: value > 0),
    "power": ("above 0", lambda value: value > 0),
    "end_factor": ("0 or more", lambda value: value >= 0),
    "cycles": ("a whole number, 1 or more", lambda value: value >= 1 and float(value).is_integer()),
}


def _in_units(name: str, value: Any, total: int | None) -> int:
    """A whole number as it is, a fraction of the run in the units of `total`."""
    if is_number(value) and value >= 1 and float(value).is_integer():
        return int(value)
    if not (is_number(value) and 0 < value < 1):
        raise UsageError(f"{name}={value!r} must be a whole number, 1 or more, or a fraction of the run, as 0.5")
    if total is None:
        raise UsageError(f"{name}={value} is a fraction of a run without end: {ENDLESS}, or give whole numbers")
    return max(1, round(value * total))


def _resolve_args(args: dict[str, Any], total: int | None) -> dict[str, Any]:
    """The arguments of a function above, checked, with every position as a whole number."""
    for name, (rule, valid) in VALID.items():
        if name in args and not (is_number(args[name]) and valid(args[name])):
            raise UsageError(f"{name}={args[name]!r} must be {rule}")
    if "step_size" in args:
        args["step_size"] = _in_units("step_size", args["step_size"], total)
    if "milestones" in args:
        given = args["milestones"]
        if not isinstance(given, Sequence) or not given:
            raise UsageError(f"milestones={given!r} must be a list such as [1000, 2000] or [0.5, 0.75]")
        args["milestones"] = [_in_units("milestones", value, total) for value in given]
        if sorted(given) != list(given) or len({value < 1 for value in given}) > 1:
            raise UsageError(f"milestones={given!r} must rise, and be all whole numbers or all fractions of the run")
    return args


def _at(step: int, factor: partial[float], every: int) -> float:
    return factor(step // every)


def _from_function(factor: Factory) -> Factory:
    """The factory of a LambdaLR: it takes `factor`'s arguments but t and total, the unit of t, and the run's length."""

    def factory(
        optimizer: Optimizer,
        *,
        unit: str = "step",
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        **args: Any,
    ) -> LambdaLR:
        if unit not in ("step", "epoch"):
            raise UnknownNameError(f"unknown unit '{unit}'{did_you_mean(str(unit), ['step', 'epoch'])} (step or epoch)")
        if unit == "epoch" and steps_per_epoch is None:
            raise UsageError("unit 'epoch': the loader does not tell how many batches an epoch has; use unit 'step'")
        every = steps_per_epoch if unit == "epoch" and steps_per_epoch else 1
        if total_steps is not None and not (is_number(total_steps) and total_steps >= 1):
            raise UsageError(f"total_steps={total_steps!r} must be a number of steps, 1 or more")
        total = None if total_steps is None else math.ceil(total_steps / every)
        args = _resolve_args(args, total)
        if accepts(factor, "total"):
            if total is None:
                raise UsageError(f"it runs over the whole training: {ENDLESS}, or give total_steps")
            args["total"] = total
        # Partials of module-level functions, as closures cannot be pickled.
        return LambdaLR(optimizer, partial(_at, factor=partial(factor, **args), every=every))

    # For the messages and checks of the registry: the arguments by name instead of **args.
    own = [p for p in inspect.signature(factor).parameters.values() if p.name not in ("t", "total")]
    optimizer, *rest = list(inspect.signature(factory).parameters.values())[:-1]
    named = [p.replace(kind=p.KEYWORD_ONLY) for p in own]
    factory.__signature__ = inspect.Signature([optimizer, *named, *rest])  # type: ignore[attr-defined]
    return factory


for _function in (step, multistep, exponential, constant, linear, cosine, cosine_with_restarts, polynomial):
    SCHEDULERS.register(_function.__name__)(_from_function(_function))
SCHEDULERS.register("plateau")(ReduceLROnPlateau)


@SCHEDULERS.register("one_cycle")
class OneCycle(OneCycleLR):
    """torch's OneCycleLR with each group's own lr as the peak; a resumed run may be longer or shorter than before.

    `cycle_momentum=None` cycles it where there is one: betas, or a momentum above 0. Past the end the lr stays.
    Source: Smith, Topin 2018, "Super-Convergence".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool | None = None,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if cycle_momentum is None:
            cycle_momentum = all("betas" in group or group.get("momentum") for group in optimizer.param_groups)
        super().__init__(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total_steps,
            pct_start=pct_start * (1 - 1e-9) if pct_start * total_steps == 1 else pct_start,  # torch divides by 0 there
            anneal_strategy=anneal_strategy,
            cycle_momentum=cycle_momentum,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )

    @override
    def get_lr(self) -> list[Any]:
        reached, self.last_epoch = self.last_epoch, min(self.last_epoch, self.total_steps - 1)
        try:
            return super().get_lr()
        finally:
            self.last_epoch = reached

    @override
    def state_dict(self) -> dict[str, Any]:
        # Not what the constructor sets, such as total_steps: loading would bring back the length of the earlier run.
        return {key: getattr(self, key) for key in ("base_lrs", "last_epoch", "_step_count", "_last_lr")}


@dataclass(frozen=True)
class RunLength:
    """How long a training is, in optimizer steps; None where that is not known.

    Args:
        validate_every: epochs from one validation to the next.
        validates: whether there is any.
    """

    total_steps: int | None
    steps_per_epoch: int | None
    validate_every: int = 1
    validates: bool = field(default=True, compare=False)  # no length

    @classmethod
    def of(cls, trainer: Trainer) -> "RunLength":
        """That of the fit which this trainer is setting up; loads its training data where Lightning has not yet."""
        total = trainer.estimated_stepping_batches
        if trainer.train_dataloader is None:  # with max_epochs=-1 Lightning has not looked
            trainer.fit_loop.setup_data()
        per_epoch = trainer.num_training_batches / trainer.accumulate_grad_batches
        return cls(
            total_steps=max(int(total), 1) if 0 <= total < math.inf else None,
            steps_per_epoch=math.ceil(per_epoch) if 0 < per_epoch < math.inf else None,
            validate_every=trainer.check_val_every_n_epoch or 1,
            validates=trainer.enable_validation and _has_validation(getattr(trainer, "datamodule", None)),
        )


def _has_validation(data: Any) -> bool:
    """Whether a data module of this package has a validation split; of others Lightning knows."""
    has = getattr(getattr(data, "splits", data), "has", None)
    return bool(has("val")) if callable(has) else True


def _prepare(
    scheduler: str | Factory, args: dict[str, Any], run: RunLength
) -> tuple[str, Factory, dict[str, Any], str | None]:
    """Name, factory, all its arguments, and what to monitor."""
    name, factory = SCHEDULERS.resolve(scheduler)
    args = dict(args)
    monitor = None if accepts(factory, "monitor") else args.pop("monitor", None)
    for key, value in (("total_steps", run.total_steps), ("steps_per_epoch", run.steps_per_epoch)):
        if key not in args and accepts(factory, key):
            if value is not None:
                args[key] = value
            elif inspect.signature(factory).parameters[key].default is inspect.Parameter.empty:
                raise UsageError(f"scheduler '{name}' needs {key}: {ENDLESS}, or give {key}")
    check_arguments("scheduler", name, factory, (None,), args)
    return name, factory, args, monitor


def _build(
    scheduler: str | Factory, optimizer: Optimizer, args: dict[str, Any], run: RunLength
) -> tuple[LRScheduler, str]:
    """The scheduler without warmup, and what it monitors if it is a plateau."""
    name, factory, args, monitor = _prepare(scheduler, args, run)
    try:
        built = factory(optimizer, **args)
    except (ValueError, TypeError) as error:
        raise UsageError(f"scheduler '{name}': {error}") from error
    if not isinstance(built, LRScheduler):
        raise UsageError(f"scheduler '{name}' made a {type(built).__name__}, which is no LRScheduler of torch")
    if monitor is not None and not isinstance(built, ReduceLROnPlateau):
        raise UsageError(f"scheduler '{name}' monitors nothing: 'monitor' is for plateau")
    return built, monitor or "val/loss"


def build_scheduler(
    scheduler: str | Factory | None, optimizer: Optimizer, args: Mapping[str, Any] | None, run: RunLength
) -> list[dict[str, Any]]:
    """Lightning's configs of the scheduler and its warmup, for `configure_optimizers`; none for neither.

    Args:
        scheduler: a name in SCHEDULERS, an import path, or a callable that is given the optimizer. Where it has
            arguments `total_steps` or `steps_per_epoch` that `args` leaves out, it is given those of `run`.
        args: its arguments; `warmup_steps`, `warmup_method` and `warmup_factor` (see `lightframe.warmup`) for any;
            `monitor` ("val/loss") for plateau.

    Raises:
        UsageError: an unknown name, an argument that does not fit, or a schedule over a run without end.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> [config] = build_scheduler("cosine", optimizer, {"warmup_steps": 0.1}, RunLength(1000, 100))
    >>> type(config["scheduler"]).__name__, config["interval"]
    ('Warmup', 'step')
    """
    warmup_args, own = split_warmup(args or {})
    if scheduler is None and own:
        raise UsageError(f"scheduler arguments {', '.join(own)} without a scheduler")
    built, monitor = (None, "") if scheduler is None else _build(scheduler, optimizer, own, run)
    plateau: LRScheduler | None = built if isinstance(built, ReduceLROnPlateau) else None
    per_step = built if plateau is None else None
    if warmup_args:
        per_step = warmup = build_warmup(optimizer, per_step, run.total_steps, **warmup_args)
        plateau = WarmedPlateau(built, warmup) if isinstance(built, ReduceLROnPlateau) else None
    configs: list[dict[str, Any]] = []
    if per_step is not None:
        configs.append({"scheduler": per_step, "interval": "step", "frequency": 1})
    if plateau is not None:
        # A validation metric is news only after a validation.
        if monitor.startswith("val/") and not run.validates:
            raise UsageError(
                f"scheduler 'plateau' goes by {monitor}, and nothing is validated: give a validation split, as with "
                "val_fraction, or scheduler_args monitor=train/loss_epoch"
            )
        every = run.validate_every if monitor.startswith("val/") else 1
        config = {"scheduler": plateau, "interval": "epoch", "frequency": every, "reduce_on_plateau": True}
        configs.append({**config, "monitor": monitor, "strict": True})
    return configs


def tell_of_long_warmup(args: Mapping[str, Any] | None, run: RunLength) -> None:
    """Log a warning where the run ends before the warmup does: it never trains with the learning rate asked for."""
    steps = (args or {}).get("warmup_steps", 0)
    if run.total_steps is not None and steps > run.total_steps:
        log.warning("warmup_steps=%s is more than the %s steps of this run: it ends warming up", steps, run.total_steps)


def check_scheduler(scheduler: str | Factory | None, args: Mapping[str, Any] | None = None) -> None:
    """Raise the UsageErrors of `build_scheduler` that can be known before the run.

    >>> check_scheduler("step", {"step_size": -1})
    Traceback (most recent call last):
        ...
    lightframe.errors.UsageError: scheduler 'step': step_size=-1 must be a whole number, 1 or more, or a fraction ...
    """
    run = RunLength(total_steps=1000, steps_per_epoch=10)
    if args is not None and not isinstance(args, Mapping):
        raise UsageError(f"scheduler_args must be names with values, as {{gamma: 0.1}}, not {args!r}")
    if scheduler is not None:
        _, own = split_warmup(args or {})
        _, factory, *_ = _prepare(scheduler, own, run)
        if getattr(factory, "__module__", "").split(".")[0] not in ("torch", "lightframe"):
            return  # a user's own may do anything when it is called
    # The rest shows in the making. A list may have a value for each group, so there are that many.
    lists = [len(value) for value in (args or {}).values() if isinstance(value, list)]
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(max([1, *lists]))]
    build_scheduler(scheduler, torch.optim.SGD(groups, lr=1.0, momentum=0.9), args, run)
