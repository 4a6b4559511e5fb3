"""The running statistics of a net, as they were."""

from collections import defaultdict

import torch
from torch import Tensor, nn


class BufferCopies:
    """Copies of the buffers that a forward pass may change, such as those of batch norm.

    Those are the buffers of floats and of single numbers: large tables of whole numbers, such as swin's index of
    relative positions, are constants.

    Args:
        module: the net; its buffers are looked up by name each time.

    >>> norm = nn.BatchNorm1d(2)
    >>> copies = BufferCopies(norm)
    >>> copies.take()
    >>> _ = norm(torch.full((3, 2), torch.nan))
    >>> copies.restore()
    >>> norm.running_mean, norm.num_batches_tracked
    (tensor([0., 0.]), tensor(0))
    """

    def __init__(self, module: nn.Module) -> None:
        groups: dict[tuple[torch.device, torch.dtype], list[tuple[nn.Module, str]]] = defaultdict(list)
        for owner in module.modules():
            for name, buffer in owner.named_buffers(recurse=False):
                if buffer.is_floating_point() or buffer.numel() == 1:
                    groups[buffer.device, buffer.dtype].append((owner, name))
        self._groups = list(groups.values())
        self._copies: list[list[Tensor]] = []

    @torch.no_grad()
    def take(self) -> None:
        """Copy them as they are now."""
        if not self._copies:
            self._copies = [[buffer.clone() for buffer in buffers] for buffers in self._buffers()]
            return
        for copies, buffers in zip(self._copies, self._buffers(), strict=True):
            torch._foreach_copy_(copies, buffers)  # as torch's optimizers copy: one operation for a group

    @torch.no_grad()
    def restore(self) -> None:
        """Make them what they were."""
        for copies, buffers in zip(self._copies, self._buffers(), strict=True):
            torch._foreach_copy_(buffers, copies)

    def _buffers(self) -> list[list[Tensor]]:
        return [[getattr(owner, name) for owner, name in group] for group in self._groups]
