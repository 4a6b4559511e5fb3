"""Rows of tensors that grow batch by batch, in memory or in a file."""

from pathlib import Path

import torch
from torch import Tensor

from lightframe.errors import UsageError


class Rows:
    """Tensors (n, ...) put one after the other, on the CPU; all have the dtype and trailing shape of the first.

    >>> rows = Rows()
    >>> rows.append(torch.zeros(2, 3))
    >>> rows.append(torch.ones(1, 3))
    >>> len(rows), rows.all()[1:].tolist()
    (3, [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """

    def __init__(self) -> None:
        self._chunks: list[Tensor] = []
        self._like: Tensor | None = None  # no rows, but their dtype and shape
        self._path: Path | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, wherever they are."""
        return 0 if self._like is None else self._count * self._like.itemsize * self._like.shape[1:].numel()

    def append(self, tensor: Tensor) -> None:
        """Add the rows of a tensor (n, ...).

        Raises:
            UsageError: they are of another dtype or shape than those before.
        """
        if self._like is None or (self._count == 0 and len(tensor)):
            self._like = tensor[:0].cpu()
        if len(tensor) == 0:
            return
        if tensor.dtype != self._like.dtype or tensor.shape[1:] != self._like.shape[1:]:
            raise UsageError(
                f"samples of shape {tuple(tensor.shape[1:])} and type {tensor.dtype} come after samples of shape "
                f"{tuple(self._like.shape[1:])} and type {self._like.dtype}: what differs in shape from sample to "
                "sample has to be given as a list with one tensor for each"
            )
        # A copy: what is a view would keep all of its batch, and what a net writes to again would change.
        self._put(tensor.detach().to("cpu", copy=True).contiguous())
        self._count += len(tensor)

    def _put(self, tensor: Tensor) -> None:
        if self._path is None:
            self._chunks.append(tensor)
            return
        with self._path.open("ab") as file:
            file.write(tensor.flatten().view(torch.uint8).numpy().data)

    def all(self) -> Tensor:
        """All rows as one tensor; of a file, it is mapped into memory."""
        if self._like is None:
            return torch.empty(0)
        if self._count == 0:
            return self._like
        if self._path is not None:
            size = self._count * self._like.shape[1:].numel()
            flat = torch.from_file(str(self._path), shared=False, size=size, dtype=self._like.dtype)
            return flat.view(self._count, *self._like.shape[1:])
        if len(self._chunks) > 1:
            self._chunks = [torch.cat(self._chunks)]
        return self._chunks[0]

    def spill(self, path: Path) -> None:
        """Keep the rows in this file from now on."""
        chunks, self._chunks, self._path = self._chunks, [], path
        path.touch()
        for chunk in chunks:
            self._put(chunk)
