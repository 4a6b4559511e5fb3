"""What others measured, each figure with its source and how it was made."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lightframe.speed.report import Report

_SHIPPED = Path(__file__).parent / "references"
TORCH_FRAME = "torch-frame 1.7, the table of its gpu_cnn_speed"
TORCH_FRAME_CAVEAT = (
    "Seconds for 300 iterations by a clock that did not wait for the GPU, without a warm-up, in training mode with "
    "autograd recording. No figure above is made so, which is why there is no ratio to them."
)


class OldRow(NamedTuple):
    """Seconds for 300 iterations as the old framework took them.

    Attributes:
        net: its name.
        shape: of the batch.
        seconds: by device.
    """

    net: str
    shape: tuple[int, ...]
    seconds: dict[str, int]


def _old(net: str, batch_size: int, *seconds: int) -> OldRow:
    devices = ("RTX 3090", "V100", "A100")
    return OldRow(net, (batch_size, 3, 224, 224), dict(zip(devices, seconds, strict=True)))


TORCH_FRAME_ROWS = (
    _old("mobilenet_v2", 16, 6, 12, 8),
    _old("resnet50", 16, 7, 9, 8),
    _old("vgg16", 16, 9, 7, 5),
    _old("mobilenet_v2", 64, 16, 25, 24),
    _old("resnet50", 64, 19, 33, 24),
    _old("vgg16", 64, 29, 28, 22),
)


def shipped_reports(nets: Collection[str], folder: Path = _SHIPPED) -> list[Report]:
    """Reports of any of these nets that come with the package.

    Each is a file of `lightframe benchmark --output` in `references/`.
    """
    # A file is called by its name alone: where the package is installed tells nobody anything.
    reports = [replace(Report.load(file), source=file.name) for file in sorted(folder.glob("*.json"))]
    return [report for report in reports if any(row.setting.net in nets for row in report.rows)]
