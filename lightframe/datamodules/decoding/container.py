"""Opening a video file, and saying clearly why it cannot be opened."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av

from lightframe.datamodules.decoding.errors import VideoError, reason

# A damaged header may ask for a picture of any size: twice that of 8K is the largest that is believed.
_MAX_PIXELS = 2**26
_COVER = av.stream.Disposition.attached_pic


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[Any, Any]]:
    """The opened container and its video stream, both closed at the end.

    One thread decodes: the loader's workers are the parallelism, and FFmpeg's frame threads decode ahead of what is
    wanted.

    Raises:
        VideoError: the file is missing, unreadable or no video, or fails inside the block; names it and says why.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise VideoError(f"{path}: not a file")  # opening a pipe would wait for ever
        # Some HMDB51 files carry metadata that is not UTF-8. (No `options` here: PyAV 16 then crashes on .ts files.)
        with av.open(str(path), metadata_errors="ignore") as container:
            # The cover picture of a piece of music looks like a video of one frame.
            streams = [stream for stream in container.streams.video if not stream.disposition & _COVER]
            if not streams:
                raise VideoError(f"{path}: holds no video stream")
            context = streams[0].codec_context
            if context is None:
                raise VideoError(f"{path}: FFmpeg has no decoder for its video stream")
            if context.width * context.height > _MAX_PIXELS:
                raise VideoError(f"{path}: its header speaks of {context.width} x {context.height} pixels")
            context.thread_count = 1
            context.options = {"max_pixels": str(_MAX_PIXELS)}
            yield container, streams[0]
    except (av.error.FFmpegError, OSError, EOFError) as error:
        raise VideoError(f"{path}: {reason(error)}") from error


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream (av.Packet) from here to the end of the file, and a last one that flushes the decoder."""
    # A stream that appears in mid-file is none that PyAV counts with: at the end it may stumble over it.
    with suppress(IndexError):
        yield from container.demux(stream)
