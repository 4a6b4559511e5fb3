"""Every video classifier of torchvision, by its name there."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from lightframe.errors import UsageError, did_you_mean


@functools.cache
def torchvision_video_nets() -> Mapping[str, Callable[..., nn.Module]]:
    """Torchvision's names (r3d_18, mvit_v2_s, s3d, ...) and a factory for each.

    >>> import torch
    >>> with torch.device("meta"):  # no memory, no time for random weights
    ...     net = torchvision_video_nets()["r3d_18"](num_classes=7)
    >>> net.fc.out_features
    7
    """
    from torchvision import models  # a second of import time that only those who ask for these nets pay

    return {name: _factory(name) for name in models.list_models(module=models.video)}


def _factory(name: str) -> Callable[..., nn.Module]:
    def build(num_classes: int = 400, weights: str | None = None, **kwargs: Any) -> nn.Module:
        """A video classifier of torchvision: (B, 3, T, H, W) to (B, num_classes).

        Args:
            num_classes: outputs. When the weights have another number of classes, the last layer is a new one.
            weights: a name of torchvision's, such as `KINETICS400_V1`; `DEFAULT` for its best; None for random ones.
            kwargs: whatever else torchvision's builder of this net takes.

        Raises:
            UsageError: there are no such weights for this net, or it takes no such argument.
        """
        from torchvision import models

        try:
            if weights is None:
                return models.get_model(name, num_classes=num_classes, **kwargs)
            chosen = _find_weights(name, weights)
            # torchvision refuses any other number of classes than the weights have, so the head is changed afterwards.
            net = models.get_model(name, weights=chosen, **kwargs)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise UsageError(f"net '{name}' of torchvision: {error}") from error
        if num_classes != len(chosen.meta["categories"]):
            replace_classifier(net, num_classes)
        return net

    build.__name__ = build.__qualname__ = name
    return build


def _find_weights(net_name: str, weights: str) -> Any:
    from torchvision import models

    known = models.get_model_weights(net_name).__members__
    wanted = str(weights)
    if wanted.upper() not in known:
        hint = did_you_mean(wanted, known)
        raise UsageError(f"net '{net_name}' has no weights '{wanted}'{hint} (known: {', '.join(known)})")
    return known[wanted.upper()]


def replace_classifier(net: nn.Module, num_classes: int) -> None:
    """Put a freshly initialised layer in place of the net's last Linear or Conv3d (s3d ends in one of 1x1x1).

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 400))
    >>> replace_classifier(net, 5)
    >>> net[-1]
    Linear(in_features=8, out_features=5, bias=True)
    """
    name, old = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, (nn.Linear, nn.Conv3d))][-1]
    new = (
        nn.Linear(old.in_features, num_classes)
        if isinstance(old, nn.Linear)
        else nn.Conv3d(old.in_channels, num_classes, kernel_size=1)
    )
    nn.init.normal_(new.weight, std=0.01)
    assert new.bias is not None  # for the type checker
    nn.init.zeros_(new.bias)
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, new)
