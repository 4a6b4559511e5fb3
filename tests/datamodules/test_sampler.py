import collections

import pytest
import torch

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
            assert keys == list(EpochSampler(range(50), seed, epoch=epoch))
            orders[seed, epoch] = tuple(index for _, index in keys)
    assert len(set(orders.values())) == 6


def test_indices_are_plain_numbers():
    assert {type(part) for key in EpochSampler(range(4)) for part in key} == {int}


def test_nothing_global_is_drawn():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    list(EpochSampler(range(4)))
    assert torch.equal(torch.get_rng_state(), state)


def test_each_time_is_the_next_epoch():
    sampler = EpochSampler(range(30), seed=3, epoch=5)
    assert (sampler.epoch, sampler.begun) == (5, False)
    for epoch in (5, 6, 7):
        assert list(sampler) == list(EpochSampler(range(30), seed=3, epoch=epoch))
        sampler.set_epoch(99)  # Lightning's count does not matter
        assert (sampler.epoch, sampler.begun) == (epoch, True)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_what_was_done_is_left_out_once(ranks):
    for rank in range(ranks):
        whole = [list(EpochSampler(range(13), 0, rank, ranks, epoch)) for epoch in (4, 5)]
        resumed = EpochSampler(range(13), 0, rank, ranks, epoch=4, done=2 * ranks)
        assert len(resumed) == 13 // ranks  # Lightning counts on in the whole epoch
        assert list(resumed) == whole[0][2:]
        assert list(resumed) == whole[1]


@pytest.mark.parametrize(("size", "ranks"), [(12, 3), (13, 3), (14, 3), (3, 3), (7, 1)])
def test_ranks_share_the_set(size, ranks):
    shares = [EpochSampler(range(size), 0, rank, ranks, epoch=2) for rank in range(ranks)]
    drawn = [indices(share) for share in shares]
    seen = [index for share in drawn for index in share]
    assert [len(share) for share in drawn] == [len(share) for share in shares] == [size // ranks] * ranks
    assert len(set(seen)) == len(seen) == size // ranks * ranks
    # Taken in turns, they are the order of a single process: what every rank does not depend on their number.
    together = [index for turn in zip(*drawn, strict=True) for index in turn]
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
