"""Warmup around any learning-rate scheduler."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import override

from lightframe.errors import UnknownNameError, UsageError, did_you_mean

METHODS: dict[str, Callable[[float, float], float]] = {
    "constant": lambda factor, done: factor,
    "linear": lambda factor, done: factor + (1.0 - factor) * done,
    "exp": lambda factor, done: factor ** (1.0 - done),
}
ARGUMENTS = ("warmup_steps", "warmup_method", "warmup_factor")


def warmup_weight(t: int, steps: int, method: str = "linear", factor: float = 0.1) -> float:
    """What the learning rate of step t is multiplied with: 1 from step `steps` on.

    With a = t / steps before: `constant` is factor, `linear` is factor + (1 - factor) * a, `exp` is factor ** (1 - a).

    >>> [warmup_weight(t, steps=4, factor=0.5) for t in (0, 2, 4, 6)]
    [0.5, 0.75, 1.0, 1.0]
    """
    return METHODS[method](factor, t / steps) if t < steps else 1.0


def is_number(value: Any) -> bool:
    """Whether this is an int or a float, and no bool.

    >>> is_number(1e-3), is_number("1e-3"), is_number(True)
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_warmup(warmup_steps: Any, warmup_method: Any = "linear", warmup_factor: Any = 0.1) -> None:
    """Raise a UsageError unless these settings make a warmup."""
    if warmup_method not in METHODS:
        hint = did_you_mean(str(warmup_method), METHODS)
        raise UnknownNameError(f"unknown warmup_method '{warmup_method}'{hint} (known: {', '.join(METHODS)})")
    if not (is_number(warmup_factor) and 0 <= warmup_factor <= 1):
        raise UsageError(f"warmup_factor={warmup_factor} is the share of the learning rate to begin with, from 0 to 1")
    if warmup_method == "exp" and warmup_factor == 0:
        raise UsageError("warmup_method 'exp' rises by ratios: its warmup_factor must be above 0")
    number = is_number(warmup_steps) and warmup_steps >= 0
    if not (number and (warmup_steps < 1 or float(warmup_steps).is_integer())):
        raise UsageError(f"warmup_steps={warmup_steps} is a number of steps, or a fraction of the run between 0 and 1")


def split_warmup(args: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The arguments of the warmup (None where there is to be none), checked, and the others.

    >>> split_warmup({"gamma": 0.1, "warmup_steps": 500})
    ({'warmup_steps': 500}, {'gamma': 0.1})
    """
    for key in args:
        if key.startswith("warmup") and key not in ARGUMENTS:
            hint = did_you_mean(key, ARGUMENTS)
            raise UnknownNameError(f"unknown scheduler argument '{key}'{hint} (known: {', '.join(ARGUMENTS)})")
    warmup = {key: args[key] for key in ARGUMENTS if key in args}
    if warmup and "warmup_steps" not in warmup:
        raise UsageError(f"{', '.join(warmup)} without warmup_steps")
    if warmup:
        check_warmup(**warmup)
    return warmup if warmup.get("warmup_steps") else None, {key: args[key] for key in args if key not in ARGUMENTS}


def build_warmup(
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    total_steps: int | None,
    warmup_steps: float,
    warmup_method: str = "linear",
    warmup_factor: float = 0.1,
) -> "Warmup":
    """A `Warmup` whose length may be a fraction of `total_steps` (None: not known)."""
    if warmup_steps >= 1:
        steps = int(warmup_steps)
    elif total_steps is None:
        raise UsageError(
            f"warmup_steps={warmup_steps} is a fraction of a run without end: "
            "set max_epochs or max_steps, or give a whole number of steps"
        )
    else:
        steps = max(1, round(warmup_steps * total_steps))
    return Warmup(optimizer, steps, warmup_method, warmup_factor, scheduler)


def _read_lrs(optimizer: Optimizer) -> list[Any]:
    lrs = (group["lr"] for group in optimizer.param_groups)
    return [lr.clone() if isinstance(lr, Tensor) else lr for lr in lrs]


def _write_lrs(optimizer: Optimizer, lrs: list[Any]) -> None:
    for group, lr in zip(optimizer.param_groups, lrs, strict=False):  # a callback may have unfrozen more groups
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


class Warmup(LRScheduler):
    """lr(t) = schedule(t) * `warmup_weight(t)`, t being the number of optimizer steps done.

    The schedule is any other scheduler, recursive ones (which multiply the lr that they find) included: it sees and
    sets only learning rates without warmup. It counts from step 0 like the warmup, which delays nothing.

    Args:
        steps: length of the warmup in optimizer steps.
        method: constant, linear or exp, see `warmup_weight`.
        factor: the weight at step 0.
        scheduler: the schedule; None for a constant one.

    The state holds no setting: a run that is resumed with other warmup settings takes the new ones.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> halving = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> warmup = Warmup(optimizer, steps=2, factor=0.5, scheduler=halving)
    >>> lrs = []
    >>> for _ in range(4):
    ...     lrs.append(optimizer.param_groups[0]["lr"])
    ...     optimizer.step()
    ...     warmup.step()
    >>> lrs
    [0.5, 0.375, 0.25, 0.125]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        steps: int,
        method: str = "linear",
        factor: float = 0.1,
        scheduler: LRScheduler | None = None,
    ) -> None:
        check_warmup(steps, method, factor)
        self.steps, self.method, self.factor = steps, method, factor
        # Without LRScheduler.__init__, whose first step would be the schedule's second.
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.last_epoch = 0  # torch's name for the number of steps done
        self.plain_lrs = _read_lrs(optimizer)
        with self.unwarmed():
            pass

    @contextmanager
    def unwarmed(self) -> Iterator[None]:
        """Within it the optimizer has the schedule's learning rates; those at its end are kept, and warmed."""
        _write_lrs(self.optimizer, self.plain_lrs)
        try:
            yield
        finally:
            # Kept apart: with a weight of 0 the schedule's could not be told from the warmed ones.
            self.plain_lrs = _read_lrs(self.optimizer)
            weight = warmup_weight(self.last_epoch, self.steps, self.method, self.factor)
            _write_lrs(self.optimizer, [lr * weight for lr in self.plain_lrs])
            self._last_lr = _read_lrs(self.optimizer)

    @override
    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        with self.unwarmed():
            if self.scheduler is not None:
                self.scheduler.step()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "last_epoch": self.last_epoch,
            "plain_lrs": list(self.plain_lrs),
            "_last_lr": list(self._last_lr),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "plain_lrs" not in state_dict:
            raise UsageError("the checkpoint comes from a run without warmup: resume it without warmup_steps")
        if self.scheduler is not None and state_dict["scheduler"] is not None:
            self.scheduler.load_state_dict(state_dict["scheduler"])
        self.last_epoch = state_dict["last_epoch"]
        self.plain_lrs = list(state_dict["plain_lrs"])
        self._last_lr = list(state_dict["_last_lr"])
        _write_lrs(self.optimizer, self._last_lr)


class WarmedPlateau(LRScheduler):
    """A `ReduceLROnPlateau` that works on the learning rates without warmup, while a `Warmup` is stepped beside it."""

    def __init__(self, plateau: ReduceLROnPlateau, warmup: Warmup) -> None:
        self.optimizer = plateau.optimizer
        self.plateau = plateau
        self.warmup = warmup

    @override
    def step(self, metrics: Any) -> None:  # type: ignore[override]  # as ReduceLROnPlateau
        with self.warmup.unwarmed():
            self.plateau.step(metrics)

    @override
    def get_last_lr(self) -> list[Any]:
        return self.warmup.get_last_lr()

    @override
    def state_dict(self) -> dict[str, Any]:
        return self.plateau.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.plateau.load_state_dict(state_dict)
