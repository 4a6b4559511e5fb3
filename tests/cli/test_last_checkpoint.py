"""`--ckpt_path last`: which checkpoint it is, and that it is said."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only

from lightframe.callbacks import LastCheckpoint
from lightframe.cli.last_checkpoint import name_last, release_last, runs_folder
from lightframe.errors import UsageError

FIT = ["--data.root=videos", "--model.net=tiny3d", "--model.net.width=4", "--model.loss=ce"]
FULL = {"state_dict": {}, "optimizer_states": [], "lr_schedulers": [], "loops": {}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    release_last()


def make(name: str, second: int, content: Any = FULL) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    os.utime(path, ns=(0, second * 10**9))
    return name


def test_where_the_runs_are() -> None:
    Path("a.yaml").write_text("trainer: {default_root_dir: of_a}")
    Path("b.yaml").write_text("trainer: {max_epochs: 1}")
    assert runs_folder(["fit"]) == "runs"
    assert runs_folder(["fit", "--trainer.default_root_dir=typed"]) == "typed"
    assert runs_folder(["fit", "--config", "a.yaml", "-c", "b.yaml"]) == "of_a"
    assert runs_folder(["fit", "--config=a.yaml", "--trainer.default_root_dir", "typed"]) == "typed"
    assert runs_folder(["fit", "--trainer.default_root_dir", "typed", "--config=a.yaml"]) == "of_a"


def test_the_path_stands_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    make("runs/run_0/checkpoints/last.ckpt", 1)
    newest = make("runs/run_1/checkpoints/last.ckpt", 2)
    other = make("other/run_7/x.ckpt", 3)
    Path("last.yaml").write_text("ckpt_path: last\ntrainer: {default_root_dir: other}")
    assert name_last(["fit", "--ckpt_path", "last", "--model.lr=1"])[-1] == f"--ckpt_path={newest}"
    assert capsys.readouterr().err == f"lightframe: --ckpt_path last is {newest}\n"
    assert name_last(["fit", "--ckpt_path=last"])[-1] == f"--ckpt_path={newest}"
    assert name_last(["test", "--config=last.yaml"])[-1] == f"--ckpt_path={other}"
    capsys.readouterr()
    for words in (["fit", "--ckpt_path=last.ckpt"], ["fit"], ["fit", "--config=last.yaml", "--ckpt_path=x"], []):
        assert name_last(words) == words
    assert capsys.readouterr().err == ""


def test_weights_only_is_not_trained_on() -> None:
    full = make("runs/run_0/a.ckpt", 1)
    weights = make("runs/run_0/b.ckpt", 2, {"state_dict": {}})
    assert name_last(["fit", "--ckpt_path=last"])[-1] == f"--ckpt_path={full}"
    assert name_last(["validate", "--ckpt_path=last"])[-1] == f"--ckpt_path={weights}"


def test_damaged_ones_are_named() -> None:
    whole = make("runs/run_0/a.ckpt", 1)
    Path("runs/run_0/b.ckpt").write_bytes(b"PK\x03\x04half")
    with pytest.warns(UserWarning, match=r"passes over 'runs/run_0/b.ckpt': it is cut short"):
        assert name_last(["fit", "--ckpt_path=last"])[-1] == f"--ckpt_path={whole}"


def test_none_to_go_on_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert name_last(["fit", "--ckpt_path=last"])[-1] == "--ckpt_path=null"
    assert "is there, nor a folder 'runs': training starts from the beginning" in capsys.readouterr().err
    make("runs/run_0/weights.ckpt", 1, {"state_dict": {}})
    assert name_last(["fit", "--ckpt_path=last"])[-1] == "--ckpt_path=null"
    assert "no checkpoint to go on from lies in 'runs'" in capsys.readouterr().err
    for command in ("validate", "test", "predict"):
        with pytest.raises(UsageError, match="no whole checkpoint is there, nor a folder 'nowhere'"):
            name_last([command, "--ckpt_path=last", "--trainer.default_root_dir=nowhere"])


def test_other_processes_take_what_the_first_took(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--ckpt_path=last"]
    for first in ("null", make("runs/run_0/a.ckpt", 1)):
        if first == "null":
            Path("nothing").mkdir()
            words = [*words, "--trainer.default_root_dir=nothing"]
        else:
            words = words[:2]
        assert name_last(words)[-1] == f"--ckpt_path={first}"
        newer = make("nothing/b.ckpt" if first == "null" else "runs/run_1/b.ckpt", 2)
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(rank_zero_only, "rank", 1)
            assert name_last(words)[-1] == f"--ckpt_path={first}"
        assert capsys.readouterr().err == ""
        assert name_last(words)[-1] == f"--ckpt_path={newer}"  # the next command of the first makes its own choice
    release_last()
    with monkeypatch.context() as patch:  # started by other means, it finds the same
        patch.setattr(rank_zero_only, "rank", 1)
        assert name_last(words)[-1] == f"--ckpt_path={newer}"


def test_a_job_that_always_says_last(run: Any, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It starts, goes on, and has nothing left to do."""
    fit = ["--data.train=videos/train", *FIT[1:], "--ckpt_path=last"]
    first = run("fit", *fit)
    assert "training starts from the beginning" in capsys.readouterr().err
    assert yaml.safe_load((first / "config.yaml").read_text())["ckpt_path"] is None
    second = run("fit", *fit, "--trainer.max_epochs=2")
    path = yaml.safe_load((second / "config.yaml").read_text())["ckpt_path"]
    assert Path(path).parent == first / "checkpoints"
    assert f"--ckpt_path last is {path}\n" in capsys.readouterr().err
    assert torch.load(second / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 8
    with pytest.raises(SystemExit) as exit_info:
        run("fit", *fit, "--trainer.max_epochs=2")
    assert exit_info.value.code == 0
    said = capsys.readouterr().err
    assert "had come to its end, 2 of 2 epochs are done: raise --trainer.max_epochs" in said
    assert [path.name for path in sorted(Path("runs").iterdir())] == ["run_0", "run_1"]
    with pytest.raises(SystemExit) as exit_info:
        run("fit", *fit, "--trainer.max_epochs=9", "--trainer.max_steps=8")
    assert exit_info.value.code == 0
    assert "8 of 8 steps are done: raise --trainer.max_steps" in capsys.readouterr().err
    assert "LIGHTFRAME_LAST_CHECKPOINT" not in os.environ
    run("test", "--ckpt_path=last", "--data.root=videos", "--data.num_workers=0", "--trainer.accelerator=cpu")
    assert f"--ckpt_path last is {second}/checkpoints/" in capsys.readouterr().err


def test_one_with_other_settings_knows_what_the_best_was(
    run: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It saves behind the others, wherever it stands in the config."""
    known = []

    def end(self: LastCheckpoint, trainer: Any, module: Any) -> None:
        original(self, trainer, module)
        if not trainer.sanity_checking:
            (best,) = (
                state["best_model_path"]
                for name, state in torch.load(self.path, weights_only=True)["callbacks"].items()
                if name.startswith("Checkpointer")
            )
            known.append(best != "" and Path(best).is_file())

    original = LastCheckpoint.on_validation_end
    monkeypatch.setattr(LastCheckpoint, "on_validation_end", end)
    last = ["--trainer.callbacks+=LastCheckpoint", "--trainer.callbacks.every_minutes=5"]
    run("fit", *FIT, *last, "--trainer.val_check_interval=0.5")
    assert known == [True, True]
    assert "Best checkpoint:" in capsys.readouterr().out
