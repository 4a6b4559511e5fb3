"""`--data` takes any LightningDataModule, and a net that computes its own loss is saved without a score of its own."""

from pathlib import Path
from typing import Any

import torch
import yaml
from coco_files import write_coco_root

from lightframe.cli import main

MY_DATA = """
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader

class Data(LightningDataModule):
    num_classes = 3

    def __init__(self, size: int = 4, seed: int = 0):
        super().__init__()
        self.size = size

    def loader(self):
        return DataLoader([(torch.ones(self.size), torch.tensor(1))] * 4, batch_size=2)

    train_dataloader = val_dataloader = loader

class Net(nn.Module):
    '''Gives its loss in training, and what it found in evaluation.'''

    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(4, num_classes)

    def forward(self, batch):
        found = self.layer(batch[0])
        return {"size": found.square().mean()} if self.training else [{"scores": row} for row in found]
"""
QUICK = [
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_model_summary=false",
    "--trainer.log_every_n_steps=1",
]


def test_a_data_module_of_ones_own(workplace: Path, refused: Any) -> None:
    Path("my_data.py").write_text(MY_DATA)
    data = ["--data=my_data.Data", "--data.size=4"]
    main(["fit", *data, "--model.net=my_data.Net", "--model.lr=0.1", *QUICK])
    saved = yaml.safe_load(Path("runs/run_0/config.yaml").read_text())
    assert saved["data"] == {"class_path": "my_data.Data", "init_args": {"size": 4, "seed": 0}}
    names = {path.name for path in Path("runs/run_0/checkpoints").iterdir()}
    assert names == {"last.ckpt"}
    held = torch.load("runs/run_0/checkpoints/last.ckpt", weights_only=True)
    assert held["state_dict"]["net.layer.weight"].shape == (3, 4)
    assert (held["lightframe"]["data"], held["lightframe"]["data_class"]) == ({}, None)
    main(["validate", *data, "--ckpt_path=runs/run_0/checkpoints/last.ckpt"])
    said = refused("fit", "--data=my_data.Data", "--data.sise=4", "--model.net=my_data.Net")
    assert "did you mean" in said
    assert "size" in said


def test_a_detector_is_judged_without_being_told_how(workplace: Path) -> None:
    """On a folder in COCO's layout, as typed; and `validate` knows from the checkpoint what kind of data it was."""
    write_coco_root(workplace / "coco")
    words = ["--data=CocoDetectionDataModule", "--data.root=coco", "--data.num_workers=0", "--data.augment=[flip]"]
    main(["fit", *words, "--model.net=fcos_tiny", "--model.net.width=32", "--model.lr=0.01", *QUICK])
    (best,) = Path("runs/run_0/checkpoints").glob("best-epoch=000-AP=*.ckpt")
    held = torch.load(best, weights_only=True)
    assert held["lightframe"]["data_class"] == "lightframe.datamodules.coco_detection.CocoDetectionDataModule"
    assert held["state_dict"]["net.detector.head.classification_head.cls_logits.bias"].shape == (4,)
    main(["validate", f"--ckpt_path={best}", "--data.root=coco", "--data.num_workers=0"])
    assert "val/AP50" in (workplace / "runs/run_1/csv/metrics.csv").read_text()


def test_a_wrong_annotation_file_is_one_line(workplace: Path, refused: Any) -> None:
    said = refused("fit", "--data=CocoDetectionDataModule", "--data.train=none.json", "--model.net=fcos_tiny")
    assert "there is no annotation file 'none.json'" in said
    said = refused("fit", "--data=CocoDetectionDataModule", "--data.root=videos", "--model.net=fcos_tiny")
    assert "there is no train split" in said
    assert not Path("runs/run_0").exists()
