import functools
import io
import math

import lightning.pytorch as pl
import pytest
import torch
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

from lightframe.errors import UnknownNameError, UsageError
from lightframe.larc import LARC
from lightframe.schedulers import SCHEDULERS, RunLength, build_scheduler, check_scheduler

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # tiny data needs none
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),  # Lightning 2.6 on torch 2.15
]

TOTAL = 20
RUN = RunLength(total_steps=TOTAL, steps_per_epoch=4)
LRS = (1.0, 0.3)


def make_optimizer(**settings):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in LRS]
    return torch.optim.SGD(groups, lr=1.0, **settings)


def run(optimizer, configs, steps=TOTAL):
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        for config in configs:
            config["scheduler"].step()
    return seen


def half_cosine(x):
    return math.cos(math.pi / 2 * x) ** 2  # the same as (1 + cos(pi x)) / 2


CASES = [  # name, arguments, and the factor of each step, written down anew
    ("constant", {}, lambda t: 1.0),
    ("step", {"step_size": 6}, lambda t: [1.0, 0.1, 0.01, 0.001][t // 6] if t < 24 else 1e-4),
    ("step", {"step_size": 0.25, "gamma": 0.5}, lambda t: [1, 0.5, 0.25, 0.125, 0.0625][t // 5]),
    ("step", {"step_size": 2, "gamma": 0.5, "unit": "epoch"}, lambda t: [1, 0.5, 0.25, 0.125][t // 8]),
    ("step", {"step_size": 0.4, "gamma": 0.5, "unit": "epoch"}, lambda t: [1, 0.5, 0.25, 0.125][t // 8]),
    ("multistep", {"milestones": [5, 6]}, lambda t: 1.0 if t < 5 else 0.1 if t < 6 else 0.01),
    ("multistep", {"milestones": [0.5, 0.75], "gamma": 0.5}, lambda t: 1 if t < 10 else 0.5 if t < 15 else 0.25),
    ("multistep", {"milestones": [1, 3], "unit": "epoch"}, lambda t: 1 if t < 4 else 0.1 if t < 12 else 0.01),
    ("exponential", {"gamma": 0.9}, lambda t: math.prod([0.9] * t)),
    ("exponential", {"gamma": 0.5, "unit": "epoch"}, lambda t: 2.0 ** -(t // 4)),
    ("linear", {}, lambda t: max(0.0, (20 - t) / 20)),
    ("linear", {"end_factor": 0.1}, lambda t: max(0.1, 1 - 0.9 * t / 20)),
    ("linear", {"unit": "epoch"}, lambda t: max(0.0, (5 - t // 4) / 5)),
    ("linear", {"total_steps": 10}, lambda t: max(0.0, (10 - t) / 10)),
    ("cosine", {}, lambda t: half_cosine(min(t, 20) / 20)),
    ("cosine", {"end_factor": 0.2}, lambda t: 0.2 + 0.8 * half_cosine(min(t, 20) / 20)),
    ("cosine", {"unit": "epoch"}, lambda t: half_cosine(min(t // 4, 5) / 5)),
    ("cosine_with_restarts", {}, lambda t: half_cosine(t / 20) if t < 20 else 0.0),
    ("cosine_with_restarts", {"cycles": 4}, lambda t: half_cosine((t % 5) / 5) if t < 20 else 0.0),
    ("polynomial", {}, lambda t: max(0.0, (20 - t) / 20)),
    ("polynomial", {"power": 2, "end_factor": 0.5}, lambda t: 0.5 + 0.5 * max(0.0, (20 - t) / 20) ** 2),
]
WARMUPS = [
    ({}, lambda t: 1.0),
    ({"warmup_steps": 3, "warmup_method": "constant", "warmup_factor": 0.0}, lambda t: float(t >= 3)),
    ({"warmup_steps": 0.4, "warmup_factor": 0.2}, lambda t: min(1.0, 0.2 + 0.1 * t)),
    ({"warmup_steps": 2, "warmup_method": "exp", "warmup_factor": 0.01}, lambda t: [0.01, 0.1, 1.0][min(t, 2)]),
]


@pytest.mark.parametrize(("warmup", "weight"), WARMUPS, ids=["none", "constant", "linear", "exp"])
@pytest.mark.parametrize(("name", "args", "factor"), CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
def test_values(name, args, factor, warmup, weight):
    check_scheduler(name, {**args, **warmup})
    optimizer = make_optimizer()
    seen = run(optimizer, build_scheduler(name, optimizer, {**args, **warmup}, RUN), TOTAL + 5)
    expected = [[lr * factor(t) * weight(t) for lr in LRS] for t in range(TOTAL + 5)]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected), rtol=1e-6, atol=1e-7)


def one_cycle(t, total=TOTAL, start=0.3, div=25.0, final=1e4):
    """Two half cosines: from 1 / div up to 1 at step start * total - 1, and down to 1 / div / final at the last."""
    peak, last = start * total - 1, total - 1
    if t <= peak:
        return 1 - (1 - 1 / div) * half_cosine(t / peak)
    low = 1 / div / final
    return low + (1 - low) * half_cosine((min(t, last) - peak) / (last - peak))


@pytest.mark.parametrize(("warmup", "weight"), WARMUPS, ids=["none", "constant", "linear", "exp"])
@pytest.mark.parametrize("args", [{}, {"pct_start": 0.5, "div_factor": 5.0, "final_div_factor": 10.0}])
def test_one_cycle(args, warmup, weight):
    optimizer = make_optimizer(momentum=0.9)
    seen = run(optimizer, build_scheduler("one_cycle", optimizer, {**args, **warmup}, RUN), TOTAL + 5)
    shape = {"start": args["pct_start"], "div": 5.0, "final": 10.0} if args else {}
    expected = [[lr * one_cycle(t, **shape) * weight(t) for lr in LRS] for t in range(TOTAL + 5)]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected), rtol=1e-6, atol=1e-9)


def test_one_cycle_cycles_what_there_is():
    for momentum, expected in ((0.0, 0.0), (0.9, 0.95)):
        optimizer = make_optimizer(momentum=momentum)
        build_scheduler("one_cycle", optimizer, {}, RUN)
        assert [group["momentum"] for group in optimizer.param_groups] == [expected] * 2
    for optimizer in (torch.optim.AdamW(make_optimizer().param_groups), torch.optim.Adagrad([torch.zeros(1)])):
        build_scheduler("one_cycle", LARC(optimizer), {}, RUN)
        assert optimizer.param_groups[0].get("betas", (0.95, 0.999)) == (0.95, 0.999)
    build_scheduler("one_cycle", optimizer := make_optimizer(momentum=0.9), {"cycle_momentum": False}, RUN)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_one_cycle_that_begins_at_its_peak():
    optimizer = make_optimizer()
    seen = run(optimizer, build_scheduler("one_cycle", optimizer, {"pct_start": 0.05}, RUN))
    assert seen[0] == pytest.approx(LRS)
    assert seen[-1] == pytest.approx([lr / 25e4 for lr in LRS])


@pytest.mark.parametrize("new_total", [12, 40])
@pytest.mark.parametrize("warmup", [{}, {"warmup_steps": 2}])
@pytest.mark.parametrize("name", ["one_cycle", "cosine"])
def test_resumed_run_has_the_length_of_its_own(name, warmup, new_total):
    first = make_optimizer()
    [config] = build_scheduler(name, first, warmup, RUN)
    run(first, [config], 10)
    second = make_optimizer()
    [resumed] = build_scheduler(name, second, warmup, RunLength(new_total, None))
    second.load_state_dict(first.state_dict())
    resumed["scheduler"].load_state_dict(config["scheduler"].state_dict())
    seen = run(second, [resumed], 35)
    shape = functools.partial(one_cycle, total=new_total) if name == "one_cycle" else None
    expected = [
        lr * (shape(t) if shape else half_cosine(min(t, new_total) / new_total)) for t in range(11, 45) for lr in LRS
    ]
    torch.testing.assert_close(torch.tensor(seen[1:]).flatten(), torch.tensor(expected), rtol=1e-6, atol=1e-7)


EVERY = {
    "step": {"step_size": 6},
    "multistep": {"milestones": [0.5, 0.75]},
    "exponential": {"gamma": 0.9},
    "plateau": {"patience": 0, "factor": 0.5},
}


@pytest.mark.parametrize("warmup", [{}, {"warmup_steps": 4}])
@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_state_survives_safe_loading(name, warmup):
    def start():
        optimizer = make_optimizer(momentum=0.9)
        configs = build_scheduler(name, optimizer, {**EVERY.get(name, {}), **warmup}, RUN)
        return optimizer, [config["scheduler"] for config in configs]

    def go(optimizer, schedulers, steps):
        for _ in range(steps):
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step(*([1.0] if "lateau" in type(scheduler).__name__ else []))
            yield [(group["lr"], group["momentum"]) for group in optimizer.param_groups]

    through = list(go(*start(), 10))
    optimizer, schedulers = start()
    list(go(optimizer, schedulers, 3))
    file = io.BytesIO()
    torch.save([each.state_dict() for each in (optimizer, *schedulers)], file)
    file.seek(0)
    resumed, new = start()
    for each, state in zip((resumed, *new), torch.load(file, weights_only=True), strict=True):
        each.load_state_dict(state)
    assert list(go(resumed, new, 7)) == through[3:]
    assert len({str(lrs) for lrs in through}) > 1 or (name, warmup) == ("constant", {})


class Counted(lr_scheduler.LambdaLR):
    def __init__(self, optimizer, total_steps, share=1.0):
        super().__init__(optimizer, lambda t: max(0.0, 1 - share * t / total_steps))


def by_function(optimizer, total_steps=None):
    return Counted(optimizer, total_steps or 4)


def test_others_are_given_the_length():
    for scheduler in (Counted, by_function, f"{__name__}.Counted", functools.partial(Counted, share=1.0)):
        check_scheduler(scheduler)
        optimizer = make_optimizer()
        [config] = build_scheduler(scheduler, optimizer, None, RUN)
        assert [lrs[0] for lrs in run(optimizer, [config], 3)] == pytest.approx([1.0, 0.95, 0.9])
    optimizer = make_optimizer()
    [config] = build_scheduler(Counted, optimizer, {"total_steps": 10, "share": 0.5}, RUN)
    assert run(optimizer, [config], 2)[1][0] == pytest.approx(0.95)
    [config] = build_scheduler(by_function, optimizer := make_optimizer(), None, RunLength(None, None))
    assert run(optimizer, [config], 2)[1][0] == 0.75
    with pytest.raises(UsageError, match=r"'Counted' needs total_steps: set max_epochs"):
        build_scheduler(Counted, make_optimizer(), None, RunLength(None, None))


def test_torchs_own_by_path_step_every_step():
    optimizer = make_optimizer()
    configs = build_scheduler("torch.optim.lr_scheduler.StepLR", optimizer, {"step_size": 2, "gamma": 0.5}, RUN)
    assert [lrs[0] for lrs in run(optimizer, configs, 4)] == [1.0, 1.0, 0.5, 0.5]
    [config] = build_scheduler("torch.optim.lr_scheduler.ReduceLROnPlateau", make_optimizer(), None, RUN)
    assert (config["interval"], config["monitor"]) == ("epoch", "val/loss")


def test_configs():
    assert build_scheduler(None, make_optimizer(), None, RUN) == []
    [config] = build_scheduler("step", make_optimizer(), {"step_size": 2}, RUN)
    assert {key: config[key] for key in config if key != "scheduler"} == {"interval": "step", "frequency": 1}
    run = RunLength(20, 4, validate_every=3)
    warmup, plateau = build_scheduler("plateau", make_optimizer(), {"monitor": "val/top1", "warmup_steps": 2}, run)
    assert (warmup["interval"], plateau["interval"], plateau["frequency"]) == ("step", "epoch", 3)
    assert (plateau["monitor"], plateau["strict"], plateau["reduce_on_plateau"]) == ("val/top1", True, True)
    assert build_scheduler("plateau", make_optimizer(), {"monitor": "train/loss"}, run)[0]["frequency"] == 1


@pytest.mark.parametrize(
    ("scheduler", "args", "error", "message"),
    [
        ("cosin", {}, UnknownNameError, "unknown scheduler 'cosin'; did you mean 'cosine'"),
        ("cosine", {"end": 0.1}, UsageError, r"takes no 'end'.*signature: cosine\(optimizer, \*, end_factor=0.0"),
        ("step", {}, UsageError, "missing a required argument: 'step_size'"),
        ("step", {"step_size": 0}, UsageError, "step_size=0 must be a whole number"),
        ("step", {"step_size": 2.5}, UsageError, "step_size=2.5"),
        ("step", {"step_size": math.inf}, UsageError, "step_size=inf"),
        ("step", {"step_size": 3, "gamma": 0}, UsageError, "gamma=0 must be above 0"),
        ("step", {"step_size": 3, "unit": "epochs"}, UsageError, "unknown unit 'epochs'; did you mean 'epoch'"),
        ("multistep", {"milestones": []}, UsageError, r"milestones=\[\] must be a list"),
        ("multistep", {"milestones": 5}, UsageError, "milestones=5 must be a list"),
        ("multistep", {"milestones": [8, 4]}, UsageError, r"milestones=\[8, 4\] must rise"),
        ("multistep", {"milestones": [0.5, 900]}, UsageError, "all whole numbers or all fractions"),
        ("multistep", {"milestones": [0, 4]}, UsageError, "milestones=0"),
        ("exponential", {"gamma": "0.9"}, UsageError, "gamma='0.9'"),
        ("linear", {"end_factor": -0.1}, UsageError, "end_factor=-0.1 must be 0 or more"),
        ("cosine", {"total_steps": 0}, UsageError, "total_steps=0"),
        ("cosine_with_restarts", {"cycles": 1.5}, UsageError, "cycles=1.5 must be a whole number"),
        ("polynomial", {"power": 0}, UsageError, "power=0 must be above 0"),
        ("one_cycle", {"pct_start": 2.0}, UsageError, "scheduler 'one_cycle': .*pct_start"),
        ("plateau", {"mode": "up"}, UsageError, "scheduler 'plateau': mode up is unknown"),
        ("plateau", {"factor": 2.0}, UsageError, "scheduler 'plateau': Factor should be < 1.0"),
        ("cosine", {"monitor": "val/loss"}, UsageError, "'cosine' monitors nothing"),
        (None, {"gamma": 0.1}, UsageError, "gamma without a scheduler"),
        (3, {}, UsageError, "not int"),
        (by_function, {"gamma": 0.1}, UsageError, "takes no 'gamma'"),
    ],
)
def test_mistakes_show_before_the_run(scheduler, args, error, message):
    with pytest.raises(error, match=message):
        check_scheduler(scheduler, args)


def test_lists_for_each_group_pass_the_check():
    check_scheduler("plateau", {"min_lr": [0.1, 0.2, 0.3]})


@pytest.mark.parametrize(
    ("name", "args"), [("cosine", {}), ("one_cycle", {}), ("step", {"step_size": 0.5}), ("linear", {"unit": "epoch"})]
)
def test_a_run_without_end_has_no_such_schedule(name, args):
    with pytest.raises(UsageError, match="max_epochs"):
        build_scheduler(name, make_optimizer(), args, RunLength(None, 4))


def test_a_run_without_end_may_have_the_others():
    for name, args in (("step", {"step_size": 5}), ("constant", {"warmup_steps": 3}), ("cosine", {"total_steps": 10})):
        assert len(build_scheduler(name, make_optimizer(), args, RunLength(None, None))) == 1
    with pytest.raises(UsageError, match="use unit 'step'"):
        build_scheduler("step", make_optimizer(), {"step_size": 5, "unit": "epoch"}, RunLength(20, None))


def returns_nothing(optimizer):
    return None


def test_what_is_no_scheduler():
    with pytest.raises(UsageError, match="made a NoneType"):
        build_scheduler(returns_nothing, make_optimizer(), None, RUN)


# In a trainer: 5 batches an epoch, two to a step, so 3 steps an epoch.


class Fit(pl.LightningModule):
    def __init__(self, scheduler, args):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.scheduler, self.args = scheduler, args
        self.lrs = []

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def optimizer_step(self, *args, **kwargs):
        self.lrs.append([group["lr"] for group in self.optimizers().param_groups])
        super().optimizer_step(*args, **kwargs)

    def configure_optimizers(self):
        groups = [{"params": [parameter], "lr": lr} for parameter, lr in zip(self.layer.parameters(), LRS, strict=True)]
        optimizer = LARC(torch.optim.SGD(groups, lr=1.0, momentum=0.9))
        self.length = RunLength.of(self.trainer)
        return [optimizer], build_scheduler(self.scheduler, optimizer, self.args, self.length)


class Validated(Fit):
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 1.0 + self.current_epoch, batch_size=1)


class SaveAt(pl.Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def loader(batches):
    return DataLoader([torch.ones(1, 2)] * batches, batch_size=None)


def make_trainer(callbacks=(), **settings):
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    settings = {**dict.fromkeys(off, False), "max_epochs": 3, "accumulate_grad_batches": 2, **settings}
    return pl.Trainer(accelerator="cpu", callbacks=list(callbacks), num_sanity_val_steps=0, **settings)


# The plain loader forgets where in the epoch it was; no learning rate depends on it.
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize(
    ("name", "args", "factor"),
    [
        ("linear", {"warmup_steps": 3, "warmup_factor": 0.4}, lambda t: (9 - t) / 9 * min(1, 0.4 + 0.2 * t)),
        ("step", {"step_size": 1, "gamma": 0.5, "unit": "epoch"}, lambda t: [1, 0.5, 0.25][t // 3]),
        ("one_cycle", {"warmup_steps": 7}, lambda t: one_cycle(t, 9) * min(1, 0.1 + 0.9 * t / 7)),
        ("torch.optim.lr_scheduler.ExponentialLR", {"gamma": 0.5, "warmup_steps": 1}, lambda t: 0.5**t if t else 0.1),
        (None, {"warmup_steps": 2, "warmup_factor": 0.5}, lambda t: min(1, 0.5 + 0.25 * t)),
    ],
    ids=lambda value: str(value) if isinstance(value, str | None) else "",
)
def test_resumed_in_a_trainer(name, args, factor, tmp_path):
    through = Fit(name, args)
    make_trainer().fit(through, loader(5))
    assert through.length == RunLength(9, 3)
    expected = torch.tensor([[lr * factor(t) for lr in LRS] for t in range(9)])
    torch.testing.assert_close(torch.tensor(through.lrs), expected, rtol=1e-6, atol=1e-7)

    path = tmp_path / "mid.ckpt"
    stopped, resumed = Fit(name, args), Fit(name, args)
    make_trainer([SaveAt(path, 4)]).fit(stopped, loader(5))
    make_trainer().fit(resumed, loader(5), ckpt_path=path)
    assert (stopped.lrs + resumed.lrs)[: len(through.lrs)] == through.lrs
    assert len(stopped.lrs) == 4


def test_plateau_in_a_trainer():
    """Halved after each epoch but the first, as the loss rises; validated at the end of each epoch of 3 steps."""
    module = Validated("plateau", {"factor": 0.5, "patience": 0, "warmup_steps": 8, "warmup_factor": 0.0})
    make_trainer(max_epochs=4).fit(module, loader(5), loader(1))
    expected = [[lr * [1, 1, 0.5, 0.25][t // 3] * min(1, t / 8) for lr in LRS] for t in range(12)]
    torch.testing.assert_close(torch.tensor(module.lrs), torch.tensor(expected))


class Endless(IterableDataset):
    def __iter__(self):
        return iter([torch.ones(1, 2)] * 100)


@pytest.mark.parametrize(
    ("settings", "data", "length"),
    [
        ({"max_epochs": 2}, loader(5), RunLength(6, 3)),
        ({"max_epochs": 2, "max_steps": 4}, loader(5), RunLength(4, 3)),
        ({"max_epochs": -1, "max_steps": 4}, loader(5), RunLength(4, 3)),
        ({"max_epochs": -1}, loader(5), RunLength(None, 3)),
        ({"max_epochs": 2, "limit_train_batches": 2}, loader(5), RunLength(2, 1)),
        ({"max_epochs": 2, "check_val_every_n_epoch": 2}, loader(4), RunLength(4, 2, validate_every=2)),
        ({"max_epochs": 1, "max_steps": 3}, DataLoader(Endless(), batch_size=None), RunLength(3, None)),
        ({"max_epochs": 1}, DataLoader(Endless(), batch_size=None), RunLength(None, None)),
    ],
)
def test_run_length(settings, data, length):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = True

    module = Fit(None, None)
    make_trainer([Stop()], **settings).fit(module, data)
    assert module.length == length
