"""A classifier on features that some other net has computed."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightframe.arguments import check_whole
from lightframe.models.registry import MODELS


@MODELS.register("mlp_head")
class MLPHead(nn.Module):
    """Linear, ReLU and dropout for each hidden layer, then the linear classifier.

    Input (B, in_features), or (B, in_features, ...), which is averaged over everything behind the channels: time,
    height, width. Output (B, num_classes).

    Args:
        in_features: channels of the features.
        num_classes: outputs.
        hidden: widths of the hidden layers; empty for a linear classifier.
        dropout: probability of dropping a hidden unit.

    >>> import torch
    >>> head = MLPHead(in_features=8, num_classes=3, hidden=[16])
    >>> head(torch.zeros(2, 8)).shape, head(torch.zeros(2, 8, 4, 7, 7)).shape
    (torch.Size([2, 3]), torch.Size([2, 3]))
    """

    def __init__(
        self, in_features: int, num_classes: int, hidden: Sequence[int] = (512,), dropout: float = 0.0
    ) -> None:
        super().__init__()
        for count in (in_features, *hidden):
            check_whole("net 'mlp_head': in_features and hidden", count, 1)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((in_features, *hidden), hidden, strict=False):  # the last width is the classifier's
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear((in_features, *hidden)[-1], num_classes))

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim > 2:
            features = features.flatten(2).mean(2)
        return self.layers(features)
