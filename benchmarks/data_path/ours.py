"""lightframe, and the limit that it is held against."""

from functools import cache, partial

from torch import Tensor

from data_path.bare import bare_decode
from data_path.jobs import SIZE, Job
from data_path.pipeline import Pipeline, Read


def known_video() -> Read:
    """A file that `lightframe scan` or an earlier epoch has read: its `probe` is at hand."""
    from lightframe.datamodules.decoding import probe, read_frames

    known = cache(probe)

    def read(job: Job) -> Tensor:
        return read_frames(job.video.path, job.indices, crop=job.box, size=SIZE, info=known(job.video.path))

    return read


def first_visit() -> Read:
    """A file never seen before: it is probed, and then read."""
    from lightframe.datamodules.decoding import probe, read_frames

    def read(job: Job) -> Tensor:
        info = probe(job.video.path)
        return read_frames(job.video.path, job.indices, crop=job.box, size=SIZE, info=info)

    return read


def whole_frames(decoder: str) -> Read:
    """The frames as they are, neither cropped nor scaled, with one of our decoders."""
    from lightframe.datamodules.decoding import probe, read_frames

    known = cache(probe)

    def read(job: Job) -> Tensor:
        return read_frames(job.video.path, job.indices, info=known(job.video.path), decoder=decoder)

    return read


LIGHTFRAME = Pipeline("lightframe", known_video)
FIRST_VISIT = Pipeline("lightframe, first visit", first_visit)
BARE = Pipeline("bare decode", lambda: bare_decode, pixels=None)
WHOLE_FRAMES = [
    Pipeline(f"lightframe, decoder={decoder}", partial(whole_frames, decoder), pixels=None)
    for decoder in ("pyav", "torchcodec", "auto")
]
