"""TorchCodec, set up in each way that its documentation offers; the fastest one counts."""

import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from torch import Tensor

from data_path.jobs import SIZE, Job
from data_path.pipeline import Pipeline, Read
from data_path.sources import Video


def _torchcodec_mode(mode: str) -> Callable[[Video], dict[str, Any]]:
    """The arguments of VideoDecoder for a way to find frames.

    "mapping" is what corresponds to a file that is known from before: the time stamps are given, nothing is scanned.
    """

    @cache
    def mapping(video: Video) -> dict[str, Any]:
        keys = set(video.keys)
        frames = [
            {"pts": pts, "duration": duration, "key_frame": int(pts in keys)}
            for pts, duration in zip(video.pts, video.durations, strict=True)
        ]
        return {"custom_frame_mappings": json.dumps({"frames": frames})}

    return mapping if mode == "mapping" else lambda video: {"seek_mode": mode}


def torchcodec_v2(mode: str) -> Read:
    """TorchCodec, then torchvision's v2 `resized_crop` on its channels-last view."""
    from torchcodec.decoders import VideoDecoder
    from torchvision.transforms.v2 import functional as F

    arguments = _torchcodec_mode(mode)

    def read(job: Job) -> Tensor:
        decoder = VideoDecoder(job.video.path, num_ffmpeg_threads=1, **arguments(job.video))
        return F.resized_crop(decoder.get_frames_at(list(job.indices)).data, *job.box, [SIZE, SIZE], antialias=True)

    return read


def torchcodec_own(mode: str) -> Read:
    """TorchCodec that crops and resizes while it decodes."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import RandomCrop, Resize

    arguments = _torchcodec_mode(mode)

    class GivenCrop(RandomCrop):
        """RandomCrop at a given place. No crop of TorchCodec is told where; this private method is how it is asked."""

        def __init__(self, box: tuple[int, int, int, int]) -> None:
            super().__init__(box[2:])
            self.top, self.left = box[:2]

        def _make_transform_spec(self, input_dims: tuple[int | None, int | None]) -> str:
            return f"crop, {self.size[0]}, {self.size[1]}, {self.left}, {self.top}"

    def read(job: Job) -> Tensor:
        transforms = [GivenCrop(job.box), Resize((SIZE, SIZE))]
        decoder = VideoDecoder(job.video.path, num_ffmpeg_threads=1, transforms=transforms, **arguments(job.video))
        return decoder.get_frames_at(list(job.indices)).data

    return read


TORCHCODEC = [
    Pipeline(name, partial(load, mode), mode)
    for name, load in (("TorchCodec + v2", torchcodec_v2), ("TorchCodec's own crop", torchcodec_own))
    for mode in ("exact", "approximate", "mapping")
]
