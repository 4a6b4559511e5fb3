"""A checkpoint names what to build, and may not name what runs a stranger's words."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightframe import LightFrameModule
from lightframe.checkpoint_trust import check_names
from lightframe.datamodules.sampling import RandomClip
from lightframe.errors import UsageError
from lightframe.models import MODELS


def make_unannotated(width: int = 2):  # type: ignore[no-untyped-def]
    return nn.Linear(width, 2)


def make_annotated(width: int = 2) -> nn.Linear:
    return nn.Linear(width, 2)


def make_misannotated(width: int = 2) -> "NotThere":  # type: ignore[name-defined]  # noqa: F821
    return nn.Linear(width, 2)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.sum()


HERE = __name__


@pytest.mark.parametrize(
    "arguments",
    [
        {"net": {"name": "os.system", "command": "touch touched"}},
        {"net": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "touched"]}}},
        {"net": "builtins.exit"},
        {"net": {"name": "torch.hub.load", "repo_or_dir": "a/b", "model": "c"}},
        {"loss": {"ce": 1.0, "subprocess.Popen": {"args": "touch touched", "shell": True}}},
        {"loss": ["ce", {"name": "runpy.run_path", "path_name": "evil.py"}]},
        {"metrics": [{"name": "os.putenv"}]},
        {"metrics": {"mine": "os.putenv"}},
        {"optimizer": "pathlib.Path.touch"},
        {"scheduler": "shutil.rmtree", "scheduler_args": {"path": "/"}},
        {"net": f"{HERE}.make_unannotated"},
        {"net": f"{HERE}.make_misannotated"},
        {"augment": {"os.system": {"command": "touch touched"}}},
        {"eval_transform": "subprocess.Popen"},
    ],
)
def test_names_that_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^'a.ckpt' names [\w.]+ as its \w+, which is no class of nn.Module"):
        check_names(arguments, "a.ckpt")


@pytest.mark.parametrize(
    "arguments",
    [
        {"net": {"name": "tiny3d", "width": 4}, "loss": "ce", "metrics": ["top1"], "optimizer": "sgd"},
        {"net": {"name": "torchvision.models.video.r3d_18", "weights": None}},
        {"net": "torch.nn.Identity", "loss": {"torch.nn.CrossEntropyLoss": {"label_smoothing": 0.1}}},
        {"net": f"{HERE}.make_annotated", "loss": f"{HERE}.loss"},
        {"loss": "torch.nn.functional.cross_entropy"},
        {"metrics": {"a": {"name": "torchmetrics.classification.MulticlassAUROC", "num_classes": 3}}},
        {"optimizer": "torch.optim.SGD", "scheduler": "torch.optim.lr_scheduler.StepLR"},
        {"sampling": f"{RandomClip.__module__}.RandomClip"},
        {"pretrained": "weights.pth", "root": "my.videos", "note": "torch.nn", "missing": "nowhere.Net"},
        {"classes": ["os.system", "a.b"]},
    ],
)
def test_names_that_are_not(arguments: dict[str, Any]) -> None:
    check_names(arguments, "a.ckpt")


def test_every_net_that_has_a_name_may_be_named() -> None:
    for name in MODELS.names():
        factory = MODELS[name]
        check_names({"net": f"{factory.__module__}.{getattr(factory, '__qualname__', name)}"}, "a.ckpt")


def test_a_module_is_not_built_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run: list[str] = []
    monkeypatch.setattr(os, "system", lambda command: run.append(command))
    net = {"name": "os.system", "command": "touch touched"}
    module = LightFrameModule(nn.Linear(2, 2), "ce")
    checkpoint = {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": module.state_dict(),
        "hyper_parameters": {"net": net, "loss": "ce"},
    }
    torch.save(checkpoint, "a.ckpt")
    with pytest.raises(UsageError, match=r"names os\.system as its net"):
        LightFrameModule.load_from_checkpoint("a.ckpt")
    assert not run
    LightFrameModule.load_from_checkpoint("a.ckpt", net=nn.Linear(2, 2))  # what is given does not come from the file
    with pytest.raises(UsageError):  # a user may name anything, and is told what comes of it
        LightFrameModule(net, "ce")
    assert run == ["touch touched"]
