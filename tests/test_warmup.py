import copy
import io
import pickle

import pytest
import torch
from torch.optim import lr_scheduler

from lightframe.errors import UsageError
from lightframe.schedulers import RunLength, build_scheduler, check_scheduler
from lightframe.warmup import WarmedPlateau, Warmup, warmup_weight

STEPS = 12


def make_optimizer():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": value} for value in (1.0, 0.25)]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)


def lrs_of(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def run(optimizer, schedulers, steps, metrics=None):
    """The learning rates of each step; a plateau is stepped every third."""
    seen = []
    for t in range(steps):
        seen.append(lrs_of(optimizer))
        optimizer.step()
        for scheduler in schedulers:
            if not isinstance(scheduler, WarmedPlateau | lr_scheduler.ReduceLROnPlateau):
                scheduler.step()
            elif metrics and t % 3 == 2:
                scheduler.step(metrics[t // 3])
    return seen


WEIGHTS = {  # by hand, for 4 steps and factor 0.0625
    "constant": [0.0625] * 4,
    "linear": [0.0625, 0.296875, 0.53125, 0.765625],
    "exp": [0.0625, 0.125, 0.25, 0.5],
}

SCHEDULES = {
    "none": lambda optimizer: None,
    "recursive": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.75),
    "recursive linear": lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.5, 1.0, 5),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 7),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, [2.0, 0.5], total_steps=STEPS + 1),
    "sequential": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.ConstantLR(optimizer, 0.5, 3), lr_scheduler.ExponentialLR(optimizer, 0.5)], [5]
    ),
    "own": lambda optimizer: Halving(optimizer),
}


class Halving(lr_scheduler.LRScheduler):
    def get_lr(self):
        return [group["lr"] / 2 if self.last_epoch else group["lr"] for group in self.optimizer.param_groups]


def with_warmup(optimizer, schedule, method="linear", factor=0.0625, steps=4):
    return Warmup(optimizer, steps, method, factor, SCHEDULES[schedule](optimizer))


@pytest.mark.parametrize("method", WEIGHTS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_is_the_schedule_times_the_weight(schedule, method):
    bare = make_optimizer()
    inner = SCHEDULES[schedule](bare)
    plain = run(bare, [inner] if inner else [], STEPS)
    optimizer = make_optimizer()
    warmed = run(optimizer, [with_warmup(optimizer, schedule, method)], STEPS)
    weights = WEIGHTS[method] + [1.0] * (STEPS - 4)
    expected = [[lr * weight for lr in lrs] for lrs, weight in zip(plain, weights, strict=True)]
    torch.testing.assert_close(torch.tensor(warmed), torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", ["constant", "linear"])
def test_from_zero(method):
    optimizer = make_optimizer()
    seen = run(optimizer, [with_warmup(optimizer, "recursive", method, factor=0.0)], 6)
    assert seen[0] == [0.0, 0.0]
    assert seen[4:] == [[0.75**4, 0.25 * 0.75**4], [0.75**5, 0.25 * 0.75**5]]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("at", [2, 6])
def test_resumed_goes_on_alike(schedule, at):
    optimizer = make_optimizer()
    through = run(optimizer, [with_warmup(optimizer, schedule)], STEPS)

    stopped = make_optimizer()
    warmup = with_warmup(stopped, schedule)
    run(stopped, [warmup], at)
    file = io.BytesIO()
    torch.save((stopped.state_dict(), warmup.state_dict()), file)
    file.seek(0)
    optimizer_state, warmup_state = torch.load(file, weights_only=True)

    resumed = make_optimizer()
    warmup = with_warmup(resumed, schedule)
    resumed.load_state_dict(optimizer_state)
    warmup.load_state_dict(warmup_state)
    assert lrs_of(resumed) == through[at] == warmup.get_last_lr()
    assert run(resumed, [warmup], STEPS - at) == through[at:]


def test_loading_brings_the_lrs_but_not_the_settings():
    first = make_optimizer()
    warmup = with_warmup(first, "none", steps=4)
    run(first, [warmup], 2)
    second = make_optimizer()
    longer = with_warmup(second, "none", steps=6, method="constant", factor=0.5)
    longer.load_state_dict(warmup.state_dict())  # without the optimizer's state
    assert lrs_of(second) == [0.53125, 0.53125 / 4]
    assert run(second, [longer], 5)[1:] == [[0.5, 0.125]] * 3 + [[1.0, 0.25]]


def test_state_of_a_run_without_warmup_is_refused():
    optimizer = make_optimizer()
    bare = lr_scheduler.ExponentialLR(optimizer, 0.5)
    with pytest.raises(UsageError, match="without warmup"):
        with_warmup(optimizer, "recursive").load_state_dict(bare.state_dict())


def test_tensor_learning_rates_stay_the_same_tensor():
    rate = torch.tensor(1.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    warmup = Warmup(optimizer, 2, factor=0.5, scheduler=lr_scheduler.ExponentialLR(optimizer, 0.5))
    assert run(optimizer, [warmup], 4) == [[0.5], [0.375], [0.25], [0.125]]
    assert optimizer.param_groups[0]["lr"] is rate


def test_a_group_added_later_is_warmed_too():
    optimizer = make_optimizer()
    warmup = Warmup(optimizer, 4, "linear", 0.0)
    run(optimizer, [warmup], 1)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5})
    optimizer.step()
    warmup.step()
    assert lrs_of(optimizer) == [0.5, 0.125, 0.25]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_go_on_alike(duplicate):
    optimizer = make_optimizer()
    [config] = build_scheduler("cosine", optimizer, {"warmup_steps": 4}, RunLength(STEPS, None))
    run(optimizer, [config["scheduler"]], 2)
    copied = duplicate(config["scheduler"])
    assert copied.optimizer is not optimizer
    assert run(copied.optimizer, [copied], 4) == run(optimizer, [config["scheduler"]], 4)


@pytest.mark.parametrize("warm", [False, True])
def test_plateau(warm):
    """Metrics of steps 2, 5, 8, 11: worse from the second on, so each halves lr (patience 0)."""
    optimizer = make_optimizer()
    args = {"factor": 0.5, "patience": 0, "min_lr": 0.2, **({"warmup_steps": 8, "warmup_factor": 0.0} if warm else {})}
    schedulers = [c["scheduler"] for c in build_scheduler("plateau", optimizer, args, RunLength(None, None))]
    seen = run(optimizer, schedulers, STEPS, metrics=[1.0, 2.0, 3.0, 4.0])
    plain = [[1.0, 0.25]] * 6 + [[0.5, 0.2]] * 3 + [[0.25, 0.2]] * 3
    weights = [t / 8 for t in range(8)] + [1.0] * 4 if warm else [1.0] * STEPS
    assert seen == [[lr * weight for lr in lrs] for lrs, weight in zip(plain, weights, strict=True)]


def test_plateau_resumed():
    args = {"factor": 0.5, "patience": 0, "warmup_steps": 8}
    metrics = [1.0, 2.0, 3.0, 4.0]

    def start():
        optimizer = make_optimizer()
        return optimizer, [c["scheduler"] for c in build_scheduler("plateau", optimizer, args, RunLength(None, None))]

    through = run(*start(), STEPS, metrics)
    optimizer, schedulers = start()
    run(optimizer, schedulers, 6, metrics)
    file = io.BytesIO()
    torch.save([each.state_dict() for each in (optimizer, *schedulers)], file)
    file.seek(0)
    resumed, new_schedulers = start()
    for each, state in zip((resumed, *new_schedulers), torch.load(file, weights_only=True), strict=True):
        each.load_state_dict(state)
    assert new_schedulers[1].get_last_lr() == lrs_of(resumed) == through[6]
    assert run(resumed, new_schedulers, 6, metrics[2:]) == through[6:]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"warmup_steps": 5, "warmup_method": "liner"}, "unknown warmup_method 'liner'; did you mean 'linear'"),
        ({"warmup_steps": 5, "warmup_factor": 1.5}, "warmup_factor=1.5"),
        ({"warmup_steps": 5, "warmup_factor": "1e-3"}, "warmup_factor=1e-3"),
        ({"warmup_steps": 5, "warmup_factor": -0.1}, "warmup_factor=-0.1"),
        ({"warmup_steps": 5, "warmup_method": "exp", "warmup_factor": 0}, "'exp' rises by ratios"),
        ({"warmup_steps": -5}, "warmup_steps=-5"),
        ({"warmup_steps": 5.5}, "warmup_steps=5.5"),
        ({"warmup_steps": True}, "warmup_steps=True"),
        ({"warmup_step": 5}, "unknown scheduler argument 'warmup_step'; did you mean 'warmup_steps'"),
        ({"warmup_factor": 0.1}, "warmup_factor without warmup_steps"),
    ],
)
def test_mistakes(args, message):
    for scheduler in (None, "constant"):
        with pytest.raises(UsageError, match=message):
            check_scheduler(scheduler, args)


def test_length_as_a_fraction_of_the_run():
    optimizer = make_optimizer()
    [config] = build_scheduler(None, optimizer, {"warmup_steps": 0.25}, RunLength(16, None))
    assert config["scheduler"].steps == 4
    assert config["scheduler"].scheduler is None
    with pytest.raises(UsageError, match=r"warmup_steps=0\.25 is a fraction of a run without end.*max_epochs"):
        build_scheduler(None, optimizer, {"warmup_steps": 0.25}, RunLength(None, None))
    assert build_scheduler(None, optimizer, {"warmup_steps": 0}, RunLength(16, None)) == []


def test_defaults():
    assert [warmup_weight(t, 10) for t in (0, 10)] == [0.1, 1.0]
    assert warmup_weight(5, 10) == pytest.approx(0.55)
