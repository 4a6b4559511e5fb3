import collections

import pytest

from lightframe.datamodules.sampler import EpochSampler


def indices(sampler):
    return [index for _, index in sampler]


def test_a_permutation_by_seed_and_epoch():
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1, 2):
            sampler = EpochSampler(range(50), seed, epoch=epoch)
            keys = list(sampler)
            assert {key[0] for key in keys} == {epoch}
            assert sorted(index for _, index in keys) == list(range(50))
            assert len(sampler) == 50
            assert list(sampler) == keys == list(EpochSampler(range(50), seed, epoch=epoch))
            orders[seed, epoch] = tuple(index for _, index in keys)
    assert len(set(orders.values())) == 6


def test_indices_are_plain_numbers():
    assert {type(part) for key in EpochSampler(range(4)) for part in key} == {int}


def test_set_epoch():
    sampler = EpochSampler(range(30), seed=3)
    sampler.set_epoch(5)
    assert list(sampler) == list(EpochSampler(range(30), seed=3, epoch=5))


@pytest.mark.parametrize(("size", "ranks"), [(12, 3), (13, 3), (14, 3), (3, 3), (7, 1)])
def test_ranks_share_the_set(size, ranks):
    shares = [EpochSampler(range(size), 0, rank, ranks, epoch=2) for rank in range(ranks)]
    seen = [index for share in shares for index in indices(share)]
    assert [len(indices(share)) for share in shares] == [len(share) for share in shares] == [size // ranks] * ranks
    assert len(set(seen)) == len(seen) == size // ranks * ranks
    # Taken in turns, they are the order of a single process: what every rank does not depend on their number.
    together = [index for turn in zip(*map(indices, shares), strict=True) for index in turn]
    assert together == indices(EpochSampler(range(size), 0, epoch=2))[: len(together)]


def test_what_is_left_out_changes():
    left_out = set()
    for epoch in range(40):
        seen = {index for rank in range(3) for index in indices(EpochSampler(range(8), 0, rank, 3, epoch))}
        left_out |= set(range(8)) - seen
    assert left_out == set(range(8))


def test_a_set_smaller_than_the_ranks_is_repeated():
    shares = [indices(EpochSampler(range(3), 0, rank, 7)) for rank in range(7)]
    assert [len(share) for share in shares] == [1] * 7
    counts = collections.Counter(index for share in shares for index in share)
    assert sorted(counts.values()) == [2, 2, 3]
