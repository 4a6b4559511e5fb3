"""What is measured: a net, a batch for it, and what a training step does with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.optim import Optimizer

from lightframe.errors import UsageError


class NotMeasured(Exception):
    """Why there is nothing to measure here; no error."""


@dataclass
class Subject:
    """A net with all that a training step needs.

    Attributes:
        module: everything that is trained.
        net: the part of it that torch.compile is for.
        batch: any collection of tensors, on the device.
        predict: outputs of a batch.
        loss: what is back-propagated, a scalar tensor, of a batch.
        optimizer: makes the optimizer of the module's parameters.
    """

    module: nn.Module
    net: nn.Module
    batch: Any
    predict: Callable[[Any], Any]
    loss: Callable[[Any], Tensor]
    optimizer: Callable[[], Optimizer]

    @property
    def parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(parameter.numel() for parameter in self.module.parameters() if parameter.requires_grad)

    def to_channels_last(self) -> bool:
        """Store images and clips, and the weights of convolutions, pixel by pixel with all channels of each.

        Returns:
            Whether there is an image (B, C, H, W) or a clip (B, C, T, H, W) in the batch.
        """
        found = False

        def converted(tensor: Tensor) -> Tensor:
            nonlocal found
            found = found or (tensor.is_floating_point() and tensor.ndim in (4, 5))
            return channels_last(tensor)

        self.batch = apply_to_collection(self.batch, Tensor, converted)
        for parameter in self.module.parameters():
            parameter.data = channels_last(parameter.data)
        return found


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor in `torch.channels_last` or `channels_last_3d`; itself if it has neither 4 nor 5 dimensions.

    >>> channels_last(torch.zeros(2, 3, 4, 5)).stride()
    (60, 1, 15, 3)
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if tensor.ndim not in formats:
        return tensor
    return tensor.contiguous(memory_format=formats[tensor.ndim])


def classifier(net: nn.Module, shape: tuple[int, ...], device: torch.device) -> Subject:
    """A classifier on random inputs, with cross-entropy and SGD with momentum.

    Args:
        net: (B, ...) to (B, classes), at least two of them; on the device.
        shape: of its inputs, (B, ...).
        device: for the inputs.

    >>> subject = classifier(nn.Linear(3, 2), (4, 3), torch.device("cpu"))
    >>> subject.loss(subject.batch).shape, subject.parameters
    (torch.Size([]), 8)
    """
    inputs, targets = torch.rand(shape, device=device), torch.arange(shape[0], device=device) % 2

    def loss(batch: Any) -> Tensor:
        outputs = net(batch[0])
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            shown = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise UsageError(f"a training step is measured of nets that return (B, classes), not {shown}")
        return nn.functional.cross_entropy(outputs, batch[1])

    return Subject(
        net,
        net,
        (inputs, targets),
        lambda batch: net(batch[0]),
        loss,
        # A rate at which the weights hardly move: what is timed is not whether it learns.
        lambda: torch.optim.SGD(net.parameters(), lr=1e-5, momentum=0.9),
    )
