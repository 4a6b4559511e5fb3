"""A truth value that a device computes and the host reads."""

import torch
from torch import Tensor


class HostFlag:
    """Reads a value from a GPU without waiting for the work that was queued after it.

    `.item()` waits until the GPU has nothing left to do, and leaves it idle until the host has queued more. Here the
    value is copied where it stands in the queue, and the wait ends there: read behind the forward pass and asked for
    when the backward pass is queued, the GPU is never without work.

    >>> flag = HostFlag()
    >>> flag.send(torch.tensor(2.0) > 1)
    >>> flag.read()
    True
    """

    def __init__(self) -> None:
        self._value: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    def send(self, value: Tensor) -> None:
        """Queue the copy of a tensor of shape () to the host."""
        if value.device.type != "cuda":
            self._value = value
            return
        if self._value is None or self._copied is None:
            # Pinned memory: a copy to any other would wait.
            self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._copied = torch.cuda.Event()
        self._value.copy_(value, non_blocking=True)
        self._copied.record()

    def read(self) -> bool:
        """The value that was sent last."""
        assert self._value is not None
        if self._copied is not None:
            self._copied.synchronize()
        return bool(self._value)
