"""torch's flags that decide how fast a device computes, and how exactly."""

from collections.abc import Callable
from typing import Any

import torch

_CUDNN = ("benchmark", "deterministic")


def cudnn_choice(device: torch.device) -> str:
    """How cuDNN chooses its algorithms as the flags are: `default`, `benchmark`, `deterministic`, or both with a `+`.

    `default` also on devices that have no cuDNN.

    >>> cudnn_choice(torch.device("cpu"))
    'default'
    """
    chosen = [name for name in _CUDNN if getattr(torch.backends.cudnn, name)]
    return "+".join(chosen) if chosen and device.type == "cuda" else "default"


def set_cudnn(choice: str) -> None:
    """Set the flags to what `cudnn_choice` calls so."""
    for name in _CUDNN:
        setattr(torch.backends.cudnn, name, name in choice.split("+"))


def set_float32(matmul_tf32: bool, conv_tf32: bool) -> None:
    """Let matrix products and convolutions of float32 round their factors to TF32, or not; on a CPU never.

    torch has two interfaces to this, and each alone is not enough. After the newer one, `fp32_precision`, asking the
    older is an error, and torch.compile asks it (torch 2.15, `_inductor/kernel/bmm.py`). After the older, what is said
    to be off may be inherited as on, from `torch.backends.fp32_precision`.
    """
    torch.set_float32_matmul_precision("high" if matmul_tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = conv_tf32
    for where, tf32 in zip(_float32_places(), (matmul_tf32, conv_tf32, conv_tf32, False), strict=True):
        where.fp32_precision = "tf32" if tf32 else "ieee"


def float32_in_tf32() -> tuple[bool, bool]:
    """Whether matrix products and convolutions of float32 round to TF32 as the flags are.

    >>> float32_in_tf32()  # what torch starts with
    (False, True)
    """
    matmul, conv, *_ = _float32_places()
    return matmul.fp32_precision == "tf32", conv.fp32_precision == "tf32"


def flags_restorer() -> Callable[[], None]:
    """A function that sets all of these flags back to what they are now.

    >>> restore = flags_restorer()
    >>> set_float32(matmul_tf32=True, conv_tf32=False)
    >>> restore()
    >>> torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    ('highest', True)
    """
    cudnn = {name: getattr(torch.backends.cudnn, name) for name in _CUDNN}
    backends: Any = torch.backends  # whose modules are objects with more attributes than a type checker sees
    places = [(place, place.fp32_precision) for place in (*_float32_places(), backends.mkldnn.matmul)]
    (_, matmul), (_, conv), (_, rnn), *_ = places
    # The older interface does not tell what contradicts the newer one: then it is the opposite of that.
    matmul_tf32 = _asked(lambda: torch.backends.cuda.matmul.allow_tf32, matmul != "tf32")
    matmul_precision = _asked(torch.get_float32_matmul_precision, "high" if matmul_tf32 else "highest")
    allow_tf32 = _asked(lambda: torch.backends.cudnn.allow_tf32, not conv == rnn == "tf32")

    def restore() -> None:
        for name, value in cudnn.items():
            setattr(torch.backends.cudnn, name, value)
        torch.set_float32_matmul_precision(matmul_precision)
        torch.backends.cudnn.allow_tf32 = allow_tf32
        for place, value in places:
            if place.fp32_precision != value:
                place.fp32_precision = value

    return restore


def _float32_places() -> tuple[Any, ...]:
    backends: Any = torch.backends
    return backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.conv


def _asked(question: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return question()
    except RuntimeError:
        return otherwise
