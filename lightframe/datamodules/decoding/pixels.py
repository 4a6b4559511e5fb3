"""From a decoded frame to the RGB pixels of a crop, scaled, by FFmpeg's filters."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.filter import Graph
from av.video.reformatter import VideoReformatter
from torchvision.transforms.v2 import functional as F

from lightframe.datamodules.decoding.info import quarter_turns
from lightframe.datamodules.decoding.request import Box

_BT709, _BT601, _SMPTE240M, _BT2020 = 1, 5, 7, 9  # FFmpeg's numbers of matrices from YUV to RGB
_FULL_RANGE = 2
_ANY_TIME_BASE = Fraction(1, 1000)
# Since 17 PyAV looks at what a frame is tagged with, and converts in as many threads as there are cores unless told
# otherwise. The loader's workers are the parallelism.
_OLD = int(av.__version__.partition(".")[0]) < 17
_ONE_THREAD: dict[str, Any] = {} if _OLD else {"threads": 1}


class Scaler:
    """Makes RGB pixels of the frames of one video.

    Where FFmpeg can, it crops before it scales and scales before it converts, so that only wanted pixels are touched.
    Chroma is scaled to half the width of the result and no more: that is twice as fast as FFmpeg's scaling straight
    to RGB, and nearer to scaling the RGB picture.

    Args:
        shape: (height, width) of the video's upright frames. A stream may change its size in mid-way: what is of
            another size is scaled to this one first.
        crop: (top, left, height, width) in pixels of the upright frame; None for all of it.
        size: (height, width) to which the crop is scaled, bilinear with antialiasing; None leaves it as it is.
        mirror: swap left and right.
    """

    def __init__(
        self, shape: tuple[int, int], crop: Box | None, size: tuple[int, int] | None, mirror: bool = False
    ) -> None:
        self.shape, self.crop, self.size, self.mirror = shape, crop, size, mirror
        self._graphs: dict[tuple[Any, ...], Graph | None] = {}
        self._whole = VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        """RGB pixels, uint8 (height, width, 3), upright; mostly a view of memory that FFmpeg will use again."""
        turns = quarter_turns(frame)
        height, width = self.shape if turns % 2 == 0 else self.shape[::-1]
        if frame.width != width or frame.height != height:
            frame = self._whole.reformat(frame, width, height, **_ONE_THREAD)
        look = (frame.format.name, frame.colorspace, frame.color_range, turns)
        if look not in self._graphs:
            self._graphs[look] = self._make_graph(frame, turns)
        graph = self._graphs[look]
        if graph is None:
            return self._by_hand(frame, turns)
        try:
            graph.vpush(frame)
            pixels = _view(graph.vpull())
        except FFmpegError:  # it refuses tags of colour that are reserved, which the converter overlooks
            self._graphs[look] = None
            return self._by_hand(frame, turns)
        return self._upright(pixels, turns) if turns else pixels

    def _make_graph(self, frame: Any, turns: int) -> Graph | None:
        """Crop, mirror, scale and convert; None where FFmpeg would move the crop or there is nothing to do for it."""
        if self.size is None and self.crop is None:
            return None
        whole = (0, 0, *((frame.width, frame.height) if turns % 2 else (frame.height, frame.width)))
        top, left, height, width = stored_box(self.crop or whole, frame.height, frame.width, turns)
        # Chroma is stored for several pixels together: FFmpeg crops at those only.
        layout = frame.format
        if left % (8 // max(layout.chroma_width(8), 1)) or top % (8 // max(layout.chroma_height(8), 1)):
            return None
        filters = [("crop", f"{width}:{height}:{left}:{top}:exact=1")] if self.crop is not None else []
        if self.mirror and not turns:
            filters.append(("hflip", ""))
        if self.size is not None:
            out_height, out_width = self.size if turns % 2 == 0 else self.size[::-1]
            filters.append(("scale", f"{out_width}:{out_height}:flags=bilinear"))
            if layout.chroma_width(8) == 4:
                filters += [("format", "yuv422p"), ("scale", "flags=bilinear")]
        filters.append(("format", "rgb24"))
        graph = Graph()
        if hasattr(graph, "threads"):  # since PyAV 17.1
            graph.threads = 1
        # Time is nothing to these filters, and not every frame knows its unit.
        source = graph.add_buffer(width=frame.width, height=frame.height, format=layout, time_base=_ANY_TIME_BASE)
        graph.link_nodes(source, *(graph.add(*one) for one in filters), graph.add("buffersink")).configure()
        return graph

    def _upright(self, pixels: np.ndarray, turns: int) -> np.ndarray:
        pixels = np.rot90(pixels, turns)
        return pixels[:, ::-1] if self.mirror else pixels

    def _by_hand(self, frame: Any, turns: int) -> np.ndarray:
        pixels = self._whole.reformat(frame, format="rgb24", **_ONE_THREAD, **_tags(frame)).to_ndarray()
        pixels = np.rot90(pixels, turns)
        if self.crop is not None:
            top, left, height, width = self.crop
            pixels = pixels[top : top + height, left : left + width]
        if self.size is not None:
            picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
            pixels = F.resize(picture, list(self.size), antialias=True).permute(1, 2, 0).numpy()
        return pixels[:, ::-1] if self.mirror else pixels


def _tags(frame: Any) -> dict[str, Any]:
    """What a frame is tagged with, as arguments of `reformat`, where that does not look at them itself."""
    matrix = frame.colorspace if frame.colorspace in (_BT709, _SMPTE240M, _BT2020) else _BT601
    if not _OLD or (matrix == _BT601 and frame.color_range != _FULL_RANGE):
        return {}
    # RGB has no matrix, but without another one for the result that of the source is not looked at.
    other = _BT709 if matrix == _BT601 else _BT601
    return {"src_colorspace": matrix, "dst_colorspace": other, "src_color_range": frame.color_range}


def _view(frame: Any) -> np.ndarray:
    """The pixels of an RGB frame where they are; they live as long as the array."""
    plane = frame.planes[0]
    return np.ndarray((frame.height, frame.width, 3), np.uint8, plane, strides=(plane.line_size, 3, 1))


def stored_box(box: Box, height: int, width: int, turns: int) -> Box:
    """A box of the upright frame in the frame as it is stored.

    Args:
        box: in the upright frame.
        height: of the frame as it is stored.
        width: likewise.
        turns: counter-clockwise quarter turns that show it upright.

    >>> stored_box((0, 0, 10, 20), height=100, width=200, turns=1)
    (0, 190, 20, 10)
    """
    top, left, box_height, box_width = box
    if turns == 1:
        return left, width - top - box_height, box_width, box_height
    if turns == 2:
        return height - top - box_height, width - left - box_width, box_height, box_width
    if turns == 3:
        return height - left - box_width, top, box_width, box_height
    return box
