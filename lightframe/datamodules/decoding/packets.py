"""What the packets of a file tell of when its frames are shown, and how far that can be trusted."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lightframe.datamodules.decoding.timeline import Timeline

# An MPEG-4 picture "not coded" takes a packet of a few bytes, which gives no frame.
_NOT_CODED = 20
# Seconds a frame on average, above which time stamps or a rate come from a damaged file.
_LONGEST = 60
_USUAL_RATE = Fraction(25)


class Packet(NamedTuple):
    """A piece of a file that holds one frame.

    Attributes:
        pts: when the frame is shown.
        dts: when it is decoded.
        key: whether decoding can begin here.
        hidden: by an edit list, or as a frame that others are made from and that is never shown.
        stamped: whether it begins at a place of the file of its own, and thus with a time stamp of its own.
        gives_frame: whether it surely holds one.
    """

    pts: int | None
    dts: int | None
    key: bool
    hidden: bool = False
    stamped: bool = True
    gives_frame: bool = True

    @classmethod
    def of(cls, packet: Any, codec: str) -> "Packet":
        """From av.Packet."""
        hidden = packet.is_discard or (codec == "vp8" and not memoryview(packet)[0] & 0x10)  # the bit "show frame"
        gives_frame = codec != "mpeg4" or packet.size > _NOT_CODED
        return cls(packet.pts, packet.dts, packet.is_keyframe, hidden, packet.pos is not None, gives_frame)


def timeline_of(packets: Sequence[Packet], unit: Fraction, rate: Fraction, reordered: bool, container: str) -> Timeline:
    """When the frames of these packets are shown.

    Args:
        packets: of the whole file, one or more of them not hidden.
        unit: seconds per tick of their time stamps.
        rate: frames per second, for files that do not tell the time; 0 if not known.
        reordered: whether frames may be stored in another order than they are shown in.
        container: FFmpeg's name of the format.
    """
    shown = sum(not packet.hidden for packet in packets)
    if not _told_by_time(packets, unit, reordered, container):
        rate = rate if rate * _LONGEST >= 1 else _USUAL_RATE
        return Timeline.of(range(shown), [0], 1 / rate, seekable=False)
    pts = np.sort([packet.pts for packet in packets if not packet.hidden])
    keys = np.sort([packet.pts for packet in packets if packet.key])
    # In .mpg several frames share a time stamp; the others' are reckoned, and after a jump not as before.
    return Timeline.of(pts, keys if all(packet.stamped for packet in packets) else keys[:1], unit)


def _told_by_time(packets: Sequence[Packet], unit: Fraction, reordered: bool, container: str) -> bool:
    """Whether no frame can be mistaken for another by its time stamp, in any order of reading."""
    pts = [packet.pts for packet in packets if packet.pts is not None]
    if len(pts) < len(packets) or not packets[0].key or not all(packet.gives_frame for packet in packets):
        return False
    shown = [packet.pts for packet in packets if packet.pts is not None and not packet.hidden]
    # What is shown before the first key frame but stored behind it needs frames that are not there.
    if min(shown) < pts[0] or (max(shown) - pts[0]) * unit > _LONGEST * len(pts):
        return False
    if len(set(shown)) < len(shown):
        return False
    # Pieces that were put together each begin anew.
    if not _rises([packet.dts for packet in packets if packet.dts is not None]):
        return False
    # .avi and .asf, and .mp4 of a poor writer, know no more than the order in which frames are stored.
    return not (reordered and len(pts) > 2 and (container == "avi" or _rises(pts)))


def _rises(times: Sequence[int]) -> bool:
    return all(before <= after for before, after in pairwise(times))
