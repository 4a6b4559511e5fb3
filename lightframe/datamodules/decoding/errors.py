"""What can be wrong with a video."""


class VideoError(RuntimeError):
    """A file that cannot be read as a video; the message names it and says why."""


class FramesOutOfRangeError(VideoError):
    """Frames were asked for behind the last one.

    Attributes:
        frames: how many frames the video really has.
    """

    def __init__(self, message: str, frames: int = 0) -> None:
        super().__init__(message)
        self.frames = frames

    def __reduce__(self) -> tuple[type, tuple[str, int]]:  # a loader's worker sends it to the training process
        return type(self), (str(self), self.frames)


def reason(error: BaseException) -> str:
    """What FFmpeg or the system says of an error, in a line and without their numbers."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:300]
