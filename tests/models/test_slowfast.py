import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightframe import models
from lightframe.errors import UsageError
from lightframe.models import MODELS, SlowFast
from lightframe.models.slowfast import slow_frames
from lightframe.parameters import parameter_groups

DEPTHS = {
    "slowfast_r50": (3, 4, 6, 3),
    "slowfast_r101": (3, 4, 23, 3),
    "slowfast_r152": (3, 8, 36, 3),
    "slowfast_r200": (3, 24, 36, 3),
}


def on_meta(name: str, **kwargs) -> nn.Module:
    with torch.device("meta"):
        return MODELS.build(name, **kwargs).eval()


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def tiny(**kwargs) -> SlowFast:
    torch.manual_seed(0)
    return SlowFast(**{"depths": (1, 1, 1, 1), "num_classes": 5, "alpha": 4, **kwargs})


def closed_form_count(depths: tuple[int, ...], classes: int, kernel: int) -> int:
    """The paper's table 1, summed up: every convolution is in * out * taps, every batch norm 2 * out."""

    def conv(inputs: int, outputs: int, taps: int) -> int:
        return inputs * outputs * taps + 2 * outputs

    total = conv(3, 64, 1 * 49) + conv(3, 8, 5 * 49)
    slow_in, fast_in = 64, 8
    for stage, depth in enumerate(depths):
        total += conv(fast_in, 2 * fast_in, kernel)
        slow_in += 2 * fast_in
        for width, inputs, taps in ((64 << stage, slow_in, 1 if stage < 2 else 3), (8 << stage, fast_in, 3)):
            outputs = 4 * width
            total += conv(inputs, outputs, 1)  # the projection shortcut
            for block in range(depth):
                total += conv(inputs if block == 0 else outputs, width, taps)
                total += conv(width, width, 9) + conv(width, outputs, 1)
        slow_in, fast_in = 256 << stage, 32 << stage
    return total + (2048 + 256) * classes + classes


# Multiply-adds as published (PySlowFast's and pytorchvideo's model zoos, 65.7, 36.1 and 125.9 at 256 pixels).
@pytest.mark.parametrize(
    ("name", "kwargs", "size", "parameters", "gmac"),
    [
        ("slowfast_r50", {}, 256, 34_566_488, 65.71),
        ("slowfast_r50", {}, 224, 34_566_488, 50.31),
        ("slowfast_r50", {"variant": "4x16"}, 256, 34_480_216, 36.10),
        ("slowfast_r50", {"variant": "4x16"}, 224, 34_480_216, 27.64),
        ("slowfast_r50", {"variant": "4x16", "lateral_norm": False}, 256, 34_479_288, 36.10),
        ("slowfast_r101", {}, 256, 62_826_968, 125.91),
    ],
)
def test_size_and_cost_of_the_published_nets(name, kwargs, size, parameters, gmac):
    net = on_meta(name, **kwargs)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, 3, 32, size, size, device="meta"))
    assert count(net) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.01)


@pytest.mark.parametrize("name", DEPTHS)
@pytest.mark.parametrize("fusion_kernel", [5, 7])
def test_parameters_are_the_sum_over_the_papers_layers(name, fusion_kernel):
    net = on_meta(name, num_classes=11, fusion_kernel=fusion_kernel)
    assert count(net) == closed_form_count(DEPTHS[name], 11, fusion_kernel)


def test_only_r50_8x8_has_a_fusion_kernel_of_7():
    for name in DEPTHS:
        for variant in ("8x8", "4x16"):
            kernel = 7 if (name, variant) == ("slowfast_r50", "8x8") else 5
            assert count(on_meta(name, variant=variant)) == closed_form_count(DEPTHS[name], 400, kernel)


def test_explicit_values_win_over_the_variants():
    net = on_meta("slowfast_r50", variant="4x16", alpha=2, fusion_kernel=3, beta=1 / 4, dropout=0.1)
    assert net.alpha == 2
    assert net.laterals[0][0].kernel_size == (3, 1, 1)
    assert net.laterals[0][0].stride == (2, 1, 1)
    assert net.laterals[0][0].weight.shape[:2] == (32, 16)
    assert net.dropout.p == 0.1


# Up to where float32 is exact; beyond, linspace itself differs between devices.
@pytest.mark.parametrize("alpha", [1, 2, 4, 8, 16])
def test_slow_frames_are_those_of_linspace(alpha):
    for clip in range(alpha, 129, alpha):
        assert slow_frames(clip, alpha) == torch.linspace(0, clip - 1, clip // alpha).long().tolist()


@pytest.mark.parametrize(("alpha", "clip"), [(4, 16), (8, 32), (4, 4), (1, 3)])
def test_slow_pathway_sees_the_frames_of_linspace(alpha, clip):
    net, seen = tiny(alpha=alpha).eval(), {}
    net.slow_stem.register_forward_pre_hook(lambda _, inputs: seen.update(slow=inputs[0]))
    net.fast_stem.register_forward_pre_hook(lambda _, inputs: seen.update(fast=inputs[0]))
    video = torch.arange(clip).float().view(1, 1, clip, 1, 1).expand(2, 3, clip, 32, 32)  # a frame's value: its number
    net(video)
    expected = torch.linspace(0, clip - 1, clip // alpha).long()
    assert seen["slow"].shape == (2, 3, clip // alpha, 32, 32)
    assert seen["slow"][1, 2, :, 5, 7].tolist() == expected.tolist()
    assert seen["fast"] is video


@pytest.mark.parametrize(("clip", "advice"), [(30, "32"), (2, "4"), (0, "4"), (9, "8")])
def test_clip_that_alpha_does_not_divide(clip, advice):
    with pytest.raises(UsageError, match=rf"{clip} frames .* alpha=4; take clips of {advice} frames"):
        tiny()(torch.zeros(1, 3, clip, 32, 32))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"fusion_kernel": 4}, "fusion_kernel=4"), ({"beta": 1 / 7}, "beta=0.14"), ({"alpha": 0}, "alpha=0")],
)
def test_arguments_that_cannot_be(kwargs, message):
    with pytest.raises(UsageError, match=message):
        tiny(**kwargs)


def test_unknown_variant():
    with pytest.raises(UsageError, match="slowfast_r50: unknown variant '16x4'; take one of 8x8, 4x16"):
        models.slowfast_r50(variant="16x4")


@pytest.mark.parametrize("lateral_norm", [True, False])
def test_every_parameter_learns(lateral_norm):
    net = tiny(lateral_norm=lateral_norm)
    for name, parameter in net.named_parameters():
        if name.endswith("norm3.weight"):
            nn.init.ones_(parameter)  # they start at zero, which holds back the gradient of what is before them
    out = net(torch.randn(2, 3, 8, 48, 64))
    assert out.shape == (2, 5)
    out.square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def plain_forward(net: SlowFast, video: Tensor) -> Tensor:
    """The paper's figure 1 as a plain program: functional calls on the net's weights, evaluation mode."""
    f = nn.functional

    def norm(x: Tensor, bn: nn.BatchNorm3d) -> Tensor:
        shape = (1, -1, 1, 1, 1)
        scaled = (x - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + 1e-5).sqrt()
        return scaled * bn.weight.view(shape) + bn.bias.view(shape)

    def stem(x: Tensor, conv: nn.Conv3d, bn: nn.BatchNorm3d, taps: int) -> Tensor:
        x = norm(f.conv3d(x, conv.weight, stride=(1, 2, 2), padding=(taps // 2, 3, 3)), bn).relu()
        return f.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))

    def block(x: Tensor, b: nn.Module, taps: int, stride: int) -> Tensor:
        y = norm(f.conv3d(x, b.conv1[0].weight, padding=(taps // 2, 0, 0)), b.conv1[1]).relu()
        y = norm(f.conv3d(y, b.conv2[0].weight, stride=(1, stride, stride), padding=(0, 1, 1)), b.conv2[1]).relu()
        y = norm(f.conv3d(y, b.conv3.weight), b.norm3)
        return (y + norm(f.conv3d(x, b.shortcut[0].weight, stride=(1, stride, stride)), b.shortcut[1])).relu()

    slow = stem(video[:, :, torch.linspace(0, 15, 4).long()], *net.slow_stem[0][:2], taps=1)
    fast = stem(video, *net.fast_stem[0][:2], taps=5)
    for stage in range(4):
        conv, bn = net.laterals[stage][:2]
        lateral = norm(f.conv3d(fast, conv.weight, stride=(4, 1, 1), padding=(3, 0, 0)), bn).relu()
        stride = 1 if stage == 0 else 2
        slow = block(torch.cat([slow, lateral], 1), net.slow_stages[stage][0], 1 if stage < 2 else 3, stride)
        fast = block(fast, net.fast_stages[stage][0], 3, stride)
    features = torch.cat([slow.flatten(2).mean(2), fast.flatten(2).mean(2)], 1)
    return features @ net.head.weight.T + net.head.bias


def test_output_is_that_of_a_plain_program():
    net = tiny(num_classes=3).double().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):  # as after training, no longer the identity
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.uniform_(0.5, 1.5)
    video = torch.randn(2, 3, 16, 48, 48, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(video), plain_forward(net, video), rtol=1e-10, atol=1e-10)


def test_dropout_works_in_training_only():
    net, video = tiny(), torch.randn(2, 3, 8, 32, 32)
    assert not torch.equal(net(video), net(video))
    net.eval()
    assert torch.equal(net(video), net(video))


def test_state_dict_round_trip():
    net, video = tiny().eval(), torch.randn(1, 3, 8, 32, 32)
    other = tiny()
    for parameter in other.parameters():
        nn.init.constant_(parameter, 3.0)
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(other.eval()(video), net(video))


def test_initialisation():
    net = tiny(depths=(2, 1, 1, 1), num_classes=100)
    last_norms = [p for name, p in net.named_parameters() if name.endswith("norm3.weight")]
    assert len(last_norms) == 2 * 5
    assert all(not p.any() for p in last_norms)
    conv = net.slow_stages[3][0].conv2[0].weight  # fan out: 512 channels * 9 taps
    assert conv.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert net.head.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not net.head.bias.any()


def test_builders_are_found_by_name():
    for name in DEPTHS:
        assert MODELS[name.upper()] is getattr(models, name)
        assert pickle.loads(pickle.dumps(MODELS[name])) is MODELS[name]


def test_layer_groups_are_both_pathways_in_step() -> None:
    net = SlowFast(depths=(1, 1, 1, 1), num_classes=5)
    groups = net.layer_groups()
    assert len(groups) == 6  # the stems, four stages and the head
    in_groups = [id(parameter) for group in groups for module in group for parameter in module.parameters()]
    assert sorted(in_groups) == sorted(map(id, net.parameters()))  # each exactly once
    decayed = {
        id(parameter): group["lr"]
        for group in parameter_groups(net, lr=1.0, layer_decay=0.5)
        for parameter in group["params"]
    }
    for index in range(4):
        for pathway in (net.slow_stages, net.fast_stages):
            assert {decayed[id(parameter)] for parameter in pathway[index].parameters()} == {0.5 ** (4 - index)}
