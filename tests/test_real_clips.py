"""Real clips of UCF101 and HMDB51 (.avi, MPEG-4) and Kinetics (.mp4, H.264), through the command line."""

import csv
from pathlib import Path

import pytest
import torch

from lightframe.cli import main


@pytest.mark.slow
def test_slowfast_trains_on_real_clips_and_is_validated_from_its_checkpoint(
    shared_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = [f"--data.root={shared_videos / 'clips'}", "--data.batch_size=2", "--data.num_workers=2"]
    model = ["--model.net=slowfast_r50", "--model.net.alpha=4", "--model.loss=ce", "--model.lr=0.01"]
    clip = ["--data.frames=8", "--data.size=48"]
    trainer = ["--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"]
    main(["fit", *data, *clip, *model, *trainer])
    checkpoint = torch.load("runs/run_0/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["net.head.weight"].shape[0] == 3
    assert checkpoint["global_step"] == 4  # five training videos: two whole batches in each epoch
    assert checkpoint["lightframe"]["data"]["classes"] == ["kinetics", "soccer_juggling", "wave"]
    with Path("runs/run_0/csv/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    fitted = [float(row["val/loss"]) for row in rows if row["val/loss"]][-1]

    main(["validate", "--ckpt_path=runs/run_0/checkpoints/last.ckpt", *data, "--trainer.accelerator=cpu"])
    with Path("runs/run_1/csv/metrics.csv").open() as file:
        validated = [float(row["val/loss"]) for row in csv.DictReader(file)][-1]
    assert validated == pytest.approx(fitted, rel=1e-5)
