"""Which checkpoints of a training are kept."""

import os
from pathlib import Path
from string import Formatter
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from typing_extensions import override

from lightframe.checkpoint_files import safe_filename
from lightframe.errors import UsageError


class Checkpointer(ModelCheckpoint):
    """Keeps the best checkpoints by a metric or, without one, the newest of every n epochs.

    Lightning's ModelCheckpoint with names that every system takes, also with a metric such as val/top1 in them, and
    with a memory over runs: what a resumed run saves has to be better than what the run before it saved. Files of
    that run are never removed. For both kinds give two of it; `last.ckpt` is LastCheckpoint's.

    Args:
        monitor: a logged metric, such as val/top1. Null: the newest are kept.
        mode: "max" or "min", which values of it are better. Null: min for a loss or an error, else max.
        keep: how many; null: all.
        every_n_epochs: save in every n-th epoch.
        filename: in Lightning's form, such as `{epoch}-{val/top1:.3f}`. Null: `best-epoch=...` with the metric, or
            `epoch=...-step=...`.
        dirpath: the folder. Null: `checkpoints` in the run's folder.
        weights_only: save no more than the net's weights, from which no training goes on.

    Raises:
        UsageError: `mode`, `keep`, `every_n_epochs` or `filename` make no sense.

    >>> Checkpointer("val/loss", keep=3).format_checkpoint_name({"epoch": 4, "val/loss": 0.25})
    'best-epoch=004-loss=0.2500.ckpt'
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: str | None = None,
        keep: int | None = 1,
        every_n_epochs: int = 1,
        filename: str | None = None,
        dirpath: str | None = None,
        weights_only: bool = False,
    ) -> None:
        if mode not in (None, "min", "max"):
            raise UsageError(f"mode must be min or max, got '{mode}'")
        if keep is not None and keep < 1:
            raise UsageError(f"keep={keep}: give how many checkpoints are kept, from 1 on, or null for all")
        if every_n_epochs < 1:
            raise UsageError(f"every_n_epochs={every_n_epochs}: give a number of epochs from 1 on")
        try:
            list(Formatter().parse(filename or ""))
        except ValueError as error:
            raise UsageError(f"filename '{filename}': {error}; give one such as '{{epoch}}-{{val/top1:.3f}}'") from None
        if monitor is None:
            default, mode = "epoch={epoch:03d}-step={step}", "max"
        else:
            short = monitor.rpartition("/")[2]
            pattern = f"{short}={{{monitor}:.4f}}" if not set(":{}[]") & set(monitor) else "step={step}"
            default = f"best-epoch={{epoch:03d}}-{pattern}"
            mode = mode or ("min" if {"loss", "error"} & set(short.lower().split("_")) else "max")
        super().__init__(
            dirpath=dirpath,
            filename=filename or default,
            monitor=monitor or "step",  # which Lightning always has: the newest is the one with the most steps
            mode=mode,
            save_top_k=-1 if keep is None else keep,
            every_n_epochs=every_n_epochs,
            save_weights_only=weights_only,
            auto_insert_metric_name=filename is not None,
        )
        self._as_made = dict(vars(self))

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.global_step == 0:
            # Of a training before this one nothing is left; Lightning keeps it all.
            vars(self).update({**self._as_made, "best_k_models": {}})
        super().setup(trainer, pl_module, stage)

    @override
    def format_checkpoint_name(
        self, metrics: dict[str, Tensor], filename: str | None = None, ver: int | None = None, prefix: str | None = None
    ) -> str:
        dirpath, self.dirpath = self.dirpath, None  # which may have any characters
        try:
            name = super().format_checkpoint_name(metrics, filename, ver, prefix)
        finally:
            self.dirpath = dirpath
        name = safe_filename(name.removesuffix(self.FILE_EXTENSION)) + self.FILE_EXTENSION
        return os.path.join(dirpath, name) if dirpath else name  # noqa: PTH118 (it may be a URL)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A resumed run has a folder of its own, and Lightning would forget what was best in the other.
        models = {path: score for path, score in state_dict["best_k_models"].items() if Path(path).is_file()}
        state = {**state_dict, "dirpath": self.dirpath, "best_k_models": models, "last_model_path": ""}
        if models:
            better, worse = (min, max) if self.mode == "min" else (max, min)
            state["best_model_path"] = better(models, key=models.__getitem__)
            state["kth_best_model_path"] = worse(models, key=models.__getitem__)
            state["best_model_score"] = models[state["best_model_path"]]
            state["kth_value"] = models[state["kth_best_model_path"]]
            super().load_state_dict(state)
