"""Decoding the frames that are wanted, and as little else as possible."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from av.video.frame import PictureType

from lightframe.datamodules.decoding.container import open_video, packets_of
from lightframe.datamodules.decoding.errors import FramesOutOfRangeError, VideoError, reason
from lightframe.datamodules.decoding.timeline import Timeline

# These are made from other pictures.
_DEPENDENT = {int(PictureType.P), int(PictureType.B), int(PictureType.S)}


class _NotFoundError(VideoError):
    """Not all frames were met at their time stamps."""


def wanted_frames(path: str | Path, positions: Sequence[int], timeline: Timeline) -> Iterator[tuple[int, Any]]:
    """Decode the frames at these positions.

    Frames are told by their time stamps: it jumps to key frames, and leaves out frames on which no other depends.
    Where that fails, all are decoded from the beginning of the file and counted; a position may then be given a
    second time, and the second frame is the right one.

    Args:
        path: the file.
        positions: rising, each once, in the order in which the video is shown.
        timeline: of this file.

    Yields:
        Position and frame (av.VideoFrame), in no order.

    Raises:
        VideoError: the file cannot be read up to the last of these frames.
        FramesOutOfRangeError: the video is sound but shorter.
    """
    if positions[-1] >= timeline.count:
        raise FramesOutOfRangeError(
            f"{path}: frame {positions[-1]} was asked for but the video has {timeline.count} frames", timeline.count
        )
    if timeline.seekable:
        try:
            with open_video(path) as (container, stream):
                yield from _by_time(container, stream, positions, timeline)
            return
        except VideoError:
            # The sequential decode is the judge of what can be read; its error, if any, is the one to report.
            pass
    with open_video(path) as (container, stream):
        frames = (frame for packet in packets_of(container, stream) for frame in packet.decode())
        yield from _by_counting(path, frames, positions)


def _by_time(container: Any, stream: Any, positions: Sequence[int], timeline: Timeline) -> Iterator[tuple[int, Any]]:
    context = stream.codec_context
    context.open(strict=False)  # before `skip_frame` is set: the AV1 decoder keeps for good what it finds there
    for segment in timeline.segments(positions):
        wanted = dict(zip(timeline.pts_at(segment.positions).tolist(), segment.positions, strict=True))
        unsent = len(wanted)
        skipping = False
        packets, landing = _packets_from(container, stream, segment.key, timeline)
        for packet in packets:
            skip = packet.pts not in wanted
            if skip != skipping:
                context.skip_frame = "NONREF" if skip else "DEFAULT"
                skipping = skip
            unsent -= not skip
            for frame in packet.decode():
                pts = frame.pts
                if pts == landing and frame.pict_type in _DEPENDENT:
                    raise _NotFoundError(f"what the file calls a key frame, at the time stamp {pts}, is none")
                if pts in wanted:
                    yield wanted.pop(pts), frame
            if not unsent:
                break
        # What the decoder holds back for reordering comes out without decoding what follows. A seek resets it.
        for frame in context.decode(None):
            if frame.pts in wanted:
                yield wanted.pop(frame.pts), frame
        if wanted:
            raise _NotFoundError(f"no frame at the time stamps {sorted(wanted)}")


def _packets_from(container: Any, stream: Any, key: int | None, timeline: Timeline) -> tuple[Iterator[Any], int | None]:
    """Packets from the beginning of the file, or from a key frame at or before `key` and that one's time stamp."""
    if key is None:
        return packets_of(container, stream), None
    # Where files are searched by the order in which frames are stored, as .ts is, a seek leads behind the key frame; a
    # seek to the one before it then finds it.
    number = int(timeline.keys.searchsorted(key))
    for target in timeline.keys[[number, max(number - 1, 0), 0]].tolist():
        container.seek(target, stream=stream)
        packets = packets_of(container, stream)
        first = next((packet for packet in packets if packet.is_keyframe and packet.size), None)
        if first is not None and first.pts is not None and first.pts <= key:
            return chain((first,), packets), first.pts
    raise _NotFoundError(f"no way to the key frame at the time stamp {key}")


def _by_counting(path: str | Path, frames: Iterator[Any], positions: Sequence[int]) -> Iterator[tuple[int, Any]]:
    wanted, last = set(positions), positions[-1]
    count = 0
    try:
        for position, frame in enumerate(frames):
            count = position + 1
            if position in wanted:
                yield position, frame
            if position == last:
                return
    except VideoError:
        raise
    except Exception as error:
        raise VideoError(f"{path}: frame {count} cannot be decoded: {reason(error)}") from error
    raise FramesOutOfRangeError(f"{path}: frame {last} was asked for but the video has {count} frames", count)
