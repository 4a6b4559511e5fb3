"""What people use today, each written from the documentation of its method and with one thread.

PyTorchVideo and PySlowFast, which needs it, do not import beside today's torchvision: they ask for
`torchvision.transforms.functional_tensor`, which is gone. Their order of work is measured, on today's PyAV and torch.
Where a method draws a time or a crop itself it is given the job's. None is asked for more than the job: no flip, no
second resize; normalisation only where it is part of what the method gives.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_path.jobs import SIZE, Job
from data_path.pipeline import Pipeline, Read
from data_path.torchcodec_peers import TORCHCODEC

MEAN, STD = 0.45, 0.225


def _one_threaded_cv2() -> Any:
    import cv2

    cv2.setNumThreads(1)
    return cv2


def old_way() -> Read:
    """Super-Hyper Training Framework: OpenCV reads every frame from the first on, PIL crops and resizes each."""
    from PIL import Image

    cv2 = _one_threaded_cv2()

    def read(job: Job) -> Tensor:
        top, left, height, width = job.box
        wanted, frames = set(job.indices), []
        capture = cv2.VideoCapture(job.video.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        for number in range(job.indices[-1] + 1):
            _, frame = capture.read()
            if number in wanted:
                image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
                image = image.crop((left, top, left + width, top + height))
                frames.append(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
        capture.release()
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)

    return read


def opencv() -> Read:
    """OpenCV as its documentation would have it: seek, `grab` what nobody wants, crop and resize with cv2."""
    cv2 = _one_threaded_cv2()

    def read(job: Job) -> Tensor:
        top, left, height, width = job.box
        wanted, frames = set(job.indices), []
        capture = cv2.VideoCapture(job.video.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        capture.set(cv2.CAP_PROP_POS_FRAMES, job.indices[0])
        for number in range(job.indices[0], job.indices[-1] + 1):
            capture.grab()
            if number in wanted:
                _, frame = capture.retrieve()
                frame = cv2.resize(frame[top : top + height, left : left + width], (SIZE, SIZE))
                frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        capture.release()
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)

    return read


def _decode_range(job: Job) -> list[np.ndarray]:
    """Every frame from the first wanted one to the last as RGB: seek a little before the start, then decode."""
    import av

    start, end = job.video.pts[job.indices[0]], job.video.pts[job.indices[-1]]
    frames = {}
    with av.open(job.video.path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        container.seek(max(start - 1024, 0), stream=stream)
        for frame in container.decode(stream):
            if frame.pts > end:
                break
            if frame.pts >= start:
                frames[frame.pts] = frame
        return [frames[pts].to_rgb().to_ndarray() for pts in sorted(frames)]


def _evenly(frames: Tensor, count: int, dim: int) -> Tensor:
    places = torch.linspace(0, frames.shape[dim] - 1, count).round().long()
    return frames.index_select(dim, places)


def _crop_and_interpolate(clip: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    top, left, height, width = box
    clip = clip[..., top : top + height, left : left + width]
    return torch.nn.functional.interpolate(clip, (SIZE, SIZE), mode="bilinear", align_corners=False)


def pytorchvideo() -> Read:
    """`EncodedVideo.get_clip`, UniformTemporalSubsample, Div255, a resized crop by `interpolate`.

    `get_clip` gives float32 of every frame in the range; the subsample comes after it.
    """

    def read(job: Job) -> Tensor:
        frames = torch.stack([torch.from_numpy(frame) for frame in _decode_range(job)])
        clip = _evenly(frames.permute(3, 0, 1, 2).to(torch.float32), len(job.indices), dim=1) / 255
        return _crop_and_interpolate(clip, job.box)

    return read


def pyslowfast() -> Read:
    """PyAV decoder, temporal sampling on uint8, `tensor_normalize`, then a resized crop by `interpolate`."""

    def read(job: Job) -> Tensor:
        frames = _evenly(torch.as_tensor(np.stack(_decode_range(job))), len(job.indices), dim=0)
        clip = (frames.float() / 255 - MEAN) / STD
        return _crop_and_interpolate(clip.permute(3, 0, 1, 2), job.box)

    return read


def mmaction2() -> Read:
    """DecordInit, DecordDecode, RandomResizedCrop, Resize, FormatShape: cv2 resizes each frame, uint8."""
    import decord

    cv2 = _one_threaded_cv2()

    def read(job: Job) -> Tensor:
        top, left, height, width = job.box
        frames = (
            decord.VideoReader(job.video.path, ctx=decord.cpu(0), num_threads=1).get_batch(list(job.indices)).asnumpy()
        )
        crops = (frame[top : top + height, left : left + width] for frame in frames)
        clip = np.stack([cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for crop in crops])
        return torch.from_numpy(clip).permute(0, 3, 1, 2)

    return read


def decord_v2() -> Read:
    """decord's `get_batch`, then torchvision's v2 `resized_crop`."""
    import decord
    from torchvision.transforms.v2 import functional as F

    def read(job: Job) -> Tensor:
        frames = (
            decord.VideoReader(job.video.path, ctx=decord.cpu(0), num_threads=1).get_batch(list(job.indices)).asnumpy()
        )
        return F.resized_crop(torch.from_numpy(frames).permute(0, 3, 1, 2), *job.box, [SIZE, SIZE], antialias=True)

    return read


def _from_unit(clip: Tensor) -> Tensor:
    return clip.transpose(0, 1) * 255


def _from_normalized(clip: Tensor) -> Tensor:
    return (clip.transpose(0, 1) * STD + MEAN) * 255


OLD_WAY = Pipeline("the old way", old_way)
MMACTION2 = Pipeline("MMAction2's order", mmaction2)
PEERS = [
    OLD_WAY,
    Pipeline("OpenCV", opencv),
    Pipeline("PyTorchVideo's order", pytorchvideo, pixels=_from_unit),
    Pipeline("PySlowFast's order", pyslowfast, pixels=_from_normalized),
    MMACTION2,
    Pipeline("decord + v2", decord_v2),
    *TORCHCODEC,
]
