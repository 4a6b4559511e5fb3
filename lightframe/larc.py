"""LARC: every tensor's gradient is rescaled by the ratio of its weight norm to its gradient norm."""

import inspect
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightframe.arguments import is_number
from lightframe.errors import UsageError


def larc_factors(
    weight_norms: Tensor,
    grad_norms: Tensor,
    lr: float | Tensor,
    weight_decay: float,
    trust_coefficient: float,
    clip: bool,
    eps: float,
) -> Tensor:
    """What each `gradient + weight_decay * weight` is multiplied with.

    `trust_coefficient * |w| / (|g| + weight_decay * |w| + eps)`; with `clip` that over `lr`, at most 1.

    >>> larc_factors(torch.tensor([2.0, 0.0]), torch.tensor([4.0, 1.0]), 0.1, 0.0, 0.1, False, 0.0)
    tensor([0.0500, 1.0000])
    """
    factors = trust_coefficient * weight_norms / (grad_norms + weight_decay * weight_norms + eps)
    if clip:
        factors = (factors / lr).clamp(max=1.0)
    # No ratio without two norms: the gradient has to stay as it is. Where all of it is 0, factor 0 takes the weight
    # decay out again; where all weights are 0, there is none. Chosen on the device, without waiting for it.
    factors = torch.where(grad_norms == 0, 0.0, factors)
    return torch.where(weight_norms == 0, 1.0, factors)


class LARC(Optimizer):
    """Layer-wise adaptive rate control around another optimizer.

    For each tensor w with gradient g and the settings of its group, `g <- (g + weight_decay * w) * factor`
    (see `larc_factors`), and the wrapped optimizer then steps without weight decay of its own. With `clip` the step
    of a layer is never longer than the group's lr alone would make it. A tensor whose norm or whose gradient's norm
    is 0 keeps its gradient. Gradients are rescaled in place, after any clipping by the trainer.

    The groups, the state and the checkpoint are those of the wrapped optimizer, so a run may go on without LARC.

    Args:
        optimizer: the optimizer to wrap.
        trust_coefficient: the length of an update relative to the length of the weights, before lr.
        clip: LARC; without it the rule is LARS.
        eps: keeps the denominator from 0.

    Raises:
        UsageError: a setting out of range, or an optimizer that evaluates its closure several times (LBFGS).

    Source: You, Gitman, Ginsburg 2017, "Large Batch Training of Convolutional Networks"; NVIDIA apex's `LARC`.

    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = LARC(torch.optim.SGD([weight], lr=1.0), trust_coefficient=0.1)
    >>> weight.grad = torch.tensor([0.0, 10.0])
    >>> optimizer.step()
    >>> weight.data  # |w| = 5: the update is 0.1 * 5 long
    tensor([3.0000, 3.5000])
    """

    def __init__(
        self, optimizer: Optimizer, trust_coefficient: float = 0.001, clip: bool = False, eps: float = 1e-8
    ) -> None:
        numbers = is_number(trust_coefficient) and is_number(eps)
        if not numbers or not 0 < trust_coefficient < math.inf or not 0 <= eps < math.inf:
            raise UsageError(
                f"larc: trust_coefficient={trust_coefficient!r} must be above 0, and eps={eps!r} not below 0"
            )
        if not isinstance(clip, bool):
            raise UsageError(f"larc: clip must be true or false, not {clip!r}")
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise UsageError(
                f"larc cannot wrap {type(optimizer).__name__}, which evaluates the loss several times a step"
            )
        self.inner = optimizer  # not `optimizer`: LearningRateMonitor takes that for its own kind of wrapper
        self.trust_coefficient = trust_coefficient
        self.clip = clip
        self.eps = eps
        # Instead of Optimizer.__init__, which would make groups and a state of its own: only the step hooks.
        self.__setstate__({})

    # Read anew each time: load_state_dict gives the wrapped optimizer new lists.
    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.inner.param_groups

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # type: ignore[override]
        return self.inner.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        return self.inner.defaults

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("inner", "trust_coefficient", "clip", "eps")}

    @override
    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)

    @override
    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    @override
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.inner.add_param_group(param_group)

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the closure, which fills the gradients, rescale them, and step the wrapped optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decayed = [(group, group["weight_decay"]) for group in self.param_groups if "weight_decay" in group]
        try:
            for group in self.param_groups:
                self._rescale(group)
            for group, _ in decayed:
                group["weight_decay"] = 0.0
            self.inner.step()
        finally:
            for group, weight_decay in decayed:
                group["weight_decay"] = weight_decay
        return loss

    def _rescale(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is not None:
                alike[weight.device, weight.dtype].append(weight)
        weight_decay = group.get("weight_decay", 0.0)
        for (_, dtype), weights in alike.items():
            grads = [weight.grad for weight in weights if weight.grad is not None]
            precise = torch.promote_types(dtype, torch.float32)  # a norm in half precision overflows at 65504
            weight_norms = torch.stack(torch._foreach_norm(weights, dtype=precise))
            grad_norms = torch.stack(torch._foreach_norm(grads, dtype=precise))
            factors = larc_factors(
                weight_norms, grad_norms, group["lr"], weight_decay, self.trust_coefficient, self.clip, self.eps
            )
            if weight_decay:
                # A maximizing optimizer turns the sign of what it gets.
                torch._foreach_add_(grads, weights, alpha=-weight_decay if group.get("maximize") else weight_decay)
            torch._foreach_mul_(grads, factors.unbind())
