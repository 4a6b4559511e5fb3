"""Does reading many videos leave anything behind?"""

from typing import Any

import numpy as np

from data_path.jobs import SIZE, draw_box
from data_path.sources import Video

_EVERY = 50


def measure_flatness(videos: list[Video], opens: int) -> dict[str, Any]:
    """Memory and open files of one process while it reads two frames of one video after the other.

    Args:
        videos: they take turns.
        opens: how many are opened in all; the first tenth, in which caches fill, does not count.

    Returns:
        opens; rss_mib and open_files at the start and end of what counts; rss_mib_per_1000, the slope of a straight
        line through what was measured every 50 videos; series, that is [opens, rss_mib, open_files] each time.
    """
    import psutil

    from lightframe.datamodules.decoding import read_frames

    rng, process = np.random.default_rng(0), psutil.Process()
    series = []
    for number in range(1, opens + 1):
        video = videos[number % len(videos)]
        start = int(rng.integers(len(video.pts) - 2))
        read_frames(video.path, [start, start + 2], crop=draw_box(rng, video.height, video.width), size=SIZE)
        if number % _EVERY == 0 and number >= opens // 10:
            files = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
            series.append([number, process.memory_info().rss / 2**20, files])
    opened, rss, files = np.array(series).T
    return {
        "opens": opens,
        "rss_mib": {"start": rss[0], "end": rss[-1]},
        "open_files": {"start": int(files[0]), "end": int(files[-1])},
        "rss_mib_per_1000": 1000 * float(np.polyfit(opened, rss, 1)[0]),
        "series": series,
    }
