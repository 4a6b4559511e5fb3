"""The names of torchvision's 2D ResNets in its video ResNets, for `inflate`."""

import re
from collections.abc import Iterable


def is_resnet(names: Iterable[str]) -> bool:
    """Whether these are the names of a ResNet of basic blocks, which r3d_18 and mc3_18 are made of, too."""
    return {"conv1.weight", "layer1.0.conv2.weight"} <= set(names) and "layer1.0.conv3.weight" not in names


def video_names(names: Iterable[str]) -> dict[str, str]:
    """The names in torchvision's r3d_18 and mc3_18.

    >>> video_names(["conv1.weight", "layer2.0.bn1.bias", "layer2.0.downsample.0.weight"])
    {'conv1.weight': 'stem.0.weight', 'layer2.0.bn1.bias': 'layer2.0.conv1.1.bias', 'layer2.0.downsample.0.weight': ...
    """
    found = {}
    for name in names:
        new = re.sub(r"^(conv|bn)1\.", lambda m: f"stem.{_PLACE[m[1]]}.", name)
        found[name] = re.sub(r"(?<=\d\.)(conv|bn)([12])\.", lambda m: f"conv{m[2]}.{_PLACE[m[1]]}.", new)
    return found


_PLACE = {"conv": 0, "bn": 1}
