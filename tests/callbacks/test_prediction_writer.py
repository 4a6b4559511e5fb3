import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recording import quiet_trainer
from torch import Tensor

from lightframe import LightFrameModule, VideoDataModule
from lightframe.callbacks import PredictionWriter

SMALL = {"frames": 2, "stride": 1, "size": 16, "batch_size": 2, "num_workers": 0}


class Fixed(LightFrameModule):
    """Scores (1, 2, 3) for every video."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tensor([[1.0, 2.0, 3.0]]).expand(len(inputs), -1)


def written(data: VideoDataModule, folder: Path, loss: str = "ce", top: int = 2) -> list[list[str]]:
    net = Fixed({"name": "tiny3d", "width": 2}, loss, num_classes=3)
    trainer = quiet_trainer(default_root_dir=folder, callbacks=[PredictionWriter(top)])
    trainer.predict(net, datamodule=data, return_predictions=False)
    content = (folder / "predictions.csv").read_text(encoding="utf-8", errors="surrogateescape")
    return list(csv.reader(content.splitlines()))


def test_a_row_for_each_video(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folders(train={"jump": 1, "run": 1, "walk": 1}, more={"some": 3})
    rows = written(VideoDataModule(root, predict=root / "more", **SMALL), tmp_path / "run")
    scores = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).softmax(0)
    best = ["walk", f"{scores[2]:.4f}", "run", f"{scores[1]:.4f}"]
    paths = [str(root / "more" / "some" / f"{number}.mkv") for number in range(3)]
    assert rows == [["path", "class_1", "score_1", "class_2", "score_2"], *([path, *best] for path in paths)]
    # The next run does not go on with it.
    assert len(written(VideoDataModule(root, predict=root / "more", **SMALL), tmp_path / "run")) == 4


def test_several_classes_a_video(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folders(train={"jump": 1, "run": 1, "walk": 1}, more={"some": 1})
    _, row = written(VideoDataModule(root, predict=root / "more", **SMALL), tmp_path / "run", loss="bce")
    assert row[1:] == ["walk", f"{torch.tensor(3.0).sigmoid():.4f}", "run", f"{torch.tensor(2.0).sigmoid():.4f}"]


def test_without_a_class_list(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folders(more={"some": 1})
    _, row = written(VideoDataModule(predict=root / "more", **SMALL), tmp_path / "run")
    assert row[1::2] == ["2", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
def test_a_name_that_is_not_utf8(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folders(more={"some": 2})
    name = os.fsdecode(b"caf\xe9.mkv")
    (root / "more" / "some" / "1.mkv").rename(root / "more" / "some" / name)
    rows = written(VideoDataModule(predict=root / "more", **SMALL), tmp_path / "run")
    assert rows[2][0] == str(root / "more" / "some" / name)
