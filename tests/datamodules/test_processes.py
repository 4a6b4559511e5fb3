"""Two processes on one machine see together what one process sees."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from known_videos import moving_frames, write_lossless
from recording import Recorder, checksum, quiet_trainer
from typing_extensions import override

from lightframe import LightFrameModule, VideoBatch, VideoDataModule
from lightframe.callbacks import PredictionWriter
from lightframe.datamodules.sampler import EpochSampler

SMALL = {"frames": 2, "stride": 1, "size": 16, "batch_size": 2, "num_workers": 0}
AUGMENT = {"random_resized_crop": {}, "flip": {}, "random_erasing": {"p": 1.0}}

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed"),
    # Lightning's advice on what tests do for being quick, and on evaluating with several devices.
    pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """11 different videos to train on and 5 to test, in classes a and b."""
    for split, count in (("train", 11), ("test", 5)):
        for number in range(count):
            path = tmp_path / "videos" / split / "ab"[number % 2] / f"{number}.mkv"
            write_lossless(path, moving_frames(8, 32, 32, seed=number + 100 * (split == "test")))
    return tmp_path / "videos"


def two(**settings: Any) -> Any:
    return quiet_trainer(devices=2, strategy="ddp_fork", **settings)


class Telling(Recorder):
    """Writes what each process was trained on: (epoch, index, checksum) of each clip."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @override
    def on_train_end(self) -> None:
        clips = [
            [epoch, index, checksum(VideoBatch(video, label, torch.tensor(index)))]
            for epoch, batch in zip(self.epochs, self.batches["train"], strict=True)
            if batch
            for video, label, index in zip(batch.video, batch.label, batch.index.tolist(), strict=True)
        ]
        name = f"trained{len(list(self.folder.iterdir()))}" if self.trainer.world_size == 1 else "rank"
        (self.folder / f"{name}{self.trainer.global_rank}.json").write_text(json.dumps(clips))


def told(folder: Path) -> list[list[tuple[int, int, str]]]:
    return [[tuple(clip) for clip in json.loads(file.read_text())] for file in sorted(folder.iterdir())]


def test_training(root: Path, tmp_path: Path) -> None:
    """With 11 videos each process gets 5 and the last is left out; each clip is the same as of one process."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    data = VideoDataModule(root, **{**SMALL, "batch_size": 1}, augment=AUGMENT)
    quiet_trainer(max_epochs=2).fit(Telling(tmp_path / "one"), data)
    two(max_epochs=2).fit(Telling(tmp_path / "two"), VideoDataModule(root, **SMALL, augment=AUGMENT))
    (single,), shares = told(tmp_path / "one"), told(tmp_path / "two")
    assert [len(share) for share in shares] == [8, 8]  # 2 epochs of 2 batches of 2 of 5
    assert len(set(single)) == 22
    for epoch in (0, 1):
        order = [index for _, index in EpochSampler(range(11), epoch=epoch)]
        seen = [[clip[1] for clip in share if clip[0] == epoch] for share in shares]
        assert seen == [order[0:8:2], order[1:8:2]]
    assert set(shares[0]) | set(shares[1]) <= set(single)


def test_resuming(root: Path, tmp_path: Path) -> None:
    """In the middle of an epoch; each process goes on with its own share."""
    for name in ("whole", "first", "rest"):
        (tmp_path / name).mkdir()

    class Stopping(Telling):
        @override
        def on_train_batch_end(self, *_: Any) -> None:
            if self.trainer.global_step == 3:
                self.trainer.save_checkpoint(tmp_path / "three.ckpt")

    settings = {**SMALL, "batch_size": 1, "augment": AUGMENT}
    two(max_epochs=2).fit(Telling(tmp_path / "whole"), VideoDataModule(root, **settings))
    two(max_epochs=1).fit(Stopping(tmp_path / "first"), VideoDataModule(root, **settings))
    two(max_epochs=2).fit(
        Telling(tmp_path / "rest"),
        VideoDataModule(root, **settings),
        ckpt_path=tmp_path / "three.ckpt",
        weights_only=True,
    )
    assert told(tmp_path / "rest") == [share[3:] for share in told(tmp_path / "whole")]


def module() -> LightFrameModule:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return LightFrameModule({"name": "tiny3d", "width": 2}, "ce", lr=0.01, num_classes=2)


def predictions(folder: Path) -> set[tuple[str, ...]]:
    rows = []
    for file in folder.glob("predictions*.csv"):
        with file.open(newline="") as opened:
            rows += [tuple(row) for row in csv.reader(opened)][1:]
    return set(rows)


@pytest.mark.parametrize("views", [(1, 1), (2, 3)])
def test_predicting(root: Path, tmp_path: Path, views: tuple[int, int]) -> None:
    """Scores of views are averaged; a video that Lightning gives to both processes has the same row twice."""
    for make, name in ((quiet_trainer, "one"), (two, "two")):
        data = VideoDataModule(root, predict=root / "test", views=views, **SMALL)
        trainer = make(default_root_dir=tmp_path / name, callbacks=[PredictionWriter(top=2)])
        trainer.predict(module(), datamodule=data, return_predictions=False)
    assert {file.name for file in (tmp_path / "two").glob("*.csv")} == {"predictions.csv", "predictions-rank1.csv"}
    one, several = predictions(tmp_path / "one"), predictions(tmp_path / "two")
    assert len(one) == len({row[0] for row in one}) == 5
    assert several == one


def test_bad_videos_are_counted_over_all_processes(root: Path, tmp_path: Path) -> None:
    """Each process meets one of them in its share; the count and the limit are for all."""
    order = [index for _, index in EpochSampler(range(11))]
    paths = VideoDataModule(root, **SMALL).dataset("train").paths
    bad = [paths[index] for index in order[:2]]
    assert abs(order[0] - order[1]) > 1  # what takes the place of one is not the other
    for path in bad:
        Path(path).write_text("no video")

    class Counting(LightFrameModule):
        @override
        def on_fit_end(self) -> None:
            counts = {"skipped": float(self.trainer.callback_metrics["data/skipped"])}
            (tmp_path / f"rank{self.trainer.global_rank}.json").write_text(json.dumps(counts))

    def fit(**settings: Any) -> None:
        net = Counting({"name": "tiny3d", "width": 2}, "ce", lr=0.01, num_classes=2)
        two(max_epochs=1, default_root_dir=tmp_path / "run").fit(net, VideoDataModule(root, **SMALL, **settings))

    fit()
    for rank in (0, 1):
        assert json.loads((tmp_path / f"rank{rank}.json").read_text()) == {"skipped": 2.0}
    for rank, name in enumerate(("skipped.csv", "skipped-rank1.csv")):
        rows = csv.DictReader((tmp_path / "run" / name).read_text().splitlines())
        assert {row["path"] for row in rows} == {bad[rank]}
    # The launcher gives the process's error as text.
    with pytest.raises(Exception, match="VideoError: 2 of the 11 train videos cannot be read, more than max_errors=1"):
        fit(max_errors=1)


def test_fewer_videos_than_processes(root: Path, tmp_path: Path) -> None:
    """Also from the command line in one line: both refuse with the same words."""
    (tmp_path / "told").mkdir()
    listed = tmp_path / "one.csv"
    listed.write_text("videos/train/a/0.mkv,a\n")
    data = VideoDataModule(root=str(tmp_path), train=str(listed), **SMALL)
    with pytest.raises(Exception, match="2 devices cannot share 1 training video: give"):
        two().fit(Telling(tmp_path / "told"), datamodule=data)
