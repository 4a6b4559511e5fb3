import pytest
import torch

from lightframe.models import MODELS


def by_hand(head: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """One sample and one output at a time, in plain Python floats."""
    layers = [module for module in head.modules() if isinstance(module, torch.nn.Linear)]
    rows = []
    for sample in features:
        values = [float(channel.sum()) / channel.numel() for channel in sample]
        for depth, layer in enumerate(layers):
            sums = [
                sum(w * v for w, v in zip(row, values, strict=True)) + bias
                for row, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
            ]
            values = [max(value, 0.0) for value in sums] if depth < len(layers) - 1 else sums
        rows.append(values)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 6)])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4), (3, 5, 2, 3, 2)])
def test_against_a_plain_loop(hidden, shape):
    torch.manual_seed(0)
    head = MODELS.build("mlp_head", in_features=5, num_classes=4, hidden=hidden, dropout=0.5).double().eval()
    features = torch.randn(shape, dtype=torch.float64)
    assert head(features).shape == (3, 4)
    torch.testing.assert_close(head(features), by_hand(head, features), rtol=1e-12, atol=1e-12)


def test_widths_and_dropout():
    head = MODELS.build("mlp_head", 8, 3, hidden=[32, 16], dropout=0.25)
    shapes = [tuple(parameter.shape) for parameter in head.parameters()]
    assert shapes == [(32, 8), (32,), (16, 32), (16,), (3, 16), (3,)]
    assert [module.p for module in head.modules() if isinstance(module, torch.nn.Dropout)] == [0.25, 0.25]


def test_dropout_leaves_the_outputs_alone():
    torch.manual_seed(0)
    head = MODELS.build("mlp_head", 4, 50, hidden=(), dropout=0.9)
    assert head(torch.randn(4, 4)).count_nonzero() == 200
