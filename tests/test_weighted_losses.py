"""Every form of the `loss` argument, and every error."""

import copy
import functools
import math
import pickle

import pytest
import torch
from torch import nn

from lightframe.errors import UnknownNameError, UsageError
from lightframe.losses import LOSSES
from lightframe.weighted_losses import build_losses

B, C = 5, 4


def three(outputs, targets, factor=1.0):
    return torch.tensor(3.0 * factor)


class Five(nn.Module):
    def __init__(self, scale: float = 5.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, outputs, targets):
        return self.scale


class Called:
    def __call__(self, outputs, targets):
        return torch.tensor(7.0)


FORMS = {  # outputs are 0, targets labels: ce is log C, bce log 2
    "name": ("ce", {"ce": math.log(C)}, 1),
    "upper case": ("CE", {"ce": math.log(C)}, 1),
    "torch's name": ("BCEWithLogitsLoss", {"bcewithlogitsloss": math.log(2)}, 1),
    "import path of a class": ("torch.nn.CrossEntropyLoss", {"CrossEntropyLoss": math.log(C)}, 1),
    "import path of a function": ("torch.nn.functional.cross_entropy", {"cross_entropy": math.log(C)}, 1),
    "list": (["ce", three], {"ce": math.log(C), "three": 3}, [1, 1]),
    "tuple": (("CE", "BCE"), {"ce": math.log(C), "bce": math.log(2)}, [1, 1]),
    "weights": ({"ce": 2, "bce": None}, {"ce": math.log(C), "bce": math.log(2)}, [2, 1]),
    "weight and arguments": (
        {"ce": 1.0, "focal": {"weight": 0.5, "gamma": 1}},
        {"ce": math.log(C), "focal": (1 - 1 / C) * math.log(C)},
        [1, 0.5],
    ),
    "one with arguments": ({"name": "focal", "gamma": 0}, {"focal": math.log(C)}, 1),
    "one with a weight": ({"name": "ce", "weight": 0.25}, {"ce": math.log(C)}, 0.25),
    "class_path": (
        {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {"weight": torch.ones(C)}, "weight": 0},
        {"CrossEntropyLoss": math.log(C)},
        0,
    ),
    "specs in a list": (
        [{"name": "ce", "weight": 2}, {"name": "bce"}],
        {"ce": math.log(C), "bce": math.log(2)},
        [2, 1],
    ),
    "free keys": (
        {"soft": {"name": "focal", "gamma": 0, "weight": 3}, "hard": {"name": "focal", "gamma": 1}, "mine": three},
        {"soft": math.log(C), "hard": (1 - 1 / C) * math.log(C), "mine": 3},
        [3, 1, 1],
    ),
    "function": (three, {"three": 3}, 1),
    "lambda": (lambda outputs, targets: torch.tensor(4.0), {"loss": 4}, 1),
    "partial": (functools.partial(three, factor=2), {"three": 6}, 1),
    "module": (Five(), {"Five": 5}, 1),
    "class": (Five, {"Five": 5}, 1),
    "callable object": (Called(), {"Called": 7}, 1),
}


@pytest.mark.parametrize(("loss", "parts", "weights"), FORMS.values(), ids=FORMS)
def test_forms_of_the_argument(loss, parts, weights):
    result = build_losses(loss)(torch.zeros(B, C), torch.zeros(B, dtype=torch.long))
    assert {name: value.item() for name, value in result.parts.items()} == pytest.approx(parts)
    weights = weights if isinstance(weights, list) else [weights]
    assert result.total.item() == pytest.approx(sum(w * v for w, v in zip(weights, parts.values(), strict=True)))
    assert result.total.shape == ()
    assert result.metrics == {}


def test_registered_functions_get_their_arguments_bound(monkeypatch):
    monkeypatch.setattr(LOSSES, "_factories", dict(LOSSES._factories))
    LOSSES.register("Three")(three)
    result = build_losses({"three": {"factor": 2, "weight": 10}})(None, None)
    assert (result.parts["three"], result.total) == (6, 60)


def test_a_modules_parameters_are_trained_and_copied():
    losses = build_losses({"five": Five(), "ce": 1})
    assert list(losses.state_dict()) == ["losses.five.scale"]
    copied = pickle.loads(pickle.dumps(copy.deepcopy(losses)))
    result = copied(torch.zeros(2, 3), torch.tensor([0, 1]))
    result.total.backward()
    assert copied.losses["five"].scale.grad == 1
    assert losses.losses["five"].scale.grad is None
    assert build_losses(losses) is losses


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ([], "no loss is given"),
        ({}, "no loss is given"),
        (None, "a loss may be a name or import path"),
        (3, "a loss may be a name or import path"),
        (["ce", "CE"], "two losses are named 'ce'; name them yourself: {my_ce: {name: ce, ...}}"),
        ([three, three], "two losses are named 'three'"),
        ({1: "ce"}, "a loss's name must be a string, not 1"),
        ({"ce": "1"}, "the weight of loss 'ce' must be a finite number >= 0, not '1'"),
        ({"ce": True}, "not True"),
        ({"ce": -1}, "not -1"),
        ({"ce": math.nan}, "not nan"),
        ({"ce": math.inf}, "not inf"),
        ({"ce": {"weight": [1]}}, "not \\[1\\]"),
        ({"name": "focal", "gama": 1}, "it takes no 'gama'; did you mean 'gamma'"),
        ({"name": "mse", "gamma": 1}, "it takes no 'gamma'"),
        (lambda: 0, "too many positional arguments"),
        ({"class_path": "torch.nn.MSELoss", "reduction": "sum"}, "only 'init_args' may stand"),
    ],
)
def test_what_cannot_be_a_loss(loss, message):
    with pytest.raises(UsageError, match=message):
        build_losses(loss)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown loss 'focul'; did you mean 'focal'"):
        build_losses(["ce", "focul"])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"class_path": "torch.nn.CrossEntropyLoss", "init_args": {"reduction": "none"}}, "'CrossEntropyLoss' must be"),
        (lambda outputs, targets: 1.0, "loss 'loss' must be a scalar tensor, not float"),
        (lambda outputs, targets: targets.sum(), "must be a floating-point tensor, not torch.int64"),
    ],
)
def test_a_loss_that_gives_no_scalar_tensor_is_named(loss, message):
    with pytest.raises(UsageError, match=message):
        build_losses(loss)(torch.zeros(2, 3), torch.tensor([0, 1]))
