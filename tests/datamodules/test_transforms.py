import pytest
import torch

from lightframe.datamodules.transforms import normalize, square_boxes


@pytest.mark.parametrize(
    ("height", "width", "share", "crops", "expected"),
    [
        (100, 200, 1.0, 1, [(0, 50, 100, 100)]),
        (200, 100, 1.0, 1, [(50, 0, 100, 100)]),
        (240, 320, 0.875, 1, [(14, 54, 210, 210)]),  # on even pixels
        (241, 321, 1.0, 1, [(0, 40, 240, 240)]),
        (100, 100, 0.5, 1, [(24, 24, 50, 50)]),
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


def test_normalize_turns_channels_last_into_what_nets_eat():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (2, 4, 5, 6, 3), dtype=torch.uint8, generator=generator)
    result = normalize(frames.movedim(-1, 1), (0.1, 0.45, 0.8), (0.2, 0.225, 0.5))
    assert result.is_contiguous()
    expected = (frames.double() / 255 - torch.tensor([0.1, 0.45, 0.8]).double()) / torch.tensor([0.2, 0.225, 0.5])
    torch.testing.assert_close(result.double(), expected.movedim(-1, 1), atol=2e-6, rtol=1e-6)


def test_normalize_rounds_once_to_half_precision():
    """The arithmetic is float32 whatever the result is: a bfloat16 has 8 bits, so half of 2**-8 is its error."""
    video = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 1, 16, 16)
    result = normalize(video, (0.45,) * 3, (0.225,) * 3, torch.bfloat16)
    assert result.dtype == torch.bfloat16
    expected = (video.double() / 255 - 0.45) / 0.225
    torch.testing.assert_close(result.double(), expected, rtol=2**-8, atol=1e-6)
