"""When each frame of a video is shown, and from where it can be reached: pure arithmetic on time stamps."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

# Decoding on through so many unwanted frames costs less than a jump to the next key frame.
_WORTH_A_JUMP = 4


class Segment(NamedTuple):
    """Frames that are decoded in one go.

    Attributes:
        key: time stamp of the key frame to jump to first; None: decode on from the beginning of the file.
        positions: the wanted frames' positions, rising.
    """

    key: int | None
    positions: list[int]


@dataclass(frozen=True, eq=False)
class Timeline:
    """The time stamps of a video's frames in the order in which they are shown, and its key frames.

    Evenly spaced time stamps, which most files have, take no memory; so a data set's time lines can all be kept.

    Attributes:
        start: time stamp of the first frame, in units of `unit`.
        step: from one frame to the next, if they are evenly spaced.
        count: number of frames.
        explicit: (count,) int64, the time stamps if they are not evenly spaced, else None.
        keys: (n,) int64, rising: time stamps of the packets at which decoding can begin, those that are never shown
            included.
        unit: seconds per tick.
        seekable: whether a frame can be told by its time stamp. If not, the time stamps are no more than the average
            rate, and frames are counted from the beginning of the file.

    >>> timeline = Timeline.of([0, 40, 80, 120], keys=[0, 80], unit=Fraction(1, 1000))
    >>> timeline.step, timeline.seconds([3]).tolist(), timeline.resample(fps=12.5).tolist()
    (40, [0.12], [0, 2])
    """

    start: int
    step: int
    count: int
    explicit: np.ndarray | None
    keys: np.ndarray
    unit: Fraction
    seekable: bool = True

    @classmethod
    def of(
        cls, pts: Sequence[int] | np.ndarray, keys: Sequence[int] | np.ndarray, unit: Fraction, seekable: bool = True
    ) -> "Timeline":
        """From rising time stamps, at least one."""
        pts = np.asarray(pts, dtype=np.int64)
        step = int(pts[1] - pts[0]) if len(pts) > 1 else 1
        even = bool((np.diff(pts) == step).all())
        return cls(int(pts[0]), step, len(pts), None if even else pts, np.asarray(keys, np.int64), unit, seekable)

    @property
    def pts(self) -> np.ndarray:
        """(count,) int64 time stamps."""
        if self.explicit is not None:
            return self.explicit
        return self.start + self.step * np.arange(self.count, dtype=np.int64)

    @property
    def fps(self) -> float:
        """Frames per second on average; 0.0 for a single frame."""
        duration = float((self.pts_at([self.count - 1])[0] - self.start) * self.unit)
        return (self.count - 1) / duration if duration > 0 else 0.0

    def pts_at(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Time stamps of the frames at these positions."""
        positions = np.asarray(positions, dtype=np.int64)
        return self.start + self.step * positions if self.explicit is None else self.explicit[positions]

    def seconds(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """When these frames are shown, in seconds after the first one."""
        return (self.pts_at(positions) - self.start) * float(self.unit)

    def resample(self, fps: float) -> np.ndarray:
        """Positions of the frames that are on the screen every 1 / `fps` seconds, from the first frame to the last.

        Args:
            fps: frames per second; above the video's own rate frames repeat.
        """
        ticks = self.pts - self.start
        per_frame = 1 / (Fraction(fps).limit_denominator(10**6) * self.unit)  # exact: no frame is lost to rounding
        numerator, denominator = per_frame.as_integer_ratio()
        count = int(ticks[-1]) * denominator // numerator + 1
        kind = np.int64 if count * numerator < 2**63 else object
        times = np.arange(count).astype(kind) * numerator // denominator
        return np.searchsorted(ticks, times.astype(np.int64), side="right") - 1

    def segments(self, positions: Sequence[int]) -> list[Segment]:
        """How to reach frames: a jump wherever a key frame lies behind more than a handful of unwanted frames.

        Args:
            positions: rising.
        """
        pts = self.pts_at(positions)
        landings = np.searchsorted(self.keys, pts, side="right") - 1
        keys = self.keys[np.maximum(landings, 0)]
        explicit = self.explicit  # searched for the positions of the key frames
        shown = -((self.start - keys) // self.step) if explicit is None else np.searchsorted(explicit, keys)
        segments: list[Segment] = []
        reached = 0
        for position, landing, key, place in zip(
            positions, landings.tolist(), keys.tolist(), shown.tolist(), strict=True
        ):
            jump = landing >= 0 and place - reached > _WORTH_A_JUMP
            if jump or not segments:
                segments.append(Segment(key if jump else None, []))
            segments[-1].positions.append(position)
            reached = position
        return segments
