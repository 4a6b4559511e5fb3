"""Many settings measured one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from lightframe.errors import UnknownNameError, UsageError, did_you_mean
from lightframe.speed.measure import Effort, measure
from lightframe.speed.nets import batch_shape, build_net
from lightframe.speed.row import Row
from lightframe.speed.setting import MEMORY_FORMATS, MODES, Setting
from lightframe.speed.subject import Subject, classifier


@dataclass(frozen=True)
class Ways:
    """The ways in which each net is measured: all combinations. A precision that there is not is found out later.

    Raises:
        UsageError: nothing is asked for, or something that there is not.

    >>> [way.key for way in Ways(("train",), ("fp32", "tf32")).of(Setting("vgg16", (2, 3, 224, 224)))]
    ['vgg16/train/fp32', 'vgg16/train/tf32']
    """

    modes: Sequence[str] = MODES
    precisions: Sequence[str] = ("fp32",)
    memory_formats: Sequence[str] = ("contiguous",)
    compiled: Sequence[bool] = (False,)

    def __post_init__(self) -> None:
        for kind, names, known in (("mode", self.modes, MODES), ("memory_format", self.memory_formats, MEMORY_FORMATS)):
            for name in names:
                if name not in known:
                    hint = did_you_mean(name, known)
                    raise UnknownNameError(f"unknown {kind} '{name}'{hint} (known: {', '.join(known)})")
        if not (self.modes and self.precisions and self.memory_formats and self.compiled):
            raise UsageError("nothing is left to measure: name at least one mode, precision and memory_format")

    def of(self, setting: Setting) -> list[Setting]:
        """The setting in all of the ways, the optimizer in those that train."""
        return [
            Setting(
                setting.net,
                setting.shape,
                mode,
                precision,
                memory_format,
                compiled,
                setting.optimizer if mode == "train" else "",
                setting.cudnn,
            )
            for mode, precision, memory_format, compiled in product(
                self.modes, self.precisions, self.memory_formats, self.compiled
            )
        ]


def standard_settings(
    nets: Sequence[str],
    ways: Ways,
    device: torch.device,
    batch_size: int | None = None,
    sample: tuple[int, ...] | None = None,
    cudnn: str = "default",
) -> list[Setting]:
    """The settings of nets by name, with the optimizer of `classifier`.

    Raises:
        UsageError: there is no such net, or the shape of its inputs is not known.
    """
    settings = []
    for net in nets:
        shape = batch_shape(net, device, batch_size, sample)
        settings += ways.of(Setting(net, shape, optimizer="sgd", cudnn=cudnn))
    return settings


def measure_standard(
    settings: Sequence[Setting], device: torch.device, effort: Effort, before: Callable[[Setting], None] | None = None
) -> Iterator[Row]:
    """A row for each setting of a net by name, as it comes.

    Args:
        settings: what to measure.
        device: where.
        effort: how long.
        before: is told what is measured next.
    """
    for setting in settings:
        if before is not None:
            before(setting)
        yield measure(lambda setting=setting: _standard(setting, device), setting, device, effort)  # type: ignore[misc]


def _standard(setting: Setting, device: torch.device) -> Subject:
    # On the device itself: the random weights of large nets take seconds on a CPU.
    with torch.device(device):
        net = build_net(setting.net)
    return classifier(net.to(device), setting.shape, device)
