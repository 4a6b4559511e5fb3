"""What every loader of this package yields."""

from typing import NamedTuple

from torch import Tensor


class VideoBatch(NamedTuple):
    """A batch of clips.

    Attributes:
        video: (B, 3, T, H, W); uint8 from the workers, normalised floats once on the device. With more than one
            view per video in testing, (B, views, 3, T, H, W).
        label: (B,) class indices, or (B, classes) multi-hot; -1 where there is no label (prediction).
        index: (B,) the position of each video in its data set.
    """

    video: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # tuple.index is a method that no batch needs
