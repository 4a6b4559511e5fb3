"""The whole loader: how many clips a second arrive in the training process as one uint8 batch."""

import gc
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_path.bare import bare_decode
from data_path.jobs import FRAMES, SIZE, SPAN, STRIDE, Job, draw_clips
from data_path.rounds import reason
from data_path.sources import Column, Video

BATCH = 8
_SKIPPED = 2  # batches that come while the workers are still starting
_AHEAD = 4  # batches that workers prefetch: without them the last ones counted would be made by fewer workers


def measure_loaders(column: Column, work: Path, rounds: int, batches: int, workers: int) -> dict[str, dict[str, Any]]:
    """Clips per second of wall-clock time, round by round: lightframe, a plain TorchCodec loader, bare decoding.

    Args:
        column: the files; hard links to them stand for a data set.
        work: a folder for these.
        rounds: how many.
        batches: of BATCH clips, timed in each round.
        workers: loader processes, or threads in one such process, and processes that decode and do nothing else.

    Returns:
        For each name a row: name, status, rounds_clips_per_s.
    """
    folder = work / "loader" / column.key
    _make_class_folders(column.videos, folder, BATCH * (_SKIPPED + batches + _AHEAD))
    seconds = 0.4 * batches
    measures: dict[tuple[str, ...], Callable[[], tuple[float, ...]]] = {
        ("bare decode",): lambda: (_bare_rate(column.videos, seconds, workers),),
        ("lightframe, first epoch", "lightframe"): lambda: _lightframe_rates(folder, batches, workers, threads=1),
        ("lightframe, threads, first epoch", "lightframe, threads"): lambda: _lightframe_rates(
            folder, batches, workers=1, threads=workers
        ),
        ("TorchCodec + v2",): lambda: (_torchcodec_rate(folder, batches, workers),),
    }
    rows: dict[str, dict[str, Any]] = {
        name: {"name": name, "status": "ok", "rounds_clips_per_s": []} for names in measures for name in names
    }
    for _ in range(rounds):
        for names, rates in list(measures.items()):
            gc.collect()  # the loader before must be gone: forked workers would find it and try to end its workers
            try:
                for name, rate in zip(names, rates(), strict=True):
                    rows[name]["rounds_clips_per_s"].append(rate)
            except Exception as error:
                for name in names:
                    rows[name]["status"] = reason(error)
                del measures[names]
    return rows


def _make_class_folders(videos: list[Video], folder: Path, number: int) -> None:
    """`folder` anew: two classes of hard links to the videos, `number` in all."""
    shutil.rmtree(folder, ignore_errors=True)
    for each in range(number):
        source = Path(videos[each % len(videos)].path)
        link = folder / f"class{each % 2}" / f"{each:04d}{source.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, link)


def _rate(batches: Iterable[Tensor], number: int) -> float:
    """Clips per second over `number` batches, after the first few."""
    iterator = iter(batches)
    for _ in range(_SKIPPED):
        next(iterator)
    start = time.perf_counter()
    for _ in range(number):
        video = next(iterator)
        assert video.dtype == torch.uint8
        assert video.numel() == BATCH * FRAMES * 3 * SIZE**2
    rate = BATCH * number / (time.perf_counter() - start)
    for _ in iterator:  # to the end of the epoch: spawned workers that are stopped while they send a batch may abort
        pass
    return rate


def _lightframe_rates(folder: Path, batches: int, workers: int, threads: int) -> tuple[float, float]:
    """In the first epoch, in which every file is new, and in a second one, in which the workers know theirs.

    The sampler is not told of a new epoch: each worker gets the files that it had before.
    """
    from lightframe import VideoDataModule

    data = VideoDataModule(
        train=str(folder),
        frames=FRAMES,
        stride=STRIDE,
        size=SIZE,
        batch_size=BATCH,
        num_workers=workers,
        threads=threads,
    )
    data.setup("fit")
    loader = data.train_dataloader()
    first, second = (_rate((batch.video for batch in loader if batch is not None), batches) for _ in range(2))
    return first, second


class _PlainDataset(Dataset[Tensor]):
    """What TorchCodec's and torchvision's documentation suggest: a decoder a file, a random clip, v2's random crop."""

    def __init__(self, paths: list[Path]) -> None:
        from torchvision.transforms import v2

        self.paths = paths
        self.crop = v2.RandomResizedCrop(SIZE, scale=(0.25, 1.0), antialias=True)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        from torchcodec.decoders import VideoDecoder

        decoder = VideoDecoder(self.paths[index], seek_mode="approximate", num_ffmpeg_threads=1)
        start = int(torch.randint(len(decoder) - SPAN + 1, ()))
        return self.crop(decoder[start : start + SPAN : STRIDE])


def _torchcodec_rate(folder: Path, batches: int, workers: int) -> float:
    import torchcodec.decoders  # noqa: F401  # here, so that a missing one is told apart from a failing worker

    dataset = _PlainDataset(sorted(path for path in folder.rglob("*.*") if path.is_file()))
    return _rate(DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=workers), batches)


def _bare_rate(videos: list[Video], seconds: float, processes: int) -> float:
    """Clips per second of processes that only decode, side by side, added up."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_decode_for, args=(videos, seconds, seed, barrier, results)) for seed in range(processes)
    ]
    for worker in workers:
        worker.start()
    rates = [results.get(timeout=seconds + 120) for _ in workers]
    for worker in workers:
        worker.join()
    return sum(rates)


def _decode_for(videos: list[Video], seconds: float, seed: int, barrier: Any, results: Any) -> None:
    jobs = _endless_jobs(videos, seed)
    bare_decode(next(jobs))
    barrier.wait(timeout=120)
    start = time.perf_counter()
    for number in count(1):
        bare_decode(next(jobs))
        passed = time.perf_counter() - start
        if passed > seconds:
            results.put(number / passed)
            return


def _endless_jobs(videos: list[Video], seed: int) -> Iterator[Job]:
    for turn in count():
        yield from draw_clips(videos, len(videos), [2, seed, turn])
