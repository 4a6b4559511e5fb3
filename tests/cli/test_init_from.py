"""`--model.init_from`, `--model.freeze` and a learning rate for the head, on the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightframe.cli import main
from lightframe.models import Tiny3D

NET = ["--data.root=videos", "--model.net=tiny3d", "--model.net.width=4", "--model.loss=ce", "--model.lr=0.01"]
FINETUNE = [*NET, "--model.init_from=trained.pth", "--model.freeze=features.0", "--model.optimizer_args.head_lr=0.1"]


@pytest.fixture
def trained(workplace: Path) -> dict[str, torch.Tensor]:
    """The weights of a tiny3d of 400 classes in `trained.pth`, as DataParallel names them."""
    torch.manual_seed(7)
    state = Tiny3D(400, width=4).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, "trained.pth")
    return state


def weights(path: Path) -> dict[str, torch.Tensor]:
    found = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("net."): value for name, value in found.items()}


def test_a_net_is_trained_further_and_its_frozen_part_stays(
    run: Any, trained: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run("fit", *FINETUNE)
    said = capsys.readouterr().out
    assert "Weights from trained.pth (a checkpoint, its 'state_dict')" in said
    assert "a new head" in said
    found = weights(folder / "checkpoints" / "last.ckpt")
    assert found["head.weight"].shape == (2, 16)
    for name, value in found.items():
        if name.startswith("features.0."):
            assert torch.equal(value, trained[name]), name
        elif name.startswith("features"):
            assert not torch.equal(value, trained[name]), name
            if name.endswith("0.weight"):
                assert (value - trained[name]).abs().mean() < 0.02  # four steps from there
    columns = (folder / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"lr-SGD/body", "lr-SGD/head"} <= set(columns)


def test_resuming_is_exact_and_does_not_need_the_file_again(run: Any, trained: dict[str, torch.Tensor]) -> None:
    whole = run("fit", *FINETUNE, "--trainer.max_epochs=2")
    half = run("fit", *FINETUNE, "--trainer.max_epochs=1")
    Path("trained.pth").unlink()
    checkpoint = half / "checkpoints" / "last.ckpt"
    resumed = run("fit", *FINETUNE, "--trainer.max_epochs=2", f"--ckpt_path={checkpoint}")
    expected, found = (weights(folder / "checkpoints" / "last.ckpt") for folder in (whole, resumed))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    saved = yaml.safe_load((resumed / "config.yaml").read_text())["model"]["init_args"]
    assert saved["init_from"] == "trained.pth"  # what was typed
    # Evaluation needs neither the file nor the arguments, not even where a config names them.
    run("test", "--data.root=videos", f"--ckpt_path={checkpoint}", "--data.num_workers=0", "--trainer.accelerator=cpu")
    run("test", f"--config={half}/config.yaml", f"--ckpt_path={checkpoint}")
    hyper_parameters = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert "init_from" not in hyper_parameters
    assert hyper_parameters["freeze"] == "features.0"


def test_arguments_of_loading_are_typed_below_it(run: Any, trained: dict[str, torch.Tensor], workplace: Path) -> None:
    flat = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in trained.items()}
    torch.save(flat, "flat.pth")
    words = ["--model.init_from=flat.pth", "--model.init_from.inflate=true", "--model.init_from.min_match=0.9"]
    folder = run("fit", *NET, *words, "--model.freeze=[features.0, features.1]")
    found = weights(folder / "checkpoints" / "last.ckpt")
    expected = flat["features.1.0.weight"].unsqueeze(2).expand(-1, -1, 3, -1, -1) / 3
    assert torch.equal(found["features.1.0.weight"], expected)
    saved = yaml.safe_load((folder / "config.yaml").read_text())["model"]["init_args"]
    assert saved["init_from"] == {"path": "flat.pth", "inflate": True, "min_match": 0.9}
    main(["fit", "--config", str(folder / "config.yaml")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.init_from=traind.pth"], "there is no file 'traind.pth'; did you mean 'trained.pth'?"),
        (["--model.init_from=videos"], "'videos' is a folder"),
        (["--model.init_from=other.pth"], "nothing in other.pth (a state dict) fits the net"),
        (["--model.init_from.inflate=true"], "init_from: give {path: ..., min_match: ...}, not inflate"),
        (["--model.init_from=trained.pth", "--model.init_from.min_mach=1"], "did you mean 'min_match'"),
        (
            ["--model.init_from=foreign.pth"],
            "holds objects that only code of others makes, the first of them a torch.nn",
        ),
        (["--model.freeze=featurs"], "no parameter of the net is below 'featurs'; did you mean 'features'"),
        (["--model.optimizer_args.head_lr=-1"], "head_lr=-1 must be a learning rate"),
        (["--model.freeze=head", "--model.optimizer_args.head_lr=0.1"], "the head of the net is frozen"),
        (["--model.freeze=head|features"], "nothing to train"),
    ],
)
def test_mistakes(refused: Any, trained: dict[str, torch.Tensor], words: list[str], message: str) -> None:
    torch.save({"other.weight": torch.ones(2)}, "other.pth")
    torch.save(torch.nn.Linear(2, 2), "foreign.pth")
    small = [
        "--data.frames=2",
        "--data.size=16",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
        "--trainer.max_epochs=1",
    ]
    assert message in refused("fit", *NET, *small, *words)
