"""The one door to pixels: frames of a file as tensors, by the decoder that suits."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from lightframe.arguments import check_choice
from lightframe.datamodules.decoding.errors import VideoError
from lightframe.datamodules.decoding.info import VideoInfo, probe
from lightframe.datamodules.decoding.pyav_reading import read_with_pyav
from lightframe.datamodules.decoding.request import Box, ClipRequest
from lightframe.datamodules.decoding.torchcodec_reading import check_torchcodec, read_with_torchcodec, why_not
from lightframe.errors import UsageError

DECODERS = ("auto", "pyav", "torchcodec")


def read_clips(
    path: str | Path,
    requests: Sequence[ClipRequest],
    info: VideoInfo | None = None,
    decoder: str = "auto",
    device: str = "cpu",
    out: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Several clips of one video, which is opened and decoded once.

    Args:
        path: the file.
        requests: the clips.
        info: what `probe` said of this file; None: it is probed.
        decoder: "pyav", "torchcodec", or "auto" for the faster one of those that give the right frames.
        device: where to decode; other than on the "cpu" with TorchCodec only.
        out: for each request uint8 memory (frames, height, width, 3) that becomes its clip; a copy less where the
            clips belong together.

    Returns:
        For each request a uint8 RGB clip (frames, 3, height, width), channels last in memory, as decoders give them
        and as torchvision is fastest with.

    Raises:
        VideoError: the file cannot be read up to the last of the frames.
        FramesOutOfRangeError: the video is sound but shorter.
        UsageError: there is no such decoder here.
    """
    check_decoder(decoder, device)
    for request in requests:
        if not len(request.indices) or min(request.indices) < 0:
            raise UsageError(f"indices must be frame numbers from 0 on, got {list(request.indices)!r}")
    info = info or probe(path)
    for request in requests:
        _check_box(path, request, info)
    if decoder == "torchcodec":
        return _moved(read_with_torchcodec(path, requests, info, device), out)
    if decoder == "auto" and torchcodec_is_faster(requests, info) and why_not() is None:
        # Where TorchCodec fails or gives other frames PyAV is the judge of what can be read.
        with suppress(VideoError):
            return _moved(read_with_torchcodec(path, requests, info, strict=True), out)
    return read_with_pyav(path, requests, info, out)


def _check_box(path: str | Path, request: ClipRequest, info: VideoInfo) -> None:
    if request.crop is not None:
        top, left, height, width = request.crop
        inside = 0 <= top < top + height <= info.height and 0 <= left < left + width <= info.width
        if not inside:
            raise UsageError(f"{path}: no crop {request.crop} can be taken of {info.height} x {info.width} pixels")
    if request.size is not None and min(request.size) < 1:
        raise UsageError(f"size must be pixels from 1 on, got {request.size}")


def _moved(clips: list[Tensor], out: Sequence[Tensor] | None) -> list[Tensor]:
    if out is None:
        return clips
    return [room.permute(0, 3, 1, 2).copy_(clip) for room, clip in zip(out, clips, strict=True)]


def read_frames(
    path: str | Path,
    indices: Sequence[int],
    crop: Box | None = None,
    size: int | tuple[int, int] | None = None,
    info: VideoInfo | None = None,
    decoder: str = "auto",
    device: str = "cpu",
) -> Tensor:
    """Exactly these frames of a video, in this order: `read_clips` for one clip.

    Args:
        path: the file.
        indices: frame numbers from 0, in the order in which the video is shown; they may repeat and need not be
            sorted.
        crop: (top, left, height, width) in pixels of the upright frame; None for all of it.
        size: (height, width) to which the crop is scaled, bilinear with antialiasing; one number for a square.
        info: what `probe` said of this file; None: it is probed.
        decoder: see `read_clips`.
        device: see there.

    Returns:
        uint8 RGB, (len(indices), 3, height, width), channels last in memory.

    Raises:
        VideoError: the file cannot be read up to the last of these frames.
        FramesOutOfRangeError: the video is sound but shorter.
        UsageError: there is no such decoder here.
    """
    square = (size, size) if isinstance(size, int) else size
    return read_clips(path, [ClipRequest(indices, crop, square)], info, decoder, device)[0]


def torchcodec_is_faster(requests: Sequence[ClipRequest], info: VideoInfo) -> bool:
    """Whether TorchCodec takes less time for this on the CPU.

    PyAV crops and scales before it converts to RGB and leaves out frames on which no other depends. Where there is
    nothing of both, whole frames of MPEG-4 without B-frames, TorchCodec has less to do around the decoding: 32 whole
    frames of UCF101 took it 7.9 ms and PyAV 8.6 ms, while cropped and scaled PyAV is ahead (`benchmarks/data.py`).
    """
    return info.codec == "mpeg4" and info.timeline.seekable and all(request.whole for request in requests)


def check_decoder(decoder: str, device: str = "cpu") -> None:
    """Raise a UsageError unless there is such a decoder here."""
    check_choice("decoder", decoder, DECODERS)
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UsageError(f"device must be cpu, or cuda to decode on the GPU, got {device!r}")
    if decoder == "torchcodec":
        check_torchcodec(device)
    elif device != "cpu":
        raise UsageError(f"device='{device}' needs decoder='torchcodec': PyAV decodes on the CPU")


def describe_decoder(decoder: str, device: str = "cpu") -> str:
    """Which decoder reads videos here, and why, in a sentence."""
    if decoder != "auto":
        return f"videos are decoded with {decoder} on {device}, as asked for"
    reason = why_not()
    if reason:
        return f"videos are decoded with PyAV ({reason})"
    return (
        "videos are decoded with PyAV, which crops and scales before it converts to RGB, but whole frames of MPEG-4 "
        "without B-frames with TorchCodec, which is faster there"
    )
