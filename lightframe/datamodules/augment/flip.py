"""Mirroring, and what it does to the labels of classes that tell left from right."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightframe.datamodules.augment.arguments import check_probability
from lightframe.datamodules.augment.registry import AUGMENTATIONS
from lightframe.errors import UnknownNameError, UsageError, did_you_mean


@AUGMENTATIONS.register("flip")
class Flip:
    """Mirrors clips left to right.

    Args:
        p: how often.
        label_map: class -> the class that its mirror image belongs to, each pair once: `{"turn left": "turn right"}`
            also turns right into left. A class that is not named keeps its label.

    Raises:
        UsageError: p outside [0, 1], or a class with two mirror images.

    >>> Flip(label_map={"left": "right"}).label_permutation(["left", "jump", "right"])
    [2, 1, 0]
    """

    def __init__(self, p: float = 0.5, label_map: Mapping[str, str] | None = None) -> None:
        self.p = check_probability("flip: p", p)
        if label_map is not None and not isinstance(label_map, Mapping):
            raise UsageError(f"flip: label_map must name classes, {{left: right}}, not {label_map!r}")
        self.label_map: dict[str, str] = {}
        for one, other in (label_map or {}).items():
            # Classes named by numbers ("0", "1") are numbers in YAML.
            self._pair(str(one), str(other))
            self._pair(str(other), str(one))

    def _pair(self, one: str, other: str) -> None:
        known = self.label_map.setdefault(one, other)
        if known != other:
            raise UsageError(f"flip: label_map mirrors '{one}' into both '{known}' and '{other}'; keep one of them")

    def label_permutation(self, classes: Sequence[str]) -> list[int] | None:
        """For each class the index of its mirror image; None when every class is its own.

        Raises:
            UnknownNameError: `label_map` names what is no class.
        """
        places = {name: place for place, name in enumerate(classes)}
        for name in self.label_map:
            if name not in places:
                raise UnknownNameError(
                    f"flip: label_map names '{name}', which is no class{did_you_mean(name, classes)}"
                )
        permutation = [places[self.label_map.get(name, name)] for name in classes]
        return None if permutation == list(range(len(classes))) else permutation


def mirror_labels(labels: Tensor, permutation: Sequence[int] | None) -> Tensor:
    """The labels that the same clips have once they are mirrored.

    Args:
        labels: (N,) class indices, -1 where there is none, or (N, classes) multi-hot.
        permutation: from `Flip.label_permutation`.

    >>> mirror_labels(torch.tensor([0, 1, -1]), [2, 1, 0]).tolist()
    [2, 1, -1]
    >>> mirror_labels(torch.tensor([[1.0, 1.0, 0.0]]), [2, 1, 0]).tolist()
    [[0.0, 1.0, 1.0]]
    """
    if permutation is None:
        return labels
    mirrored = torch.tensor(permutation, device=labels.device)
    if labels.ndim == 2:
        return labels[:, mirrored]  # a permutation made of pairs is its own inverse
    return torch.where(labels < 0, labels, mirrored[labels.clamp(min=0)])
