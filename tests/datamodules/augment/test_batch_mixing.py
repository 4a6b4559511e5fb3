"""Mixtures made by hand from the weights that the labels show."""

import numpy as np
import pytest
import torch

from lightframe import UsageError
from lightframe.datamodules.augment.batch_mixing import cutmix, mix_batch, mixup

CLASSES = 5


def batch(clips: int = 4, frames: int = 6, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise (B, 3, T, H, W), a view of memory with the channels last, and a class of its own for each clip."""
    generator = torch.Generator().manual_seed(0)
    memory = torch.randint(256, (clips, frames, side, side, 3), dtype=torch.uint8, generator=generator)
    return memory.permute(0, 4, 1, 2, 3), torch.arange(clips)


def weights(soft: torch.Tensor) -> torch.Tensor:
    """(B,) each clip's own weight; the rest must lie on the clip before it."""
    own = soft[torch.arange(len(soft)), torch.arange(len(soft))]
    before = soft[torch.arange(len(soft)), torch.arange(len(soft)).roll(1)]
    torch.testing.assert_close(own + before, torch.ones(len(soft)))
    torch.testing.assert_close(soft.sum(1), torch.ones(len(soft)))
    return own


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_the_weighted_sum_that_its_labels_tell(seed):
    video, label = batch()
    mixed, soft = mix_batch(video, label, [mixup(alpha=1.0)], seed, CLASSES)
    lam = weights(soft).double().view(-1, 1, 1, 1, 1)
    expected = lam * video.double() + (1 - lam) * video.double().roll(1, 0)
    assert mixed.dtype == torch.uint8
    assert (mixed.double() - expected).abs().max() <= 0.5 + 1e-4  # rounded, not cut off


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_takes_each_pixel_from_one_of_two_clips_in_the_share_of_its_labels(seed):
    clips = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1, 1) * 50
    video = clips.expand(4, 3, 6, 16, 16)
    mixed, soft = mix_batch(video, torch.arange(4), [cutmix()], seed, CLASSES)
    own = mixed == video
    assert (own | (mixed == video.roll(1, 0))).all()
    torch.testing.assert_close(own.float().mean((1, 2, 3, 4)), weights(soft))
    # The same box in all frames and clips.
    assert torch.equal(own, own[:1, :1, :1].expand_as(own))
    rows, columns = (~own[0, 0, 0]).nonzero(as_tuple=True)
    if len(rows):
        assert (~own[0, 0, 0]).sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


def test_mixup_weights_follow_their_distribution():
    video, label = batch(clips=2, frames=1, side=1)
    own = [weights(mix_batch(video, label, [mixup(alpha=1.0)], seed, CLASSES)[1])[0] for seed in range(400)]
    shares = np.sort(np.array(own, dtype=float))  # Beta(1, 1) is uniform on [0, 1]
    distance = np.abs(shares - np.arange(400) / 400).max() * 400**0.5
    assert distance < 1.95  # Kolmogorov's statistic: above that for one sample in a thousand


def test_both_are_drawn_alike_for_each_batch():
    video, label = batch(frames=1)
    cut = 0
    for seed in range(100):
        mixed, _ = mix_batch(video, label, [mixup(alpha=1000), cutmix()], seed, CLASSES)  # mixup half and half
        cut += bool(((mixed == video) | (mixed == video.roll(1, 0))).all())
    assert abs(cut - 50) < 4 * 5


def test_multi_hot_labels_are_mixed_too():
    video, _ = batch(clips=2)
    multi_hot = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    _, soft = mix_batch(video, multi_hot, [mixup(alpha=1.0)], 1, 3)
    lam = soft[0, 0]
    assert 0 < lam < 1
    torch.testing.assert_close(soft, torch.stack([lam * multi_hot[i] + (1 - lam) * multi_hot[1 - i] for i in (0, 1)]))


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_a_batch_of_one_gets_soft_targets_and_stays(mix):
    video, _ = batch(clips=1)
    mixed, soft = mix_batch(video, torch.tensor([3]), [mix()], 0, CLASSES)
    assert torch.equal(mixed, video)
    assert soft.tolist() == [[0.0, 0.0, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize("mix", [mixup, cutmix])
@pytest.mark.parametrize("contiguous", [False, True])
def test_the_layout_stays_and_the_input_is_not_touched(mix, contiguous):
    video, label = batch()
    video = video.contiguous() if contiguous else video
    copy = video.clone()
    mixed, _ = mix_batch(video, label, [mix()], 0, CLASSES)
    assert mixed.stride() == video.stride()
    assert torch.equal(video, copy)


@pytest.mark.parametrize("make", [mixup, cutmix])
@pytest.mark.parametrize("alpha", [0, -1, float("inf"), float("nan"), "much"])
def test_alpha_must_be_a_number_above_0(make, alpha):
    with pytest.raises(UsageError, match=f"{make.__name__}: alpha must be a number above 0"):
        make(alpha)


def test_labels_that_are_no_classes_are_refused():
    video, _ = batch(clips=2)
    with pytest.raises(UsageError, match="fit outputs of shape"):
        mix_batch(video, torch.tensor([0.5, 1.5]), [mixup()], 0, CLASSES)
