"""A small world of real video files in which only the motion tells the class."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from rich.progress import track
from typing_extensions import override

from lightframe.arguments import check_whole
from lightframe.datamodules.video import AugmentLike, VideoDataModule
from lightframe.datamodules.written_once import write_once
from lightframe.errors import UsageError

MOTIONS = ("clockwise", "counterclockwise", "down", "left", "right", "up")
_DIRECTIONS = {"down": (0.0, 1.0), "left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0)}  # x, y; y points down
_TURNS = {"clockwise": 1.0, "counterclockwise": -1.0}
_AUGMENT = {"random_resized_crop": {"scale": [0.5, 1.0]}}


class _Texture(NamedTuple):
    """A sum of colour waves with whole frequencies, so that it closes on itself at the frame's edges."""

    frequencies: np.ndarray  # (2, waves), in periods per frame, of x and y
    cosines: np.ndarray  # (waves, 3): what each wave's cosine gives to each colour
    sines: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, waves: int, highest: int) -> "_Texture":
        frequencies = rng.integers(-highest, highest + 1, size=(2, waves)).astype(np.float32)
        phases, heights = rng.uniform(0, 2 * np.pi, size=(waves, 3)), rng.uniform(0.3, 1.0, size=(waves, 3))
        return cls(frequencies, np.float32(heights * np.cos(phases)), np.float32(heights * np.sin(phases)))

    def at(self, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
        """Colours in [0, 1], (H, W, 3), at the places x and y, each (H, W), in pixels."""
        angles = np.stack([x, y], axis=-1) @ self.frequencies * np.float32(2 * np.pi / size)
        return 0.5 + 0.5 * np.tanh(np.cos(angles) @ self.cosines + np.sin(angles) @ self.sines)


def render(motion: str, rng: np.random.Generator, frames: int, size: int) -> Iterator[np.ndarray]:
    """The frames of one clip: a textured shape moves over a background that drifts elsewhere.

    The world is a torus, and where the shape stands, how it is turned and how the background drifts is drawn evenly
    whatever the motion: each single frame has the same distribution in every class.

    Args:
        motion: one of MOTIONS: the direction in which the shape moves, or the sense in which it turns on the spot.
        rng: source of everything random.
        frames: how many.
        size: height and width in pixels.

    Yields:
        uint8 RGB, (size, size, 3).
    """
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    background, skin = _Texture.draw(rng, 4, 2), _Texture.draw(rng, 4, 5)
    drift_angle, drift_speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.012) * size
    drift = np.float32(drift_speed) * np.array([np.cos(drift_angle), np.sin(drift_angle)], dtype=np.float32)
    place, turn = rng.uniform(0, size, size=2).astype(np.float32), rng.uniform(0, 2 * np.pi)
    corners, radius = int(rng.integers(2, 6)), rng.uniform(0.2, 0.28) * size
    step, spin = rng.uniform(0.025, 0.05) * size, np.radians(rng.uniform(7, 14))
    velocity = np.float32(step) * np.array(_DIRECTIONS.get(motion, (0.0, 0.0)), dtype=np.float32)
    spin *= _TURNS.get(motion, 0.0)
    for time in range(frames):
        centre, angle = place + velocity * time, turn + spin * time
        right = (x - centre[0] + size / 2) % size - size / 2
        down = (y - centre[1] + size / 2) % size - size / 2
        # A positive angle turns the shape clockwise on the screen, where y points down.
        u = right * np.cos(angle) + down * np.sin(angle)
        v = down * np.cos(angle) - right * np.sin(angle)
        edge = radius * (1 + 0.25 * np.cos(corners * np.arctan2(v, u)))
        inside = np.clip(edge - np.hypot(u, v) + 0.5, 0, 1)[..., None]
        behind = background.at(x - drift[0] * time, y - drift[1] * time, size)
        yield np.rint(255 * (inside * skin.at(u, v, size) + (1 - inside) * behind)).astype(np.uint8)


def write_video(path: Path, frames: Iterator[np.ndarray], size: int, fps: int = 12) -> None:
    """Encode square RGB frames (size, size, 3) as H.264 in MP4; the file takes its name only when it is whole."""
    partial = path.with_suffix(".partial")
    with av.open(str(partial), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast"})
        stream.pix_fmt, stream.gop_size = "yuv420p", 12
        stream.height = stream.width = size
        stream.codec_context.thread_count = 1  # the bytes of a file must not depend on the number of cores
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    partial.replace(path)


class SyntheticVideoDataModule(VideoDataModule):
    """Six motions of a textured shape, written once as H.264 files in class folders; then a VideoDataModule on them.

    No single frame tells the class, so a net that learns this has learned to see motion. It takes all arguments of
    VideoDataModule; those below have other defaults or are its own. Training clips are not mirrored, since left and
    right are classes.

    Args:
        root: the folder to write to and read from. It is not written again while it stands complete, and written
            anew when a run was killed half-way.
        train_videos: videos per class to train on.
        eval_videos: videos per class in each of val and test.
        video_frames: frames in each video.
        video_size: height and width of the videos in pixels.
        frames: frames in a clip.
        stride: source frames from one frame of a clip to the next.
        size: height and width of a clip in pixels.
        batch_size: clips per batch and device.
        augment: what happens to training clips, see VideoDataModule.
        eval_crop: side of the centre crop in evaluation, as a share of the frame's shorter side.
        seed: of the videos, the clips and their order.
        classes: as a checkpoint tells them; there are no others than these six.

    Raises:
        UsageError: `root` holds something else, or a synthetic set with other settings.
    """

    def __init__(
        self,
        root: str = "synthetic_videos",
        train_videos: int = 60,
        eval_videos: int = 15,
        video_frames: int = 16,
        video_size: int = 64,
        frames: int = 8,
        stride: int = 1,
        size: int = 64,
        batch_size: int = 16,
        augment: AugmentLike | None = _AUGMENT,
        eval_crop: float = 1.0,
        seed: int = 0,
        classes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if classes is not None and tuple(classes) != MOTIONS:
            raise UsageError(f"the synthetic videos have the classes {', '.join(MOTIONS)}: leave classes out")
        super().__init__(
            # Named one by one: a root is asked what is in it, and before `prepare_data` it need not exist.
            train=str(Path(root, "train")),
            val=str(Path(root, "val")),
            test=str(Path(root, "test")),
            frames=frames,
            stride=stride,
            size=size,
            batch_size=batch_size,
            augment=augment,
            eval_crop=eval_crop,
            seed=seed,
            classes=list(MOTIONS),
            **kwargs,
        )
        counts = {"train_videos": train_videos, "eval_videos": eval_videos, "video_frames": video_frames}
        for name, count in {**counts, "video_size": video_size}.items():
            check_whole(name, count, -math.inf)
        if min(counts.values()) < 1 or video_size < 16 or video_size % 2:
            raise UsageError(
                "train_videos, eval_videos and video_frames must be at least 1, video_size an even number from 16 on"
            )
        self.folder = Path(root)
        self.world = {
            "train_videos": train_videos,
            "eval_videos": eval_videos,
            "video_frames": video_frames,
            "video_size": video_size,
            "seed": seed,
        }

    @override
    def prepare_data(self) -> None:
        """Write the videos, unless they stand complete."""
        write_once(self.folder, self.world, self._write)

    def _write(self) -> Iterator[Path]:
        wanted = [
            (split, number, motion)
            for split in ("train", "val", "test")
            for number in range(self.world["train_videos" if split == "train" else "eval_videos"])
            for motion in MOTIONS
        ]
        for split, number, motion in track(wanted, description=f"Writing synthetic videos to {self.folder}"):
            rng = np.random.default_rng(
                [self.world["seed"], ("train", "val", "test").index(split), number, MOTIONS.index(motion)]
            )
            path = self.folder / split / motion / f"{number:04d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = self.world["video_size"]
            write_video(path, render(motion, rng, self.world["video_frames"], size), size)
            yield path
