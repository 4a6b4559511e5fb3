"""A small detector that a laptop's CPU trains from scratch in minutes: for trying things out and for tests."""

from collections import OrderedDict
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from lightframe.errors import UsageError
from lightframe.models.registry import MODELS
from lightframe.models.torchvision_detection import Detector, check_keywords


@MODELS.register("fcos_tiny")
def fcos_tiny(num_classes: int, width: int = 64, min_size: int = 128, max_size: int = 256, **kwargs: Any) -> Detector:
    """torchvision's FCOS on a backbone of eight convolutions with a feature pyramid.

    The pyramid's levels have strides 8, 16 and 32, and look for objects whose far side lies at most 64, 64 to 128, and
    more than 128 pixels away. Group norm all through: nothing depends on how large the batch is.

    Args:
        num_classes: classes, the background, class 0, included.
        width: channels of the pyramid and the heads, a multiple of 32; the backbone's stages have 1/4 to 2 times that.
        min_size: to which the shorter side of each image is scaled, pixels.
        max_size: which the longer side may not exceed by that.
        kwargs: whatever else torchvision's FCOS takes: score_thresh, nms_thresh, detections_per_img, ...

    Raises:
        UsageError: a width that is no multiple of 32, or an argument that FCOS does not take.

    >>> import torch
    >>> target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([2])}
    >>> sorted(fcos_tiny(num_classes=4)(([torch.rand(3, 96, 128)], [target])))
    ['bbox_ctrness', 'bbox_regression', 'classification']
    """
    # A second of import time that only those who ask for this net pay.
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.fcos import FCOS, FCOSHead

    if width < 32 or width % 32:
        raise UsageError(f"net 'fcos_tiny': width must be a multiple of 32, not {width}")
    check_keywords("fcos_tiny", kwargs, FCOS)
    channels = [3, width // 4, width // 2, width, 2 * width]
    stages = [_stage(*pair) for pair in pairwise(channels)]
    body = nn.Sequential(OrderedDict((f"stage{number}", stage) for number, stage in enumerate(stages, start=1)))
    # BackboneWithFPN adds a third level, pooled from the second.
    pyramid = BackboneWithFPN(body, {"stage3": "0", "stage4": "1"}, channels[3:], width)
    anchors = AnchorGenerator(sizes=((8,), (16,), (32,)), aspect_ratios=((1.0,),) * 3)
    head = FCOSHead(width, num_anchors=1, num_classes=num_classes, num_convs=2)
    detector = FCOS(pyramid, num_classes, min_size, max_size, anchor_generator=anchors, head=head, **kwargs)
    return Detector(detector)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    """Half the resolution: (B, inputs, H, W) to (B, outputs, H / 2, W / 2)."""
    from torchvision.ops import Conv2dNormActivation

    norm = partial(nn.GroupNorm, 8)
    return nn.Sequential(
        Conv2dNormActivation(inputs, outputs, stride=2, norm_layer=norm),
        Conv2dNormActivation(outputs, outputs, norm_layer=norm),
    )
