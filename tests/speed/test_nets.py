"""Nets by name and their batches."""

import pytest
import torch

from lightframe.errors import UsageError
from lightframe.speed.nets import STANDARD, batch_shape, build_net, default_nets

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_the_old_list_and_clips_are_the_default_on_gpus() -> None:
    images = {"vgg16", "resnet18", "resnet50", "resnet101", "resnet152", "mobilenet_v2"}
    assert set(default_nets(CUDA)) == images | {"r3d_18", "slowfast_r50"}
    assert set(default_nets(CPU)) < set(default_nets(CUDA))


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (("resnet50", CUDA), (64, 3, 224, 224)),
        (("resnet50", CPU), (2, 3, 224, 224)),
        (("resnet50", CUDA, 16), (16, 3, 224, 224)),
        (("slowfast_r50", CUDA, 4), (4, 3, 32, 224, 224)),
        (("r3d_18", CPU, 2, (3, 8, 64, 64)), (2, 3, 8, 64, 64)),
        (("resnet34", CUDA), (64, 3, 224, 224)),
        (("s3d", CPU, 2, (3, 16, 112, 112)), (2, 3, 16, 112, 112)),
        (("torch.nn.Identity", CPU, None, (8,)), (1, 8)),
    ],
)
def test_shapes(arguments: tuple, shape: tuple[int, ...]) -> None:
    assert batch_shape(*arguments) == shape


@pytest.mark.parametrize("name", ["tiny3d", "mobilenet_v2", "r3d_18", "slowfast_r50"])
def test_nets_take_their_batch(name: str) -> None:
    with torch.device("meta"):
        net = build_net(name)
        outputs = net(torch.zeros(2, *STANDARD[name].sample))
    assert outputs.shape == (2, 1000 if name == "mobilenet_v2" else 400)


def test_parameters_of_the_old_list() -> None:
    """As torchvision's documentation has them."""
    known = {"vgg16": 138357544, "resnet18": 11689512, "resnet50": 25557032, "mobilenet_v2": 3504872}
    for name, count in known.items():
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in build_net(name).parameters()) == count


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "did you mean 'resnet50'"),
        ("torch.nn.Nothing", "'torch.nn' has no 'Nothing'"),
        ("no_such_module.Net", "there is no module"),
        ("s3d", "needs the shape of one input"),
        ("torch.nn.Linear", "needs the shape of one input"),
    ],
)
def test_other_names(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        batch_shape(name, CPU)


def test_factories_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="in_features"):
        build_net("torch.nn.Linear")
    with pytest.raises(UsageError, match=r"makes a Size, not an nn\.Module"):
        build_net("torch.Size")
