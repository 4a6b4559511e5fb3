"""Everything that a scan finds out about one video."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from lightframe.datamodules.decoding import Timeline, VideoError, VideoInfo, open_video, probe
from lightframe.datamodules.decoding.info import quarter_turns
from lightframe.datamodules.video_index import index_path
from lightframe.tools.broken import reason_of


class VideoFile(NamedTuple):
    """A file to read.

    Attributes:
        path: the file.
        folder: to which its path in the record is relative.
        size: in bytes, None if the file cannot be found.
        modified: time of modification in nanoseconds, likewise.
    """

    path: Path
    folder: Path
    size: int | None
    modified: int | None

    @classmethod
    def of(cls, path: Path, folder: Path) -> "VideoFile":
        try:
            status = path.stat()
        except OSError:  # a link to nowhere, say: reading it will say why
            return cls(path, folder, None, None)
        return cls(path, folder, status.st_size, status.st_mtime_ns)

    @property
    def name(self) -> str:
        """The path in the record."""
        return index_path(self.path.relative_to(self.folder))


class Decoded(NamedTuple):
    """What came of decoding a whole video.

    Attributes:
        pts: time stamp of each frame, None where there is none.
        rotation: degrees counter-clockwise that turn the first frame upright.
        pixel_format: of the first frame.
        container: FFmpeg's name of the format.
        error: the first one; what can be decoded behind it is counted all the same.
    """

    pts: list[int | None]
    rotation: int
    pixel_format: str
    container: str
    error: str | None


def video_record(file: VideoFile) -> dict[str, Any]:
    """Read a video to its end: the values of a row of `lightframe.datamodules.video_index.index_schema`.

    Whatever fails becomes the row's error; what is not known is left out.
    """
    path = file.path
    record: dict[str, Any] = {"path": file.name}
    try:
        # Without size and time the row holds for no file: a missing permission is given without changing either.
        record |= {"hash": _hash(path), "size_bytes": file.size, "modified_ns": file.modified}
        if file.size == 0:
            raise VideoError("the file is empty")
        info = probe(path)
        decoded = decode_all(path, info)
        record |= _values(info, decoded) | {"error": decoded.error}
    except Exception as error:  # to find out what fails, and how, is what a scan is for
        record["error"] = reason_of(error, path)
    return record


def decode_all(path: Path, info: VideoInfo) -> Decoded:
    """Decode every frame that can be decoded, behind damage too.

    Raises:
        VideoError: the file cannot be opened.
    """
    pts: list[int | None] = []
    rotation, pixel_format, error = 0, "", None
    with open_video(path) as (container, stream):
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                for frame in packet.decode():
                    if not pts:
                        rotation, pixel_format = quarter_turns(frame) * 90, frame.format.name
                    pts.append(frame.pts)
            except av.error.FFmpegError as failed:
                error = error or _where(len(pts), info) + (failed.strerror or str(failed))
        return Decoded(pts, rotation, pixel_format, container.format.name, error)


def _where(frame: int, info: VideoInfo) -> str:
    seconds = info.timeline.seconds([min(frame, info.frames - 1)])[0]
    return f"frame {frame} of {info.frames} ({seconds:.1f} s): "


def _values(info: VideoInfo, decoded: Decoded) -> dict[str, Any]:
    timeline = decoded_timeline(info, decoded.pts)
    fps = timeline.fps or info.fps
    return {
        "frames": timeline.count,
        "fps": fps,
        "duration": timeline.count / fps if fps else 0.0,
        "width": info.width,
        "height": info.height,
        "rotation": decoded.rotation,
        "codec": info.codec,
        "pixel_format": decoded.pixel_format,
        "container": decoded.container,
        "pts_start": timeline.start,
        "pts_step": timeline.step,
        "pts": timeline.explicit,
        "key_frames": timeline.keys,
        "unit_numerator": timeline.unit.numerator,
        "unit_denominator": timeline.unit.denominator,
        "seekable": timeline.seekable,
    }


def decoded_timeline(info: VideoInfo, pts: Sequence[int | None]) -> Timeline:
    """The time line of the frames which really decoded; packets may be more, or carry other times.

    Args:
        info: what `probe` says.
        pts: of each frame in the order in which they came; unless they rise, frames can only be counted.
    """
    known = [time for time in pts if time is not None]
    if info.timeline.seekable and len(known) == len(pts) and (np.diff(known) > 0).all():
        return Timeline.of(known, info.timeline.keys, info.timeline.unit)
    even = Fraction(info.fps).limit_denominator(100_000)
    unit = info.timeline.unit if not info.timeline.seekable else 1 / even if even else Fraction(1, 25)
    return Timeline.of(range(len(pts)), [0], unit, seekable=False)


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
