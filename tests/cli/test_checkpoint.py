"""`--ckpt_path`: what is typed wins, and what is not typed comes from the checkpoint."""

import inspect
import os
import shutil
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
from lightframe.cli import LightFrameCLI, main

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
    epochs = state["loops"]["fit_loop"]["epoch_progress"]["current"]
    assert (epochs["processed"], state["global_step"]) == (2, 8)
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
    said = refused("test", "--ckpt_path=damaged.ckpt", "--data.root=videos")
    assert "'damaged.ckpt' is cut short (its end is missing): there is no whole one before it" in said

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (Path("touched"),)

    torch.save({"evil": Evil()}, "evil.ckpt")
    for command in ("fit", "validate", "test", "predict"):
        said = refused(command, "--ckpt_path=evil.ckpt", "--data.root=videos")
        assert "'evil.ckpt' holds a pickled pathlib" in said
        assert "weights_only=False)" in said
    assert "evil.ckpt' holds a pickled" in refused("export", "evil.ckpt")
    assert "name the file" in refused("fit", "--ckpt_path=best", "--data.root=videos")
    assert not Path("touched").exists()


def test_a_damaged_one_of_a_run(run: Any, refused: Any, workplace: Path) -> None:
    fitted = run("fit", *FIT)
    last, best = fitted / "checkpoints/last.ckpt", fitted / "checkpoints/best.ckpt"
    best.write_bytes(last.read_bytes())
    os.utime(best, ns=(0, 0))
    last.write_bytes(last.read_bytes()[:-100])
    for command in ("fit", "test"):
        said = refused(command, f"--ckpt_path={last}", *(FIT if command == "fit" else EVALUATE))
        assert f"'{last}' is cut short (its end is missing): go on with --ckpt_path {fitted}/checkpoints/" in said
    assert len(list(Path("runs").iterdir())) == 1


def test_a_strangers_hyperparameters(run: Any, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any pickle: the name of what builds the net may be any function's."""
    path = run("fit", *FIT) / "checkpoints/last.ckpt"
    called: list[Any] = []
    monkeypatch.setattr(os, "system", called.append)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["net"] = {"name": "os.system", "command": "touch touched"}
    torch.save(checkpoint, path)
    assert "names os.system as its net" in refused("test", f"--ckpt_path={path}", *EVALUATE)
    checkpoint["hyper_parameters"]["net"] = "tiny3d"
    checkpoint["lightframe"]["data"]["augment"] = {"os.system": {"command": "touch touched"}}
    torch.save(checkpoint, path)
    assert "names os.system as its augment" in refused("predict", f"--ckpt_path={path}", *EVALUATE)
    assert not called


def test_one_file_is_all_that_prediction_needs(
    run: Any, refused: Any, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data.mean=[0.1, 0.2, 0.3]", "--data.std=[0.5, 0.6, 0.7]", "--data.fps=5", "--data.eval_crop=0.75"]
    fitted = run("fit", *FIT, *words, "--trainer.callbacks+=lightframe.callbacks.EMA", "--trainer.callbacks.decay=0.9")
    main(["export", f"{fitted}/checkpoints/last.ckpt", "--output", "exported/net.safetensors"])
    assert "Weights: exported/net.safetensors (0.0 MB)" in capsys.readouterr().out
    predict = ["--data.predict=videos/test", "--data.num_workers=0", "--trainer.accelerator=cpu"]
    expected = run("predict", f"--ckpt_path={fitted}/checkpoints/last.ckpt", *predict)
    evaluated = [
        run(command, f"--ckpt_path={fitted}/checkpoints/last.ckpt", *EVALUATE) for command in ("validate", "test")
    ]
    shutil.copy("exported/net.safetensors", "moved.safetensors")
    shutil.rmtree("exported")
    fitted.rename(workplace / "elsewhere")
    found = run("predict", "--ckpt_path=moved.safetensors", *predict)
    assert (found / "predictions.csv").read_bytes() == (expected / "predictions.csv").read_bytes()
    assert len((found / "predictions.csv").read_text().splitlines()) == 5
    data = settings(found)["data"]["init_args"]
    assert (data["mean"], data["std"], data["fps"], data["eval_crop"]) == ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7], 5, 0.75)
    assert (data["classes"], data["stride"]) == (["jump", "wave"], 3)
    for command, folder in zip(("validate", "test"), evaluated, strict=True):
        again = run(command, "--ckpt_path=moved.safetensors", *EVALUATE)
        assert (again / "csv/metrics.csv").read_bytes() == (folder / "csv/metrics.csv").read_bytes()
    said = refused("fit", *FIT, "--ckpt_path=moved.safetensors")
    assert "'moved.safetensors' holds weights only" in said
    assert "--model.init_from moved.safetensors" in said
    content = bytearray(Path("moved.safetensors").read_bytes())
    content[-5] ^= 1
    Path("moved.safetensors").write_bytes(content)
    assert "'moved.safetensors' is damaged (the checksum of net." in refused("predict", "--ckpt_path=moved.safetensors")


def test_an_exported_net_that_was_given_as_an_object(refused: Any, workplace: Path) -> None:
    module = LightFrameModule(nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2)), "ce")
    data = VideoDataModule(root="videos", frames=2, size=16, num_workers=0)
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint("a.ckpt")
    main(["export", "a.ckpt"])
    said = refused("predict", "--ckpt_path=a.safetensors", "--data.predict=videos/test")
    assert "the net of 'a.safetensors' was given as an object, of class torch.nn.modules.container.Sequential" in said


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
