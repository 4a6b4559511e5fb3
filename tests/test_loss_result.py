import pytest
import torch

from lightframe.errors import UsageError
from lightframe.loss_result import LossResult


def test_results_of_nets_that_compute_their_loss():
    x = torch.tensor(2.0, requires_grad=True)
    assert LossResult.of(x) == (x, {}, {})
    result = LossResult.of({"a": x, "b": 3 * x})
    assert result == (8, {"a": 2, "b": 6}, {})
    result.total.backward()
    assert x.grad == 4
    assert LossResult.of((x, {"n": 1})) == (2, {}, {"n": 1})
    result = LossResult.of(({"a": x}, {"seen": x * 5, "one": torch.tensor([7]), "share": 0.5}))
    assert result == (2, {"a": 2}, {"seen": 10, "one": 7, "share": 0.5})
    assert not result.metrics["seen"].requires_grad
    assert result.metrics["one"].shape == ()
    assert LossResult.of(result) is result


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "a scalar tensor, a dict of scalar losses, or a pair .* got NoneType"),
        (1.0, "got float"),
        ((), "got tuple"),
        ((torch.tensor(1.0), None), r"got \(Tensor, NoneType\)"),
        ((torch.tensor(1.0), torch.tensor(1.0)), r"got \(Tensor, Tensor\)"),
        ((1, 2, 3), "got tuple"),
        ({}, "got an empty dict"),
        ({"total_loss": torch.tensor(1.0)}, "leave 'total_loss' out"),
        (({"a": torch.tensor(1.0), "total_loss": 1}, {}), "leave 'total_loss' out"),
        (torch.zeros(2), r"loss 'loss' must be a scalar tensor, not one of shape \(2,\)"),
        ({"a": torch.zeros(1)}, r"loss 'a' must be a scalar tensor, not one of shape \(1,\)"),
        ({"a": 1.0}, "loss 'a' must be a scalar tensor, not float"),
        ({1: torch.tensor(1.0)}, "a loss's name must be a string, not 1"),
        ((torch.tensor(1.0), {"m": "high"}), "metric 'm' must be a number or a scalar tensor, not str"),
        ((torch.tensor(1.0), {"m": torch.zeros(2)}), r"metric 'm' .* not a tensor of shape \(2,\)"),
        ((torch.tensor(1.0), {2: 1.0}), "a metric's name must be a string, not 2"),
    ],
)
def test_what_cannot_be_a_loss_result(result, message):
    with pytest.raises(UsageError, match=message):
        LossResult.of(result)
