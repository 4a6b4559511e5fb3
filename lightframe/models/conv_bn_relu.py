"""The convolution that the nets here are made of."""

from torch import nn


def conv_bn_relu(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Sequential:
    """3D convolution without bias, batch norm, ReLU; kernels are odd, and at stride 1 the padding keeps the size.

    >>> import torch
    >>> conv_bn_relu(3, 8, kernel=(3, 5, 5), stride=(1, 2, 2))(torch.zeros(1, 3, 4, 16, 16)).shape
    torch.Size([1, 8, 4, 8, 8])
    """
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(True)
    )
