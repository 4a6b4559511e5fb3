"""Every detector of torchvision, by its name there."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lightframe.errors import UsageError, did_you_mean

# What a net of these classes trains on beside boxes and labels, by the attribute of its `roi_heads` that needs it.
_FURTHER_TARGETS = {"mask_predictor": "masks", "keypoint_predictor": "keypoints"}


class Detector(nn.Module):
    """A detector that takes a whole batch, (images, targets, ...), as `LightFrameModule(net, loss=None)` gives it.

    In training it returns the dict of losses. In evaluation it returns for each image a dict of `boxes` (n, 4), x1 y1
    x2 y2 in pixels of that image, `labels` (n,) and `scores` (n,), the best first; a list of images will do then.

    Args:
        detector: takes (images, targets) in training and (images) in evaluation, as torchvision's do.

    Raises:
        UsageError: the targets lack what the net trains on, masks or keypoints.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: Any) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        images = batch[0] if isinstance(batch, tuple) else batch
        if not self.training:
            return self.detector(list(images))
        self._check(batch[1])
        return self.detector(list(images), list(batch[1]))

    def _check(self, targets: Sequence[Mapping[str, Tensor]]) -> None:
        heads = getattr(self.detector, "roi_heads", None)
        for attribute, needed in _FURTHER_TARGETS.items():
            if getattr(heads, attribute, None) is not None and any(needed not in target for target in targets):
                kind = type(self.detector).__name__
                raise UsageError(
                    f"{kind} trains on {needed}, which these targets lack: give them, or take a net for boxes, such as "
                    "fasterrcnn_resnet50_fpn"
                )


@functools.cache
def torchvision_detectors() -> Mapping[str, Callable[..., nn.Module]]:
    """Torchvision's names (fasterrcnn_resnet50_fpn, fcos_resnet50_fpn, ...) and a factory for each.

    >>> import torch
    >>> with torch.device("meta"):  # no memory, no time for random weights
    ...     net = torchvision_detectors()["fcos_resnet50_fpn"](num_classes=7)
    >>> net.detector.head.classification_head.cls_logits.out_channels
    7
    """
    from torchvision import models  # a second of import time that only those who ask for these nets pay

    return {name: _factory(name) for name in models.list_models(module=models.detection)}


def _factory(name: str) -> Callable[..., Detector]:
    def build(
        num_classes: int = 91, weights: str | None = None, weights_backbone: str | None = None, **kwargs: Any
    ) -> Detector:
        """A detector of torchvision, for a `DetectionBatch`.

        Args:
            num_classes: classes, the background, class 0, included. When the weights have another number of classes,
                the layers that depend on it are new ones.
            weights: a name of torchvision's, such as `COCO_V1`; `DEFAULT` for its best; None for random ones.
            weights_backbone: likewise, of the backbone alone, such as `IMAGENET1K_V1`.
            kwargs: whatever else torchvision's builder of this net takes: min_size, max_size, score_thresh, ...

        Raises:
            UsageError: there are no such weights for this net, or it takes no such argument.
        """
        from torchvision import models

        builder = models.get_model_builder(name)
        check_keywords(name, kwargs, builder, inspect.signature(builder).return_annotation)
        return Detector(_build(name, num_classes, weights, weights_backbone, kwargs))

    build.__name__ = build.__qualname__ = name
    return build


def check_keywords(name: str, given: Iterable[str], *takers: Callable[..., Any]) -> None:
    """Raise a UsageError unless one of `takers`, or what detectors scale images with, knows each of the arguments.

    torchvision hands on what it does not know, and the last one ignores it.
    """
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    known = {known for taker in (*takers, GeneralizedRCNNTransform) for known in inspect.signature(taker).parameters}
    for argument in given:
        if argument not in known - {"kwargs"}:
            raise UsageError(f"net '{name}' takes no '{argument}'{did_you_mean(argument, known)}")


def _build(
    name: str, num_classes: int, weights: str | None, weights_backbone: str | None, kwargs: dict[str, Any]
) -> nn.Module:
    from torchvision import models

    if weights is None:
        return _with_backbone(name, num_classes, weights_backbone, kwargs)
    chosen = _find_weights(name, weights)
    # torchvision refuses any other number of classes than the weights have, so the head is changed afterwards.
    net = models.get_model(name, weights=chosen, **kwargs)
    if num_classes != len(chosen.meta["categories"]):
        arguments = {key: value for key, value in kwargs.items() if key != "trainable_backbone_layers"}
        fresh = _with_backbone(name, num_classes, None, arguments)  # whose backbone is not used
        replace_class_layers(net, fresh)
    return net


def replace_class_layers(net: nn.Module, fresh: nn.Module) -> None:
    """Put into `net` what depends on the number of classes in `fresh`, the same net for another number of them.

    These are the layers whose parameters differ in shape, and the counts that stand beside them.

    >>> net, fresh = (nn.Sequential(nn.Linear(4, 8), nn.Linear(8, count)) for count in (91, 5))
    >>> replace_class_layers(net, fresh)
    >>> net[-1], net[0] is fresh[0]
    (Linear(in_features=8, out_features=5, bias=True), False)
    """
    others = dict(fresh.named_modules())
    for name, module in list(net.named_modules()):
        other = others[name]
        for child, layer in module.named_children():
            if _differ(layer, getattr(other, child)):
                setattr(module, child, getattr(other, child))
        for attribute, value in vars(module).items():
            # FCOS's and RetinaNet's heads keep num_classes, SSD's num_columns.
            if type(value) is int and vars(other).get(attribute, value) != value:
                setattr(module, attribute, getattr(other, attribute))


def _differ(layer: nn.Module, other: nn.Module) -> bool:
    """Whether the same parameters have other shapes; frozen batch norms have none at all, and stay as they are."""
    shapes = [{n: p.shape for n, p in one.named_parameters(recurse=False)} for one in (layer, other)]
    return shapes[0].keys() == shapes[1].keys() and shapes[0] != shapes[1]


def _with_backbone(name: str, num_classes: int, weights: str | None, kwargs: dict[str, Any]) -> nn.Module:
    from torchvision import models

    wanted = None if weights is None else str(weights).upper()
    try:
        return models.get_model(name, num_classes=num_classes, weights_backbone=wanted, **kwargs)
    except KeyError as error:
        if error.args != (wanted,):
            raise
        raise UsageError(
            f"the backbone of net '{name}' has no weights '{weights}': try IMAGENET1K_V1 or DEFAULT"
        ) from None


def _find_weights(name: str, weights: str) -> Any:
    from torchvision import models

    known = models.get_model_weights(name).__members__
    wanted = str(weights).upper()
    if wanted not in known:
        hint = did_you_mean(str(weights), known)
        raise UsageError(f"net '{name}' has no weights '{weights}'{hint} (known: {', '.join(known)})")
    return known[wanted]
