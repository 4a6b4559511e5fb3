"""A subclass of the adapter with two heads, a loss and an optimizer of one's own.

lightframe fit --model custom_module.TwoHeads --data SyntheticVideoDataModule --trainer.max_epochs 2   (in this folder)
"""

import torch
from torch import Tensor, nn

from lightframe import LOSSES, OPTIMIZERS, LightFrameModule


@LOSSES.register("one_hot_mse")
def one_hot_mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.softmax(-1) - nn.functional.one_hot(targets, outputs.shape[-1])).square().sum(-1).mean()


@OPTIMIZERS.register("fast_adam")
def fast_adam(params, lr: float = 0.01, beta: float = 0.8) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=lr, betas=(beta, 0.99))


class TwoHeads(LightFrameModule):
    """Which of the six motions it is, and whether the shape travels or turns on the spot."""

    def __init__(self, width: int = 16, lr: float | None = None) -> None:
        super().__init__(
            {"name": "tiny3d", "width": width}, "one_hot_mse", "fast_adam", lr, metrics=None, num_classes=6
        )
        self.travels = nn.Linear(6, 2)

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        motion = self.net(video)
        return {"motion": motion, "travels": self.travels(motion)}

    def compute_loss(self, outputs: dict[str, Tensor], targets: Tensor):
        losses = {name: self.losses(outputs[name], t).total for name, t in self.both(targets).items()}
        right = {
            f"{name}_top1": (outputs[name].argmax(1) == t).float().mean() for name, t in self.both(targets).items()
        }
        return losses, right

    def both(self, targets: Tensor) -> dict[str, Tensor]:
        return {"motion": targets, "travels": (targets > 1).long()}  # classes 0 and 1 are the two turns
