"""A DataLoader that hears from its workers which videos could not be read."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader, Dataset, Sampler

from lightframe.cores import cores
from lightframe.datamodules.batch import VideoBatch
from lightframe.datamodules.dataset import Key, VideoDataset
from lightframe.datamodules.interrupts import interrupts_held_back
from lightframe.datamodules.sampler import EpochSampler
from lightframe.errors import UsageError
from lightframe.stop_signal import OutliveSigterm


class WorkerLoader(DataLoader[Any]):
    """A DataLoader whose workers leave Ctrl-C to the training process."""

    def _begin(self) -> Iterator[Any]:
        with interrupts_held_back():  # in which workers start
            return super().__iter__()


class VideoLoader(WorkerLoader):
    """Yields the batches of `Batches`; what could not be read for them goes to the data set's `skipped`.

    A batch is None when not one of its videos could be read, which happens in evaluation only.

    Nothing stalls between epochs: the same workers serve all of them, and when the last batch of one is handed out they
    begin with the next, while that batch is trained on and during validation.

    Attributes:
        waited: seconds that batches were waited for, all together.
    """

    waited = 0.0
    _ahead: Iterator[Any] | None = None  # the next epoch, which the workers have begun

    # A generator, so that its workers begin when the first batch is asked for: Lightning makes the iterator of a
    # resumed run before it tells the sampler the epoch.
    def __iter__(self) -> Iterator[VideoBatch | None]:  # type: ignore[override]
        asked = time.perf_counter()
        batches = self._begun() or self._begin()
        last = self._last()
        for number, (batch, skipped) in enumerate(batches, start=1):
            self.waited += time.perf_counter() - asked
            if number == last:
                assert isinstance(self.sampler, EpochSampler)
                with self.sampler.looking_ahead():
                    self._ahead = self._begin()
            if isinstance(batch, UsageError):
                try:
                    raise batch
                finally:
                    del batch  # an error that holds itself holds the workers too, until they are killed
            self.dataset.videos.skipped.record(skipped)  # type: ignore[attr-defined]
            yield batch
            if number == last:
                return  # what comes now is the next epoch
            asked = time.perf_counter()

    def _begun(self) -> Iterator[Any] | None:
        """The epoch that the workers have begun, which is this one."""
        batches, self._ahead = self._ahead, None
        if batches is None:
            return None
        assert isinstance(self.sampler, EpochSampler)
        # Where Lightning ends a fit it shuts the workers down, and takes this attribute of a DataLoader away.
        alive = batches is getattr(self, "_iterator", None)
        self.sampler.enter() if alive else self.sampler.ask_again()
        return batches if alive else None

    def _last(self) -> int | None:
        """The number of the batch behind which workers may go on with another epoch; None where there is none."""
        if not (self.persistent_workers and isinstance(self.sampler, EpochSampler) and self.batch_size):
            return None
        whole, rest = divmod(self.sampler.left, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)


class Batches(Dataset[Any]):
    """Gives a whole batch at once, to a loader whose `collate_fn` is `as_it_is`.

    A UsageError is given in place of a batch: raised in a worker, its one sentence would become a traceback.

    Args:
        videos: the clips of a split.
    """

    def __init__(self, videos: VideoDataset) -> None:
        self.videos = videos

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: Key) -> Any:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Any:
        """A DataLoader asks for all keys of a batch at once."""
        try:
            return self.videos.batch(keys)
        except UsageError as error:
            return error, []


def as_it_is(batch: Any) -> Any:
    """In place of collating what is a batch already."""
    return batch


class StartWorker:
    """What each of a loader's workers does first; the `worker_init_fn` of one loader."""

    def __init__(self) -> None:
        self._outlive_sigterm = OutliveSigterm()

    def __call__(self, worker: int) -> None:
        """To be called in the worker.

        Args:
            worker: its number.
        """
        self._outlive_sigterm()
        # Which Lightning would do itself where there was nothing else to do: other random numbers in each process.
        if os.environ.get("PL_SEED_WORKERS") == "1":
            pl_worker_init_function(worker)


def make_loader(
    videos: VideoDataset,
    batch_size: int,
    workers: int,
    sampler: Sampler[Any] | None = None,
    drop_last: bool = False,
    pin_memory: bool = False,
) -> VideoLoader:
    """The loader of a split.

    Args:
        videos: its clips.
        batch_size: videos in a batch, each in all its clips or views.
        workers: processes that decode.
        sampler: of the training order; None: one video after the other, for evaluation.
        drop_last: leave out a last batch that is not full.
        pin_memory: for a quicker way to the GPU.

    Raises:
        UsageError: the workers have not enough shared memory.
    """
    shape = (videos.training if sampler is not None else videos.evaluation).shape
    if workers and shape is not None:
        _check_shared_memory(workers, batch_size * torch.Size(shape).numel())
    return VideoLoader(
        dataset=Batches(videos),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=as_it_is,
        worker_init_fn=StartWorker(),
        pin_memory=pin_memory,
        drop_last=drop_last,
        persistent_workers=workers > 0,
        # Its own generator: without one each new iterator draws from the global state of the training process.
        generator=torch.Generator().manual_seed(0),
    )


def default_workers(devices: int) -> int:
    """Loader processes per device: the CPU cores that it may use, divided by the devices, at most 8."""
    return min(max(cores() // devices, 1), 8)


def _check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Workers hand batches over in /dev/shm; where it is too small (a container's 64 MB) they just die."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return
    needed, free = 2 * workers * batch_bytes, shutil.disk_usage(shared).free  # a loader prefetches two a worker
    if needed > free:
        raise UsageError(
            f"{workers} loader workers need about {needed / 2**20:.0f} MiB of shared memory and {shared} has "
            f"{free / 2**20:.0f} MiB free: use num_workers=0 or fewer, or give the container more (docker run "
            "--shm-size=8g or --ipc=host)"
        )
