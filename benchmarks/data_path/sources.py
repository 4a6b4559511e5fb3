"""The files that are measured: one column of the table for each kind."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av

from data_path.encoding import encode, make_synthetic, transcode

TITLES = {
    "h264": "340x256 H.264, key frame / 250",
    "fastdecode": "340x256 H.264, key frame / 12, fast decode",
    "mpeg4": "UCF101 .avi, MPEG-4",
    "720p": "1280x720 H.264",
    "transcoded": "720p after transcoding",
}
_PATTERNS = {
    "small": "clips/*/kinetics/*.mp4",
    "avi": "clips/*/soccer_juggling/*.avi",
    "large": "odd/skv_bigbuckbunny.mp4",
}


class Video(NamedTuple):
    """A file and what its packets say.

    Attributes:
        path: of the file.
        height: of a frame, pixels.
        width: likewise.
        pts: time stamps in the order in which the frames are shown.
        durations: likewise, of each frame.
        keys: the time stamps of the key frames, sorted.
    """

    path: str
    height: int
    width: int
    pts: tuple[int, ...]
    durations: tuple[int, ...]
    keys: tuple[int, ...]

    @classmethod
    def open(cls, path: str | Path) -> "Video":
        """Read the packets of a file, decoding none."""
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            packets.sort(key=lambda packet: packet.pts)
            return cls(
                str(path),
                stream.codec_context.height,
                stream.codec_context.width,
                tuple(packet.pts for packet in packets),
                tuple(packet.duration for packet in packets),
                tuple(packet.pts for packet in packets if packet.is_keyframe),
            )


class Column(NamedTuple):
    """Files of one kind.

    Attributes:
        key: the name on the command line and in the JSON.
        title: the name in tables and plots.
        videos: the files; clips take turns.
        origins: for re-encoded files what the old way reads instead, one for each of `videos`; else empty.
    """

    key: str
    title: str
    videos: list[Video]
    origins: list[Video]


def find_originals(clips: Path) -> dict[str, list[Path]]:
    """The real files under `clips`, which is laid out as benchmarks/README.md says.

    Raises:
        FileNotFoundError: a kind of file is not there.
    """
    found = {kind: sorted(clips.glob(pattern)) for kind, pattern in _PATTERNS.items()}
    missing = [str(clips / _PATTERNS[kind]) for kind, paths in found.items() if not paths]
    if missing:
        raise FileNotFoundError(f"no such files: {', '.join(missing)}; name their folder with --clips, or --synthetic")
    return found


def synthetic_originals(work: Path) -> dict[str, list[Path]]:
    """Files of the same kinds with a moving texture in them, for whoever has no real ones."""
    kinds = {
        "small": ("small.mp4", 340, 256, 300),
        "avi": ("small.avi", 320, 240, 250),
        "large": ("large.mp4", 1280, 720, 132),
    }
    return {
        kind: [_made(work / "synthetic" / name, partial(make_synthetic, width=width, height=height, frames=frames))]
        for kind, (name, width, height, frames) in kinds.items()
    }


def make_columns(keys: Iterable[str], originals: dict[str, list[Path]], work: Path) -> list[Column]:
    """The columns of these keys; what has to be encoded is written to `work`, unless it is there already."""
    small, avi, large = originals["small"], originals["avi"], originals["large"]
    fast = {"crf": "20", "tune": "fastdecode"}
    makers: dict[str, Callable[[], list[Path]]] = {
        "h264": lambda: _each(small, work / "h264", partial(encode, key_interval=250, options={"crf": "23"})),
        "fastdecode": lambda: _each(small, work / "fastdecode", partial(encode, key_interval=12, options=fast)),
        "mpeg4": lambda: avi,
        "720p": lambda: large,
        "transcoded": lambda: _each(large, work / "transcoded", transcode),
    }
    return [
        Column(
            key,
            TITLES[key],
            [Video.open(path) for path in makers[key]()],
            [Video.open(path) for path in large] if key == "transcoded" else [],
        )
        for key in keys
    ]


def _each(paths: list[Path], folder: Path, make: Callable[[Path, Path], None]) -> list[Path]:
    return [_made(folder / path.with_suffix(".mp4").name, partial(make, path)) for path in paths]


def _made(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made if it is not there; it takes its name only when it is whole."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"partial-{target.name}")
        make(partial)
        partial.replace(target)
    return target
