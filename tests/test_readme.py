"""What the README shows works as it stands there."""

import re
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from lightframe.cli import main
from lightframe.datamodules.augment import AUGMENTATIONS
from lightframe.datamodules.sampling import SAMPLINGS
from lightframe.losses import LOSSES
from lightframe.metrics import METRICS
from lightframe.models import MODELS
from lightframe.optimizers import OPTIMIZERS
from lightframe.schedulers import SCHEDULERS

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALL = ["--data.frames=8", "--data.size=32", "--data.batch_size=2", "--data.num_workers=0", "--trainer.max_epochs=1"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_there_are_two_set_up_lines() -> None:
    assert re.findall(r"^pip install .*$", README, re.MULTILINE) == [
        "pip install . && lightframe fit --config examples/quickstart.yaml",
        "pip install '.[test]' && pytest -n 2 --dist worksteal",
    ]


@pytest.mark.slow
def test_commands_and_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_folders: Callable[..., Path]
) -> None:
    make_folders(train={"jump": 2, "wave": 2}, val={"jump": 1, "wave": 1})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    net, script = blocks("python")
    Path("my_nets.py").write_text(net)
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    # The examples have tests of their own.
    commands = [line for line in lines if line.startswith("lightframe ") and "--config examples/" not in line]
    assert len(commands) == 11
    runs = 0
    for line in commands:
        words = shlex.split(line)[1:]
        if words[0] in ("scan", "transcode"):
            main([*words, "--workers=1"])
            continue
        if words[0] == "export":
            main(words)
            continue
        main(
            [
                *words,
                "--trainer.accelerator=cpu",
                *(SMALL if words[0] == "fit" and "--ckpt_path" not in words else ["--data.num_workers=0"]),
            ]
        )
        assert (tmp_path / f"runs/run_{runs}" / "config.yaml").is_file()
        runs += 1
    assert Path("videos/lightframe-scan.parquet").is_file()
    assert len(list(Path("videos_fast").rglob("*.mp4"))) == 6

    monkeypatch.setattr("lightframe.datamodules.video.default_workers", lambda devices: 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on settings that are tiny here
        exec(script, {"__name__": "readme"})
    del sys.modules["my_nets"]


def test_every_name_exists_and_every_registered_name_is_there() -> None:
    table = {row[0]: row[1] for row in re.findall(r"^\| `--\w+\.(\w+)` \| (.*) \|$", README, re.MULTILINE)}
    registries = {
        "net": MODELS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "scheduler": SCHEDULERS,
        "metrics": METRICS,
        "augment": AUGMENTATIONS,
        "sampling": SAMPLINGS,
    }
    assert set(table) == set(registries)
    longer = {"cross_entropy", "crossentropyloss", "binary_cross_entropy", "bcewithlogitsloss"}
    of_the_examples = {"one_hot_mse", "fast_adam"}  # which other tests run in this process
    for key, registry in registries.items():
        listed = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", table[key])))
        if key == "net":
            listed = {name if not name.startswith("_r") else f"slowfast{name}" for name in listed}
        expected = {name for name in registry.names() if name == name.lower()} - longer - of_the_examples
        assert listed == expected
