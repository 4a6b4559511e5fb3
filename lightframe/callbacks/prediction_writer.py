"""Predictions as a table: one line per video, the best classes first."""

import csv
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor
from typing_extensions import override

from lightframe.arguments import check_whole
from lightframe.datamodules import VideoDataModule
from lightframe.evaluation.prediction_table import best_classes, class_names


def predictions_path(trainer: Trainer, suffix: str) -> Path:
    """Where this process writes what it predicts, in the run folder, which is made. All processes must call it."""
    name = f"predictions-rank{trainer.global_rank}" if trainer.global_rank else "predictions"
    folder = Path(trainer.log_dir or trainer.default_root_dir)  # on every rank: it is broadcast
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}{suffix}"


class PredictionWriter(BasePredictionWriter):
    """Writes `predictions.csv` (path, class_1, score_1, ...) in the run folder, batch by batch, while predicting.

    Each process writes what it predicted: the others' files are `predictions-rank1.csv` and so on.

    Args:
        top: how many classes per video.

    Raises:
        UsageError: `top` is no number from 1 on.
    """

    def __init__(self, top: int = 5) -> None:
        super().__init__(write_interval="batch")
        check_whole("top", top, 1)
        self.top = top
        self.path: Path | None = None

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path = predictions_path(trainer, ".csv")
        with self.path.open("w", newline="", encoding="utf-8") as file:
            columns = [f"{kind}_{place}" for place in range(1, self.top + 1) for kind in ("class", "score")]
            csv.writer(file).writerow(["path", *columns])

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
        if prediction is None or not isinstance(data, VideoDataModule) or self.path is None:
            return
        logits, paths = prediction["outputs"], data.dataset("predict").paths
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            return
        classes = class_names(data.classes if data.splits.knows_classes else None, logits.shape[1])
        named, scores = best_classes(logits, classes, self.top, getattr(pl_module, "sigmoid", False))
        # A name that is not UTF-8 is written as the bytes that it is.
        with self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            for index, best, values in zip(prediction["index"].tolist(), named, scores, strict=True):
                pairs = zip(best, (f"{value:.4f}" for value in values), strict=True)
                csv.writer(file).writerow([paths[index], *chain.from_iterable(pairs)])
