"""Weights from anywhere: `load_weights(net, "file or URL")`."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor, nn

from lightframe.errors import UsageError
from lightframe.parameters import head_layer
from lightframe.pretrained.inflate import check_inflate
from lightframe.pretrained.matching import Entry, Plan, make_plan
from lightframe.pretrained.prefixes import PREFIXES, match_names
from lightframe.pretrained.read_weights import read_weights
from lightframe.pretrained.report import WeightsReport, too_little
from lightframe.pretrained.translation import Translation, translations
from lightframe.pretrained.unwrap import unwrap
from lightframe.registry import check_arguments

__all__ = ["WeightsReport", "init_net", "load_weights"]


def load_weights(
    net: nn.Module,
    source: str | Path | Mapping[str, Any],
    *,
    min_match: float = 0.5,
    inflate: bool | str = False,
    strip: str | Sequence[str] = (),
    show: bool = True,
) -> WeightsReport:
    """Put the weights of a file into a net, as far as they fit, and say what was done.

    It reads files of torch.save (a state dict, or a checkpoint that holds one, as those of Lightning, PySlowFast,
    torch-frame) and safetensors, and runs nothing in them. Names may stand behind any stack of prefixes. A classifier
    of another size stays as the net has it. The net changes only when enough of it fits.

    These go into nets with other names than theirs:

    | from                                     | into the net                                              |
    |------------------------------------------|-----------------------------------------------------------|
    | PySlowFast's, PyTorchVideo's SlowFast    | slowfast_r50, slowfast_r101, ... of that variant          |
    | MMAction2's SlowFast R50, 8x8 or 4x16    | the same with lateral_norm=False                          |
    | MMAction2's SlowFast R101 8x8            | slowfast_r101 with lateral_norm=False and fusion_kernel=7 |
    | Super-Hyper's SlowFast R50 and deeper    | variant 4x16 with lateral_norm=False                      |
    | torchvision's resnet18, with inflate     | r3d_18, mc3_18                                            |

    The report has notes where such a net computes in another way than the one here. Weights also expect pixels to be
    normalised as in their training; the data module's default is PySlowFast's and PyTorchVideo's.

    Args:
        net: takes the weights, in its own precision and on its own device.
        source: a path, a URL (downloaded once, into torch.hub's folder), a name of torchvision's such as
            `R3D_18_Weights.KINETICS400_V1`, or a dict of tensors.
        min_match: the least part of the net's parameters, by their size, that has to fit, from 0 to 1. A classifier of
            another size does not count.
        inflate: True makes 3D kernels of 2D ones, repeated over time and divided by its length. "center": the 2D
            kernel at the middle frame, zeros elsewhere.
        strip: further names that may stand before those of the net, such as `backbone` or `student`; beside `module`,
            `net` and `model`.
        show: print the report, on rank 0.

    Raises:
        UsageError: there is no such file, it is damaged, reading it would run code of others (the message has the line
            that converts it), or less than `min_match` of it fits.

    >>> trained = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 400))
    >>> state = {f"module.{name}": tensor for name, tensor in trained.state_dict().items()}
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 5))  # five classes instead of 400
    >>> report = load_weights(net, {"state_dict": state}, show=False)
    >>> report.loaded, report.missing
    (['0.weight', '0.bias'], ['1.weight', '1.bias'])
    >>> torch.equal(net[0].weight, trained[0].weight)
    True
    """
    way = check_inflate(inflate)
    if isinstance(min_match, bool) or not isinstance(min_match, int | float) or not 0 <= min_match <= 1:
        raise UsageError(f"min_match={min_match!r} must be from 0 to 1, such as 0.5")
    found, name = read_weights(source)
    tensors, others, where = unwrap(found, name)
    own = {key: value for key, value in net.state_dict().items() if isinstance(value, Tensor)}
    prefixes = (*PREFIXES, *([strip] if isinstance(strip, str) else strip))
    make = partial(_plan, tensors, own, prefixes, _head_names(net, own))
    translation, plan = make(way)
    plan.skipped.update({key: f"it is no tensor, but {kind}" for key, kind in others.items()})
    kind = translation.library or (f"a checkpoint, its '{where}'" if where else "a state dict")
    notes = translation.notes(own, tensors)
    report = _report(name, kind, plan, net, notes)
    if report.match < min_match or not plan.values:
        inflated = _report(name, kind, make("mean")[1], net, notes) if way is None else report
        raise UsageError(too_little(report, tensors, own, min_match, inflated.match))
    _warn_of_nan(name, plan, own)
    net.load_state_dict(plan.values, strict=False)
    if show:
        _print(report)
    return report


def init_net(net: nn.Module, init_from: str | Path | Mapping[str, Any]) -> WeightsReport:
    """`load_weights` as a config asks for it: a path, or {path: ..., and the arguments of `load_weights`}."""
    spec = init_from if isinstance(init_from, Mapping) else {"path": init_from}
    if "path" not in spec:
        raise UsageError(f"init_from: give {{path: ..., min_match: ...}}, not {', '.join(map(str, list(spec)[:3]))}")
    args: dict[str, Any] = {key: value for key, value in spec.items() if key != "path"}
    check_arguments("init_from", "load_weights", load_weights, (net, spec["path"]), args)
    return load_weights(net, spec["path"], **args)


def _plan(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    prefixes: Sequence[str],
    head: set[str],
    inflate: str | None,
) -> tuple[Translation, Plan]:
    """The plan under the names that fit the net best: those of the file, or what a library's are called here."""
    ours = {name: tensor.shape for name, tensor in own.items()}
    best = None
    for translation in translations(tensors):
        names = match_names({new: tensors[old].shape for new, old in translation.names.items()}, ours, prefixes)
        if best is None or names.score > best[1].score:
            best = (translation, names)
    assert best is not None
    translation, names = best
    theirs = {own_name: translation.names[new] for own_name, new in names.pairs.items()}
    entries = {own_name: translation.entry(own_name, old, tensors) for own_name, old in theirs.items()}
    # What fell on no name of the net keeps its own, which cannot be one of the net's: those are taken.
    left = set(tensors) - set(theirs.values())
    entries |= {f"?{old}": Entry(old, tensors[old]) for old in tensors if old in left}
    return translation, make_plan(entries, own, head, inflate)


def _head_names(net: nn.Module, own: Mapping[str, Tensor]) -> set[str]:
    """The names of the tensors of the net's classifier."""
    try:
        layer = head_layer(net)
    except UsageError:
        return set()
    inside = {id(tensor) for tensor in layer.state_dict(keep_vars=True).values()}
    return {name for name, tensor in net.state_dict(keep_vars=True).items() if id(tensor) in inside and name in own}


def _report(source: str, kind: str, plan: Plan, net: nn.Module, notes: Sequence[str]) -> WeightsReport:
    counted: set[int] = set()
    sizes: dict[str, int] = {}
    for name, tensor in net.state_dict(keep_vars=True).items():
        if isinstance(tensor, nn.Parameter) and id(tensor) not in counted:  # a shared one once
            counted.add(id(tensor))
            sizes[name] = tensor.numel()
    groups = {"loaded": plan.loaded, "reshaped": plan.reshaped, "missing": plan.missing, "head": plan.replaced}
    elements = {word: sum(sizes.get(name, 0) for name in names) for word, names in groups.items()}
    return WeightsReport(source, kind, plan.loaded, plan.reshaped, plan.skipped, plan.missing, elements, notes)


def _warn_of_nan(source: str, plan: Plan, own: Mapping[str, Tensor]) -> None:
    bad = [name for name, value in plan.values.items() if not _finite(value.to(own[name].dtype))]
    if bad:
        warnings.warn(
            f"{source} holds numbers that are not finite, NaN or infinity, in {len(bad)} tensors, the first of them "
            f"{bad[0]}: a net with them learns nothing",
            stacklevel=3,
        )


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    # The sum takes a fraction of the time, and is finite only where all of them are; it may be too large by itself.
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


@rank_zero_only
def _print(report: WeightsReport) -> None:
    Console().print(report)
