"""`lightframe fit` and its siblings, as a user types them."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from known_videos import numbered_frames, write_lossless

from lightframe.cli import main

FIT = ["--data.root=videos", "--model.net=tiny3d", "--model.loss=ce", "--model.lr=0.01"]

MY_NETS = """
from torch import nn
from lightframe import LightFrameModule, VideoDataModule

class Net(nn.Module):
    def __init__(self, num_classes, width=4, shift=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(3, width, 3, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
                                    nn.Linear(width, num_classes))
    def forward(self, video):
        return self.layers(video)

class Module(LightFrameModule):
    def __init__(self, width: int = 3, lr: float = 0.5, metrics: list[str] | None = None):
        super().__init__({"name": "my_nets.Net", "width": width}, "ce", lr=lr, metrics=metrics, num_classes=2)

class Data(VideoDataModule):
    def __init__(self, folder: str, eval_crop: float = 0.625, **kwargs):
        super().__init__(root=folder, eval_crop=eval_crop, **kwargs)
"""


def saved_config(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_plain_form_works_as_typed(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run("fit", *FIT)
    assert folder == Path("runs/run_0")
    assert (folder / "config.yaml").is_file()
    assert list(folder.glob("events.out.tfevents*"))
    best = list((folder / "checkpoints").glob("best-epoch=000-top1=*.ckpt"))
    assert len(best) == 1
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert any(row.get("val/top1") for row in rows(folder))
    assert any(row.get("lr-SGD") for row in rows(folder))
    said = capsys.readouterr().out
    for expected in ("runs/run_0", str(best[0]), "last.ckpt", "tensorboard --logdir runs/run_0"):
        assert expected in said


def test_a_second_run_has_a_folder_of_its_own(run: Any) -> None:
    first = run("fit", *FIT)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    second = run("fit", *FIT, "--trainer.logger=false")
    assert second != first
    assert (second / "checkpoints" / "last.ckpt").is_file()
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before


def test_the_saved_config_runs_again_to_the_same_weights(run: Any) -> None:
    first = run("fit", *FIT)
    main(["fit", "--config", str(first / "config.yaml")])
    states = [
        torch.load(f"runs/run_{number}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for number in (0, 1)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_configs_are_laid_over_each_other_and_typed_words_over_them(run: Any, workplace: Path) -> None:
    Path("a.yaml").write_text(
        "model: {net: tiny3d, loss: ce, optimizer: adamw, optimizer_args: {weight_decay: 0.1}, lr: 0.1}\n"
        "data: {root: videos, frames: 2, size: 16, batch_size: 2, num_workers: 0}\n"
    )
    Path("b.yaml").write_text("model: {lr: 0.2, scheduler: cosine}\n")
    folder = run("fit", "--config=a.yaml", "--config=b.yaml", "--model.scheduler_args.warmup_steps=0.5")
    settings = saved_config(folder)["model"]["init_args"]
    assert (settings["lr"], settings["optimizer"], settings["scheduler"]) == (0.2, "adamw", "cosine")
    assert settings["scheduler_args"] == {"warmup_steps": 0.5}
    optimizer = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert optimizer["param_groups"][0]["weight_decay"] == 0.1


def test_another_optimizer_does_not_inherit_the_first_ones_defaults(run: Any, workplace: Path) -> None:
    """jsonargparse lets AdamW's weight decay leak into SGD; ours are resolved when the name is known."""
    Path("a.yaml").write_text("model: {optimizer: adamw}\n")
    folder = run("fit", "--config=a.yaml", *FIT, "--model.optimizer=sgd")
    (group,) = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert (group["weight_decay"], group["momentum"]) == (0, 0)


def test_ones_own_net_adapter_and_data(run: Any, workplace: Path) -> None:
    Path("my_nets.py").write_text(MY_NETS)
    folder = run("fit", "--data.root=videos", "--model.net=my_nets.Net", "--model.net.width=32", "--model.loss=ce")
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert state["net.layers.0.weight"].shape[0] == 32
    assert state["net.layers.3.weight"].shape == (2, 32)  # the number of classes comes from the data
    folder = run("fit", "--model=my_nets.Module", "--model.width=5", "--data=my_nets.Data", "--data.folder=videos")
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert state["net.layers.0.weight"].shape[0] == 5
    settings = saved_config(folder)["data"]
    assert settings["class_path"] == "my_nets.Data"
    assert settings["init_args"]["eval_crop"] == 0.625  # its own default, not VideoDataModule's


def test_checkpoints_without_a_validation_split(run: Any, workplace: Path) -> None:
    folder = run("fit", *FIT, "--data.root=null", "--data.train=videos/train")
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["last.ckpt"]


def test_checkpoints_by_the_loss_where_there_are_no_metrics(run: Any) -> None:
    folder = run("fit", *FIT, "--model.metrics=null")
    assert len(list((folder / "checkpoints").glob("best-epoch=000-loss=*.ckpt"))) == 1


def test_fast_dev_run_leaves_nothing_behind(run: Any, workplace: Path) -> None:
    main(["fit", *FIT, "--data.frames=2", "--data.size=16", "--data.num_workers=0", "--trainer.fast_dev_run=true"])
    assert not Path("runs").exists()


def test_predictions_are_written_as_a_table(run: Any, workplace: Path) -> None:
    fitted = run("fit", *FIT)
    write_lossless(workplace / "new" / "a.mkv", numbered_frames(3))
    write_lossless(workplace / "new" / "b.mkv", numbered_frames(9))
    folder = run("predict", f"--ckpt_path={fitted}/checkpoints/last.ckpt", "--data.predict=new", "--data.num_workers=0")
    with (folder / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["path"] for row in table] == ["new/a.mkv", "new/b.mkv"]
    for row in table:
        assert {row["class_1"], row["class_2"]} == {"jump", "wave"}
        assert float(row["score_1"]) + float(row["score_2"]) == pytest.approx(1, abs=1e-3)
        assert float(row["score_1"]) >= float(row["score_2"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.loss=cee"], "unknown loss 'cee'; did you mean 'ce'?"),
        (["--model.optimizer=sdg"], "unknown optimizer 'sdg'; did you mean 'sgd'?"),
        (["--model.optimizer_args.momentun=0.9"], "it takes no 'momentun'; did you mean 'momentum'?"),
        (["--model.net=slowfst_r50"], "unknown net 'slowfst_r50'; did you mean 'slowfast_r50'?"),
        (["--model.net.widht=3"], "it takes no 'widht'; did you mean 'width'?"),
        (["--model.optimzer=sgd"], "model has no argument 'optimzer'; did you mean 'optimizer'?"),
        (["--data.batchsize=3"], "data has no argument 'batchsize'; did you mean 'batch_size'?"),
        (["--trainer.max_epochz=3"], "there is no 'trainer.max_epochz'; did you mean 'trainer.max_epochs'?"),
        (["--config=key.yaml"], "there is no 'trainer.max_epoch'; did you mean 'trainer.max_epochs'?"),
        (["--config=model_key.yaml"], "model has no argument 'schedular'; did you mean 'scheduler'?"),
        (["--config=section.yaml"], "there is no 'modell.lr'; did you mean 'model.lr'?"),
        (["--trainer.max_epochs=three"], "trainer.max_epochs: 'three' does not fit; expected int"),
        (["--model=nowhere.Module"], "there is no module 'nowhere'"),
        (["--model.metrics=[top_1]"], "unknown metric 'top_1'; did you mean 'top1'?"),
        (["--model.scheduler=cosin"], "unknown scheduler 'cosin'; did you mean 'cosine'?"),
        (["--data.root=video"], "'video' does not exist; did you mean 'videos'?"),
        (["--data.frames=0"], "frames must be at least 1"),
        (["--model.num_classes=5"], "give num_classes=2"),
    ],
)
def test_mistakes_are_answered_in_one_line(refused: Any, workplace: Path, words: list[str], message: str) -> None:
    Path("key.yaml").write_text("trainer: {max_epoch: 3}\n")
    Path("model_key.yaml").write_text("model: {schedular: cosine}\n")
    Path("section.yaml").write_text("modell: {lr: 3}\n")
    assert message in refused("fit", *FIT, "--data.num_workers=0", *words)
    assert not list(workplace.glob("runs/*"))  # no folder of a run that never began


def test_a_mistyped_command_and_a_missing_net(refused: Any) -> None:
    assert "there is no command 'fti'; did you mean 'fit'?" in refused("fti")
    assert "LightFrameModule needs an argument: give --model.net" in refused("fit", "--data.root=videos")
    words = ("fit", "--data.root=videos", "--model.net=tiny3d", "--trainer.callbacks+=EvalTotal")
    assert "EvalTotal needs an argument: give --trainer.callbacks.metric" in refused(*words)


def test_help_can_be_read(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["fit", "--help"])
    assert exit_info.value.code == 0
    said = capsys.readouterr().out
    for expected in ("--model.net NET", "--model.scheduler_args", "--data.root", "--data.val_fraction", "--ckpt_path"):
        assert expected in said
    assert "known subclasses" not in said
    assert said.index("--model.net") < said.index("--data.root") < said.index("--trainer.accelerator")


def test_console_script_and_module_run_from_any_folder(workplace: Path) -> None:
    Path("my_nets.py").write_text(MY_NETS)
    script = Path(sys.executable).with_name("lightframe")
    words = ["fit", "--data.root=videos", "--model.net=my_nets.Nett"]
    for command in ([str(script)], [sys.executable, "-m", "lightframe"]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert "'my_nets' has no 'Nett'; did you mean 'Net'?" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_a_run_was_made_with_and_how_fast_it_was(run: Any) -> None:
    folder = run("fit", *FIT)
    assert "lightframe:" in (folder / "environment.txt").read_text(encoding="utf-8")
    timed = [row for row in rows(folder) if row.get("time/step")]
    assert [int(row["step"]) for row in timed] == [0, 1, 2, 3]
    assert all(float(row["time/step"]) >= float(row["time/data"]) > 0 for row in timed)
    assert float(timed[-1]["time/eta_minutes"]) == 0


def test_runs_are_named_by_the_time_when_asked(workplace: Path) -> None:
    quick = ["--data.frames=2", "--data.size=16", "--data.num_workers=0", "--trainer.max_steps=1"]
    main(["fit", *FIT, *quick, "--run_folder=time", "--trainer.default_root_dir=mine", "--trainer.accelerator=cpu"])
    (folder,) = Path("mine").iterdir()
    assert re.fullmatch(r"run_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["run_folder"] == "time"
    main(["fit", "--config", str(folder / "config.yaml")])
    assert len(list(Path("mine").iterdir())) == 2


def test_a_loss_that_is_not_finite_ends_in_one_line(refused: Any, workplace: Path) -> None:
    quick = ["--data.frames=2", "--data.size=16", "--data.batch_size=2", "--data.num_workers=0"]
    said = refused(
        *("fit", *FIT, *quick, "--model.lr=1e30", "--trainer.accelerator=cpu", "--trainer.max_epochs=9"),
        "--trainer.callbacks+=lightframe.callbacks.LossGuard",
    )
    assert re.search(
        r"the loss of step \d+ \(epoch \d\) is not finite: train/loss nan, .*videos/train/\w+/\d.mkv", said
    )
    (saved,) = Path("runs/run_0/checkpoints").glob("last-finite-step=*.ckpt")
    assert str(saved) in said
    assert torch.load(saved, weights_only=True)["state_dict"]
