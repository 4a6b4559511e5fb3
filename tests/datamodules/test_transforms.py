import numpy as np
import pytest
import torch

from lightframe.datamodules.transforms import normalize, random_resized_crop_box, square_boxes

SQUARE = {"scale": (0.25, 0.5), "ratio": (3 / 4, 4 / 3)}  # always fits into a square frame


def boxes(height, width, scale, ratio, count=2000):
    rng = np.random.default_rng(0)
    return [random_resized_crop_box(rng, height, width, scale, ratio) for _ in range(count)]


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (256, 256), (100, 500)])
def test_random_boxes_stay_in_the_frame_and_in_their_bounds(height, width):
    for top, left, box_height, box_width in boxes(height, width, (0.08, 0.6), (3 / 4, 4 / 3)):
        assert top >= 0
        assert left >= 0
        assert top + box_height <= height
        assert left + box_width <= width
        # Sides are rounded to whole pixels: half a pixel each way.
        assert (box_height - 0.5) * (box_width - 0.5) <= 0.6 * height * width
        assert (box_height + 0.5) * (box_width + 0.5) >= 0.08 * height * width
        assert (box_width - 0.5) / (box_height + 0.5) <= 4 / 3
        assert (box_width + 0.5) / (box_height - 0.5) >= 3 / 4


def test_shares_ratios_and_places_are_even():
    drawn = np.array(boxes(1000, 1000, **SQUARE), dtype=np.float64)
    top, left, height, width = drawn.T
    draws = len(drawn)

    def mean_of_even(values, low, high):
        """An even draw from [low, high] has mean (low + high) / 2 and variance (high - low)^2 / 12."""
        assert abs(values.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * draws)
        assert values.std() == pytest.approx((high - low) / np.sqrt(12), rel=0.05)

    mean_of_even(height * width / 1e6, 0.25, 0.5)
    mean_of_even(np.log(width / height), np.log(3 / 4), np.log(4 / 3))
    mean_of_even(top / (1000 - height), 0, 1)
    mean_of_even(left / (1000 - width), 0, 1)


def test_the_same_generator_gives_the_same_boxes():
    assert boxes(100, 150, **SQUARE) == boxes(100, 150, **SQUARE)
    assert len(set(boxes(100, 150, **SQUARE))) > 1000


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (100, 1000, (0, 433, 100, 133)),  # as wide as 4:3 allows
        (1000, 100, (433, 0, 133, 100)),  # as high as 3:4 allows
        (120, 130, (0, 0, 120, 130)),  # within the bounds already
    ],
)
def test_where_no_box_fits_the_largest_in_the_centre(height, width, expected):
    class Largest:
        """A generator whose every draw is the upper bound: the whole area, so that no box of another shape fits."""

        def uniform(self, low, high):
            return high

    assert random_resized_crop_box(Largest(), height, width, (1.0, 1.0), (3 / 4, 4 / 3)) == expected


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 400), (400, 1)])
def test_a_box_has_at_least_one_pixel(height, width):
    for top, left, box_height, box_width in boxes(height, width, (0.01, 1.0), (3 / 4, 4 / 3), count=50):
        assert 0 < box_height <= height - top
        assert 0 < box_width <= width - left


@pytest.mark.parametrize(
    ("height", "width", "share", "crops", "expected"),
    [
        (100, 200, 1.0, 1, [(0, 50, 100, 100)]),
        (200, 100, 1.0, 1, [(50, 0, 100, 100)]),
        (240, 320, 0.875, 1, [(15, 55, 210, 210)]),
        (100, 100, 0.5, 1, [(25, 25, 50, 50)]),
        (100, 200, 1.0, 3, [(0, 0, 100, 100), (0, 50, 100, 100), (0, 100, 100, 100)]),
        (200, 100, 1.0, 3, [(0, 0, 100, 100), (50, 0, 100, 100), (100, 0, 100, 100)]),
        (100, 160, 0.8, 2, [(10, 0, 80, 80), (10, 80, 80, 80)]),
        (1, 1, 0.5, 2, [(0, 0, 1, 1), (0, 0, 1, 1)]),
    ],
)
def test_square_boxes(height, width, share, crops, expected):
    assert square_boxes(height, width, share, crops) == expected


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (2, 9, 3, 4, 5, 6), (3, 4, 5, 6)])
def test_normalize(shape):
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    mean, std = (0.1, 0.45, 0.8), (0.2, 0.225, 0.5)
    result = normalize(video, mean, std)
    assert result.dtype == torch.float32
    assert result.shape == video.shape
    for channel in range(3):
        expected = (video.double().select(-4, channel) / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(result.select(-4, channel).double(), expected, atol=2e-6, rtol=1e-6)


def test_normalize_rounds_once_to_half_precision():
    """The arithmetic is float32 whatever the result is: a bfloat16 has 8 bits, so half of 2**-8 is its error."""
    video = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 1, 16, 16)
    result = normalize(video, (0.45,) * 3, (0.225,) * 3, torch.bfloat16)
    assert result.dtype == torch.bfloat16
    expected = (video.double() / 255 - 0.45) / 0.225
    torch.testing.assert_close(result.double(), expected, rtol=2**-8, atol=1e-6)
