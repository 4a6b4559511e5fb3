"""Exponential moving averages of a module's weights."""

import math
from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def ramped_decay(n: int, decay: float, ramp: float) -> float:
    """The decay of the n-th update, n >= 1: decay * (1 - exp(-n / ramp)), and `decay` itself where ramp is 0.

    Early on, when the weights are still far from any good, the average follows them closely. The formula is that of
    YOLOv5's ModelEMA.

    >>> round(ramped_decay(2000, decay=0.9999, ramp=2000), 4)
    0.6321
    """
    return decay * -math.expm1(-n / ramp) if ramp else decay


def float_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters and buffers of real and complex numbers by name, shared ones once; not those of integers.

    >>> list(float_tensors(nn.BatchNorm1d(2)))
    ['weight', 'bias', 'running_mean', 'running_var']
    """
    found: dict[str, Tensor] = {}
    _collect(module, "", found, set())
    return found


def _collect(module: nn.Module, prefix: str, found: dict[str, Tensor], seen: set[int]) -> None:
    # These three are private to nn.Module. named_parameters() and named_buffers() find the same in four times the time,
    # which, after each step, is a few percent of a short step on a GPU.
    for name, tensor in chain(module._parameters.items(), module._buffers.items()):
        if tensor is not None and id(tensor) not in seen and _can_be_averaged(tensor):
            seen.add(id(tensor))
            found[prefix + name] = tensor
    for name, child in module._modules.items():
        if child is not None and id(child) not in seen:
            seen.add(id(child))
            _collect(child, f"{prefix}{name}.", found, seen)


def _can_be_averaged(tensor: Tensor) -> bool:
    numbers = tensor.is_floating_point() or tensor.is_complex()
    return numbers and tensor.layout is torch.strided and not is_lazy(tensor)


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], current: Mapping[str, Tensor], weight: float) -> None:
    """average += weight * (current - average), in place, with one multi-tensor operation per device and dtype.

    The weight is a number of Python: nothing waits for the device, unless the average lies on another one.

    Args:
        average: tensors by name.
        current: at least the same names, in the same shapes, on any device and of any dtype.
        weight: 1 - decay, from 0 to 1.

    >>> average = {"a": torch.zeros(2)}
    >>> update_average(average, {"a": torch.tensor([1.0, 2.0])}, weight=0.5)
    >>> average
    {'a': tensor([0.5000, 1.0000])}
    """
    groups: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for name, mean in average.items():
        device, dtype, value = mean.device, mean.dtype, current[name]
        if value.device != device or value.dtype != dtype:
            value = value.to(device, dtype)
        means, values = groups.setdefault((device, dtype), ([], []))
        means.append(mean)
        values.append(value)
    for means, values in groups.values():
        # Not documented by torch, though its optimizers and swa_utils are made of it.
        torch._foreach_lerp_(means, values, weight)


class AveragedWeights:
    """The average of a module's weights, which the module can be given and relieved of.

    Averaged is what `float_tensors` names. Integers (index tables, counters) always stay the module's own, and so do
    tensors that held an infinity or nan when they were first seen, such as the -inf of an attention mask, of which no
    mean can be taken. A tensor that is new or has another shape starts its average from what it is then. Half
    precision is averaged in float32: 0.9999 of a bfloat16 and a little more is that bfloat16 again.

    Args:
        module: whose weights the average starts from.
        device: where the average is kept. None: beside the weights.

    Attributes:
        n: how many updates so far.
        tensors: the average by name.
        raw: the module's own weights while it holds the average, else None.

    >>> module = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(module.weight)
    >>> weights = AveragedWeights(module)
    >>> _ = nn.init.ones_(module.weight)
    >>> weights.update(module, decay=0.75)
    >>> weights.apply(module)
    >>> module.weight.item()
    0.25
    >>> weights.restore(module)
    >>> module.weight.item()
    1.0
    """

    def __init__(self, module: nn.Module, device: torch.device | str | None = None) -> None:
        self.n = 0
        self.tensors: dict[str, Tensor] = {}
        self.raw: dict[str, Tensor] | None = None
        self._device = device
        self._as_they_are: set[str] = set()
        self._match(float_tensors(module))

    def update(self, module: nn.Module, decay: float) -> None:
        """Count, and move the average towards the module's weights: average = decay * average + (1 - decay) * weights.

        The module holds its own weights, not the average.
        """
        current = float_tensors(module)
        self._match(current)
        update_average(self.tensors, current, 1 - decay)
        self.n += 1

    @torch.no_grad()
    def apply(self, module: nn.Module) -> None:
        """Copy the average into the module, whose own weights are kept for `restore`."""
        # Their contents, not their addresses, are exchanged: optimizers, DDP and compiled graphs hold the tensors.
        self.raw = {}
        for name, tensor in self._common(module).items():
            self.raw[name] = tensor.to(self.tensors[name].device, copy=True)
            tensor.copy_(self.tensors[name])

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Give the module its own weights back, bit for bit."""
        raw, self.raw = self.raw or {}, None
        for name, tensor in self._common(module).items():
            if name in raw:
                tensor.copy_(raw[name])

    def exchange(self, module: nn.Module) -> None:
        """`apply`, or `restore` where that was applied."""
        (self.apply if self.raw is None else self.restore)(module)

    def held_by(self, module: nn.Module) -> bool:
        """Whether all weights of the module are still those that `apply` put there."""
        if self.raw is None:
            return False
        current = float_tensors(module)
        return self.tensors.keys() <= current.keys() and all(
            torch.equal(current[name], mean.to(current[name])) for name, mean in self.tensors.items()
        )

    def move(self, module: nn.Module) -> None:
        """Move to `device`, or beside the module's weights."""
        for name, tensor in self._common(module).items():
            self.tensors[name] = self.tensors[name].to(self._device or tensor.device)

    def cpu(self) -> None:
        """Free the device's memory: move all to the CPU."""
        self.tensors = {name: tensor.cpu() for name, tensor in self.tensors.items()}
        if self.raw is not None:
            self.raw = {name: tensor.cpu() for name, tensor in self.raw.items()}

    def finer(self, module: nn.Module) -> dict[str, Tensor]:
        """The averages that the module's own dtype cannot hold, by name."""
        current = self._common(module)
        return {
            name: self.tensors[name] for name, tensor in current.items() if self.tensors[name].dtype != tensor.dtype
        }

    def _common(self, module: nn.Module) -> dict[str, Tensor]:
        """The module's tensors that have an average of their shape."""
        current = float_tensors(module)
        return {
            name: tensor
            for name, tensor in current.items()
            if name in self.tensors and self.tensors[name].shape == tensor.shape
        }

    @torch.no_grad()
    def _match(self, current: Mapping[str, Tensor]) -> None:
        """Start averages of what is new or has another shape, and forget what is gone."""
        for name in self.tensors.keys() - current.keys():
            del self.tensors[name]
        self._as_they_are &= current.keys()
        for name, tensor in current.items():
            mean = self.tensors.get(name)
            if (mean is not None and mean.shape == tensor.shape) or name in self._as_they_are:
                continue
            mean = tensor.to(self._device or tensor.device, _fine(tensor.dtype), copy=True)
            if mean.isfinite().all():  # waits for the device, once for each tensor
                self.tensors[name] = mean
            else:
                self.tensors.pop(name, None)
                self._as_they_are.add(name)


def _fine(dtype: torch.dtype) -> torch.dtype:
    """The dtype of an average of tensors of a dtype."""
    return torch.float32 if dtype.is_floating_point and dtype.itemsize < 4 else dtype
