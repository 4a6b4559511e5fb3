"""What each tensor of a file is for a net: loaded, reshaped, skipped with a reason, or missing."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Size, Tensor

from lightframe.pretrained.inflate import inflate_kernel


class Entry(NamedTuple):
    """A tensor of a file under its name there, and how it has to be changed, with a word for that."""

    name: str
    tensor: Tensor
    change: Callable[[Tensor], Tensor] | None = None
    word: str = ""


@dataclass
class Plan:
    """What to put into a net, and what not; names of the net, but for `skipped`, which are of the file.

    Args:
        values: tensors to put into the net, of its shapes.
        loaded: those of `values` that are as they stood in the file.
        reshaped: those that had to be changed, and how.
        skipped: what of the file is not used, and why.
        missing: what of the net the file does not have.
        replaced: those of `missing` that belong to a head of another size.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    reshaped: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


class Unfit(Exception):
    """Why a tensor cannot be used."""


def make_plan(
    entries: Mapping[str, Entry], net: Mapping[str, Tensor], head: Collection[str] = (), inflate: str | None = None
) -> Plan:
    """Sort the tensors of a file by what they are for a net. Nothing is changed yet.

    A layer (the tensors that stand beside each other) of which one does not fit is skipped whole.

    Args:
        entries: tensors of the file by their names in the net.
        net: the net's own tensors.
        head: names of the net's classifier, which may have another size.
        inflate: how 2D kernels become 3D, see `inflate_kernel`; None: they do not.
    """
    plan = Plan()
    fitted: dict[str, tuple[Tensor, str]] = {}
    unfit: dict[str, str] = {}
    for name, entry in entries.items():
        if name not in net:
            plan.skipped[entry.name] = "the net has no such tensor"
            continue
        try:
            fitted[name] = _fit(entry, net[name], inflate)
        except Unfit as reason:
            unfit[name] = str(reason)
    layers = {name.rpartition(".")[0] for name in unfit if not _counter(name)}
    for name, entry in entries.items():
        if name in unfit:
            new = "a new head: " if name in head else ""
            plan.skipped[entry.name] = new + unfit[name]
        elif name in fitted and name.rpartition(".")[0] in layers:
            plan.skipped[entry.name] = "the rest of its layer does not fit"
        elif name in fitted:
            plan.values[name], change = fitted[name]
            if change:
                plan.reshaped[name] = change
            else:
                plan.loaded.append(name)
    plan.missing = [name for name in net if name not in plan.values and not _counter(name)]
    plan.replaced = [name for name in plan.missing if name in head and name.rpartition(".")[0] in layers]
    return plan


def _fit(entry: Entry, target: Tensor, inflate: str | None) -> tuple[Tensor, str]:
    """The tensor in the shape and of the type of `target`, and how it was changed for that, in words."""
    tensor, word = entry.tensor, entry.word
    if tensor.is_quantized or tensor.is_sparse or tensor.is_meta:
        raise Unfit("it is quantized, sparse or has no values")
    if tensor.is_floating_point() != target.is_floating_point() or tensor.is_complex() != target.is_complex():
        raise Unfit(f"it holds {_type(tensor)}, the net's {_type(target)}")
    if entry.change is not None:
        tensor = entry.change(tensor)
    theirs, ours = tensor.shape, target.shape
    if theirs == ours:
        return tensor, word
    if _squeezed(theirs) == _squeezed(ours):
        return tensor.reshape(ours), f"{shape(theirs)} as {shape(ours)}"
    if len(theirs) == 4 and len(ours) == 5 and theirs == ours[:2] + ours[3:]:
        if inflate is not None:
            return inflate_kernel(tensor, ours[2], inflate), f"{shape(theirs)} inflated to {shape(ours)}"
        raise Unfit(f"it is 2D, {shape(theirs)}, and the net's 3D, {shape(ours)}: inflate=True makes the one the other")
    raise Unfit(f"its shape is {shape(theirs)}, the net's {shape(ours)}")


def _counter(name: str) -> bool:
    """Whether it is a batch norm's count of batches, which old files do not have and nobody misses."""
    return name.endswith("num_batches_tracked")


def _squeezed(size: Size) -> list[int]:
    return [length for length in size if length != 1]


def shape(size: Size) -> str:
    """A shape in words.

    >>> shape(Size([64, 3, 7, 7]))
    '64x3x7x7'
    """
    return "x".join(map(str, size)) or "a number"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
