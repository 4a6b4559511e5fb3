"""A module that keeps what it is given, and a quiet trainer for it."""

import hashlib
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from typing_extensions import override

from lightframe import VideoBatch


def checksum(batch: VideoBatch) -> str:
    """Of the pixels and labels of a batch."""
    content = (batch.video.float().contiguous().numpy().tobytes(), batch.label.numpy().tobytes())
    return hashlib.blake2b(b"".join(content), digest_size=8).hexdigest()


class Recorder(pl.LightningModule):
    """Trains one number; asks for the number of steps, as a schedule does, which makes the loader early.

    Attributes:
        batches: the batches of each phase, as they came, in validation with the epoch.
        epochs: of the training batches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.batches: dict[str, list[VideoBatch | None]] = {"train": [], "val": [], "test": [], "predict": []}
        self.epochs: list[int] = []

    @override
    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        self.batches["train"].append(batch)
        self.epochs.append(self.current_epoch)
        return self.weight * batch.video.mean()

    @override
    def validation_step(self, batch: VideoBatch | None, batch_idx: int) -> None:
        self.batches["val"].append(batch)

    @override
    def test_step(self, batch: VideoBatch | None, batch_idx: int) -> None:
        self.batches["test"].append(batch)

    @override
    def predict_step(self, batch: VideoBatch | None, batch_idx: int) -> int:
        self.batches["predict"].append(batch)
        return batch_idx  # Lightning warns of None

    @override
    def configure_optimizers(self) -> Any:
        assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.1)

    @property
    def trained(self) -> list[tuple[list[int], str]]:
        """Which videos each training batch had, and a checksum of their pixels and labels."""
        return [(batch.index.tolist(), checksum(batch)) for batch in self.batches["train"] if batch]

    def order(self, epoch: int) -> list[int]:
        """The indices of an epoch's training videos as they came."""
        batches = zip(self.epochs, self.batches["train"], strict=True)
        return [index for at, batch in batches if batch and at == epoch for index in batch.index.tolist()]


def quiet_trainer(**settings: Any) -> pl.Trainer:
    """A trainer on the CPU that writes and says nothing."""
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        **{**quiet, "logger": False, "accelerator": "cpu", "num_sanity_val_steps": 0, "max_epochs": 1, **settings}
    )
