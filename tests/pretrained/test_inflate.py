"""Inflated kernels answer to a video of equal frames as the 2D ones to the frame."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightframe.errors import UsageError
from lightframe.pretrained.inflate import check_inflate, inflate_kernel


@pytest.mark.parametrize("way", ["mean", "center"])
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_a_video_of_equal_frames(way: str, frames: int) -> None:
    weight, image = torch.randn(4, 3, 3, 5, dtype=torch.float64), torch.randn(2, 3, 9, 9, dtype=torch.float64)
    video = image.unsqueeze(2).expand(-1, -1, 7, -1, -1)
    found = F.conv3d(video, inflate_kernel(weight, frames, way), padding=(0, 1, 2))
    expected = F.conv2d(image, weight, padding=(1, 2)).unsqueeze(2).expand_as(found)
    assert found.shape[2] == 7 - frames + 1
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_at_the_center_each_frame_is_seen_by_itself() -> None:
    weight, video = torch.randn(4, 3, 3, 3), torch.randn(1, 3, 6, 8, 8)
    found = F.conv3d(video, inflate_kernel(weight, 3, "center"), padding=(1, 1, 1))
    expected = torch.stack([F.conv2d(frame, weight, padding=1) for frame in video.unbind(2)], 2)
    torch.testing.assert_close(found, expected)


def test_patch_embeddings() -> None:
    flat, deep = nn.Conv2d(3, 8, 4, 4), nn.Conv3d(3, 8, (2, 4, 4), (2, 4, 4))
    deep.weight.data.copy_(inflate_kernel(flat.weight.data, 2))
    deep.bias.data.copy_(flat.bias.data)
    image = torch.randn(1, 3, 8, 8)
    found = deep(image.unsqueeze(2).expand(-1, -1, 4, -1, -1))
    torch.testing.assert_close(found, flat(image).unsqueeze(2).expand_as(found))


def test_ways() -> None:
    assert [check_inflate(given) for given in (True, False, "mean", "center")] == ["mean", None, "mean", "center"]
    for wrong in ("centre", 3, None):
        with pytest.raises(UsageError, match="inflate is true, false, mean or center, not"):
            check_inflate(wrong)
