"""What a figure is a figure of."""

from dataclasses import dataclass, fields
from typing import Any

MODES = ("forward", "train")
MEMORY_FORMATS = ("contiguous", "channels_last")


@dataclass(frozen=True)
class Setting:
    """All that has to be equal for two devices' figures to stand side by side.

    Attributes:
        net: a name.
        shape: of the batch, the number of samples first; of a batch of several tensors, that of the largest.
        mode: `forward` (in evaluation mode, nothing recorded for a backward pass) or `train` (forward, loss, backward
            and a step of the optimizer).
        precision: one of `PRECISIONS`.
        memory_format: `contiguous`, or `channels_last` (of clips: channels_last_3d).
        compiled: whether torch.compile has been at it.
        optimizer: of a training step; empty for `forward`.
        cudnn: how cuDNN chooses its algorithms: `default`, `benchmark` (it tries them) or `deterministic`.
        parameters: how many numbers the net has to learn; 0 where it was not built.
    """

    net: str
    shape: tuple[int, ...]
    mode: str = "train"
    precision: str = "fp32"
    memory_format: str = "contiguous"
    compiled: bool = False
    optimizer: str = ""
    cudnn: str = "default"
    parameters: int = 0

    def differences(self, other: "Setting") -> list[str]:
        """What the other one has otherwise, in words; nothing if the two may stand side by side.

        >>> Setting("vgg16", (16, 3, 224, 224)).differences(Setting("vgg16", (64, 3, 224, 224), mode="forward"))
        ['shape 64x3x224x224 instead of 16x3x224x224', 'mode forward instead of train']
        """
        values = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return [f"{name} {_shown(theirs)} instead of {_shown(own)}" for name, own, theirs in values if own != theirs]

    @property
    def key(self) -> str:
        """A name for it within one run.

        >>> Setting("r3d_18", (2, 3, 16, 112, 112), precision="bf16-mixed", compiled=True).key
        'r3d_18/train/bf16-mixed/compiled'
        """
        words = [self.net, self.mode, self.precision]
        words += [self.memory_format] if self.memory_format != "contiguous" else []
        return "/".join(words + (["compiled"] if self.compiled else []))


def shape_text(shape: tuple[int, ...]) -> str:
    """`16x3x224x224`."""
    return "x".join(map(str, shape))


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return shape_text(value)
    return str(value) if value != "" else "none"
