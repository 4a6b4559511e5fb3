"""What a clip costs: more in a large video than in a small one."""

from pathlib import Path

import numpy as np
from h264_videos import bar_frames, write_h264

from lightframe.tools.clip_cost import clip_costs


def test_a_large_picture_costs_more(tmp_path: Path) -> None:
    large = write_h264(tmp_path / "large.mp4", bar_frames(20, 480, 640))
    small = write_h264(tmp_path / "small.mp4", bar_frames(20, 48, 64))
    clip_costs(small, large, np.random.default_rng(0))
    first, second = clip_costs(large, small, np.random.default_rng(0))
    assert first > 2 * second > 0


def test_a_video_shorter_than_a_clip(tmp_path: Path) -> None:
    one = write_h264(tmp_path / "one.mp4", bar_frames(1))
    assert min(clip_costs(one, one, np.random.default_rng(0))) > 0
