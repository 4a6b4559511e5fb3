"""benchmarks/long_run.py on a short run, and that a training leaves nothing open from one evaluation to the next."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lightframe.cli import main

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {"train_videos": 8, "eval_videos": 2, "video_frames": 8, "video_size": 32, "size": 32, "batch_size": 8}

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="no /proc here")


@pytest.fixture(autouse=True)
def beside_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.pop("LIGHTFRAME_RUN_FOLDER", None)


@pytest.fixture
def long_run() -> Any:
    return import_module("long_run")


@pytest.fixture
def process_usage() -> Any:
    return import_module("process_usage")


def test_the_slope_is_that_of_numpy(long_run: Any) -> None:
    rng = np.random.default_rng(0)
    steps = np.sort(rng.uniform(0, 2000, 30))
    values = 0.003 * steps + rng.normal(size=30)
    (rise, _), covariance = np.polyfit(steps, values, 1, cov=True)
    assert long_run.slope(steps, values) == pytest.approx((1000 * rise, 1000 * covariance[0, 0] ** 0.5))


def samples(**rises: float) -> np.ndarray:
    """2,000 steps in which everything swings by ten from step to step, and some things rise, by so much in 1,000."""
    names = import_module("long_run").Usage._fields
    steps = np.arange(10, 2001, 10)
    swing = 50 + 5 * np.cos(np.pi * np.arange(len(steps)))
    rows = [swing + rises.get(name, 0.0) * steps / 1000 for name in names]
    return np.stack([steps, *rows], axis=1)


@pytest.mark.parametrize(
    ("rises", "grows"),
    [
        ({}, []),
        ({"rss_mib": 9.0, "allocated_mib": 0.8, "pss_mib": 50.0}, []),  # too little; and what depends on others
        ({"allocated_mib": 1.5, "files": 10.0}, ["allocated_mib", "files"]),  # a file in each evaluation
        ({"rss_mib": 12.0}, ["rss_mib"]),
        ({"children": 1.0}, ["children"]),
        ({"rss_mib": -10.0, "threads": -1.0}, []),
    ],
)
def test_what_grows_is_named(long_run: Any, rises: dict[str, float], grows: list[str]) -> None:
    row = long_run.judge(samples(**rises), every=100, warm_up=200)
    assert row["grows"] == grows
    assert row["slopes"]["rss_mib"]["per_1000"] == pytest.approx(rises.get("rss_mib", 0.0), abs=0.01)


def test_the_warm_up_does_not_count_and_noise_is_no_growth(long_run: Any) -> None:
    early = samples()
    early[:20, 1:] *= np.linspace(0, 1, 20)[:, None]
    assert long_run.judge(early, every=100, warm_up=200)["grows"] == []
    noise = samples(allocated_mib=1.5)
    noise[:, 1:] += np.random.default_rng(1).normal(scale=30, size=(200, 1))
    row = long_run.judge(noise, every=100, warm_up=200)
    assert row["slopes"]["allocated_mib"]["per_1000"] > 1
    assert row["grows"] == []


def test_the_exit_code_and_the_file_say_what_grows(
    long_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(work: Path, name: str, options: Any) -> dict[str, Any]:
        found = samples(**({"files": 10.0} if name == "2 workers" else {}))
        return {"setting": name, **long_run.judge(found, 100, 200), "samples": found.tolist()}

    monkeypatch.setattr(long_run, "measure", measure)
    path = tmp_path / "results" / "long_run.json"
    assert long_run.main(["--output", str(path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Growing: files (2 workers)"
    content = json.loads(path.read_text())
    assert {"cpu", "cores", "system"} <= set(content["machine"])
    assert [row["grows"] for row in content["rows"]] == [["files"], [], []]
    assert long_run.main(["--output", str(path), "--only", "0 workers, EMA and EvalTotal"]) == 0


# In a process of its own: one that lived before has memory to give again, which adds nothing to what it holds.
HOLD = """
import json, os, subprocess, sys, threading
import numpy as np
from process_usage import descendants, usage

before = usage()
held = np.ones(48 * 2**20, dtype=np.uint8)
done = threading.Event()
thread = threading.Thread(target=done.wait)
thread.start()
script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'])"
files = [os.open(sys.executable, os.O_RDONLY) for _ in range(3)]
with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    process.stdout.readline()  # the child's child runs
    after = usage()
    found = process.pid in descendants(os.getpid())
    process.communicate(b"\\n")
done.set()
thread.join()
print(json.dumps([before, after, usage(), found]))
"""


def test_what_a_process_holds(process_usage: Any) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HOLD],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
        cwd=BENCHMARKS,
    )
    *usages, found = json.loads(ran.stdout)
    before, after, behind = (process_usage.Usage(*one) for one in usages)
    assert np.isnan(after.allocated_mib) or after.allocated_mib - before.allocated_mib == pytest.approx(48, abs=1)
    for name in ("rss_mib", "anonymous_mib", "pss_mib"):
        assert getattr(after, name) - getattr(before, name) == pytest.approx(48, abs=4), name
    assert (after.files - before.files, after.threads - before.threads) == (5, 1)  # two of them pipes
    assert found
    assert (before.children, after.children, behind.children) == (0, 2, 0)
    assert after.children_rss_mib > 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_leaves_nothing_open(long_run: Any, process_usage: Any, tmp_path: Path, workers: int) -> None:
    """As the benchmark does it, with an evaluation and checkpoints every 15 steps."""
    path = long_run.config(tmp_path, workers, long_run.AVERAGED, 75, 15, {**SMALL, "root": str(tmp_path / "made")})
    laid_over = yaml.safe_load(path.read_text())
    laid_over["trainer"]["callbacks"][0]["init_args"]["every"] = 1
    path.write_text(yaml.safe_dump(laid_over))
    before = len(process_usage.descendants(os.getpid()))  # of other tests: servers of multiprocessing
    main(["fit", "--config", str(long_run.QUICKSTART), "--config", str(path)])
    found = np.array([json.loads(line) for line in (tmp_path / "usage.jsonl").read_text().splitlines()])
    assert found[:, 0].tolist() == list(range(1, 76))
    columns = dict(zip(long_run.Usage._fields, found[:, 1:].T, strict=True))
    # The fewest between two evaluations: batches that are on their way from a worker have files too.
    fewest = {
        name: columns[name].reshape(5, 15).min(axis=1)[2:].tolist()
        for name in ("files", "threads", "children", "children_files")
    }
    assert fewest["children"] == [before + 2 * workers] * 3
    for name in ("files", "threads", "children_files"):
        assert fewest[name] == [fewest[name][0]] * 3, fewest
