"""Predicted boxes as COCO's results: one entry per box."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor
from typing_extensions import override

from lightframe.callbacks.prediction_writer import predictions_path
from lightframe.datamodules import CocoDetectionDataModule, DetectionBatch


def coco_results(
    prediction: Mapping[str, Tensor], image: Mapping[str, Any], categories: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The boxes found on one image, as pycocotools' `loadRes` takes them.

    Args:
        prediction: `boxes` (n, 4), x1 y1 x2 y2, `labels` (n,) and `scores` (n,).
        image: its entry in the annotation file, with `id` and `file_name`.
        categories: of each label, with `id` and `name`.

    >>> found = {"boxes": torch.tensor([[1.0, 2, 4, 6]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}
    >>> (entry,) = coco_results(found, {"id": 7, "file_name": "7.jpg"}, {1: {"id": 90, "name": "cat"}})
    >>> entry["image_id"], entry["category_id"], entry["bbox"], entry["score"]
    (7, 90, [1.0, 2.0, 3.0, 4.0], 0.5)
    """
    corners = prediction["boxes"].float()
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
    columns = (prediction["labels"].tolist(), boxes.tolist(), prediction["scores"].float().tolist())
    return [
        {
            "image_id": image["id"],
            "file_name": image["file_name"],
            "category_id": categories[label]["id"],
            "category": categories[label]["name"],
            "bbox": box,
            "score": score,
        }
        for label, box, score in zip(*columns, strict=True)
    ]


class DetectionWriter(BasePredictionWriter):
    """Writes `predictions.json` in COCO's format for results in the run folder, batch by batch, while predicting.

    Each process writes what it predicted: the others' files are `predictions-rank1.json` and so on. Other predictions
    than those of a detector on a CocoDetectionDataModule are left alone.
    """

    def __init__(self) -> None:
        super().__init__(write_interval="batch")
        self.path: Path | None = None
        self._written = 0

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path, self._written = predictions_path(trainer, ".json"), 0
        self.path.write_text("[")

    @override
    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not (isinstance(data, CocoDetectionDataModule) and isinstance(batch, DetectionBatch) and self.path):
            return
        categories = data.categories("predict")
        images = [data.dataset("predict").image(index) for index in batch.index.tolist()]
        with self.path.open("a", encoding="utf-8") as file:
            for one, image in zip(prediction["outputs"], images, strict=True):
                for entry in coco_results(one, image, categories):
                    file.write((",\n" if self._written else "\n") + json.dumps(entry))
                    self._written += 1

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n]\n")
