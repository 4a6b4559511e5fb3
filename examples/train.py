"""Train a video classifier from Python:  python examples/train.py [folder with train/ and val/ of class folders]"""

import sys

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightframe import LightFrameModule, SyntheticVideoDataModule, VideoDataModule


def main(root: str | None = None, max_epochs: int = 20) -> None:
    seed_everything(0, workers=True)
    # Without a folder of videos, one is written: six kinds of motion, which no single frame tells apart.
    data = VideoDataModule(root=root, frames=8, size=112) if root else SyntheticVideoDataModule()
    data.prepare_data()

    module = LightFrameModule(
        net="tiny3d",  # or any nn.Module of yours that takes (B, 3, T, H, W)
        loss="ce",
        optimizer="adamw",
        lr=0.02,
        optimizer_args={"weight_decay": 0.05, "no_decay_norm_bias": True},
        scheduler="one_cycle",
        metrics=["top1", "mean_class_accuracy"],
        num_classes=data.num_classes,
    )
    best = ModelCheckpoint(monitor="val/top1", mode="max", filename="best", save_last=True)
    trainer = Trainer(max_epochs=max_epochs, callbacks=[best], log_every_n_steps=10)
    trainer.fit(module, datamodule=data)
    trainer.validate(datamodule=data, ckpt_path="best")
    print(f"best checkpoint: {best.best_model_path}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
