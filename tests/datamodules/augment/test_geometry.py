"""Boxes against closed forms: inside the frame, on even pixels, and distributed as the papers say."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from lightframe import UsageError
from lightframe.datamodules.augment.geometry import CentreSquare, RandomResizedCrop, ShortSideJitter

CROPS = [RandomResizedCrop(), RandomResizedCrop((0.01, 0.02)), ShortSideJitter(64, 80), CentreSquare(0.875)]
FRAMES = [(1, 1), (1, 9), (2, 2), (3, 2), (5, 7), (24, 32), (33, 31), (240, 320), (257, 341), (1280, 720), (10, 2000)]
DRAWS = 2000


def distance_from_uniform(values: np.ndarray, low: float, high: float) -> float:
    """Kolmogorov's statistic times sqrt(n): above 1.95 for one sample in a thousand."""
    shares = (np.sort(values) - low) / (high - low)
    steps = np.arange(len(shares) + 1) / len(shares)
    return max(np.abs(shares - steps[:-1]).max(), np.abs(shares - steps[1:]).max()) * math.sqrt(len(shares))


def draw(crop, height: int, width: int, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.array([crop.box(rng, height, width, size) for _ in range(DRAWS)], dtype=float).T


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("height", "width"), FRAMES)
def test_a_box_lies_inside_its_frame_on_even_pixels(crop, height, width):
    rng = np.random.default_rng(0)
    for _ in range(100):
        top, left, box_height, box_width = box = crop.box(rng, height, width, 64)
        assert all(type(number) is int for number in box)
        assert 0 <= top < top + box_height <= height
        assert 0 <= left < left + box_width <= width
        if min(height, width) >= 2:
            assert not any(number % 2 for number in box)


def test_every_even_place_is_drawn():
    tops, lefts, heights, widths = draw(ShortSideJitter(64, 64), height=6, width=9)
    assert set(zip(tops, lefts, heights, widths, strict=True)) == {(0, 0, 6, 6), (0, 2, 6, 6)}


def test_random_resized_crop_draws_area_evenly_and_ratio_evenly_on_a_log_scale():
    # The widest box, sqrt(0.5 * 4/3) = 0.82 of the side, always fits: nothing is rejected, all is closed form.
    tops, lefts, heights, widths = draw(RandomResizedCrop((0.25, 0.5), (3 / 4, 4 / 3)), 4000, 4000)
    assert distance_from_uniform(heights * widths / 4000**2, 0.25, 0.5) < 1.95
    assert distance_from_uniform(np.log(widths / heights), math.log(3 / 4), math.log(4 / 3)) < 1.95
    assert distance_from_uniform(tops / (4000 - heights), 0, 1) < 1.95
    assert distance_from_uniform(lefts / (4000 - widths), 0, 1) < 1.95


def test_random_resized_crop_keeps_its_bounds_where_boxes_are_rejected():
    _, _, heights, widths = draw(RandomResizedCrop((0.3, 1.0), (0.5, 2.0)), 120, 160)
    # Rounding moves a side by at most one pixel.
    assert ((heights + 1) * (widths + 1) >= 0.3 * 120 * 160).all()
    assert ((widths + 1) / (heights - 1) >= 0.5).all()
    assert ((widths - 1) / (heights + 1) <= 2).all()


@pytest.mark.parametrize(("height", "width"), [(100, 1000), (1000, 100)])
def test_a_frame_in_which_nothing_fits_gives_the_box_of_torchvision(height, width):
    box = RandomResizedCrop((1.0, 1.0), (3 / 4, 4 / 3)).box(np.random.default_rng(0), height, width, 64)
    theirs = v2.RandomResizedCrop(64, (1.0, 1.0), (3 / 4, 4 / 3)).make_params([torch.zeros(3, height, width)])
    assert box == pytest.approx([theirs[name] for name in ("top", "left", "height", "width")], abs=1)


@pytest.mark.parametrize(("height", "width"), [(20000, 30000), (30000, 20000)])
def test_short_side_jitter_scales_the_short_side_evenly(height, width):
    tops, lefts, heights, widths = draw(ShortSideJitter(256, 320), height, width, size=224)
    assert (heights == widths).all()
    assert distance_from_uniform(224 / heights * 20000, 256, 320) < 1.95
    assert distance_from_uniform(tops / (height - heights), 0, 1) < 1.95
    assert distance_from_uniform(lefts / (width - widths), 0, 1) < 1.95


@pytest.mark.parametrize(
    ("share", "height", "width", "box"),
    [
        (1.0, 240, 320, (0, 40, 240, 240)),
        (0.875, 256, 340, (16, 58, 224, 224)),
        (0.5, 101, 60, (34, 14, 30, 30)),
        (1.0, 7, 5, (0, 0, 4, 4)),
    ],
)
def test_centre_square(share, height, width, box):
    assert CentreSquare(share).box(np.random.default_rng(0), height, width, 64) == box


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizedCrop(scale=(0.5, 1.5)), "random_resized_crop: scale must be two numbers above 0 and at"),
        (lambda: RandomResizedCrop(scale=(0.0, 0.5)), "scale must be two numbers"),
        (lambda: RandomResizedCrop(scale=0.5), "scale must be two numbers, the smallest and the largest, not 0.5"),
        (lambda: RandomResizedCrop(ratio=(2, 1)), "the smaller one first"),
        (lambda: RandomResizedCrop(ratio=(1, math.inf)), "ratio must be two numbers above 0"),
        (lambda: ShortSideJitter(320, 256), "min_size and max_size must be two numbers"),
        (lambda: ShortSideJitter(256, 320).check_size(257), "choose a min_size of 257 or more"),
    ],
)
def test_what_makes_no_box_is_named(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_short_side_as_long_as_the_clip_is_enough():
    ShortSideJitter(256, 320).check_size(256)
