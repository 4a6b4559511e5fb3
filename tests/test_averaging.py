import math
from collections import Counter
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from lightframe.averaging import AveragedWeights, float_tensors, ramped_decay, update_average


class Operations(TorchDispatchMode):
    """Counts what runs by the names of torch's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def random_walk(module: nn.Module, generator: torch.Generator) -> None:
    """A step of all parameters and floating-point buffers; integer buffers count."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor += 0.1 * torch.randn(tensor.shape, generator=generator).to(tensor)
            else:
                tensor += 1


def bits(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Named(nn.Module):
    """Holds tensors given by name: parameters, and as `buffers=dict` buffers."""

    def __init__(self, buffers: dict[str, Tensor] | None = None, **parameters: Tensor) -> None:
        super().__init__()
        for name, tensor in parameters.items():
            setattr(self, name, nn.Parameter(tensor))
        for name, tensor in (buffers or {}).items():
            self.register_buffer(name, tensor)


def test_decay_grows_along_the_ramp() -> None:
    for n in (1, 7, 2000, 100_000):
        assert ramped_decay(n, 0.9999, 2000) == pytest.approx(0.9999 * (1 - math.exp(-n / 2000)), rel=1e-12)
        assert ramped_decay(n, 0.9, 0) == 0.9
    assert ramped_decay(1, 0.5, 1) == pytest.approx(0.5 * (1 - 1 / math.e))


@pytest.mark.parametrize(("decay", "ramp"), [(0.9999, 2000), (0.9, 5), (0.99, 0), (1.0, 0), (0.0, 0)])
def test_the_average_is_that_of_a_float64_loop(decay: float, ramp: float) -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3).double())
    weights = AveragedWeights(module)
    expected = {name: value.detach().clone().double() for name, value in float_tensors(module).items()}
    for n in range(1, 301):
        random_walk(module, generator)
        weights.update(module, ramped_decay(n, decay, ramp))
        d = decay * (1 - math.exp(-n / ramp)) if ramp else decay
        for name, value in float_tensors(module).items():
            expected[name] = d * expected[name] + (1 - d) * value.detach().double()
    assert weights.n == 300
    assert len(weights.tensors) == 8
    for name, mean in weights.tensors.items():
        assert (mean.double() - expected[name]).norm() <= 1e-6 * expected[name].norm()


def test_one_multi_tensor_operation_for_each_dtype_and_no_value_on_the_host() -> None:
    """E12 and E13: what copies a value from the device to the host is an `aten::_local_scalar_dense`."""
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3).double())
    weights = AveragedWeights(module)
    for _ in range(2):
        with Operations() as ran:
            weights.update(module, 0.9)
        assert ran.counts.pop("aten::_foreach_lerp_") == 2
        assert not ran.counts
    with Operations() as ran:
        assert torch.ones(()).item() == 1  # what would be seen
    assert "aten::_local_scalar_dense" in ran.counts


def test_integers_are_the_current_ones() -> None:
    """E3."""
    module = Named({"table": torch.arange(5), "mask": torch.tensor([True, False])}, weight=torch.zeros(2))
    weights = AveragedWeights(module)
    module.table += 3
    module.weight.data += 1
    weights.update(module, 0.9)
    weights.apply(module)
    assert module.table.tolist() == [3, 4, 5, 6, 7]
    assert module.mask.tolist() == [True, False]
    torch.testing.assert_close(module.weight.data, torch.full((2,), 0.1))
    module.table += 1  # counted in evaluation, and not lost
    weights.restore(module)
    assert module.table.tolist() == [4, 5, 6, 7, 8]


@pytest.mark.slow
def test_nothing_of_a_constant_swin3d_changes() -> None:
    """E3: with Lightning's EMAWeightAveraging 98 % of its index table end up wrong."""
    module = torchvision.models.video.swin3d_t()
    before, weights = bits(module), AveragedWeights(module)
    for n in range(1, 61):
        weights.update(module, ramped_decay(n, 0.9998, 2000))
    weights.apply(module)
    assert same(bits(module), before)


def test_a_mask_of_infinities_stays_what_it_is() -> None:
    mask = torch.full((3, 3), -math.inf).triu(1)
    module = Named({"mask": mask.clone(), "low": torch.tensor(math.inf)}, weight=torch.zeros(2))
    weights = AveragedWeights(module)
    module.low.fill_(2.0)  # an observer's minimum, before and after it saw something
    weights.update(module, 0.9)
    weights.apply(module)
    assert torch.equal(module.mask, mask)
    assert module.low == 2.0


def test_pairs_by_name_whatever_the_order() -> None:
    """E8: a buffer that is registered again is last in the order."""
    module = Named({"a": torch.zeros(2), "b": torch.ones(2)})
    weights = AveragedWeights(module)
    del module.a
    module.register_buffer("a", torch.zeros(2))
    weights.update(module, 0.9)
    weights.apply(module)
    assert (module.a.tolist(), module.b.tolist()) == ([0, 0], [1, 1])


def test_new_and_reshaped_and_gone() -> None:
    """E8."""
    module = Named({"size": torch.zeros(2), "gone": torch.ones(2)}, weight=torch.zeros(2))
    weights = AveragedWeights(module)
    module.size = torch.full((3,), 5.0)
    module.register_buffer("new", torch.full((1,), 6.0))
    del module.gone
    module.weight.data += 1
    weights.update(module, 0.75)
    assert {name: mean.tolist() for name, mean in weights.tensors.items()} == {
        "weight": [0.25, 0.25],
        "size": [5.0, 5.0, 5.0],
        "new": [6.0],
    }
    weights.apply(module)
    module.size = torch.full((4,), 7.0)  # while it is evaluated
    weights.restore(module)
    assert module.size.tolist() == [7.0] * 4
    assert module.weight.tolist() == [1.0, 1.0]


def test_a_layer_without_shape_yet() -> None:
    module = nn.Sequential(nn.LazyLinear(3))
    weights = AveragedWeights(module)
    assert not weights.tensors
    module(torch.zeros(1, 2))
    weights.update(module, 0.9)
    assert torch.equal(weights.tensors["0.weight"], module[0].weight)


def test_the_tensors_are_those_that_torch_names() -> None:
    """Found by private attributes of nn.Module, for speed."""
    shared = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared, nn.Linear(2, 2, bias=False)), "c": nn.PReLU()})
    module["b"][1].weight = shared[0].weight
    module.register_module("none", None)
    module.register_buffer("no tensor", None)
    module.register_buffer("not saved", torch.zeros(1), persistent=False)
    named = dict([*module.named_parameters(), *module.named_buffers()])
    expected = {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
    found = float_tensors(module)
    assert found.keys() == expected.keys()
    assert all(found[name] is tensor for name, tensor in expected.items())


def test_shared_weights_are_averaged_once() -> None:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    module[1].weight = module[0].weight
    module[0].weight.data.zero_()
    weights = AveragedWeights(module)
    module[0].weight.data.fill_(1.0)
    weights.update(module, 0.75)
    weights.apply(module)
    assert module.state_dict()["1.weight"].unique().tolist() == [0.25]
    weights.restore(module)
    assert module.state_dict()["1.weight"].unique().tolist() == [1.0]


def test_half_precision_is_averaged_in_float32() -> None:
    """In bfloat16 1 + 0.001 is 1: the average would never move."""
    module = Named(weight=torch.ones(2, dtype=torch.bfloat16))
    weights = AveragedWeights(module)
    module.weight.data.fill_(2.0)
    for _ in range(100):
        weights.update(module, 0.999)
    assert weights.tensors["weight"].dtype == torch.float32
    torch.testing.assert_close(weights.tensors["weight"], torch.full((2,), 2 - 0.999**100))
    assert list(weights.finer(module)) == ["weight"]
    weights.apply(module)
    assert module.weight.dtype == torch.bfloat16
    assert weights.held_by(module)
    weights.restore(module)
    assert module.weight.tolist() == [2.0, 2.0]
    torch.testing.assert_close(weights.tensors["weight"], torch.full((2,), 2 - 0.999**100))


def test_lent_and_given_back_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)).to(memory_format=torch.contiguous_format)
    weights = AveragedWeights(module)
    random_walk(module, generator)
    weights.update(module, 0.5)
    raw, addresses = bits(module), [tensor.data_ptr() for tensor in float_tensors(module).values()]
    assert not weights.held_by(module)
    weights.exchange(module)
    assert weights.held_by(module)
    assert not torch.equal(module[0].weight, raw["0.weight"])
    module[0].bias.data += 1
    assert not weights.held_by(module)
    weights.exchange(module)
    assert same(bits(module), raw)
    assert [tensor.data_ptr() for tensor in float_tensors(module).values()] == addresses


def test_update_average_to_other_devices_and_dtypes() -> None:
    average = {"a": torch.zeros(2, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.complex64)}
    current = {"a": torch.ones(2, dtype=torch.float16), "b": torch.full((1,), 2j), "not averaged": torch.zeros(1)}
    update_average(average, current, weight=0.25)
    assert average["a"].tolist() == [0.25, 0.25]
    assert average["b"].tolist() == [0.5j]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_update_waits_for_a_gpu() -> None:
    """E13."""
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3).half()).cuda()
    weights = AveragedWeights(module)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            weights.update(module, 0.9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_cpu = AveragedWeights(module, "cpu")
    module[0].weight.data += 1
    on_cpu.update(module, 0.5)
    assert {mean.device.type for mean in on_cpu.tensors.values()} == {"cpu"}
    on_cpu.apply(module)
    torch.testing.assert_close(module[0].weight.cpu(), on_cpu.tensors["0.weight"], rtol=0, atol=0)
