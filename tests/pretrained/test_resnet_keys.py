"""The names of 2D ResNets in video ResNets."""

import pytest
import torch
from torchvision.models import get_model

from lightframe.pretrained.resnet_keys import is_resnet, video_names


@pytest.mark.parametrize("video", ["r3d_18", "mc3_18"])
def test_names_and_shapes_but_for_time(video: str) -> None:
    with torch.device("meta"):
        flat, deep = get_model("resnet18").state_dict(), get_model(video).state_dict()
    assert is_resnet(flat)
    names = video_names(flat)
    left = [name for name in set(deep) ^ set(names.values()) if not name.startswith("fc.")]
    assert left == []
    for old, new in names.items():
        if not old.startswith("fc."):
            assert [*deep[new].shape[:2], *deep[new].shape[3:]] == [*flat[old].shape]


def test_others_are_none() -> None:
    with torch.device("meta"):
        for name in ("resnet50", "r3d_18", "mobilenet_v2"):
            assert not is_resnet(get_model(name).state_dict())
