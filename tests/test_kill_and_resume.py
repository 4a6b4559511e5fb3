"""`lightframe fit` is killed anywhere and goes on with `--ckpt_path last`: it ends as a run that was not killed."""

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands import Commands, end
from flat_values import flat

pytestmark = pytest.mark.slow

NET = '''
from torch import nn

class Net(nn.Module):
    """What has a state of its own in training: dropout and batch norm."""

    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(4, num_classes),
        )

    def forward(self, video):
        return self.layers(video)
'''
CONFIG: dict[str, Any] = {
    "model": {
        "net": "my_kill_net.Net",
        "loss": "ce",
        "optimizer": "adamw",
        "lr": 0.01,
        "scheduler": "cosine",
        "scheduler_args": {"warmup_steps": 3},
        "metrics": ["top1"],
    },
    "data": {
        "root": "../videos",
        "frames": 2,
        "stride": 1,
        "size": 8,
        "batch_size": 2,
        "augment": {"random_resized_crop": {}, "flip": {}, "color_jitter": {"brightness": 0.4}, "mixup": {}},
    },
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 2,
        "log_every_n_steps": 1,
        "accumulate_grad_batches": 2,
        "val_check_interval": 3,  # the first in an epoch falls between two optimizer steps
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [
            {"class_path": "EMA", "init_args": {"decay": 0.9, "ramp": 5}},
            {"class_path": "LastCheckpoint", "init_args": {"every_minutes": 0}},
        ],
    },
}
WAYS = {
    "no_workers": ["--data.num_workers=0"],
    "workers": ["--data.num_workers=2"],
    "processes": ["--data.batch_size=1", "--data.num_workers=0", "--trainer.devices=2", "--trainer.strategy=ddp_fork"],
    "processes_and_workers": [
        "--data.batch_size=1",
        "--data.num_workers=2",
        "--trainer.devices=2",
        "--trainer.strategy=ddp_fork",
    ],
}
# Ten moments in the loops and ten in the writing of a checkpoint, each with how often it comes in a run.
IN_LOOPS = [("train_batch", 14), ("validation_batch", 4), ("log", 4), ("train_batch", 14), ("epoch_end", 2)] * 2
IN_WRITING = [("write", 40), ("sync", 7), ("rename", 7), ("write", 40), ("renamed", 7)] * 2

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run(commands: Commands) -> Run:
    """Trains in a folder, dying at the n-th of some event (see kill_events.py), and gives the exit code."""

    def run(folder: Path, *words: str, die: tuple[str, int] | None = None, signum: int = signal.SIGKILL) -> int:
        prepare = None if die is None else ["kill_events", *die, int(signum)]
        ended = commands.run(folder, "fit", "--config=../config.yaml", *words, prepare=prepare)
        end(ended.session)  # its workers and other ranks
        return ended.code

    return run


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, numbered_video: Path) -> Path:
    """A folder with videos, 14 to train and 4 to validate, the net and the config."""
    folder = tmp_path_factory.mktemp("killed")
    for split, count in (("train", 7), ("val", 2)):
        for name in ("jump", "wave"):
            (folder / "videos" / split / name).mkdir(parents=True)
            for number in range(count):
                (folder / "videos" / split / name / f"{number}.mkv").hardlink_to(numbered_video)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(run: Run, workplace: Path) -> Callable[[str], Path]:
    """The folder of a run that was not killed, made once for each way."""
    made: dict[str, Path] = {}

    def whole(way: str) -> Path:
        if way not in made:
            made[way] = new_folder(workplace, f"whole {way}")
            assert run(made[way], *WAYS[way]) == 0, (made[way] / "err.txt").read_text()
        return made[way]

    return whole


def new_folder(workplace: Path, name: str) -> Path:
    folder = workplace / name
    folder.mkdir()
    (folder / "my_kill_net.py").write_text(NET, encoding="utf-8")
    return folder


def outcome(folder: Path) -> dict[str, Any]:
    """The raw and the averaged weights, the optimizer's and the schedule's state of the newest run."""
    last = max(folder.glob("runs/run_*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    checkpoint = torch.load(last, weights_only=True)
    keys = ("global_step", "state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
    return flat({key: checkpoint[key] for key in keys})


def logged(folder: Path) -> dict[tuple[int, str], str]:
    """What all runs of a folder have logged, by step and key, without what clocks tell; the newer run wins."""
    values = {}
    for path in sorted(folder.glob("runs/run_*/csv/metrics.csv"), key=lambda path: int(path.parts[-3].split("_")[1])):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["step"].isdecimal():  # a run may be killed while it writes a line
                    named = {key: value for key, value in row.items() if value and key and not key.startswith("time/")}
                    values.update({(int(row["step"]), key): value for key, value in named.items()})
    return values


def check(folder: Path, whole: Path) -> None:
    """Raise unless the runs of a folder ended as one."""
    assert outcome(folder) == outcome(whole)
    assert logged(folder) == logged(whole)


def moments() -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Ten pairs: where a run is killed, and where the one that goes on from it, which has less to do."""
    random = np.random.default_rng(7)
    pairs = []
    for first, second in zip(random.permutation(len(IN_LOOPS)), random.permutation(len(IN_WRITING)), strict=True):
        (loop, often), (write, times) = IN_LOOPS[first], IN_WRITING[second]
        pair = (loop, int(random.integers(often)) + 1), (write, int(random.integers(times // 3)) + 1)
        pairs.append(pair if random.integers(2) else (pair[1], (loop, int(random.integers(max(often // 3, 1))) + 1)))
    return pairs


@pytest.mark.parametrize(
    ("way", "moments"), list(zip([*WAYS, *WAYS, "no_workers", "processes"], moments(), strict=True)), ids=str
)
def test_a_run_that_is_killed(
    run: Run, workplace: Path, whole: Callable[[str], Path], way: str, moments: tuple[tuple[str, int], tuple[str, int]]
) -> None:
    """At 20 moments in all: each run is killed, and killed once more when it goes on."""
    first, second = moments
    folder = new_folder(workplace, f"{way} {first} {second}")
    statuses = [run(folder, *WAYS[way], die=first), run(folder, *WAYS[way], "--ckpt_path=last", die=second)]
    assert all(statuses), "they did not come to these moments"
    assert run(folder, *WAYS[way], "--ckpt_path=last") == 0, (folder / "err.txt").read_text()
    check(folder, whole(way))


@pytest.mark.parametrize(
    ("way", "event"),
    [
        ("no_workers", ("train_batch", 9)),
        ("no_workers", ("epoch_end", 2)),
        ("workers", ("validation_batch", 2)),
        ("processes", ("train_batch", 9)),
        ("processes", ("validation_batch", 2)),
        ("processes_and_workers", ("epoch_end", 2)),
    ],
    ids=str,
)
def test_a_run_that_gets_sigterm(
    run: Run, workplace: Path, whole: Callable[[str], Path], way: str, event: tuple[str, int]
) -> None:
    folder = new_folder(workplace, f"sigterm {way} {event[0]}")
    quiet = "--trainer.callbacks.every_minutes=null"
    status = run(folder, *WAYS[way], quiet, die=event, signum=signal.SIGTERM)
    said = (folder / "err.txt").read_text()
    assert status == 128 + signal.SIGTERM, said
    assert "SIGTERM: training stops at step" in said
    assert "Traceback" not in said
    assert run(folder, *WAYS[way], quiet, "--ckpt_path=last") == 0, (folder / "err.txt").read_text()
    check(folder, whole(way))
