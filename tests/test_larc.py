import copy
import pickle

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lightframe.errors import UsageError
from lightframe.larc import LARC

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # tiny data needs none
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),  # Lightning 2.6 on torch 2.15
]


def tensors(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=generator, dtype=dtype) for shape in ((3, 4), (5,), (2, 2, 2))]
    return [*weights, torch.zeros(3, dtype=dtype)]  # a tensor whose norm is 0


def gradients(weights, step):
    """Large, small, zero (the third), and for the zero weights."""
    scales = (100.0, 1e-3, 0.0, 1.0)
    generator = torch.Generator().manual_seed(1000 + step)
    return [
        scale * torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w)
        for scale, w in zip(scales, weights, strict=True)
    ]


def by_hand(weight, grad, lr, decay, trust, clip, eps):
    """The gradient that LARC makes of one tensor, in plain numbers."""
    weight_norm = sum(x * x for x in weight.flatten().tolist()) ** 0.5
    grad_norm = sum(x * x for x in grad.flatten().tolist()) ** 0.5
    if weight_norm == 0 or grad_norm == 0:
        return grad
    ratio = trust * weight_norm / (grad_norm + decay * weight_norm + eps)
    if clip:
        ratio = min(ratio / lr, 1.0)
    return (grad + decay * weight) * ratio


class SGDByHand:
    def __init__(self, momentum, nesterov):
        self.momentum, self.nesterov, self.velocity = momentum, nesterov, {}

    def __call__(self, key, weight, grad, lr):
        before = self.velocity.get(key)
        velocity = grad.clone() if before is None else self.momentum * before + grad
        self.velocity[key] = velocity
        return weight - lr * (grad + self.momentum * velocity if self.nesterov else velocity)


class AdamByHand:
    def __init__(self):
        self.moments = {}

    def __call__(self, key, weight, grad, lr):
        m, v, t = self.moments.get(key, (0.0, 0.0, 0))
        m, v, t = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2, t + 1
        self.moments[key] = (m, v, t)
        return weight - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", ["sgd", "nesterov", "adamw"])
def test_against_a_plain_loop(kind, clip):
    settings = [(0.1, 0.05), (0.5, 0.0)]  # lr and weight decay of two groups of two tensors
    expected = tensors(0)
    weights = [torch.nn.Parameter(w.clone()) for w in expected]
    idle = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))  # never has a gradient
    groups = [
        {"params": [*weights[:2], idle], "lr": settings[0][0], "weight_decay": settings[0][1]},
        {"params": weights[2:], "lr": settings[1][0], "weight_decay": settings[1][1]},
    ]
    if kind == "adamw":
        inner, rule = torch.optim.AdamW(groups), AdamByHand()
    else:
        inner = torch.optim.SGD(groups, momentum=0.9, nesterov=kind == "nesterov")
        rule = SGDByHand(0.9, kind == "nesterov")
    optimizer = LARC(inner, trust_coefficient=0.02, clip=clip, eps=1e-4)
    for step in range(5):
        for index, grad in enumerate(gradients(expected, step)):
            weights[index].grad = grad.clone()
            lr, decay = settings[index // 2]
            scaled = by_hand(expected[index], grad, lr, decay, 0.02, clip, 1e-4)
            expected[index] = rule(index, expected[index], scaled, lr)
        optimizer.step()
        for weight, value in zip(weights, expected, strict=True):
            torch.testing.assert_close(weight.data, value, rtol=1e-12, atol=1e-14)
    assert torch.equal(idle.data, torch.ones(2, dtype=torch.float64))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]


def test_clip_limits_the_step_at_the_plain_one():
    weight, grad = torch.tensor([3.0, 4.0]), torch.tensor([1e-3, 0.0])  # the ratio alone would be 500
    for clip, expected in ((True, 1e-3), (False, 0.5)):
        parameter = torch.nn.Parameter(weight.clone())
        parameter.grad = grad.clone()
        LARC(torch.optim.SGD([parameter], lr=1.0), trust_coefficient=0.1, clip=clip).step()
        torch.testing.assert_close(weight - parameter.data, torch.tensor([expected, 0.0]))


def test_gradient_without_weight_decay_where_there_is_no_ratio():
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.zeros(2)
    LARC(torch.optim.SGD([parameter], lr=1.0, weight_decay=0.5)).step()
    assert torch.equal(parameter.data, torch.ones(2))


def test_maximize_climbs_where_minimize_descends():
    ends = []
    for sign in (1.0, -1.0):
        parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        parameter.grad = sign * torch.tensor([2.0, 1.0])
        LARC(torch.optim.SGD([parameter], lr=0.5, weight_decay=0.1, maximize=sign < 0), 0.1).step()
        ends.append(parameter.data)
    torch.testing.assert_close(*ends)


def test_half_precision_norms_do_not_overflow():
    parameter = torch.nn.Parameter(torch.full((4,), 2.0, dtype=torch.float16))
    parameter.grad = torch.full((4,), 60000.0, dtype=torch.float16)  # a norm of 120000, above float16's largest
    LARC(torch.optim.SGD([parameter], lr=1.0), trust_coefficient=0.5).step()
    torch.testing.assert_close(parameter.data.float(), torch.ones(4), atol=2e-3, rtol=0)


@pytest.mark.parametrize("fail", [False, True])
def test_weight_decay_comes_back(fail):
    class Failing(torch.optim.SGD):
        def step(self, closure=None):
            assert self.param_groups[0]["weight_decay"] == 0
            if fail:
                raise RuntimeError("stop")

    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    optimizer = LARC(Failing([parameter], lr=1.0, weight_decay=0.5))
    if fail:
        with pytest.raises(RuntimeError, match="stop"):
            optimizer.step()
    else:
        optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


def test_closure_runs_first_and_once():
    parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = LARC(torch.optim.SGD([parameter], lr=1.0), trust_coefficient=0.1)
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = (parameter * torch.tensor([0.0, 10.0])).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 40.0
    assert calls == [True]
    torch.testing.assert_close(parameter.data, torch.tensor([3.0, 3.5]))


def test_it_is_the_wrapped_optimizer_to_others():
    parameter = torch.nn.Parameter(torch.ones(2))
    inner = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    optimizer = LARC(inner)
    assert optimizer.defaults is inner.defaults
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.3})
    assert [group["lr"] for group in inner.param_groups] == [0.1, 0.3]
    parameter.grad = torch.ones(2)
    optimizer.step()
    optimizer.load_state_dict(inner.state_dict())
    assert optimizer.param_groups is inner.param_groups
    assert optimizer.state is inner.state
    assert torch.equal(optimizer.state[parameter]["momentum_buffer"], inner.state[parameter]["momentum_buffer"])
    optimizer.zero_grad()
    assert parameter.grad is None


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_copies_go_on_alike(duplicate):
    parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = LARC(torch.optim.SGD([parameter], lr=0.1, momentum=0.9), trust_coefficient=0.1, clip=True, eps=0.5)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)  # patches `step`
    parameter.grad = torch.ones(2)
    optimizer.step()
    copied = duplicate(optimizer)
    [twin] = copied.param_groups[0]["params"]
    assert twin is not parameter
    for each, weight in ((optimizer, parameter), (copied, twin)):
        weight.grad = torch.full((2,), 2.0)
        each.step()
    assert torch.equal(parameter.data, twin.data)
    assert (copied.trust_coefficient, copied.clip, copied.eps) == (0.1, True, 0.5)


def test_step_hooks_are_called():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer, calls = LARC(torch.optim.SGD([parameter], lr=0.1)), []
    optimizer.register_step_pre_hook(lambda *given: calls.append("before"))
    optimizer.register_step_post_hook(lambda *given: calls.append("after"))
    optimizer.step()
    assert calls == ["before", "after"]


def test_grad_scaler_does_not_change_the_step():
    results = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0)):
        parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        optimizer = LARC(torch.optim.SGD([parameter], lr=1.0, weight_decay=0.1), trust_coefficient=0.1)
        loss = (parameter * torch.tensor([1.0, 2.0])).sum()
        (loss if scaler is None else scaler.scale(loss)).backward()
        optimizer.step() if scaler is None else scaler.step(optimizer)
        results.append(parameter.data)
    torch.testing.assert_close(*results)


def test_refused():
    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(UsageError, match="LBFGS"):
        LARC(torch.optim.LBFGS([parameter]))
    with pytest.raises(UsageError, match="eps=-1"):
        LARC(torch.optim.SGD([parameter]), eps=-1)


class Fit(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        optimizer = LARC(torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01), 0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def test_in_a_trainer():
    batches = [torch.randn(4, 3, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    module = Fit()
    start = [parameter.detach().double() for parameter in module.parameters()]
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, barebones=True, accumulate_grad_batches=2, gradient_clip_val=0.5
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))

    weights, rule = start, SGDByHand(0.9, False)
    for step in range(3):
        leaves = [weight.requires_grad_() for weight in weights]
        losses = [(b.double() @ leaves[0].T + leaves[1]).square().mean() / 2 for b in batches[2 * step : 2 * step + 2]]
        grads = torch.autograd.grad(sum(losses), leaves)
        total = sum(grad.square().sum() for grad in grads).sqrt()
        grads = [grad * min(1.0, (0.5 / (total + 1e-6)).item()) for grad in grads]
        lr = 0.5 * 0.5 ** (step // 2)
        weights = [
            rule(i, weight.detach(), by_hand(weight.detach(), grad, lr, 0.01, 0.1, False, 1e-8), lr)
            for i, (weight, grad) in enumerate(zip(leaves, grads, strict=True))
        ]
    for parameter, expected in zip(module.parameters(), weights, strict=True):
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_learning_rate_monitor_sees_one_optimizer(tmp_path):
    monitor = pl.callbacks.LearningRateMonitor("step")
    off = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    logger = pl.loggers.CSVLogger(tmp_path)
    trainer = pl.Trainer(accelerator="cpu", max_steps=2, logger=logger, log_every_n_steps=1, callbacks=[monitor], **off)
    trainer.fit(Fit(), DataLoader([torch.ones(1, 3)] * 2, batch_size=None))
    assert list(monitor.lrs) == ["lr-LARC"]
