"""What detection metrics share: they keep all boxes of the set, and know which process had none."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, distributed
from torchmetrics import Metric
from typing_extensions import override

from lightframe.detection.boxes import DETECTION, IMAGE, OBJECT, to_rows
from lightframe.detection.tables import Detections, Objects, read_tables
from lightframe.errors import UsageError


class BoxMetric(Metric):
    """Keeps the boxes on the CPU until the whole set is there; a subclass computes.

    Images count in the order of their `image_id` when all targets have one, else in that of their arrival. It
    matters only between detections of equal score. Several processes bring their images one after the other, so
    without `image_id` such ties may fall differently than in one process.

    Args:
        class_metrics: give the figure of each class that occurs in the targets, too.
        classes: `classes[label]` is what a label is called; one without a name of its own is called by its number.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    figure: ClassVar[str]  # the one of its figures that stands for all
    ignore: ClassVar[str]  # the key of targets that marks objects which need not be found
    detections: list[Tensor]
    objects: list[Tensor]
    images: list[Tensor]

    def __init__(self, class_metrics: bool = False, classes: Sequence[str] | None = None) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        self.class_metrics = class_metrics
        if isinstance(classes, str):
            raise UsageError(f"classes: give a list of names, not '{classes}'")
        names = list(classes or ())
        # torchvision's list for COCO has "N/A" at ten labels.
        self.names = {label: str(name) for label, name in enumerate(names) if names.count(name) == 1}
        for state in ("detections", "objects", "images"):
            self.add_state(state, [], dist_reduce_fx="cat")

    @override
    def update(self, outputs: list[dict[str, Tensor]], targets: list[dict[str, Tensor]]) -> None:
        """Add the images of a batch: see `lightframe.detection.boxes.to_rows` for the form."""
        detections, objects, images = to_rows(outputs, targets, self.ignore)
        self.detections.append(detections)
        self.objects.append(objects)
        self.images.append(images)

    def tables(self) -> tuple[Detections, Objects]:
        """All detections and objects, in the order of their images."""
        return read_tables(_join(self.detections, DETECTION), _join(self.objects, OBJECT), _join(self.images, IMAGE))

    def values(self, figures: Mapping[str, float]) -> dict[str, Tensor]:
        """The figures as tensors without dimensions, on the metric's device."""
        # Lightning reduces what is logged where it is, and NCCL takes nothing from the CPU; Apple's GPUs lack float64.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {name: torch.tensor(float(value), dtype=dtype, device=self.device) for name, value in figures.items()}

    def class_name(self, label: int) -> str:
        """What a label is called in the names of the figures."""
        return self.names.get(label, str(label))

    # Of torchmetrics: not public, but what its own MeanAveragePrecision does. Without it, `.to(torch.bfloat16)` rounds
    # the boxes, and each `.to(device)` brings back to the device what `update` took from it.
    @override
    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> torch.nn.Module:
        return super()._apply(fn, exclude_state=("detections", "objects", "images"))


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """The rows of every process, in the order of their ranks.

    torchmetrics' own way lets a process without images bring a float32 (0,), which does not fit the others' rows, and
    NCCL would not take rows on the CPU.
    """
    gathered: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(gathered, rows, group=group)
    return [part for part in gathered if part.numel()] or [rows]


def _join(state: list[Tensor] | Tensor, columns: int) -> np.ndarray:
    """The rows of a state, which is one tensor after an exchange between processes."""
    rows = [state] if isinstance(state, Tensor) else state
    return torch.cat([part.reshape(-1, columns).double() for part in (*rows, torch.empty(0))]).numpy()
