"""Every example runs as its own text says."""

import csv
import runpy
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
import torch
import yaml
from nbclient import NotebookClient

from lightframe import LOSSES, OPTIMIZERS, SyntheticVideoDataModule
from lightframe.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = {"train_videos": 2, "eval_videos": 1, "video_frames": 8, "video_size": 32, "size": 32, "num_workers": 0}
QUICK = ["--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    return tmp_path


def test_the_quickstart_runs(workplace: Path) -> None:
    """What it learns, `.ci/run` looks at."""
    words = [f"--data.{name}={value}" for name, value in {**TINY, "batch_size": 4}.items()]
    main(["fit", "--config", str(EXAMPLES / "quickstart.yaml"), *words, *QUICK])
    with (workplace / "runs/run_0/csv/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "val/top1", "val/mean_class_accuracy"):
        assert any(row[name] for row in rows)


def test_the_quickstart_says_all_that_is_in_it() -> None:
    text = (EXAMPLES / "quickstart.yaml").read_text()
    assert set(yaml.safe_load(text)) == {"data", "model", "trainer"}
    assert text.count("#") >= 10


def test_train_in_python(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = runpy.run_path(str(EXAMPLES / "train.py"))
    assert len((EXAMPLES / "train.py").read_text().splitlines()) <= 40
    script["main"].__globals__["SyntheticVideoDataModule"] = lambda: SyntheticVideoDataModule(**TINY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on settings that are tiny here
        script["main"](max_epochs=1)
    best = capsys.readouterr().out.split("best checkpoint: ")[1].strip()
    assert torch.load(best, weights_only=True)["epoch"] == 0


def test_custom_module_from_the_command_line(workplace: Path) -> None:
    words = [f"--data.{name}={value}" for name, value in TINY.items()]
    main(
        ["fit", "--model=custom_module.TwoHeads", "--data=SyntheticVideoDataModule", "--model.width=4", *QUICK, *words]
    )
    checkpoint = torch.load("runs/run_0/checkpoints/last.ckpt", weights_only=True)
    assert {"travels.weight", "net.head.weight"} <= checkpoint["state_dict"].keys()
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["betas"] == (0.8, 0.99)
    assert "one_hot_mse" in LOSSES
    assert "fast_adam" in OPTIMIZERS
    with Path("runs/run_0/csv/metrics.csv").open() as file:
        names = file.readline().strip().split(",")
    assert {"val/motion_top1", "val/travels_top1", "val/loss_motion", "train/loss_travels"} <= set(names)


@pytest.mark.slow
def test_the_notebook_runs(workplace: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "prototype.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(workplace))
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2  # the batch and the curve
