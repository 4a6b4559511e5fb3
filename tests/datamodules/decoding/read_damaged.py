"""Damages videos and reads them: `python read_damaged.py FOLDER SEED FIRST LAST VIDEO...`, a JSON line for each.

A process of its own, as what is tried is whether any file makes it hang or takes it down.
"""

import faulthandler
import json
import sys
import time
from pathlib import Path

import numpy as np

from lightframe.datamodules.decoding import ClipRequest, VideoError, probe, read_clips

LIMIT = 20  # seconds for a file


def flip(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bytes become others, anywhere or near the beginning or the end, where the headers are."""
    count = int(2 ** rng.uniform(0, 12))
    reach = len(data) if rng.random() < 0.5 else min(4096, len(data))
    places = rng.integers(reach, size=count)
    data[places if rng.random() < 0.7 else len(data) - 1 - places] = rng.integers(256, size=count)
    return data


def cut(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The end is missing, or the beginning, or a piece in the middle."""
    first, last = np.sort(rng.integers(len(data), size=2))
    return [data[:last], data[first:], np.concatenate([data[:first], data[last:]])][rng.integers(3)]


def shuffle(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blocks change places."""
    size = int(2 ** rng.uniform(2, 16))
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    for one, other in rng.integers(len(blocks), size=(int(rng.integers(1, 20)), 2)):
        blocks[one], blocks[other] = blocks[other], blocks[one]
    return np.concatenate(blocks)


def zero(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A block is all zeros, as on a disk that was not written."""
    first = rng.integers(len(data))
    data[first : first + int(2 ** rng.uniform(0, 18))] = 0
    return data


DAMAGES = (flip, flip, cut, shuffle, zero)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The file after one or two damages."""
    array = np.frombuffer(data, np.uint8).copy()
    for _ in range(rng.integers(1, 3)):
        array = DAMAGES[rng.integers(len(DAMAGES))](array, rng) if len(array) else array
    return array.tobytes()


def read(path: Path, rng: np.random.Generator) -> str:
    """What the VideoError says, or "frames"."""
    try:
        info = probe(path)
        assert len(info.timeline.resample(fps=30)) < 10_000_000
        start, stride = int(rng.integers(info.frames)), int(rng.integers(1, 9))
        indices = [min(start + stride * number, info.frames - 1) for number in range(8)]
        height, width = (int(rng.integers(1, side + 1)) for side in (info.height, info.width))
        top, left = int(rng.integers(info.height - height + 1)), int(rng.integers(info.width - width + 1))
        request = ClipRequest(indices, (top, left, height, width), (32, 32), mirror=bool(rng.integers(2)))
        (clip,) = read_clips(path, [request], info, decoder="pyav")
    except VideoError as error:
        return str(error)
    assert clip.shape == (8, 3, 32, 32)
    return "frames"


def main(folder: str, seed: str, first: str, last: str, *videos: str) -> None:
    for number in range(int(first), int(last)):
        rng = np.random.default_rng([int(seed), number])
        video = Path(videos[number % len(videos)])
        path = Path(folder) / f"{number}{video.suffix}"
        path.write_bytes(damaged(video.read_bytes(), rng))
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        begin = time.perf_counter()
        outcome = read(path, rng)
        faulthandler.cancel_dump_traceback_later()
        took = round(time.perf_counter() - begin, 3)
        print(json.dumps({"number": number, "video": video.name, "outcome": outcome, "seconds": took}), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
