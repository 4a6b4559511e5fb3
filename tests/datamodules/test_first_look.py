import logging

import pytest
import torch

from lightframe.datamodules.clips import ClipSettings
from lightframe.datamodules.first_look import absent_classes, tell_of_shared_videos, tell_of_short_videos
from lightframe.datamodules.reader import VideoReader
from lightframe.datamodules.sampling import build_sampling


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level(logging.WARNING, "lightframe")
    return caplog


def test_absent_classes():
    assert absent_classes(torch.tensor([0, 2]), ["a", "b", "c", "d"]) == ["b", "d"]
    assert absent_classes(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), ["a", "b"]) == ["a"]


def test_videos_in_both_splits(told):
    tell_of_shared_videos(["a", "b"], ["c"])
    assert not told.messages
    tell_of_shared_videos(["a", "b"], ["b", "c"])
    assert told.messages == [
        "1 of the 2 val videos are train videos too, b for one: their metrics say nothing of other videos"
    ]


@pytest.mark.parametrize(
    ("sampling", "frames", "stride", "warns"),
    [
        ("random", 8, 2, False),
        ("random", 32, 1, False),  # 20 of 32 differ
        ("random", 41, 1, True),
        ("random", 8, 100, True),
        ("dense", 8, 100, True),
        ("uniform", 16, 100, False),
        ("uniform", 60, 1, True),
    ],
)
def test_clips_longer_than_their_videos(told, numbered_video, sampling, frames, stride, warns):
    """The video has 20 frames."""
    clip = ClipSettings(build_sampling(sampling, frames, stride), frames, size=16)
    tell_of_short_videos([str(numbered_video)] * 5 + ["no video"], VideoReader(), clip)
    assert bool(told.messages) == warns
    if warns:
        assert f"a clip of {frames} frames repeats most of them, since the videos looked at have 20" in told.text
