"""A small 3D convolution net that a laptop's CPU trains in a minute: for trying things out and for tests."""

from torch import Tensor, nn

from lightframe.arguments import check_whole
from lightframe.models.conv_bn_relu import conv_bn_relu
from lightframe.models.registry import MODELS


@MODELS.register("tiny3d")
class Tiny3D(nn.Module):
    """Three 3D convolutions, the mean over time and space, and a linear classifier.

    It is made to see motion: the stem already looks at three frames at full temporal resolution, since after a
    spatial stride of 4 a movement of a pixel would be lost, and only the last convolution halves the frames.

    Input (B, 3, T, H, W), any T from 1 and about 16 pixels upwards. Output (B, num_classes).

    Args:
        num_classes: outputs.
        width: the three convolutions have 2, 2 and 4 times as many channels.
        dropout: probability of dropping a feature before the classifier.

    >>> import torch
    >>> Tiny3D(num_classes=6)(torch.zeros(2, 3, 8, 64, 64)).shape
    torch.Size([2, 6])
    """

    def __init__(self, num_classes: int, width: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        check_whole("net 'tiny3d': width", width, 1)
        self.features = nn.Sequential(
            conv_bn_relu(3, 2 * width, (3, 5, 5), (1, 4, 4)),
            conv_bn_relu(2 * width, 2 * width, (3, 3, 3), (1, 2, 2)),
            conv_bn_relu(2 * width, 4 * width, (3, 3, 3), (2, 2, 2)),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(video).mean((2, 3, 4))))
