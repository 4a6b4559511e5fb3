"""Reads clips of videos of which it knows, or learns, what they are."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightframe.datamodules.decoding import ClipRequest, FramesOutOfRangeError, VideoInfo, probe, read_clips
from lightframe.datamodules.video_index import VideoIndex


class VideoReader:
    """Reads clips with one decoder, and remembers what it learned of each video.

    Args:
        decoder: "auto", "pyav" or "torchcodec".
        device: where to decode.
        index: of `lightframe scan`: its videos need no look before they are read.
    """

    def __init__(self, decoder: str = "auto", device: str = "cpu", index: VideoIndex | None = None) -> None:
        # With several GPUs, "cuda" is that of this process.
        self.decoder, self.index = decoder, index
        self.device = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
        self._infos: dict[str, VideoInfo] = {}
        self._counted: dict[str, int] = {}

    def info(self, path: str) -> VideoInfo:
        """What the video says of itself.

        Raises:
            VideoError: not a video, or damaged at its start.
        """
        if path not in self._infos:
            known = self.index.entry(path) if self.index is not None else None
            self._infos[path] = known or probe(path)
        return self._infos[path]

    def read(
        self,
        path: str,
        choose: Callable[[VideoInfo], Sequence[ClipRequest]],
        out: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """The clips that `choose` wants of a video.

        Args:
            path: the file.
            choose: gives the clips for what is known of the video. It is called once more where the video turns out
                to be shorter than it said, and must then draw as it did the first time.
            out: memory for the clips, see `read_clips`.

        Returns:
            Clips as of `read_clips`.

        Raises:
            VideoError: they cannot be read.
        """
        info = self.info(path)
        wanted = choose(info)
        # What is known to be too short is not decoded to its end again. The true count is kept beside the info and
        # not in it: the first draw must not depend on what was read before.
        count = self._counted.get(path)
        if count is None or max(max(request.indices) for request in wanted) < count:
            try:
                return read_clips(path, wanted, info, self.decoder, self.device, out)
            except FramesOutOfRangeError as error:
                if not error.frames:
                    raise
                count = self._counted[path] = error.frames
        shorter = info._replace(frames=count)
        return read_clips(path, choose(shorter), info, self.decoder, self.device, out)
