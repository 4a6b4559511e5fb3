from collections import Counter as Multiset
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler

from lightframe import VideoBatch
from lightframe.evaluation.counting import Counter, batch_index, batch_size, first_rows, first_samples


class Indexed(Dataset[Any]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, int]:
        return {"value": 10 * index, "index": index}


def counted(loader: DataLoader[Any], broken: set[int] = frozenset()) -> list[tuple[int, int]]:  # type: ignore[assignment]
    """(index, value) of all samples that count; those in `broken` are missing in their batches."""
    counter, samples = Counter(loader), []
    for number, batch in enumerate(loader):
        if isinstance(batch, dict):
            kept = [place for place, index in enumerate(batch["index"].tolist()) if index not in broken]
            batch = {key: value[kept] for key, value in batch.items()}
            values = batch["value"]
        else:
            values = batch
        part = counter.count(batch, number)
        assert part.size == len(values)
        assert len(part.index) == part.rows
        samples += zip(part.index.tolist(), values[: part.rows].tolist(), strict=True)
    return samples


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 11])
def test_each_sample_counts_once(count: int, world: int, size: int) -> None:
    data, plain = Indexed(count), [10 * index for index in range(count)]
    for drop_last in (False, True):
        by_index, by_place = Multiset[tuple[int, int]](), Multiset[tuple[int, int]]()
        for rank in range(world):
            sampler = DistributedSampler(data, world, rank, shuffle=False, drop_last=drop_last and count >= world)
            by_index.update(counted(DataLoader(data, size, sampler=sampler)))
            by_place.update(counted(DataLoader(plain, size, sampler=sampler)))
        kept = count // world * world if drop_last and count >= world else count
        expected = Multiset((index, 10 * index) for index in range(kept))
        assert by_index == expected
        assert by_place == expected


def test_missing_samples() -> None:
    """A video that cannot be read is missing in its batch: of 5 on two processes the second repeats 0 at its end."""
    data = Indexed(5)
    for broken, expected in (({0}, [1, 2, 3, 4]), ({3}, [0, 1, 2, 4]), ({0, 1, 3}, [2, 4])):
        found = []
        for rank in (0, 1):
            sampler = DistributedSampler(data, 2, rank, shuffle=False)
            found += counted(DataLoader(data, 2, sampler=sampler), broken)
        assert sorted(index for index, _ in found) == expected


def test_shuffled_and_wrapped_samplers() -> None:
    """Where the order cannot be told the last row of a process that gets one too many is left out all the same."""
    data = Indexed(7)
    values = Multiset[int]()
    for rank in (0, 1):
        loader = DataLoader(data, 3, sampler=DistributedSampler(data, 2, rank, shuffle=True, seed=5))
        values.update(value for _, value in counted(loader))
    assert values == Multiset(range(0, 70, 10))


def test_samplers_without_repeats() -> None:
    data = Indexed(5)
    found = []
    for rank in (0, 1):
        found += counted(DataLoader(data, 2, sampler=UnrepeatedDistributedSampler(data, 2, rank, shuffle=False)))
    assert sorted(index for index, _ in found) == [0, 1, 2, 3, 4]
    assert len(counted(DataLoader(data, 2, sampler=RandomSampler(data)))) == 5


def test_a_stream_and_a_list_of_batches() -> None:
    counter = Counter([torch.zeros(2), torch.zeros(1)])
    assert counter.count(torch.zeros(2), 0).index.tolist() == [0, 1]
    assert counter.count(torch.zeros(1), 1).index.tolist() == [2]
    assert counter.count(None, 2).rows == 0


class Detections(NamedTuple):
    images: list[Tensor]
    index: Tensor  # type: ignore[assignment]


def test_batch_size_and_index() -> None:
    """Of detection batches the first tensor is an image, whose length is its number of channels."""
    batch = Detections([torch.zeros(3, 8, 8)] * 2, torch.tensor([4, 5]))
    assert batch_size(batch) == 2
    assert batch_size((torch.zeros(5, 3), torch.zeros(5))) == 5
    assert batch_size(None) == 0
    assert batch_index((torch.zeros(5, 3), torch.zeros(5))) is None  # tuple.index is a method
    index = batch_index({"index": torch.tensor([1])})
    assert index is not None
    assert index.tolist() == [1]


def test_first_rows() -> None:
    video = VideoBatch(torch.arange(3), torch.arange(3), torch.tensor([7, 8, 9]))
    assert [item.tolist() for item in first_rows(video, 2, 3)] == [[0, 1], [0, 1], [7, 8]]
    images = Detections([torch.zeros(3, 2, 2), torch.ones(3, 2, 2), torch.ones(3, 2, 2)], torch.arange(3))
    cut = first_rows(images, 2, 3)
    assert [tuple(image.shape) for image in cut.images] == [(3, 2, 2)] * 2
    # What the default collate makes of ((a, b), label): inputs of a net with two.
    (first, second), label = first_samples([[torch.arange(2), torch.arange(2)], torch.arange(2)], 1, 2)
    assert (first.tolist(), second.tolist(), label.tolist()) == ([0], [0], [0])
    assert first_rows({"fps": 25, "scale": torch.tensor(2.0)}, 1, 2) == {"fps": 25, "scale": torch.tensor(2.0)}
