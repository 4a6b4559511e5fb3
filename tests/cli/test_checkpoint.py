"""`--ckpt_path`: what is typed wins, and what is not typed comes from the checkpoint."""

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from torch import nn

from lightframe import LightFrameModule, VideoDataModule
from lightframe.cli import LightFrameCLI

FIT = ["--data.root=videos", "--model.net=tiny3d", "--model.net.width=4", "--model.loss=ce", "--data.stride=3"]
EVALUATE = ["--data.root=videos", "--data.num_workers=0", "--trainer.accelerator=cpu"]


def settings(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_no_model_arguments_are_needed(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fitted = run("fit", *FIT, "--model.optimizer=adamw", "--model.optimizer_args.betas=[0.8, 0.9]")
    tested = run("test", f"--ckpt_path={fitted}/checkpoints/last.ckpt", *EVALUATE)
    assert "test/top1" in capsys.readouterr().out
    model, data = settings(tested)["model"]["init_args"], settings(tested)["data"]["init_args"]
    assert model["net"] == {"name": "tiny3d", "width": 4}
    # A clip is what it was in training, though nobody typed it now.
    assert (data["frames"], data["stride"], data["size"], data["classes"]) == (2, 3, 16, ["jump", "wave"])


def test_what_is_typed_wins(run: Any) -> None:
    fitted = run("fit", *FIT)
    path = f"--ckpt_path={fitted}/checkpoints/last.ckpt"
    tested = run("test", path, *EVALUATE, "--data.stride=1", "--model.metrics=[f1]", "--model.net.dropout=0.5")
    assert settings(tested)["data"]["init_args"]["stride"] == 1
    assert settings(tested)["model"]["init_args"]["metrics"] == ["f1"]
    assert settings(tested)["model"]["init_args"]["net"] == {"name": "tiny3d", "width": 4, "dropout": 0.5}


def test_a_fit_takes_nothing_from_the_checkpoint_but_its_state(run: Any) -> None:
    fitted = run("fit", *FIT, "--model.scheduler=cosine")
    path = f"--ckpt_path={fitted}/checkpoints/last.ckpt"
    resumed = run("fit", *FIT, path, "--trainer.max_epochs=2", "--model.scheduler=cosine", "--model.metrics=[f1]")
    state = torch.load(resumed / "checkpoints/last.ckpt", weights_only=True)
    assert (state["epoch"], state["global_step"]) == (1, 8)
    assert settings(resumed)["model"]["init_args"]["metrics"] == ["f1"]


def test_a_checkpoint_from_python(run: Any, refused: Any, workplace: Path) -> None:
    Path("my_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, width: int = 2):\n"
        "        super().__init__(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, width),\n"
        "                         nn.Linear(width, num_classes))\n"
    )
    sys.path.insert(0, str(workplace))  # the fixture puts the old path back
    import my_net  # type: ignore[import-not-found]

    data = VideoDataModule(root="videos", frames=2, size=16, num_workers=0)

    def save(net: str | nn.Module, name: str) -> str:
        module = LightFrameModule(net, "ce", num_classes=2)
        checkpoint = ModelCheckpoint(".", filename=name)
        trainer = Trainer(max_epochs=1, logger=False, callbacks=[checkpoint], enable_progress_bar=False)
        trainer.fit(module, datamodule=data)
        return f"--ckpt_path={name}.ckpt"

    run("test", save("tiny3d", "by_name"), *EVALUATE)
    by_object = save(my_net.Net(2, width=7), "by_object")
    said = refused("test", by_object, *EVALUATE)
    assert "of class my_net.Net: name it with --model.net" in said
    run("test", by_object, *EVALUATE, "--model.net=my_net.Net", "--model.net.width=7")


def test_files_that_are_no_checkpoints(refused: Any, workplace: Path) -> None:
    assert "there is no file 'nowhere.ckpt'" in refused("test", "--ckpt_path=nowhere.ckpt", "--data.root=videos")
    Path("damaged.ckpt").write_bytes(b"PK\x03\x04 not really")
    assert "'damaged.ckpt' is not a checkpoint" in refused("test", "--ckpt_path=damaged.ckpt", "--data.root=videos")

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (Path("touched"),)

    torch.save({"evil": Evil()}, "evil.ckpt")
    for command in ("test", "fit"):
        assert "'evil.ckpt' is not a checkpoint" in refused(command, "--ckpt_path=evil.ckpt", "--data.root=videos")
    assert "name the file" in refused("fit", "--ckpt_path=last", "--data.root=videos")
    assert not Path("touched").exists()


def test_a_checkpoint_of_another_net(run: Any, refused: Any, workplace: Path) -> None:
    fitted = run("fit", *FIT)
    words = [f"--ckpt_path={fitted}/checkpoints/last.ckpt", *EVALUATE, "--model.net.width=8"]
    assert "those of another net" in refused("validate", *words)


@pytest.mark.filterwarnings("ignore:left out")
def test_videos_that_cannot_be_read(refused: Any, workplace: Path) -> None:
    for split in ("train", "val"):
        for name in ("jump", "wave"):
            folder = workplace / "fake" / split / name
            folder.mkdir(parents=True)
            (folder / "a.mp4").write_text("no video")
    words = ["--data.root=fake", "--data.num_workers=0", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    said = refused("fit", *words, "--model.net=tiny3d", "--model.loss=ce", "--trainer.num_sanity_val_steps=0")
    assert "not one of the 2 train videos can be read" in said


def test_the_private_method_that_is_overridden_is_the_one_that_lightning_calls() -> None:
    assert "self._parse_ckpt_path()" in inspect.getsource(LightningCLI.__init__)
    assert LightFrameCLI._parse_ckpt_path is not LightningCLI._parse_ckpt_path
