"""What is timed, how often, and what becomes of a net that cannot be measured."""

import itertools
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from lightframe.speed import Row, Setting, Spread
from lightframe.speed import measure as measure_module
from lightframe.speed.measure import Effort, measure, time_calls
from lightframe.speed.subject import Subject, classifier

CPU = torch.device("cpu")
QUICK = Effort(iterations=3, warmup=1)


class Watched(nn.Module):
    """A small classifier that keeps what it sees: mode, what is recorded, types, strides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.seen: list[dict[str, Any]] = []

    @override
    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images)
        self.seen.append(
            {
                "training": self.training,
                "records": features.requires_grad,
                "dtype": features.dtype,
                "last": images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous(),
                "weight_last": self.conv.weight.is_contiguous(memory_format=torch.channels_last),
                "weight": self.conv.weight.detach().clone(),
                "matmul": torch.get_float32_matmul_precision(),
            }
        )
        return self.norm(features.float()).mean((2, 3))[:, :2]


def setting(**kwargs: Any) -> Setting:
    return Setting("watched", (2, 3, 8, 8), **kwargs)


def run(one: Setting, net: nn.Module | None = None, **kwargs: Any) -> tuple[Row, list[dict[str, Any]]]:
    net = net or Watched()
    row = measure(lambda: classifier(net, one.shape, CPU), one, CPU, QUICK, **kwargs)
    return row, getattr(net, "seen", [])


def test_the_first_calls_are_not_in_the_median(told_clock) -> None:
    clock = told_clock([50.0, 9.0, 8.0, 4.0, 1.0, 3.0, 100.0, 2.0])
    calls: list[None] = []
    first, spread = time_calls(lambda: calls.append(None), clock, Effort(iterations=5, warmup=2, limit=1e3))
    assert (first, spread) == (50.0, Spread(median=3.0, q1=2.0, q3=4.0, count=5))
    assert clock.asked == [1, 2, 5]
    assert len(calls) == 8


def test_warm_up_goes_on_until_it_has_lasted(told_clock) -> None:
    clock = told_clock([1.0, *[0.25] * 100])
    time_calls(lambda: None, clock, Effort(iterations=4, warmup=2, warmup_seconds=2.0))
    assert clock.asked == [1, 2, 6, 4]  # 2 x 0.25 s, 1.5 s are missing


@pytest.mark.parametrize(("seconds", "calls"), [(0.5, 20), (1.0, 10), (4.0, 3), (60.0, 3), (0.0, 20)])
def test_slow_calls_are_fewer(seconds: float, calls: int) -> None:
    assert Effort(iterations=20, limit=10.0).calls(seconds) == calls
    assert Effort(iterations=2, limit=10.0).calls(seconds) == 2


def test_a_row(told_clock) -> None:
    row, _ = run(setting(), clock=told_clock([5.0, 1.0, 0.5, 0.25, 0.75]))
    assert row == Row(
        setting(parameters=4 * 27 + 4 + 8),
        time=Spread(0.5, 0.375, 0.625, 3),
        with_copy=None,
        peak_memory=None,
        first_call=5.0,
    )
    assert row.samples_per_second == 4.0


def test_forward_is_evaluation() -> None:
    row, seen = run(setting(mode="forward"))
    assert row.status == "ok"
    assert [(call["training"], call["records"]) for call in seen] == [(False, False)] * 5
    assert torch.equal(seen[0]["weight"], seen[-1]["weight"])


def test_a_training_step_has_a_backward_and_an_optimizer() -> None:
    net = Watched()
    steps: list[None] = []

    def make() -> Subject:
        subject = classifier(net, (2, 3, 8, 8), CPU)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        optimizer.register_step_post_hook(lambda *_: steps.append(None))
        subject.optimizer = lambda: optimizer
        return subject

    with torch.no_grad():  # as some caller may have it
        assert measure(make, setting(), CPU, QUICK).status == "ok"
    assert [(call["training"], call["records"]) for call in net.seen] == [(True, True)] * 5
    assert len(steps) == 5
    weights = [call["weight"] for call in net.seen]
    assert not any(torch.equal(*pair) for pair in itertools.pairwise(weights))
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_precisions(precision: str, dtype: torch.dtype) -> None:
    _, seen = run(setting(precision=precision))
    assert {call["dtype"] for call in seen} == {dtype}


def test_fp32_is_fp32_whatever_the_flags_are() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        _, seen = run(setting())
        assert {call["matmul"] for call in seen} == {"highest"}
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_memory_formats(memory_format: str) -> None:
    _, seen = run(setting(memory_format=memory_format))
    assert {(call["last"], call["weight_last"]) for call in seen} == {(memory_format == "channels_last",) * 2}


def test_clips_are_channels_last_3d() -> None:
    subject = classifier(nn.Conv3d(3, 4, 3), (2, 3, 4, 8, 8), CPU)
    assert subject.to_channels_last()
    for tensor in (subject.batch[0], subject.net.weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last_3d)
        assert not tensor.is_contiguous()


def test_what_has_no_channels_is_skipped() -> None:
    one = Setting("linear", (2, 8), memory_format="channels_last")
    row = measure(lambda: classifier(nn.Linear(8, 2), one.shape, CPU), one, CPU, QUICK)
    assert row.status == "skipped: there is no image and no clip in the batch to be channels_last"


def test_what_the_device_lacks_is_skipped() -> None:
    row, seen = run(setting(precision="16-mixed"))
    assert row.status == "skipped: 16-mixed is for GPUs; a CPU has bf16-mixed"
    assert row.time is None
    assert not seen


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), "out of memory"),
        (ValueError("no such thing\nand a long story"), "failed: ValueError: no such thing"),
        (AssertionError(), "failed: AssertionError: "),
    ],
)
def test_what_goes_wrong_is_a_row(error: Exception, status: str) -> None:
    class Broken(nn.Linear):
        @override
        def forward(self, input: Tensor) -> Tensor:
            raise error

    row = measure(lambda: classifier(Broken(8, 2), (2, 8), CPU), Setting("broken", (2, 8)), CPU, QUICK)
    assert row.status == status
    assert row.time is None


def test_ctrl_c_is_no_row() -> None:
    def make() -> Subject:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(make, setting(), CPU, QUICK)


def test_outputs_that_are_no_classes() -> None:
    row = measure(lambda: classifier(nn.Conv2d(3, 4, 3), (2, 3, 8, 8), CPU), setting(), CPU, QUICK)
    assert row.status.startswith("failed: UsageError: a training step is measured of nets that return (B, classes)")


def test_every_net_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the tenth of a class, which torch would leave eager."""

    class Net(nn.Linear):  # of torch's own layers by themselves torch 2.11 compiles nothing
        @override
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input)

    graphs: list[None] = []
    compile = nn.Module.compile
    backend = lambda graph, inputs: graphs.append(None) or graph.forward  # noqa: E731
    monkeypatch.setattr(nn.Module, "compile", lambda net: compile(net, backend=backend))
    one = Setting("net", (2, 8), mode="forward", compiled=True)
    for width in range(2, 12):
        row = measure(lambda width=width: classifier(Net(8, width), (2, 8), CPU), one, CPU, QUICK)
        assert row.status == "ok"
        assert len(graphs) == width - 1
    measure(lambda: classifier(Net(8, 2), (2, 8), CPU), Setting("net", (2, 8)), CPU, QUICK)
    assert len(graphs) == 10


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A GPU that is made up: the net is on the CPU. Keeps what is asked of it."""
    asked: dict[str, Any] = {"pinned": 0, "moved": 0, "current": []}
    memory = iter([5 * 2**20])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: next(memory))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 * 2**20)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(asked["current"].append(device)))
    for name in ("reset_peak_memory_stats", "empty_cache", "set_rng_state"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: None)

    def pin_memory(tensor: Tensor) -> Tensor:
        asked["pinned"] += 1
        return tensor

    def move(batch: Any, device: torch.device) -> Any:
        asked["moved"] += 1
        return batch

    monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(measure_module, "move_data_to_device", move)
    return asked


def test_on_a_gpu(gpu: dict[str, Any], told_clock) -> None:
    seen: list[tuple[bool, bool]] = []

    class Net(Watched):
        @override
        def forward(self, images: Tensor) -> Tensor:
            seen.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic))
            return super().forward(images)

    device, one = torch.device("cuda", 1), setting(cudnn="benchmark")
    clock = told_clock([9.0, 1.0, 0.25, 0.5, 0.75, 8.0, 1.0, 1.5, 2.0, 2.5])
    row = measure(lambda: classifier(Net(), one.shape, CPU), one, device, QUICK, clock)
    assert row.time == Spread(0.5, 0.375, 0.625, 3)
    assert row.with_copy == Spread(2.0, 1.75, 2.25, 3)
    assert row.peak_memory == 2 * 2**20
    assert gpu == {"pinned": 2, "moved": 5, "current": [device]}  # images and targets; of 10 calls those with a copy
    assert set(seen) == {(True, False)}
    assert not torch.backends.cudnn.benchmark
