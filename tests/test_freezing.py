"""Parts of a net that are not trained: their parameters and their statistics stay as they were, to the last bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from test_module import CLASSES, FEATURES, fit, loader, make_data, make_trainer
from torch import Tensor, nn
from typing_extensions import override

from lightframe import LightFrameModule
from lightframe.callbacks import EMA
from lightframe.errors import UsageError
from lightframe.freezing import Freezing


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.Tanh())


class Net(nn.Module):
    """A stem, two stages in a list, one that is called like the stem but for its end, and a head."""

    def __init__(self, blocks: int = 12) -> None:
        super().__init__()
        self.stem = block(FEATURES, 8)
        self.stem2 = block(8, 8)
        self.blocks = nn.ModuleList([block(8, 8) for _ in range(blocks)])
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem2(self.stem(x))
        for one in self.blocks:
            x = x + one(x)
        return self.head(x)


def frozen(net: nn.Module) -> set[str]:
    return {name for name, parameter in net.named_parameters() if not parameter.requires_grad}


def below(net: nn.Module, *modules: str) -> set[str]:
    return {name for name, _ in net.named_parameters() if name.startswith(tuple(f"{module}." for module in modules))}


@pytest.mark.parametrize(
    ("patterns", "modules"),
    [
        ("stem", ["stem"]),
        ("stem|blocks.0", ["stem", "blocks.0"]),  # and neither stem2 nor blocks.10
        (["stem", "blocks.0"], ["stem", "blocks.0"]),
        ("blocks", ["blocks"]),
        (r"blocks\.(0|1)", ["blocks.0", "blocks.1"]),
        (r"blocks\.\d", [f"blocks.{number}" for number in range(10)]),
        ("(?!head)", ["stem", "stem2", "blocks"]),
        (r".*\.1", ["stem.1", "stem2.1", "blocks.1", *(f"blocks.{number}.1" for number in range(12))]),
        ("stem.0.weight", []),
    ],
)
def test_what_patterns_match(patterns: Any, modules: list[str]) -> None:
    net = Net()
    if patterns == "(?!head)":
        patterns = r"(?!head)[\w.]+"
    Freezing(patterns).apply(net)
    assert frozen(net) == (below(net, *modules) if modules else {"stem.0.weight"})


def test_names_of_a_compiled_net_are_those_of_the_net() -> None:
    net = Net()
    net.stem = torch.compile(net.stem, backend="eager")  # type: ignore[assignment]
    Freezing("stem.0").apply(torch.compile(net, backend="eager"))
    assert {name.replace("_orig_mod.", "") for name in frozen(net)} == {"stem.0.weight"}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            "stam",
            r"no parameter of the net is below 'stam'; did you mean 'stem'\? \(the net has stem, stem2, blocks, head\)",
        ),
        (["stem", "bloks.0"], "below 'bloks.0'; did you mean 'blocks.0'"),
        ("net.stem", "did you mean 'stem'"),
        ("stem.2", "no parameter of the net is below 'stem.2'"),  # a Tanh has none
        ("(stem", r"'\(stem' is no regular expression: missing \)"),
        ("", "freeze takes patterns of names such as 'stem|blocks.0', not ''"),
        ([3], "not 3"),
    ],
)
def test_mistakes(patterns: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("'stem|", r"'stem\|")):
        LightFrameModule(Net(), "ce", freeze=patterns)


def test_nothing_left_to_train() -> None:
    with pytest.raises(UsageError, match=r"nothing to train: all .* are frozen"):
        LightFrameModule(Net(), "ce", freeze="stem|stem2|blocks|head").parameter_groups()


def module(**arguments: Any) -> LightFrameModule:
    torch.manual_seed(0)
    settings = {"lr": 0.1, "optimizer_args": {"weight_decay": 0.1, "momentum": 0.9}, "freeze": "stem|blocks.0"}
    return LightFrameModule(Net(blocks=2), "ce", **{**settings, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"optimizer_args": {"weight_decay": 0.1, "layer_decay": 0.5, "no_decay_norm_bias": True, "head_lr": 0.3}},
        {"optimizer": "adamw", "optimizer_args": {"head_lr": 0.01}, "scheduler": "cosine"},
    ],
)
@pytest.mark.parametrize("ema", [False, True])
def test_they_stay_as_they_were_and_the_others_do_not(arguments: dict[str, Any], ema: bool) -> None:
    """With weight decay, momentum, validation in between and averaged weights. A warning would be an error here."""
    one = module(**arguments)
    before = {name: value.clone() for name, value in one.net.state_dict().items()}
    fit(one, epochs=2, callbacks=[EMA(decay=0.9, ramp=3)] if ema else [])
    for name, value in one.net.state_dict().items():
        still = name.startswith(("stem.", "blocks.0."))
        assert torch.equal(value, before[name]) == still, name


def test_norms_of_frozen_parts_alone_rest_while_training() -> None:
    one = module()
    resting = {name for name, part in one.named_modules() if not part.training}
    assert resting == {"net.stem.1", "net.blocks.0.1"}
    for mode in (False, True, True):
        one.train(mode)
    assert {name for name, part in one.named_modules() if not part.training} == resting
    one.eval()
    assert not any(part.training for part in one.modules())
    one.train()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(one)
    converted.train()
    assert {name for name, part in converted.named_modules() if not part.training} == resting


def test_a_norm_that_is_frozen_in_part_is_trained() -> None:
    one = module(freeze="stem.1.weight")
    assert one.net.stem[1].training
    assert frozen(one.net) == {"stem.1.weight"}


def test_lightning_is_kept_from_asking_about_them_only() -> None:
    one = module()
    one.net.head.eval()
    with pytest.warns(PossibleUserWarning, match=r"Found 3 module\(s\) in eval mode at the start of training"):
        fit(one, epochs=1)


def test_a_checkpoint_remembers_what_was_frozen(tmp_path: Path) -> None:
    one = module(freeze=["stem"])
    trainer = fit(one, epochs=1)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    loaded = LightFrameModule.load_from_checkpoint(tmp_path / "x.ckpt", net=Net(blocks=2))
    assert frozen(loaded.net) == below(one.net, "stem")
    assert not loaded.net.stem[1].training
    assert torch.equal(loaded.net.head.weight, one.net.head.weight)


class Tells(LightFrameModule):
    @override
    def on_train_end(self) -> None:
        super().on_train_end()
        if self.global_rank == 1:
            torch.save(self.net.state_dict(), Path(self.trainer.default_root_dir) / "rank1.pt")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
def test_two_processes(tmp_path: Path) -> None:
    """DDP looks at what is trained alone, and needs no find_unused_parameters for the rest."""
    torch.manual_seed(0)
    one = Tells(Net(blocks=2), "ce", lr=0.1, metrics=None, freeze="stem|blocks.0")
    before = {name: value.clone() for name, value in one.net.state_dict().items()}
    trainer = make_trainer(max_epochs=1, devices=2, strategy="ddp_fork", default_root_dir=tmp_path)
    trainer.fit(one, loader(make_data()))
    other = torch.load(tmp_path / "rank1.pt", weights_only=True)
    for name, value in one.net.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(("stem.", "blocks.0.")), name
        if "running" not in name:
            assert torch.equal(value, other[name])
