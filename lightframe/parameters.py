"""Which parameters are trained with which learning rate and weight decay."""

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from lightframe.errors import UsageError

NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def norm_and_bias(module: nn.Module) -> set[nn.Parameter]:
    """The parameters of normalisation layers and all of at most one dimension: what weight decay is often kept from.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm([3, 3]))
    >>> sorted(tuple(parameter.shape) for parameter in norm_and_bias(net))
    [(3,), (3, 3), (3, 3)]
    """
    norms = {p for part in module.modules() if isinstance(part, NORMS) for p in part.parameters(recurse=False)}
    return norms | {p for p in module.parameters() if p.ndim <= 1}


def layers(net: nn.Module) -> list[nn.Module]:
    """The layers of a net, from input to output: its children, in the order in which they were assigned.

    A plain `nn.Sequential` or `nn.ModuleList` stands for its own children, and so on down; a subclass of them is one
    layer, as any other block. A child without parameters is none; a frozen one is, so that freezing a layer leaves
    the learning rates of the others alone. A net whose children do not follow each other (SlowFast's pathways run side
    by side) says itself which belong together, with a method `layer_groups`.

    >>> len(layers(nn.Sequential(nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)), nn.Linear(1, 1))))
    3
    """

    def walk(parent: nn.Module) -> Iterator[nn.Module]:
        for child in parent.children():
            if type(child) in (nn.Sequential, nn.ModuleList):
                yield from walk(child)
            elif not isinstance(child, nn.ParameterList | nn.ParameterDict) and any(True for _ in child.parameters()):
                yield child

    net = getattr(net, "_orig_mod", net)  # where torch.compile puts it
    if callable(groups := getattr(net, "layer_groups", None)):
        return [nn.ModuleList(group) for group in groups()]
    return list(dict.fromkeys(walk(net)))


def head_layer(net: nn.Module) -> nn.Module:
    """The classifier of a net: the last of its `layer_groups`, else its `head`, else its last Linear or convolution.

    Raises:
        UsageError: it has none of these.

    >>> head_layer(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.Softmax(-1)))
    Linear(in_features=4, out_features=3, bias=True)
    """
    net = getattr(net, "_orig_mod", net)
    if callable(groups := getattr(net, "layer_groups", None)):
        return nn.ModuleList(groups()[-1])
    # In torchvision's detectors, which stand one level deeper, the last layer is one of several that see the classes.
    for owner in (net, getattr(net, "detector", None)):
        for name in ("head", "roi_heads"):
            named = getattr(owner, name, None)
            if isinstance(named, nn.Module) and any(True for _ in named.parameters()):
                return named
    found = [one for one in net.modules() if isinstance(one, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    if not found:
        raise UsageError(f"a {type(net).__name__} has no last layer that could be told: it needs one called head")
    return found[-1]


def layer_numbers(module: nn.Module, net: nn.Module) -> tuple[dict[nn.Parameter, int], int]:
    """The number of the layer of each parameter of `module`, from 0, and the number of the last layer.

    What stands on the net itself (a class token, position embeddings) belongs to the first layer, what `module` has
    outside of `net` (a second head, a loss with parameters) to the last; a shared parameter to the first it is in.
    """
    stack = layers(net)
    last = max(len(stack) - 1, 0)
    numbers: dict[nn.Parameter, int] = {}
    for number, layer in enumerate(stack):
        for parameter in layer.parameters():
            numbers.setdefault(parameter, number)
    for rest, number in ((net, 0), (module, last)):
        for parameter in rest.parameters():
            numbers.setdefault(parameter, number)
    return numbers, last


def check_grouping(
    no_decay_norm_bias: bool = False, layer_decay: float | None = None, head_lr: float | None = None
) -> None:
    """Raise a UsageError unless `parameter_groups` can work with these settings."""
    if not isinstance(no_decay_norm_bias, bool):
        raise UsageError(f"no_decay_norm_bias is true or false, not {no_decay_norm_bias!r}")
    if layer_decay is not None and not (_is_number(layer_decay) and 0 < layer_decay <= 1):
        raise UsageError(f"layer_decay={layer_decay!r} must be above 0 and at most 1, such as 0.75")
    if head_lr is not None and not (_is_number(head_lr) and 0 <= head_lr < math.inf):
        raise UsageError(f"head_lr={head_lr!r} must be a learning rate, such as 0.1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def parameter_groups(
    module: nn.Module,
    net: nn.Module | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    no_decay_norm_bias: bool = False,
    layer_decay: float | None = None,
    head_lr: float | None = None,
) -> list[dict[str, Any]]:
    """The trainable parameters of `module`, each once, in as few groups for an optimizer as the settings allow.

    A group says only what sets it apart: `weight_decay` 0 and its own `lr`. All else is the optimizer's.

    Args:
        net: the part of `module` whose layers `layer_decay` counts, and whose head `head_lr` is for (default: `module`
            itself).
        lr: the learning rate of the last layer; needed for `layer_decay` only.
        weight_decay: the optimizer's; 0 spares the groups of `no_decay_norm_bias`, None stands for any other.
        no_decay_norm_bias: `weight_decay` is 0 for the parameters of `norm_and_bias`.
        layer_decay: the lr of a layer is `lr * layer_decay ** (layers behind it)`, see `layers`.
        head_lr: the lr of the classifier, see `head_layer`, whatever `layer_decay` says.

    Raises:
        UsageError: nothing is trainable, a setting is out of range, the net has no two layers to tell apart, or
            `head_lr` is for a head that is frozen or not there.

    >>> net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1, bias=False))
    >>> [(g["name"], g["lr"], len(g["params"])) for g in parameter_groups(net, lr=0.1, layer_decay=0.5)]
    [('layer0', 0.05, 2), ('layer1', 0.1, 1)]
    >>> [(g["name"], g.get("weight_decay")) for g in parameter_groups(net, no_decay_norm_bias=True)]
    [('decay', None), ('no_decay', 0.0)]
    >>> [(g["name"], g.get("lr"), len(g["params"])) for g in parameter_groups(net, head_lr=0.5)]
    [('body', None, 2), ('head', 0.5, 1)]
    """
    check_grouping(no_decay_norm_bias, layer_decay, head_lr)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        frozen = sum(1 for _ in module.parameters())
        state = f"all {frozen} parameters are frozen (requires_grad=False)" if frozen else "there are no parameters"
        raise UsageError(f"nothing to train: {state}")
    spared = norm_and_bias(module) if no_decay_norm_bias and weight_decay != 0 else set()
    by_layer = layer_decay is not None and layer_decay != 1
    numbers, last = layer_numbers(module, net or module) if by_layer else ({}, 0)
    if by_layer and (lr is None or last == 0):
        reason = "a learning rate: give lr" if lr is None else "a net of at least two layers: override parameter_groups"
        raise UsageError(f"layer_decay={layer_decay} needs {reason}")
    head = set() if head_lr is None else set(head_layer(net or module).parameters())
    if head_lr is not None and not any(parameter.requires_grad for parameter in head):
        raise UsageError(f"head_lr={head_lr}: the head of the net is frozen")

    groups: dict[str, dict[str, Any]] = {}
    for parameter in parameters:
        own: dict[str, Any] = {"weight_decay": 0.0} if parameter in spared else {}
        place = "" if head_lr is None else "body"
        if by_layer and lr is not None and layer_decay is not None:
            number = numbers[parameter]
            place, own["lr"] = f"layer{number}", lr * layer_decay ** (last - number)
        if parameter in head:
            place, own["lr"] = "head", head_lr
        decay = "no_decay" if parameter in spared else "" if place else "decay"
        name = "_".join(part for part in (place, decay) if part)
        groups.setdefault(name, {"params": [], "name": name, **own})["params"].append(parameter)
    if len(groups) == 1:
        for group in groups.values():
            del group["name"]  # LearningRateMonitor would show it
    return list(groups.values())
