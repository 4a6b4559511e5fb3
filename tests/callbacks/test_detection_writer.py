"""predictions.json, against what pycocotools makes of it."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_files import write_coco_root
from recording import quiet_trainer
from torch import nn

from lightframe import CocoDetectionDataModule, LightFrameModule
from lightframe.callbacks import DetectionWriter
from lightframe.models import Detector

FOUND = {
    "boxes": torch.tensor([[4.0, 6.0, 14.0, 18.0], [0.5, 1.25, 3.0, 2.0]]),
    "labels": torch.tensor([1, 3]),
    "scores": torch.tensor([0.875, 0.25]),
}


class Finding(nn.Module):
    """Finds the same two boxes on images 24 pixels high, and nothing on others."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        none = {name: value[:0] for name, value in FOUND.items()}
        return [FOUND if image.shape[1] == 24 else none for image in images]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco_root(tmp_path / "coco", val=5)


def predict(folder: Path, data: CocoDetectionDataModule, **settings: Any) -> list[dict[str, Any]]:
    trainer = quiet_trainer(default_root_dir=folder, callbacks=[DetectionWriter()], **settings)
    trainer.predict(LightFrameModule(Detector(Finding())), datamodule=data, return_predictions=False)
    return [entry for file in sorted(folder.glob("*.json")) for entry in json.loads(file.read_text())]


def split(root: Path) -> list[str]:
    return [str(root / "annotations" / "instances_val2017.json"), str(root / "val2017")]


def test_pycocotools_reads_it(root: Path, tmp_path: Path) -> None:
    data = CocoDetectionDataModule(root, predict=split(root), batch_size=2, num_workers=0)
    entries = predict(tmp_path / "run", data)
    # Images 0 and 3 of five are 24 pixels high; categories have their own numbers again.
    assert [(entry["image_id"], entry["file_name"]) for entry in entries] == [(11, "0.png")] * 2 + [(41, "3.png")] * 2
    assert [(entry["category_id"], entry["category"]) for entry in entries[:2]] == [(3, "car"), (90, "toothbrush")]
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(split(root)[0])
        found = truth.loadRes(str(tmp_path / "run" / "predictions.json"))
    boxes = found.loadAnns(found.getAnnIds(41))
    assert [box["bbox"] for box in boxes] == [[4.0, 6.0, 10.0, 12.0], [0.5, 1.25, 2.5, 0.75]]
    assert [box["score"] for box in boxes] == [0.875, 0.25]


def test_a_folder_of_images(root: Path, tmp_path: Path) -> None:
    """They have no numbers of their own, and neither have the classes."""
    data = CocoDetectionDataModule(root, predict=root / "val2017", num_workers=0)
    entries = predict(tmp_path / "run", data)
    assert [(entry["file_name"], entry["category_id"]) for entry in entries[:3]] == [
        ("0.png", 1),
        ("0.png", 3),
        ("3.png", 1),
    ]
    assert [entry["category"] for entry in entries[:2]] == ["car", "toothbrush"]


def test_nothing_found(root: Path, tmp_path: Path) -> None:
    (root / "val2017" / "0.png").unlink()
    (root / "val2017" / "3.png").unlink()
    assert predict(tmp_path / "run", CocoDetectionDataModule(root, predict=root / "val2017", num_workers=0)) == []
    assert (tmp_path / "run" / "predictions.json").is_file()


@pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders")
def test_each_process_writes_its_own(root: Path, tmp_path: Path) -> None:
    def data() -> CocoDetectionDataModule:
        return CocoDetectionDataModule(root, predict=split(root), batch_size=1, num_workers=0)

    one = predict(tmp_path / "one", data())
    two = predict(tmp_path / "two", data(), devices=2, strategy="ddp_fork")
    assert {file.name for file in (tmp_path / "two").glob("*.json")} == {"predictions.json", "predictions-rank1.json"}
    unique = {json.dumps(entry) for entry in two}
    assert unique == {json.dumps(entry) for entry in one}
