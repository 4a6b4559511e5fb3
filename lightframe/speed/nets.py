"""The nets that are measured by name, and the size of their inputs."""

from typing import NamedTuple

import torch
from torch import nn

from lightframe.errors import UnknownNameError, UsageError, did_you_mean
from lightframe.models import MODELS
from lightframe.registry import Factory, accepts, check_arguments

CLASSES = 400  # of nets that want to be told


class Standard(NamedTuple):
    """How a net is measured unless something else is asked for.

    Attributes:
        sample: the shape of one input, without the batch.
        batch_size: on a GPU.
        cpu_batch_size: on a CPU, for an answer within a minute.
        default: on which devices it is measured when no net is named.
    """

    sample: tuple[int, ...]
    batch_size: int
    cpu_batch_size: int
    default: tuple[str, ...] = ("cuda", "mps")


_IMAGE = (3, 224, 224)
STANDARD = {
    "mobilenet_v2": Standard(_IMAGE, 64, 2, ("cuda", "mps", "cpu")),
    "resnet18": Standard(_IMAGE, 64, 2, ("cuda", "mps", "cpu")),
    "resnet50": Standard(_IMAGE, 64, 2, ("cuda", "mps", "cpu")),
    "resnet101": Standard(_IMAGE, 64, 2),
    "resnet152": Standard(_IMAGE, 64, 2),
    "vgg16": Standard(_IMAGE, 64, 2),
    "r3d_18": Standard((3, 16, 112, 112), 16, 1, ("cuda", "mps", "cpu")),
    "slowfast_r50": Standard((3, 32, 224, 224), 8, 1),
    "tiny3d": Standard((3, 8, 64, 64), 32, 2, ()),
}


def default_nets(device: torch.device) -> list[str]:
    """What is measured on a device when no net is named."""
    return [name for name, standard in STANDARD.items() if device.type in standard.default]


def batch_shape(
    name: str, device: torch.device, batch_size: int | None = None, sample: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """The shape of the batch on which a net is measured.

    Args:
        name: a net in STANDARD, a name in MODELS, one of torchvision's image classifiers, or an import path.
        device: where; a CPU has smaller batches.
        batch_size: another one than the net's own.
        sample: the shape of one input, for nets of which it is not known here.

    Raises:
        UsageError: there is no such net, or the shape of its inputs is not known.

    >>> batch_shape("r3d_18", torch.device("cuda"), batch_size=4)
    (4, 3, 16, 112, 112)
    """
    if name in STANDARD:
        standard = STANDARD[name]
    elif _is_torchvision_image_net(name):
        standard = STANDARD["resnet50"]
    else:
        _factory(name)
        if sample is None:
            raise UsageError(f"net '{name}' needs the shape of one input: give shape, such as [3, 16, 112, 112]")
        standard = Standard(sample, 8, 1)
    own = standard.cpu_batch_size if device.type == "cpu" else standard.batch_size
    return (batch_size or own, *(sample or standard.sample))


def build_net(name: str) -> nn.Module:
    """The net with random weights.

    >>> build_net("mobilenet_v2").classifier[-1].out_features
    1000
    """
    if _is_torchvision_image_net(name):
        from torchvision import models

        return models.get_model(name, weights=None)
    factory = _factory(name)
    arguments = {"num_classes": CLASSES} if accepts(factory, "num_classes") else {}
    check_arguments("net", name, factory, (), arguments)
    net = factory(**arguments)
    if not isinstance(net, nn.Module):
        raise UsageError(f"net '{name}' makes a {type(net).__name__}, not an nn.Module")
    return net


def _factory(name: str) -> Factory:
    try:
        return MODELS[name]
    except UnknownNameError:
        if "." in name:
            raise
        names = dict.fromkeys([*STANDARD, *MODELS.names()])
        raise UnknownNameError(
            f"unknown net '{name}'{did_you_mean(name, names)} (known: {', '.join(STANDARD)}, what --model.net takes, "
            "torchvision's image classifiers, and import paths)"
        ) from None


def _is_torchvision_image_net(name: str) -> bool:
    from torchvision import models  # a second of import time

    return name in models.list_models(module=models)
