"""Seeds that nothing outside can change, and global generators that are left alone."""

import itertools

import pytest
import torch

from lightframe.datamodules.augment.seeding import batch_seed, clip_seed, seeded_torch


def test_draws_do_not_depend_on_the_global_state_and_leave_it():
    drawn = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        with seeded_torch(2**64 - 1):
            drawn.append(torch.rand(3))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1])
    torch.manual_seed(2**64 - 1)
    assert torch.equal(torch.rand(3), drawn[0])


def test_the_state_comes_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded_torch(0):
        torch.rand(int(1 / 0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_generator_of_the_device_is_seeded_and_restored():
    before = torch.cuda.get_rng_state()
    drawn = []
    for _ in range(2):
        with seeded_torch(3, "cuda"):
            drawn.append(torch.rand(3, device="cuda"))
        torch.testing.assert_close(torch.cuda.get_rng_state(), before, rtol=0, atol=0)
        torch.rand(1, device="cuda")
        before = torch.cuda.get_rng_state()
    assert torch.equal(drawn[0], drawn[1])


def test_each_purpose_seed_epoch_and_video_has_its_own_seed():
    keys = list(itertools.product(range(5), repeat=3))
    seeds = {clip_seed(*key) for key in keys} | {batch_seed(seed, epoch, [index]) for seed, epoch, index in keys}
    assert len(seeds) == 2 * len(keys)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_batch_in_another_order_is_mixed_anew():
    assert batch_seed(0, 0, [1, 2]) != batch_seed(0, 0, [2, 1])
    assert batch_seed(0, 0, [1, 2]) == batch_seed(0, 0, [1, 2])
