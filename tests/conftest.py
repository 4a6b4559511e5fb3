"""Small videos whose every pixel is known."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

Write = Callable[..., Path]


def write_lossless(path: Path, frames: Iterable[np.ndarray], rate: int = 25) -> Path:
    """Encode RGB frames (H, W, 3) without loss, as FFV1 in Matroska."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.pix_fmt = "bgr0"
        for number, pixels in enumerate(frames):
            if number == 0:  # once encoding has begun the size is fixed
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered_frames(count: int, height: int = 24, width: int = 32) -> list[np.ndarray]:
    """Frames that tell their number (red), their column (green) and their row (blue)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return [np.stack([np.full_like(rows, number), columns, rows], axis=-1).astype(np.uint8) for number in range(count)]


@pytest.fixture(scope="session")
def numbered_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 numbered frames of 24 x 32 pixels."""
    return write_lossless(tmp_path_factory.mktemp("video") / "numbered.mkv", numbered_frames(20))


@pytest.fixture
def make_folders(tmp_path: Path, numbered_video: Path) -> Callable[..., Path]:
    """Makes class folders, for example `make_folders(train={"jump": 2, "run": 1})`, of hard links to one video."""

    def make(root: str = "videos", **splits: dict[str, int]) -> Path:
        for split, classes in splits.items():
            for name, count in classes.items():
                folder = tmp_path / root / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    (folder / f"{number}.mkv").hardlink_to(numbered_video)
        return tmp_path / root

    return make


@pytest.fixture
def make_video(tmp_path: Path) -> Write:
    """Writes a lossless video: `make_video("a.mkv", 7, height=24, width=32)` of numbered frames, or of given ones."""

    def make(name: str, frames: int | Sequence[np.ndarray], height: int = 24, width: int = 32) -> Path:
        if isinstance(frames, int):
            frames = numbered_frames(frames, height, width)
        return write_lossless(tmp_path / name, frames)

    return make


SHARED = Path(__file__).parents[2] / "shared" / "videos"


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """The folder of real clips beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("no folder of real clips here")
    return SHARED


def lines(*values: Sequence[str]) -> str:
    """Text of these lines."""
    return "\n".join(map(str, values)) + "\n"
