import functools
import io

import pytest
import torch

from lightframe.errors import UnknownNameError, UsageError
from lightframe.larc import LARC
from lightframe.optimizers import OPTIMIZERS, build_optimizer, check_optimizer, group_options
from lightframe.parameters import parameter_groups
from lightframe.schedulers import SCHEDULERS, RunLength, build_scheduler


def groups():
    return [{"params": [torch.nn.Parameter(torch.ones(2, 2))]}]


def plain(params):
    return torch.optim.SGD(params, lr=0.3)


def no_optimizer(params):
    return "sgd"


class Gentle(torch.optim.SGD):
    def __init__(self, params, lr, strength=1.0):
        super().__init__(params, lr=lr * strength)


def test_names_are_torchs_classes_with_torchs_defaults():
    expected = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad"}
    for name, class_name in {**expected, "NADAM": "NAdam", "radam": "RAdam", "Adadelta": "Adadelta"}.items():
        torch_class = getattr(torch.optim, class_name)
        built = build_optimizer(name, groups())
        assert type(built) is torch_class
        assert built.defaults == torch_class(groups()).defaults
    names = OPTIMIZERS.names()
    assert len({name.lower() for name in names}) == len(names)
    assert {*expected, "nadam"} <= set(names)


def test_arguments_arrive():
    built = build_optimizer("SGD", groups(), lr=0.5, args={"momentum": 0.9, "no_decay_norm_bias": True})
    assert (built.defaults["lr"], built.defaults["momentum"]) == (0.5, 0.9)
    assert build_optimizer("torch.optim.Adam", groups(), args={"lr": 0.25}).defaults["lr"] == 0.25


@pytest.mark.parametrize("choice", [plain, functools.partial(torch.optim.SGD, lr=0.3)])
def test_callable(choice):
    check_optimizer(choice)
    assert build_optimizer(choice, groups()).param_groups[0]["lr"] == 0.3


def test_callable_takes_what_it_accepts():
    built = build_optimizer(Gentle, groups(), lr=0.5, args={"strength": 0.5})
    assert built.param_groups[0]["lr"] == 0.25
    partial = functools.partial(torch.optim.SGD, lr=0.3, weight_decay=0.1)
    assert build_optimizer(partial, groups(), lr=0.5).param_groups[0]["lr"] == 0.5
    assert group_options(partial) == {"lr": 0.3, "weight_decay": 0.1}
    for check in (check_optimizer, lambda *given: build_optimizer(given[0], groups(), *given[1:])):
        with pytest.raises(UsageError, match=r"it takes no 'momentum' \(signature: plain\(params\)\)"):
            check(plain, None, {"momentum": 0.9})
        with pytest.raises(UsageError, match="it takes no 'lr'"):
            check(plain, 0.1, None)
        with pytest.raises(UsageError, match="missing a required argument: 'lr'"):
            check(Gentle, None, None)


@pytest.mark.parametrize(
    ("choice", "lr", "args", "error", "message"),
    [
        ("sdg", None, None, UnknownNameError, "did you mean 'sgd'"),
        ("sgd", None, {"momentun": 0.9}, UsageError, "no 'momentun'; did you mean 'momentum'"),
        ("sgd", -1.0, None, UsageError, "optimizer 'sgd': Invalid learning rate"),
        ("adam", None, {"betas": (2.0, 0.9)}, UsageError, "Invalid beta"),
        ("sgd", 0.1, {"lr": 0.2}, UsageError, "given twice"),
        ("sgd", None, {"larc": {"trust_coeff": 1}}, UsageError, "no 'trust_coeff'; did you mean 'trust_coefficient'"),
        (plain, None, {"larc": {"trust_coeff": 1}}, UsageError, "no 'trust_coeff'"),
        ("sgd", None, {"larc": {"trust_coefficient": 0}}, UsageError, "trust_coefficient=0"),
        ("sgd", None, {"larc": 0.001}, UsageError, "larc is true or"),
        ("lbfgs", None, {"larc": True}, UsageError, "larc cannot wrap LBFGS"),
        ("sgd", None, {"layer_decay": 75}, UsageError, "layer_decay=75"),
        ("sgd", None, {"head_lr": "fast"}, UsageError, "head_lr='fast' must be a learning rate"),
        (Gentle, None, {"layer_decay": 0.5, "strength": 1.0}, UsageError, "missing a required argument: 'lr'"),
        (plain, None, {"layer_decay": 0.5}, UsageError, "no default: give lr"),
        ("rprop", None, {"no_decay_norm_bias": True}, UsageError, "'rprop' takes no weight_decay"),
        (torch.optim.SGD(groups()), None, None, UsageError, "not SGD"),
    ],
)
def test_mistakes_show_before_there_are_parameters(choice, lr, args, error, message):
    with pytest.raises(error, match=message):
        check_optimizer(choice, lr, args)


def test_what_is_right_passes_the_check():
    for name in OPTIMIZERS.names():
        check_optimizer(name, 0.1)
    check_optimizer("sgd", 0.1, {"larc": False, "no_decay_norm_bias": True, "layer_decay": 0.75, "nesterov": False})


def test_mistakes_that_show_late():
    with pytest.raises(UsageError, match="optimizer 'sgd': Invalid momentum"):
        build_optimizer("sgd", groups(), args={"momentum": -1})
    with pytest.raises(UsageError, match="made a str"):
        build_optimizer(no_optimizer, groups())


@pytest.mark.parametrize("larc", [False, True])
@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS.names() if name != "plateau"])
def test_schedules_and_warmup_scale_the_heads_learning_rate_alike(scheduler, larc):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    args = {"head_lr": 0.5, "momentum": 0.9, "larc": larc}
    check_optimizer("sgd", 0.1, args)
    built = build_optimizer("sgd", parameter_groups(net, net, **group_options("sgd", 0.1, args)), 0.1, args)
    own = {"step": {"step_size": 3}, "multistep": {"milestones": [4]}, "exponential": {"gamma": 0.9}}.get(scheduler, {})
    configs = build_scheduler(scheduler, built, {**own, "warmup_steps": 3}, RunLength(12, 4))
    seen = []
    for _ in range(12):
        body, head = (group["lr"] for group in built.param_groups)
        seen.append(body)
        assert head == pytest.approx(5 * body)
        net(torch.ones(1, 2)).sum().backward()
        built.step()
        configs[0]["scheduler"].step()
    assert len(set(seen)) > 3


def test_larc_settings():
    assert type(build_optimizer("sgd", groups(), args={"larc": False})) is torch.optim.SGD
    built = build_optimizer("sgd", groups(), lr=0.1, args={"larc": True})
    assert (built.trust_coefficient, built.clip, built.eps) == (0.001, False, 1e-8)
    built = build_optimizer("adam", groups(), args={"larc": {"trust_coefficient": 0.02, "clip": True, "eps": 0.5}})
    assert isinstance(built, LARC)
    assert (built.trust_coefficient, built.clip, built.eps) == (0.02, True, 0.5)


def test_group_options_are_given_or_default():
    assert group_options("sgd") == {"lr": 1e-3, "weight_decay": 0}
    assert group_options("sgd", 0.1, {"weight_decay": 0.2}) == {"lr": 0.1, "weight_decay": 0.2}
    assert group_options(plain) == {"lr": None, "weight_decay": None}


@pytest.mark.parametrize("larc", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam"])
def test_state_survives_safe_loading(name, larc):
    args = {"larc": larc, "momentum": 0.9} if name == "sgd" else {"larc": larc}

    def stepped(weight, steps, state=None):
        optimizer = build_optimizer(name, [{"params": [weight]}], lr=0.1, args=args)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(steps):
            weight.grad = torch.full((2, 2), 0.5)
            optimizer.step()
        return optimizer.state_dict()

    through, resumed = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    expected = stepped(through, steps=3)
    file = io.BytesIO()
    torch.save(stepped(resumed, steps=2), file)
    file.seek(0)
    found = stepped(resumed, steps=1, state=torch.load(file, weights_only=True))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert torch.equal(through, resumed)
