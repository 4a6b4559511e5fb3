"""Precisions by name: which floating-point numbers a device computes with."""

from typing import NamedTuple

import torch

from lightframe.errors import UnknownNameError, did_you_mean
from lightframe.speed.flags import float32_in_tf32


class Precision(NamedTuple):
    """What a name stands for.

    Attributes:
        matmul_tf32: whether matrix products of float32 may round their factors to TF32's 10 bits.
        conv_tf32: the same for convolutions.
        autocast: the type in which torch.autocast computes what bears it; None without autocast.
    """

    matmul_tf32: bool
    conv_tf32: bool
    autocast: torch.dtype | None = None


PRECISIONS = {
    "fp32": Precision(False, False),
    "32-true": Precision(False, True),  # torch's own defaults, and so what Trainer(precision="32-true") does
    "tf32": Precision(True, True),
    "16-mixed": Precision(False, True, torch.float16),
    "bf16-mixed": Precision(False, True, torch.bfloat16),
}


def find_precision(name: str) -> Precision:
    """What a name stands for.

    Raises:
        UnknownNameError: there is no such precision.
    """
    if name not in PRECISIONS:
        hint = did_you_mean(name, PRECISIONS)
        raise UnknownNameError(f"unknown precision '{name}'{hint} (known: {', '.join(PRECISIONS)})")
    return PRECISIONS[name]


def lacking(name: str, device: torch.device) -> str | None:
    """Why a device cannot compute in a precision, or None if it can.

    >>> lacking("16-mixed", torch.device("cpu"))
    '16-mixed is for GPUs; a CPU has bf16-mixed'
    >>> lacking("fp32", torch.device("cpu")) is None
    True
    """
    if name not in PRECISIONS:
        return f"a run in {name} is not measured: give another precision"
    precision = PRECISIONS[name]
    if precision.autocast is torch.float16 and device.type == "cpu":
        # torch would, without any CPU instruction for it; Lightning refuses for the same reason.
        return f"{name} is for GPUs; a CPU has bf16-mixed"
    if precision.autocast is torch.bfloat16 and not _has_bf16(device):
        return f"{name} needs a GPU of compute capability 8.0 (Ampere) or newer; this one has 16-mixed"
    if precision.autocast is None and precision.conv_tf32 and not _has_tf32(device):
        return f"there is no TF32 on this device, which leaves {name} the same as fp32"
    return None


def default_precisions(device: torch.device) -> list[str]:
    """All that a GPU has; of a CPU, where bf16 without instructions for it takes minutes, fp32.

    >>> default_precisions(torch.device("cpu"))
    ['fp32']
    """
    if device.type == "cpu":
        return ["fp32"]
    return [name for name in PRECISIONS if lacking(name, device) is None]


def run_precision(name: str, device: torch.device) -> str:
    """The name here of what a Trainer computes with; one that is in PRECISIONS only if that can be measured.

    Args:
        name: `Trainer.precision`.
        device: on which it trains. There `32-true` stands for what torch's flags make of it.

    >>> run_precision("bf16-mixed", torch.device("cpu")), run_precision("32-true", torch.device("cpu"))
    ('bf16-mixed', 'fp32')
    >>> run_precision("64-true", torch.device("cpu"))
    '64-true'
    """
    if name != "32-true":
        return name
    if not _has_tf32(device):
        return "fp32"
    known = {precision: name for name, precision in PRECISIONS.items()}
    return known.get(Precision(*float32_in_tf32()), "32-true with TF32 in matrix products only")


def _has_tf32(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return torch.cuda.is_tf32_supported()


def _has_bf16(device: torch.device) -> bool:
    if device.type != "cuda":
        return True  # a CPU computes in it, if slowly without the instructions; MPS says itself what it lacks
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)
