"""SlowFast of other libraries: their names and shapes, as data beside this file, and what a plain program computes.

keys/*.txt were written from the state dicts of PySlowFast 1.0, PyTorchVideo 0.1.5 and MMAction2 1.2.0, and from the
definition of Super-Hyper's net: `name shape`, where {0..2} stands for three names and `name channels norm` for the five
tensors of a batch norm.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightframe import load_weights
from lightframe.models import MODELS
from lightframe.pretrained.slowfast_keys import LAYOUTS, recognise, translate

KEYS = Path(__file__).with_name("keys")
NO_NORM: dict[str, Any] = {"lateral_norm": False}
FITTING = [
    ("pyslowfast_r50_8x8", "slowfast_r50", {}, 34_566_488),
    ("pyslowfast_r50_4x16", "slowfast_r50", {"variant": "4x16"}, 34_480_216),
    ("pyslowfast_r101_8x8", "slowfast_r101", {}, 62_826_968),
    ("pytorchvideo_r50_8x8", "slowfast_r50", {}, 34_566_488),
    ("pytorchvideo_r50_4x16", "slowfast_r50", {"variant": "4x16"}, 34_480_216),
    ("pytorchvideo_r101_8x8", "slowfast_r101", {}, 62_826_968),
    ("mmaction2_r50_8x8", "slowfast_r50", NO_NORM, 34_565_560),
    ("mmaction2_r50_4x16", "slowfast_r50", {"variant": "4x16", **NO_NORM}, 34_479_288),
    ("mmaction2_r101_8x8", "slowfast_r101", {"fusion_kernel": 7, **NO_NORM}, 62_912_312),
    ("mmaction2_r50_8x8_lateral_norm", "slowfast_r50", {}, 34_566_488),
]


def key_list(name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a library's tensors by their names there."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in (KEYS / f"{name}.txt").read_text().splitlines():
        pattern, shape, *kind = line.split()
        size = tuple(map(int, shape.split("x")))
        found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
        numbers = range(int(found[1]), int(found[2]) + 1) if found else [0]
        for number in numbers:
            one = pattern.replace(found[0], str(number)) if found else pattern
            if kind == ["norm"]:
                shapes |= {f"{one}.{tensor}": size for tensor in ("weight", "bias", "running_mean", "running_var")}
                shapes[f"{one}.num_batches_tracked"] = ()
            else:
                shapes[one] = size
    return shapes


def blank(name: str) -> dict[str, Tensor]:
    """Tensors of these shapes that take no memory."""
    return {
        key: torch.tensor(5) if shape == () else torch.tensor(0.5).expand(shape)
        for key, shape in key_list(name).items()
    }


def build(name: str, **kwargs: Any) -> nn.Module:
    """A net of names and shapes, without numbers: those would take a second to fill, and so much memory."""
    with torch.device("meta"):
        return MODELS.build(name, **kwargs).eval()


no_numbers = pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter:UserWarning")


@no_numbers
@pytest.mark.parametrize(("keys", "name", "kwargs", "parameters"), FITTING)
def test_all_of_the_fitting_net_is_loaded(keys: str, name: str, kwargs: dict[str, Any], parameters: int) -> None:
    shapes = key_list(keys)
    counted = (torch.Size(shape).numel() for key, shape in shapes.items() if re.search(r"(weight|bias)$", key))
    assert sum(counted) == parameters  # as published, or as the library counts them
    net = build(name, **kwargs)
    report = load_weights(net, {"model_state": blank(keys)}, show=False)
    assert (report.share, report.from_file) == (1.0, parameters)
    assert not report.skipped
    assert not report.missing
    assert {*report.loaded, *report.reshaped} == set(net.state_dict())


# How the libraries name what the plain program below needs. In `block` s counts the stages, p is the pathway, b the
# block; the layers are three convolutions, each with its norm, and the projection of the shortcut.
NAMES: dict[str, dict[str, Any]] = {
    "pyslowfast_r50_8x8": {
        "pathways": ("0", "1"),
        "stem": "s1.pathway{p}_stem.{l}",
        "conv_norm": ("conv", "bn"),
        "block": "s{s}.pathway{p}_res{b}.{l}",
        "stages": (2, 3, 4, 5),
        "layers": "branch2.a branch2.a_bn branch2.b branch2.b_bn branch2.c branch2.c_bn branch1 branch1_bn",
        "laterals": [f"s{n}_fuse.conv_f2s s{n}_fuse.bn" for n in (1, 2, 3, 4)],
        "head": "head.projection",
    },
    "pytorchvideo_r50_8x8": {
        "pathways": ("0", "1"),
        "stem": "blocks.0.multipathway_blocks.{p}.{l}",
        "conv_norm": ("conv", "norm"),
        "block": "blocks.{s}.multipathway_blocks.{p}.res_blocks.{b}.{l}",
        "stages": (1, 2, 3, 4),
        "layers": "branch2.conv_a branch2.norm_a branch2.conv_b branch2.norm_b branch2.conv_c branch2.norm_c "
        "branch1_conv branch1_norm",
        "laterals": [
            f"blocks.{n}.multipathway_fusion.conv_fast_to_slow blocks.{n}.multipathway_fusion.norm" for n in range(4)
        ],
        "head": "blocks.6.proj",
    },
    "mmaction2_r50_8x8": {
        "pathways": ("slow", "fast"),
        "stem": "backbone.{p}_path.conv1.{l}",
        "conv_norm": ("conv", "bn"),
        "block": "backbone.{p}_path.layer{s}.{b}.{l}",
        "stages": (1, 2, 3, 4),
        "layers": "conv1.conv conv1.bn conv2.conv conv2.bn conv3.conv conv3.bn downsample.conv downsample.bn",
        "laterals": [f"backbone.slow_path.{n}_lateral.conv" for n in ("conv1", "layer1", "layer2", "layer3")],
        "head": "cls_head.fc_cls",
        "fast_first": True,
    },
    "superhyper_r50_4x16": {
        "pathways": ("slow", "fast"),
        "stem": "{p}_{l}",
        "conv_norm": ("conv1", "bn1"),
        "block": "{p}_res{s}.{b}.{l}",
        "stages": (2, 3, 4, 5),
        "layers": "conv1 bn1 conv2 bn2 conv3 bn3 downsample.0 downsample.1",
        "laterals": ["lateral_p1", "lateral_res2", "lateral_res3", "lateral_res4"],
        "head": "fc",
    },
}


def made_up(keys: str) -> dict[str, Tensor]:
    """Numbers that keep the activations of a net at their size."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in key_list(keys).items():
        if shape == ():
            state[name] = torch.tensor(3)
        elif len(shape) == 1:
            state[name] = torch.rand(shape, generator=generator) * 0.5 + (0.0 if name.endswith("mean") else 0.5)
        else:
            fan_in = torch.Size(shape[1:]).numel()
            state[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return state


def plain_forward(state: dict[str, Tensor], names: dict[str, Any], video: Tensor, alpha: int) -> Tensor:
    """SlowFast as a plain program on a library's own names, in evaluation; the slow frames are those of linspace."""

    def conv_norm(x: Tensor, conv: str, norm: str | None, stride: tuple[int, int, int] = (1, 1, 1)) -> Tensor:
        weight = state[f"{conv}.weight"]
        x = F.conv3d(x, weight, stride=stride, padding=[length // 2 for length in weight.shape[2:]])
        if norm is None:
            return x
        mean, var, scale, shift = (state[f"{norm}.{t}"] for t in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, scale, shift)

    def stem(x: Tensor, p: str) -> Tensor:
        conv, norm = (names["stem"].format(p=p, l=layer) for layer in names["conv_norm"])
        return F.max_pool3d(conv_norm(x, conv, norm, (1, 2, 2)).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))

    def stage(x: Tensor, p: str, number: int) -> Tensor:
        for b in range((3, 4, 6, 3)[number]):
            place = {"s": names["stages"][number], "p": p, "b": b}
            layers = [names["block"].format(**place, l=layer) for layer in names["layers"].split()]
            stride = (1, 2, 2) if number and b == 0 else (1, 1, 1)
            y = conv_norm(x, *layers[:2]).relu()
            y = conv_norm(y, *layers[2:4], stride).relu()
            x = (conv_norm(y, *layers[4:6]) + (conv_norm(x, *layers[6:], stride) if b == 0 else x)).relu()
        return x

    slow_name, fast_name = names["pathways"]
    clip = video.shape[2]
    slow = stem(video[:, :, torch.linspace(0, clip - 1, clip // alpha).long()], slow_name)
    fast = stem(video, fast_name)
    for number, lateral in enumerate(names["laterals"]):
        conv, *norm = lateral.split()
        side = conv_norm(fast, conv, norm[0] if norm else None, (alpha, 1, 1))
        slow = stage(torch.cat([slow, side.relu() if norm else side], 1), slow_name, number)
        fast = stage(fast, fast_name, number)
    pooled = [slow.mean((2, 3, 4)), fast.mean((2, 3, 4))]
    if names.get("fast_first"):
        pooled.reverse()
    return F.linear(torch.cat(pooled, 1), state[f"{names['head']}.weight"], state.get(f"{names['head']}.bias"))


@pytest.mark.parametrize("keys", NAMES)
@torch.no_grad()
def test_every_tensor_lands_where_it_belongs(keys: str) -> None:
    """The loaded net computes what a plain program computes with the library's own names."""
    state, old = made_up(keys), keys.startswith("superhyper")
    kwargs: dict[str, Any] = {"lateral_norm": keys.startswith("py"), "variant": "4x16" if old else "8x8"}
    net = build("slowfast_r50", num_classes=1024 if old else 400, **kwargs).to_empty(device="cpu")
    if old:  # its classifier has no bias
        nn.init.zeros_(net.head.bias)
    load_weights(net, state, show=False)
    video = torch.rand(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = plain_forward(state, NAMES[keys], video, alpha=8 if old else 4)
    scale = expected.std()
    assert scale > 1
    torch.testing.assert_close(net(video) / scale, expected / scale, rtol=1e-4, atol=1e-4)


@no_numbers
def test_prefixes_stand_before_the_names_of_libraries_too() -> None:
    state = {f"model.module.{name}": tensor for name, tensor in blank("mmaction2_r50_8x8").items()}
    assert load_weights(build("slowfast_r50", **NO_NORM), {"state_dict": state}, show=False).share == 1


@no_numbers
def test_what_another_head_leaves() -> None:
    net = build("slowfast_r50", num_classes=7)
    net.head = nn.Linear(2304, 7)
    before = net.head.weight.clone()
    report = load_weights(net, blank("pytorchvideo_r50_8x8"), show=False)
    assert report.missing == ["head.weight", "head.bias"]
    assert list(report.skipped) == ["blocks.6.proj.weight", "blocks.6.proj.bias"]
    assert "400x2304" in report.skipped["blocks.6.proj.weight"]
    assert report.match == 1 > report.share
    assert torch.equal(net.head.weight, before)


@no_numbers
def test_notes_say_how_the_net_has_to_be_built() -> None:
    report = load_weights(build("slowfast_r50"), blank("mmaction2_r50_4x16"), show=False)
    notes = " ".join(report.notes)
    assert "have no batch norm: build the net with lateral_norm=False" in notes
    assert "look at 5 frames, the net's at 7: build the net with fusion_kernel=5" in notes
    assert "MMAction2's slow pathway takes frames 0, alpha, 2 alpha" in notes
    assert {name.split(".")[0] for name in report.missing} == {"laterals"}
    report = load_weights(build("slowfast_r50"), blank("pyslowfast_r50_8x8"), show=False)
    assert not report.notes


@no_numbers
def test_super_hyper_has_no_bias_in_its_head() -> None:
    report = load_weights(
        build("slowfast_r50", variant="4x16", num_classes=1024, **NO_NORM), blank("superhyper_r50_4x16"), show=False
    )
    assert report.missing == ["head.bias"]
    assert not report.skipped


@pytest.mark.parametrize("keys", [path.stem for path in KEYS.glob("*.txt")])
def test_names_are_translated_one_to_one(keys: str) -> None:
    names = list(key_list(keys))
    layout = recognise(names)
    assert layout is not None
    assert layout.library.lower().replace("-", "") == keys.split("_")[0]
    translated = translate(names, layout)
    assert list(translated) == names
    assert len(set(translated.values())) == len(names)


@pytest.mark.parametrize("names", [[], ["fc.weight"], ["conv1.weight", "layer1.0.conv1.weight"], ["head.projection.x"]])
def test_other_nets_are_not_recognised(names: list[str]) -> None:
    assert recognise(names) is None
    assert len({layout.library for layout in LAYOUTS}) == 4
