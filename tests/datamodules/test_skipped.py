import csv
import logging
from pathlib import Path

import pytest
import torch

from lightframe.datamodules.decoding import VideoError
from lightframe.datamodules.skipped import Skipped, SkippedVideos, error_limit, without_broken
from lightframe.errors import UsageError


def bad(index):
    return Skipped(index, f"{index}.mp4", f"{index}.mp4: cannot be read")


def test_each_video_is_said_listed_and_counted_once(tmp_path, caplog):
    skipped = SkippedVideos("train", total=20, limit=5)
    skipped.file = tmp_path / "new" / "skipped.csv"
    skipped.record([])
    assert not skipped.file.exists()
    skipped.record([bad(3), bad(7)])
    skipped.record([bad(7), bad(3)])
    skipped.record([bad(1)])
    assert skipped.reasons == {index: f"{index}.mp4: cannot be read" for index in (3, 7, 1)}
    assert [record.getMessage() for record in caplog.records] == [
        f"train video left out: {index}.mp4: cannot be read" for index in (3, 7, 1)
    ]
    with skipped.file.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["split", "path", "reason"],
            *(["train", f"{index}.mp4", "cannot be read"] for index in (3, 7, 1)),
        ]


def test_a_run_that_goes_on_counts_those_that_are_as_they_were(tmp_path):
    paths = [str(tmp_path / f"{name}.mp4") for name in ("same", "mended", "gone", "fine")]
    for path in (*paths[:2], paths[3]):
        Path(path).touch()
    before = SkippedVideos("train", total=20, limit=2)
    before.restore({}, paths)
    before._reasons = {0: "damaged", 1: "damaged", 2: "there is no file"}
    state = before.state(paths)
    Path(paths[1]).write_text("a video")
    after = SkippedVideos("train", total=20, limit=2)
    after.file = tmp_path / "skipped.csv"
    order = [paths[3], paths[2], paths[0], paths[1]]
    after.restore(state, order)
    assert after.reasons == {1: "there is no file", 2: "damaged"}
    assert len(after.file.read_text().splitlines()) == 3


def test_splits_share_a_list(tmp_path):
    for split in ("train", "val"):
        skipped = SkippedVideos(split, total=20, limit=5)
        skipped.file = tmp_path / "skipped.csv"
        skipped.record([bad(2)])
    assert [line.split(",")[0] for line in skipped.file.read_text().splitlines()] == ["split", "train", "val"]


def test_names_that_are_not_utf8(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)  # pytest-xdist cannot send such a name from process to process
    skipped = SkippedVideos("val", total=20, limit=5)
    skipped.file = tmp_path / "skipped.csv"
    skipped.record([Skipped(0, "caf\udce9.mp4", "caf\udce9.mp4: damaged")])
    assert b"val,caf\xe9.mp4,damaged" in skipped.file.read_bytes()


def test_the_limit_is_what_may_fail():
    skipped = SkippedVideos("train", total=20, limit=2)
    skipped.record([bad(3), bad(5)])
    with pytest.raises(
        VideoError,
        match=r"^3 of the 20 train videos cannot be read, more than max_errors=2 \(3\.mp4: cannot be read\): repair",
    ):
        skipped.record([bad(8), bad(9)])


def test_no_limit_but_at_all_of_them():
    skipped = SkippedVideos("val", total=3, limit=3)
    skipped.record([bad(0), bad(2)])
    with pytest.raises(VideoError, match=r"^not one of the 3 val videos can be read; the first: 0\.mp4: cannot"):
        skipped.record([bad(1)])


def test_a_limit_of_nothing_is_the_first_reason():
    with pytest.raises(VideoError, match=r"^4\.mp4: cannot be read: repair or remove it"):
        SkippedVideos("train", total=20, limit=0).record([bad(4), bad(5)])


def test_those_of_other_processes_count():
    skipped = SkippedVideos("train", total=20, limit=2)
    skipped.check({1: "one", 2: "two"})
    with pytest.raises(VideoError, match=r"3 of the 20 .* \(one\)"):
        skipped.check({1: "one", 2: "two", 3: "three"})


@pytest.mark.parametrize(
    ("split", "videos", "strict", "max_errors", "limit"),
    [
        ("train", 50, False, None, 10),
        ("train", 1000, False, None, 10),
        ("train", 1200, False, None, 12),
        ("train", 240_000, False, None, 2400),
        ("train", 240_000, False, 3, 3),
        ("train", 50, True, 3, 0),
        ("val", 50, False, None, 50),
        ("test", 50, False, 3, 50),
        ("predict", 50, True, None, 0),
    ],
)
def test_error_limit(split, videos, strict, max_errors, limit):
    assert error_limit(split, videos, strict, max_errors) == limit


class Index:
    """Knows the videos whose name begins with "bad" as broken."""

    def error(self, path):
        return "damaged" if path.startswith("bad") else None


def test_known_bad_videos_are_left_out(caplog):
    paths = ["a.mp4", "bad1.mp4", "b.mp4", "bad2.mp4"]
    labels = torch.tensor([3, 1, 2, 0])
    kept, their_labels, broken = without_broken("val", paths, labels, Index(), strict=False)
    assert (kept, their_labels.tolist()) == (["a.mp4", "b.mp4"], [3, 2])
    assert [(one.path, one.reason) for one in broken] == [("bad1.mp4", "damaged"), ("bad2.mp4", "damaged")]
    (record,) = caplog.records
    assert record.getMessage().startswith("2 of the 4 val videos are broken, as lightframe scan found (bad1.mp4: dam")
    _, rows, _ = without_broken("val", paths, torch.eye(4), Index(), strict=False)
    assert torch.equal(rows, torch.eye(4)[[0, 2]])
    assert without_broken("val", ["a.mp4"], labels[:1], Index(), strict=True)[0] == ["a.mp4"]
    with pytest.raises(UsageError, match=r"2 of the 4 val videos are broken, .*bad1\.mp4: damaged\): repair or remove"):
        without_broken("val", paths, labels, Index(), strict=True)
    with pytest.raises(UsageError, match="1 of the 1 val videos are broken"):
        without_broken("val", ["bad.mp4"], labels[:1], Index(), strict=False)


def test_known_bad_videos_are_listed_once_and_are_no_error(tmp_path):
    skipped = SkippedVideos("train", total=2, limit=0, known=[Skipped(3, "bad.mp4", "damaged")])
    skipped.file = tmp_path / "skipped.csv"
    skipped.list_known()
    skipped.list_known()
    with pytest.raises(VideoError, match=r"0\.mp4: cannot be read: repair or remove it, or give on_error=skip"):
        skipped.record([bad(0)])
    assert skipped.file.read_text().splitlines() == ["split,path,reason", "train,bad.mp4,damaged"]
