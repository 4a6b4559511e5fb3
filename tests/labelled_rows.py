"""Rows of numbers with labels, as batches of clips, and a small net: what a callback needs to be trained with."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from lightframe import VideoBatch

FEATURES, CLASSES, BATCH = 5, 3, 4


class Rows(Dataset[tuple[Tensor, Tensor, int]]):
    """24 rows; those that are `bad` hold NaN, of which batch norm remembers."""

    def __init__(self, bad: Iterable[int] = ()) -> None:
        self.paths = [f"videos/{number}.mp4" for number in range(24)]
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(24, FEATURES, generator=generator)
        self.labels = torch.randint(CLASSES, (24,), generator=generator)
        self.inputs[list(bad)] = torch.nan

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return self.inputs[index], self.labels[index], index

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        rows = slice(BATCH * number, BATCH * (number + 1))
        return self.inputs[rows], self.labels[rows]


class Data(LightningDataModule):
    """Batches in the order of the rows; a data module that knows their paths."""

    def __init__(self, bad: Iterable[int] = ()) -> None:
        super().__init__()
        self.rows = Rows(bad)

    def dataset(self, split: str) -> Rows:
        assert split == "train"
        return self.rows

    @override
    def train_dataloader(self) -> DataLoader[Any]:
        # A generator of its own: else each epoch draws a number for its workers from that of dropout.
        return DataLoader(self.rows, BATCH, collate_fn=as_batch, generator=torch.Generator())


def as_batch(samples: Sequence[tuple[Tensor, Tensor, int]]) -> VideoBatch:
    inputs, labels, indices = zip(*samples, strict=True)
    return VideoBatch(torch.stack(inputs), torch.stack(labels), torch.tensor(indices))


def make_net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, CLASSES))
