"""A data module that goes on in the middle of an epoch."""

import warnings
from collections.abc import Sized
from typing import Any

from lightning.pytorch import LightningDataModule
from typing_extensions import override

from lightframe.datamodules.sampler import EpochSampler, training_position


class ResumableDataModule(LightningDataModule):
    """What both data modules share: an epoch of a training that is resumed goes on with the samples it has not seen.

    The place is in `state_dict`, which Lightning puts into every checkpoint. A subclass has its sampler made by
    `epoch_sampler`, calls `begin_fit` where a fit is set up, and adds to the state what is its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._resume = (0, 0)
        self._sampler: EpochSampler | None = None
        self._in_a_batch = 1

    def begin_fit(self) -> None:
        """Of a fit before this one nothing counts but how many epochs it had; a checkpoint is read later."""
        if self.trainer:
            self._resume, self._sampler = (self.trainer.current_epoch, 0), None

    @property
    def ranks(self) -> tuple[int, int]:
        """The number of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def epoch_sampler(self, dataset: Sized, seed: int, in_a_batch: int, length: int | None = None) -> EpochSampler:
        """The sampler of the training loader, at the place where training is.

        Args:
            dataset: what is trained on; only its length counts.
            seed: of the order.
            in_a_batch: samples in a batch of one process.
            length: as in `EpochSampler`.
        """
        sampler = EpochSampler(dataset, seed, *self.ranks, *self._position(), length=length)
        self._sampler, self._in_a_batch = sampler, in_a_batch
        return sampler

    def _position(self) -> tuple[int, int]:
        """The epoch that training is in, and how many of its samples are done, those of all processes."""
        if not (self.trainer and self._sampler and self._sampler.begun):
            return self._resume
        epoch, batches = training_position(self.trainer, self._sampler.epoch)
        return epoch, batches * self._in_a_batch * self.trainer.world_size

    def no_loader(self) -> list[Any]:
        """In place of the loader of a split that is not there."""
        # Lightning takes an empty list for "no validation", and warns that this may be a mistake; here it is none.
        warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
        return []

    @override
    def on_exception(self, exception: BaseException) -> None:
        # After an error in validation Lightning ends the workers of validation; those of training would stay until
        # somebody lets go of the trainer, in a notebook for ever.
        if self.trainer:
            self.trainer.fit_loop.teardown()

    @override
    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many of its samples all processes together have been trained on."""
        epoch, done = self._position()
        return {"epoch": epoch, "done": done}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resume = (state_dict["epoch"], state_dict["done"])
        # Lightning looks for the place in an epoch in the loader alone.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
