"""What a video file says of itself, read from its packets."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from lightframe.datamodules.decoding.container import open_video, packets_of
from lightframe.datamodules.decoding.errors import VideoError
from lightframe.datamodules.decoding.packets import Packet, timeline_of
from lightframe.datamodules.decoding.timeline import Timeline


class VideoInfo(NamedTuple):
    """What a video says of itself.

    Attributes:
        frames: how many, from its packets. Header counts lie (0 for .mkv, billions for a damaged .mp4) and are not
            looked at.
        fps: frames per second on average, 0.0 when the file does not tell.
        height: of a frame as it is shown (rotation applied), pixels.
        width: likewise.
        timeline: when each frame is shown.
        codec: FFmpeg's name of it, such as h264.
    """

    frames: int
    fps: float
    height: int
    width: int
    timeline: Timeline
    codec: str


def probe(path: str | Path) -> VideoInfo:
    """Read all packets of a video, and decode its first frame.

    Raises:
        VideoError: not a video, or damaged at its start.
    """
    with open_video(path) as (container, stream):
        codec = stream.codec_context.codec.canonical_name
        packets: list[Packet] = []
        first: Any = None
        for packet in packets_of(container, stream):
            if first is None:  # the last packet is empty and flushes the decoder: it may bring the only frame
                first = next(iter(packet.decode()), None)
            if packet.size:
                packets.append(Packet.of(packet, codec))
        if first is None or all(packet.hidden for packet in packets):
            raise VideoError(f"{path}: not one frame can be decoded")
        rate = Fraction(stream.average_rate or stream.guessed_rate or 0)
        unit, reordered = Fraction(stream.time_base), bool(stream.codec_context.has_b_frames)
        timeline = timeline_of(packets, unit, rate, reordered, container.format.name)
    height, width = (first.width, first.height) if quarter_turns(first) % 2 else (first.height, first.width)
    fps = timeline.fps or float(rate)
    return VideoInfo(timeline.count, fps, height, width, timeline, codec)


def quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that show a frame upright."""
    return round((frame.rotation or 0) / 90) % 4
