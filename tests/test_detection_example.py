"""examples/detection.yaml: trained, evaluated again from its checkpoint, and used. `.ci/run` sees what it learns."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from lightframe.cli import main

EXAMPLE = Path(__file__).parents[1] / "examples" / "detection.yaml"
TINY = [
    "--data.train_images=8",
    "--data.eval_images=3",
    "--data.image_size=64",
    "--data.batch_size=4",
    "--data.num_workers=0",
    "--model.net.width=32",
    "--model.net.score_thresh=0.0",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1",
]
DATA = TINY[:5]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    os.environ.pop("LIGHTFRAME_RUN_FOLDER", None)


def logged(run: Path, name: str) -> list[float]:
    with (run / "csv" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def best_of(run: Path) -> Path:
    (best,) = (run / "checkpoints").glob("best-*.ckpt")
    return best


def test_the_example_says_all_that_is_in_it() -> None:
    text = EXAMPLE.read_text()
    config = yaml.safe_load(text)
    assert set(config) == {"data", "model", "trainer"}
    assert config["model"]["loss"] is None
    assert text.count("#") >= 10


def test_fit_then_everything_that_a_checkpoint_is_good_for(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(EXAMPLE), *TINY])
    run = Path("runs/run_0")
    losses = {f"train/loss_{name}" for name in ("classification", "bbox_regression", "bbox_ctrness")}
    header = set((run / "csv" / "metrics.csv").read_text().splitlines()[0].split(","))
    assert {"train/loss", "val/AP", "val/AP50", "val/AP75"} | losses <= header
    steps = [logged(run, name) for name in sorted(losses)]
    assert logged(run, "train/loss") == pytest.approx([sum(parts) for parts in zip(*steps, strict=True)], rel=1e-5)
    best = best_of(run)
    score = max(logged(run, "val/AP50"))
    assert best.name.endswith(f"AP50={score:.4f}.ckpt")
    held = torch.load(best, weights_only=True)
    assert held["lightframe"]["data"]["classes"] == ["circle", "square", "triangle"]

    # The same figures from a fresh module, with the config beside the checkpoint, as typed.
    main(["validate", "--config", str(run / "config.yaml"), "--ckpt_path", str(best)])
    assert logged(Path("runs/run_1"), "val/AP50") == pytest.approx([score], abs=1e-6)

    # And on a folder in COCO's layout, in batches of any size.
    main(["validate", "--ckpt_path", str(best), "--data.root=synthetic_coco", "--data.batch_size=2"])
    assert logged(Path("runs/run_2"), "val/AP50") == pytest.approx([score], abs=1e-6)
    main(["test", "--ckpt_path", str(best), "--data.root=synthetic_coco"])
    assert len(logged(Path("runs/run_3"), "test/AP50")) == 1

    capsys.readouterr()
    main(["predict", "--ckpt_path", str(best), "--data.predict=synthetic_coco/val"])
    assert "predictions.json" in capsys.readouterr().out
    entries = json.loads(Path("runs/run_4/predictions.json").read_text())
    assert entries
    assert {entry["file_name"] for entry in entries} <= {f"{number:05d}.png" for number in range(3)}
    assert {entry["category"] for entry in entries} <= {"circle", "square", "triangle"}


def test_it_goes_on_from_its_last_checkpoint() -> None:
    main(["fit", "--config", str(EXAMPLE), *TINY, "--trainer.max_epochs=1"])
    last = "runs/run_0/checkpoints/last.ckpt"
    main(["fit", "--config", "runs/run_0/config.yaml", "--ckpt_path", last, "--trainer.max_epochs=2"])
    assert len(logged(Path("runs/run_1"), "val/AP50")) == 1
    assert torch.load("runs/run_1/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4


def test_another_detector_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Without callbacks in a config: the metric of detection and the checkpoint by it are there all the same."""
    words = ["--data=SyntheticCocoDataModule", *DATA, *TINY[7:], "--trainer.max_epochs=1", "--model.lr=0.001"]
    net = ["--model.net=ssdlite320_mobilenet_v3_large", "--model.metrics=null"]
    main(["fit", *words, *net])
    assert len(logged(Path("runs/run_0"), "val/AP50")) == 1
    assert "val/AP" in capsys.readouterr().out
