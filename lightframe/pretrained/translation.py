"""Names of other libraries' nets under those they have here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from lightframe.pretrained.matching import Entry
from lightframe.pretrained.resnet_keys import is_resnet, video_names
from lightframe.pretrained.slowfast_keys import Layout, has_lateral_norm, recognise, translate


@dataclass(frozen=True)
class Translation:
    """One way to read the names of a file.

    Args:
        names: name in the file by its name here, in front of which prefixes may still stand.
        library: whose names they are; empty for those of the file itself.
        layout: of a SlowFast of another library.
    """

    names: Mapping[str, str]
    library: str = ""
    layout: Layout | None = field(default=None, repr=False)

    def entry(self, own: str, name: str, tensors: Mapping[str, Tensor]) -> Entry:
        """The tensor that is called `name` in the file and `own` in the net."""
        if self.layout is not None and self.layout.fast_first and own.endswith("head.weight"):
            # The fast pathway has as many features as its last stage puts out.
            last = next(old for new, old in self.names.items() if new.endswith("fast_stages.3.0.norm3.weight"))
            fast = tensors[last].shape[0]
            return Entry(name, tensors[name], partial(_slow_first, fast=fast), "the slow pathway's features put first")
        return Entry(name, tensors[name])

    def notes(self, net: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
        """What the user should know of how the library's net differs from this one."""
        if self.layout is None:
            return []
        notes = list(self.layout.notes)
        theirs, ours = has_lateral_norm(self.names), has_lateral_norm(net)
        if theirs != ours:
            state = "have batch norm" if theirs else "have no batch norm"
            notes.append(f"the file's lateral connections {state}: build the net with lateral_norm={theirs}")
        kernels = [_lateral_kernel(tensors[old] for new, old in self.names.items() if _is_lateral(new))]
        kernels += [_lateral_kernel(tensor for name, tensor in net.items() if _is_lateral(name))]
        if None not in kernels and kernels[0] != kernels[1]:
            notes.append(
                f"the file's lateral connections look at {kernels[0]} frames, the net's at {kernels[1]}: build the net "
                f"with fusion_kernel={kernels[0]}"
            )
        return notes


def translations(tensors: Mapping[str, Tensor]) -> Iterator[Translation]:
    """The names as they are, and, where a library is recognised by them, those that they have here."""
    yield Translation({name: name for name in tensors})
    if (layout := recognise(tensors)) is not None:
        new = translate(tensors, layout)
        yield Translation({new.get(name, name): name for name in tensors}, f"{layout.library}'s SlowFast", layout)
    if is_resnet(tensors):
        yield Translation({new: old for old, new in video_names(tensors).items()}, "a 2D ResNet")


def _slow_first(weight: Tensor, fast: int) -> Tensor:
    return torch.cat([weight[:, fast:], weight[:, :fast]], dim=1)


def _is_lateral(name: str) -> bool:
    return "laterals." in name and name.endswith("weight")


def _lateral_kernel(weights: Iterator[Tensor]) -> int | None:
    """How many frames lateral connections look at."""
    return next((weight.shape[2] for weight in weights if weight.ndim == 5), None)
