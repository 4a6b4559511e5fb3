"""Decoding with TorchCodec, an optional dependency: on the GPU, and where it is the faster one on the CPU."""

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from lightframe.datamodules.decoding.errors import FramesOutOfRangeError, VideoError, reason
from lightframe.datamodules.decoding.info import VideoInfo
from lightframe.datamodules.decoding.request import ClipRequest
from lightframe.errors import UsageError

_PLACE = re.compile(r"^\w+, \S+:\d+, ")  # of its own source, with which TorchCodec's messages begin
_TOLERANCE = 2e-3  # seconds; some containers keep time in milliseconds


class WrongFramesError(VideoError):
    """TorchCodec gave other frames than those that were asked for."""


@lru_cache(maxsize=1)
def why_not() -> str | None:
    """Why TorchCodec cannot be used here, and the way out; None if it can."""
    try:
        from torchcodec.decoders import VideoDecoder

        # It looks for FFmpeg when the first decoder is made; a video of no bytes then fails in another way.
        VideoDecoder(b"")
    except ModuleNotFoundError:
        return "TorchCodec is not installed: pip install 'lightframe[torchcodec]'"
    except ValueError:
        return None
    except (RuntimeError, OSError, ImportError) as error:
        if isinstance(error, RuntimeError) and "libtorchcodec" not in str(error):
            return None
        first = str(error).strip().splitlines()[0]  # of more than a hundred
        return (
            f"TorchCodec does not load ({first[:80]}): install FFmpeg (apt install ffmpeg, brew install ffmpeg or "
            "conda install ffmpeg) and the TorchCodec that belongs to this torch, or use decoder='pyav', which brings "
            "its own FFmpeg"
        )
    return None


def check_torchcodec(device: str = "cpu") -> None:
    """Raise a UsageError that says what to do unless TorchCodec can decode on `device`."""
    if reason := why_not():
        raise UsageError(f"decoder='torchcodec': {reason}")
    if device != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"device='{device}': no GPU is to be found here; decode on the CPU, with device='cpu'")


def read_with_torchcodec(
    path: str | Path, requests: Sequence[ClipRequest], info: VideoInfo, device: str = "cpu", strict: bool = False
) -> list[Tensor]:
    """As `read_clips`, on `device`.

    Args:
        path: the file.
        requests: the clips.
        info: what `probe` said of this file.
        device: where to decode.
        strict: raise where the frames may not be the right ones, instead of a warning.

    Raises:
        VideoError: the file cannot be read.
        WrongFramesError: see `strict`.
    """
    from torchcodec.decoders import VideoDecoder

    positions = sorted({int(index) for request in requests for index in request.indices})
    try:
        decoder: Any = VideoDecoder(str(path), num_ffmpeg_threads=1, device=device)
        count = min(len(decoder), info.timeline.count)
        if positions[-1] >= count:
            raise FramesOutOfRangeError(
                f"{path}: frame {positions[-1]} was asked for but the video has {count} frames", count
            )
        batch = decoder.get_frames_at(positions)
    except VideoError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise VideoError(f"{path}: {_PLACE.sub('', reason(error))}") from error
    wrong = _what_is_wrong(batch.pts_seconds.cpu(), positions, info)
    if wrong and strict:
        raise WrongFramesError(f"{path}: {wrong}")
    if wrong:
        _warn_once(f"{path}: {wrong}; decoder='auto' reads such files with PyAV")
    place = {position: number for number, position in enumerate(positions)}
    return [_clip(batch.data, [place[int(index)] for index in request.indices], request) for request in requests]


def _what_is_wrong(seconds: Tensor, positions: Sequence[int], info: VideoInfo) -> str | None:
    """A frame of another time is a wrong frame, however alike they look."""
    if not info.timeline.seekable:
        return "on files whose time stamps do not tell the frames apart TorchCodec gives neighbours of those asked for"
    wanted = torch.from_numpy(info.timeline.pts_at(positions)) * float(info.timeline.unit)
    off = (seconds.double() - wanted).abs() > _TOLERANCE
    if not off.any():
        return None
    first = int(off.nonzero()[0])
    return (
        f"TorchCodec gave the frame at {float(seconds[first]):.3f} s for frame {positions[first]}, which is shown at "
        f"{float(wanted[first]):.3f} s"
    )


_warned: list[str] = []


def _warn_once(message: str) -> None:
    if not _warned:  # in a process, not for each file
        _warned.append(message)
        warnings.warn(message, stacklevel=4)


def _clip(frames: Tensor, places: list[int], request: ClipRequest) -> Tensor:
    """The clip (T, 3, height, width) of all the decoded frames (N, 3, H, W)."""
    clip = frames
    if places != list(range(len(frames))):  # picking makes a copy, which takes as long as decoding MPEG-4
        clip = frames[torch.tensor(places, device=frames.device)]
    if request.crop is not None:
        clip = F.crop(clip, *request.crop)
    if request.size is not None:
        clip = F.resize(clip, list(request.size), antialias=True)
    return F.horizontal_flip(clip) if request.mirror else clip
