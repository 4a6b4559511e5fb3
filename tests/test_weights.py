"""Weights from anywhere into a net: what is loaded, what not, and what is said."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from test_module import CLASSES, fit, make_net
from torch import Tensor, nn
from torchvision.models import get_model, resnet18

from lightframe import LightFrameModule, load_weights
from lightframe.callbacks import EMA
from lightframe.errors import UsageError
from lightframe.export import export_weights
from lightframe.models import MODELS
from lightframe.weights import init_net


class Net(nn.Module):
    """A stem with a batch norm, a body and a head; all numbers of a state are different ones."""

    def __init__(self, classes: int = 4, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
        self.body = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).relu())


def numbered(net: nn.Module) -> dict[str, Tensor]:
    """A state in which no two tensors are alike."""
    return {
        name: (torch.arange(value.numel()).view(value.shape) + 100.0 * number).to(value.dtype)
        for number, (name, value) in enumerate(net.state_dict().items(), start=1)
    }


def same(net: nn.Module, state: dict[str, Tensor], names: list[str] | None = None) -> bool:
    found = net.state_dict()
    return all(torch.equal(found[name], state[name].to(found[name].dtype)) for name in names or state)


def test_all_tensors_and_buffers_are_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, state = Net(), numbered(Net())
    torch.save(state, tmp_path / "x.pt")
    report = load_weights(net, tmp_path / "x.pt")
    assert same(net, state)
    assert sorted(report.loaded) == sorted(state)
    total = sum(parameter.numel() for parameter in net.parameters())
    assert (report.from_file, report.share, report.match) == (total, 1, 1)
    said = capsys.readouterr().out
    for expected in ("loaded", "reshaped", "skipped", "missing", f"{total} of {total} parameters", "stem.0.weight"):
        assert expected in said
    assert re.search(rf"loaded.*\b{len(state)}\b.*\b{total}\b", said)
    load_weights(net, state, show=False)
    assert not capsys.readouterr().out


def test_another_rank_prints_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert load_weights(Net(), numbered(Net())).share == 1
    assert not capsys.readouterr().out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_net_keeps_its_precision(dtype: torch.dtype) -> None:
    net = Net()
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in numbered(net).items()}
    load_weights(net, state, show=False)
    assert net.body.weight.dtype == torch.float32
    assert same(net, state)
    half = Net().to(dtype)
    load_weights(half, numbered(half), show=False)
    assert half.body.weight.dtype == dtype


def test_parameters_stay_the_same_objects() -> None:
    """An optimizer that holds them goes on with them."""
    net = Net()
    before = [id(parameter) for parameter in net.parameters()]
    load_weights(net, numbered(net), show=False)
    assert [id(parameter) for parameter in net.parameters()] == before
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_head_of_another_size_stays_as_it_is() -> None:
    net = Net(classes=7)
    fresh, state = copy.deepcopy(net.head.state_dict()), numbered(Net(classes=4))
    report = load_weights(net, state, min_match=1.0, show=False)
    assert same(net.head, fresh)
    assert same(net, state, [name for name in state if not name.startswith("head")])
    assert report.missing == ["head.weight", "head.bias"]
    assert set(report.skipped) == {"head.weight", "head.bias"}
    assert all(reason.startswith("a new head: ") for reason in report.skipped.values())
    assert report.match == 1 > report.share
    body = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("head"))
    assert report.share == pytest.approx(body / sum(p.numel() for p in net.parameters()))


def test_no_half_head_is_loaded() -> None:
    """A head of the same number of outputs on other features: its bias belongs to weights that are not there."""
    net, other = Net(), numbered(Net())
    other["head.weight"] = torch.zeros(4, 9)
    bias = net.head.bias.detach().clone()
    report = load_weights(net, other, show=False)
    assert torch.equal(net.head.bias, bias)
    assert report.skipped["head.bias"] == "the rest of its layer does not fit"


def test_another_shape_elsewhere_counts_against_the_match() -> None:
    net, state = Net(width=8), numbered(Net(width=8))
    state["body.weight"] = torch.zeros(8, 9)
    report = load_weights(net, state, show=False)
    assert report.skipped["body.weight"] == "its shape is 8x9, the net's 8x8"
    assert report.missing == ["body.weight", "body.bias"]
    expected = 1 - 72 / sum(parameter.numel() for parameter in net.parameters())
    assert report.match == report.share == pytest.approx(expected)
    with pytest.raises(UsageError, match=r"less than min_match=0\.9: .*body\.weight is not used: its shape is 8x9"):
        load_weights(net, state, min_match=0.9)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"a.weight": torch.ones(2), "b": torch.ones(1)},
            "nothing in the given dict .*it holds a.weight, b, and the net ",
        ),
        (
            {"stem.0.bias": torch.ones(8)},
            r"has 5\.13 %, less than min_match=0\.5: it holds stem\.0\.bias, and the net",
        ),
        (
            numbered(Net(width=9)),
            r"stem\.0\.weight, stem\.0\.bias, stem\.1\.weight, \.\.\.; .*shape is 9x3, the net's 8x3",
        ),
        ({"state_dict": {"a": torch.ones(2)}}, "its 'state_dict'"),
    ],
)
def test_too_little_changes_nothing(state: dict[str, Any], message: str) -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UsageError, match=message):
        load_weights(net, state)
    assert same(net, before)


def test_nothing_is_an_error_whatever_min_match_is() -> None:
    with pytest.raises(UsageError, match="nothing in the given dict"):
        load_weights(Net(), {"other": torch.ones(2)}, min_match=0)
    assert load_weights(Net(), {"stem.0.bias": torch.ones(8)}, min_match=0, show=False).loaded == ["stem.0.bias"]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, 50, "half", True, None])
def test_wrong_min_match(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"min_match=.* must be from 0 to 1"):
        load_weights(Net(), numbered(Net()), min_match=wrong)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_numbers_that_are_not_finite(bad: float) -> None:
    state = numbered(Net())
    state["body.weight"] = torch.full((8, 8), bad, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"not finite, NaN or infinity, in 1 tensors, the first of them body\.weight"):
        load_weights(Net(), state, show=False)


def test_large_numbers_are_no_reason_to_warn() -> None:
    state = {name: value * 0 + 60000 if value.is_floating_point() else value for name, value in numbered(Net()).items()}
    load_weights(Net().half(), state, show=False)


def test_kinds_of_numbers_are_not_mixed() -> None:
    state = numbered(Net())
    state["body.weight"] = state["body.weight"].to(torch.int8)
    state["stem.1.num_batches_tracked"] = torch.tensor(3.0)
    report = load_weights(Net(), state, show=False)
    assert report.skipped["body.weight"] == "it holds int8, the net's float32"
    assert report.skipped["stem.1.num_batches_tracked"] == "it holds float32, the net's int64"
    assert set(report.missing) == {"body.weight", "body.bias"}


def test_what_is_no_tensor_and_what_nobody_misses() -> None:
    state: dict[str, Any] = {**numbered(Net()), "epoch": 3}
    del state["stem.1.num_batches_tracked"]
    report = load_weights(Net(), state, show=False)
    assert report.skipped == {"epoch": "it is no tensor, but int"}
    assert not report.missing
    del state["stem.1.running_mean"]
    assert load_weights(Net(), state, show=False).missing == ["stem.1.running_mean"]


def test_shared_parameters_count_once() -> None:
    net = Net()
    net.body2 = net.body
    report = load_weights(net, numbered(Net()), show=False)
    assert report.from_file == sum(parameter.numel() for parameter in net.parameters())
    assert report.share == 1


def test_a_compiled_net_and_a_compiled_file() -> None:
    net, state = Net(), numbered(Net())
    compiled = torch.compile(net, backend="eager")
    load_weights(compiled, state, show=False)
    assert same(net, state)
    net.body = torch.compile(net.body, backend="eager")  # type: ignore[assignment]
    fresh = Net()
    load_weights(fresh, {f"module._orig_mod.{n}": value for n, value in net.state_dict().items()}, show=False)
    assert same(fresh, state)
    load_weights(net, fresh.state_dict(), show=False)


def test_further_prefixes() -> None:
    state = {f"student.{name}": value for name, value in numbered(Net()).items()}
    state |= {f"teacher.{name}": torch.zeros_like(value) for name, value in numbered(Net()).items()}
    net = Net()
    with pytest.raises(UsageError, match="or give what stands before its names as strip"):
        load_weights(net, state)
    load_weights(net, state, strip="student", show=False)
    assert same(net, numbered(Net()))


# From nets that are flat


class Flat(nn.Module):
    def __init__(self, dimensions: int, frames: int = 3) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)
        kernel: Any = 3 if dimensions == 2 else (frames, 3, 3)
        padding: Any = 1 if dimensions == 2 else (0, 1, 1)
        self.conv1, self.norm = conv(3, 6, kernel, padding=padding), norm(6)
        self.conv2 = conv(6, 5, kernel, padding=padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.norm(self.conv1(x)).relu())


@pytest.mark.parametrize("inflate", [True, "center"])
def test_an_inflated_net_sees_equal_frames_as_the_flat_one_sees_one(inflate: Any) -> None:
    flat, deep = Flat(2), Flat(3)
    nn.init.uniform_(flat.norm.running_var, 0.5, 2)
    report = load_weights(deep, flat.state_dict(), inflate=inflate, show=False)
    assert report.reshaped["conv2.weight"] == "5x6x3x3 inflated to 5x6x3x3x3"
    assert set(report.reshaped) == {"conv1.weight", "conv2.weight"}
    image = torch.randn(2, 3, 8, 8)
    found = deep.eval()(image.unsqueeze(2).expand(-1, -1, 7, -1, -1))
    torch.testing.assert_close(found, flat.eval()(image).unsqueeze(2).expand_as(found), rtol=1e-4, atol=1e-5)


def test_inflating_is_offered_and_done_on_request_only() -> None:
    with pytest.raises(UsageError, match="with inflate=True it would be 100 %"):
        load_weights(Flat(3), Flat(2).state_dict())
    flat, deep = Flat(2), Flat(3, frames=1)
    report = load_weights(deep, flat.state_dict(), show=False)  # one frame: the same kernels
    assert report.reshaped["conv2.weight"] == "5x6x3x3 as 5x6x1x3x3"
    assert report.share == 1
    with pytest.raises(UsageError, match="inflate is true, false, mean or center"):
        load_weights(Flat(3), flat.state_dict(), inflate="twice")


@torch.no_grad()
def test_torchvisions_resnet18_in_its_video_nets() -> None:
    """r3d_18 strides over time: away from the borders of a video of equal frames it is resnet18, but for its stem."""
    flat, deep = resnet18(num_classes=5), get_model("r3d_18", num_classes=5)
    for module in flat.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    report = load_weights(deep, flat.state_dict(), inflate=True, show=False)
    assert report.share == 1
    assert report.kind == "a 2D ResNet"
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        block_2d, block_3d = getattr(flat, stage).eval(), getattr(deep, stage).eval()
        image = torch.randn(1, block_2d[0].conv1.in_channels, 12, 12)
        found = block_3d(image.unsqueeze(2).expand(-1, -1, 17, -1, -1))
        middle = found[:, :, found.shape[2] // 2]
        torch.testing.assert_close(middle, block_2d(image), rtol=1e-3, atol=1e-3)


# From trainings


def test_a_checkpoint_of_this_package_gives_its_averaged_weights(tmp_path: Path) -> None:
    callbacks = [ModelCheckpoint(tmp_path, filename="x"), EMA(decay=0.5, ramp=0)]
    fit(LightFrameModule(make_net(), "ce", lr=0.5), epochs=1, callbacks=callbacks, enable_checkpointing=True)
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    net = make_net(seed=5)
    report = load_weights(net, tmp_path / "x.ckpt", show=False)
    assert report.share == 1
    assert all(
        torch.equal(net.state_dict()[name], checkpoint["state_dict"][f"net.{name}"]) for name in net.state_dict()
    )
    exported = export_weights(tmp_path / "x.ckpt")
    for path in (tmp_path / "x.ckpt", exported):
        module = LightFrameModule(make_net(seed=6), "ce")
        assert load_weights(module, path, show=False).share == 1
        assert torch.equal(module.net[0].weight, net[0].weight)
    content = bytearray(exported.read_bytes())
    content[-1] ^= 1
    exported.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.safetensors"):
        load_weights(make_net(), exported)


def test_torchvision_detectors_stand_one_level_deeper() -> None:
    with torch.device("meta"):
        net = MODELS.build("fcos_resnet50_fpn", num_classes=91)
    state = {name: torch.tensor(0.5).expand(value.shape) for name, value in net.detector.state_dict().items()}
    with pytest.warns(UserWarning, match="copying from a non-meta parameter"):  # it takes no memory, and no numbers
        assert load_weights(net, state, show=False).share == 1


# As a config asks


def test_what_a_config_may_hold(tmp_path: Path) -> None:
    state = numbered(Net())
    torch.save(state, tmp_path / "x.pt")
    for spec in (tmp_path / "x.pt", str(tmp_path / "x.pt"), {"path": str(tmp_path / "x.pt"), "min_match": 1.0}):
        net = Net()
        init_net(net, spec)
        assert same(net, state)
    with pytest.raises(UsageError, match="it takes no 'min_mach'; did you mean 'min_match'"):
        init_net(Net(), {"path": "x", "min_mach": 1})
    with pytest.raises(UsageError, match=r"init_from: give \{path: \.\.\., min_match: \.\.\.\}, not inflate"):
        init_net(Net(), {"inflate": True})
    module = LightFrameModule(Net(CLASSES), "ce", init_from=tmp_path / "x.pt")
    assert same(module.net.body, {"weight": state["body.weight"], "bias": state["body.bias"]})
    assert "init_from" not in module.hparams
