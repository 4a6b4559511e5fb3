import inspect

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models as torchvision_models
from torchvision.models import video

from lightframe.errors import UsageError
from lightframe.models import MODELS
from lightframe.registry import accepts

# Written out: a name that a torchvision drops or renames is noticed here.
NAMES = ["mc3_18", "mvit_v1_b", "mvit_v2_s", "r2plus1d_18", "r3d_18", "s3d", "swin3d_b", "swin3d_s", "swin3d_t"]
SIZES = {"mvit_v1_b": (16, 224), "mvit_v2_s": (16, 224), "s3d": (16, 224)}


@pytest.fixture
def published(monkeypatch):
    """Instead of a download: the state dict of a net of the same kind with 400 classes, every weight made up."""

    def publish(name: str) -> dict[str, torch.Tensor]:
        state = torchvision_models.get_model(name, num_classes=400).state_dict()
        generator = torch.Generator().manual_seed(1)
        made_up = {
            key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(77)
            for key, value in state.items()
        }
        weights = torchvision_models.get_model_weights(name)
        monkeypatch.setattr(weights, "get_state_dict", lambda self, *args, **kwargs: dict(made_up))
        return made_up

    return publish


def test_all_of_torchvisions_video_classifiers_are_listed():
    assert set(NAMES) <= set(MODELS.names())
    assert set(torchvision_models.list_models(module=video)) <= set(MODELS.names())


@pytest.mark.parametrize("name", NAMES)
def test_builds_with_any_number_of_classes(name):
    assert accepts(MODELS[name], "num_classes")
    frames, size = SIZES.get(name, (8, 64))
    with torch.device("meta"):
        net = MODELS.build(name, num_classes=7).eval()
        assert net(torch.empty(2, 3, frames, size, size)).shape == (2, 7)
    last = [module for module in net.modules() if isinstance(module, (nn.Linear, nn.Conv3d))][-1]
    assert last.weight.shape[0] == 7


@pytest.mark.parametrize(
    ("name", "parameters", "gmac"),
    [("r3d_18", 33_371_472, 40.70), ("mc3_18", 11_695_440, 43.34), ("r2plus1d_18", 31_505_325, 40.52)],
)
def test_size_and_cost_as_torchvision_publishes_them(name, parameters, gmac):
    with torch.device("meta"):
        net = MODELS.build(name).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.empty(1, 3, 16, 112, 112))
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.01)


@pytest.mark.parametrize(
    ("name", "weights", "head"), [("r3d_18", "KINETICS400_V1", "fc."), ("s3d", "DEFAULT", "classifier.1.")]
)
def test_published_weights_with_a_new_head(name, weights, head, published):
    state = published(name)
    torch.manual_seed(0)
    net = MODELS.build(name, num_classes=7, weights=weights)
    found = net.state_dict()
    assert found.keys() == state.keys()
    for key, value in state.items():
        if not key.startswith(head):
            assert torch.equal(found[key], value), key
    assert found[head + "weight"].shape == (7, *state[head + "weight"].shape[1:])
    assert found[head + "bias"].shape == (7,)
    assert found[head + "weight"].std().item() == pytest.approx(0.01, rel=0.1)
    assert not found[head + "bias"].any()
    clip = torch.randn(1, 3, 16 if name == "s3d" else 4, 224 if name == "s3d" else 32, 224 if name == "s3d" else 32)
    with torch.no_grad():
        assert net.eval()(clip).shape == (1, 7)


def test_published_classifier_stays_for_the_published_classes(published):
    state = published("r3d_18")
    net = MODELS.build("r3d_18", weights="kinetics400_v1")
    assert torch.equal(net.fc.weight, state["fc.weight"])
    assert torch.equal(net.fc.bias, state["fc.bias"])


@pytest.mark.parametrize(
    ("name", "weights", "nearest"),
    [
        ("r3d_18", "KINETICS400_V2", "KINETICS400_V1"),
        ("r3d_18", video.R3D_18_Weights.DEFAULT, "KINETICS400_V1"),
        ("swin3d_b", "imagenet22k", "KINETICS400_IMAGENET22K_V1"),
    ],
)
def test_unknown_weights(name, weights, nearest):
    with pytest.raises(UsageError, match=f"net '{name}' has no weights .*; did you mean '{nearest}'"):
        MODELS.build(name, num_classes=7, weights=weights)


def test_argument_that_torchvision_does_not_take():
    with pytest.raises(UsageError, match=r"net 'r3d_18' of torchvision: .* 'widht'"):
        MODELS.build("r3d_18", num_classes=7, widht=3)


def test_arguments_reach_torchvision():
    with torch.device("meta"):
        net = MODELS.build("swin3d_t", num_classes=7, dropout=0.3)
    assert 0.3 in [module.p for module in net.modules() if isinstance(module, nn.Dropout)]


def test_signature_is_explicit():
    assert list(inspect.signature(MODELS["r3d_18"]).parameters) == ["num_classes", "weights", "kwargs"]
