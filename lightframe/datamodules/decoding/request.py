"""What to read of a video."""

from collections.abc import Sequence
from typing import NamedTuple

Box = tuple[int, int, int, int]  # top, left, height, width in pixels


class ClipRequest(NamedTuple):
    """One clip to read of a video.

    Attributes:
        indices: frame numbers from 0, in the order in which the video is shown; they may repeat and need not be
            sorted.
        crop: (top, left, height, width) in pixels of the upright frame; None for all of it. A crop on even pixels is
            read faster, as chroma is stored for 2 x 2 of them.
        size: (height, width) to which the crop is scaled, bilinear with antialiasing; None leaves it as it is.
        mirror: swap left and right.
    """

    indices: Sequence[int]
    crop: Box | None = None
    size: tuple[int, int] | None = None
    mirror: bool = False

    @property
    def whole(self) -> bool:
        """Whether the frames are asked for as they are."""
        return self.crop is None and self.size is None
