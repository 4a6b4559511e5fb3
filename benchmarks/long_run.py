"""Does a long training leave anything behind? Memory, open files, threads and processes over 2,000 steps.

    python benchmarks/long_run.py

examples/quickstart.yaml as the command line runs it, with an evaluation and checkpoints every 100 steps.
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from data_path.machine import machine
from lightning.pytorch import Callback, LightningModule, Trainer
from process_usage import Usage, usage
from typing_extensions import override

import lightframe

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent / "examples" / "quickstart.yaml"
AVERAGED = [
    {"class_path": "lightframe.callbacks.EMA", "init_args": {"decay": 0.99}},
    {"class_path": "lightframe.callbacks.EvalTotal", "init_args": {"metric": ["top1", "mean_class_accuracy"]}},
]
SETTINGS: dict[str, tuple[int, list[Any]]] = {  # loader workers, and callbacks beside those of every run
    "2 workers": (2, []),
    "2 workers, EMA and EvalTotal": (2, AVERAGED),
    "0 workers, EMA and EvalTotal": (0, AVERAGED),
}
WARM_UP = 200  # steps in which caches fill and the allocator finds its size
EVERY = 10  # steps from one sample to the next
# In 1,000 steps. A leak is something that stays allocated. Resident memory goes up and down beside it, by more than a
# batch, as the allocator keeps what a batch leaves or gives it back: the same run twice gave -1 and +6 MiB.
LIMITS = {
    **dict.fromkeys(("allocated_mib", "children_rss_mib", "children_anonymous_mib"), 1.0),
    **dict.fromkeys(("rss_mib", "anonymous_mib"), 10.0),
    "python_blocks": 20_000,
    **dict.fromkeys(("files", "children_files"), 1.0),
    **dict.fromkeys(("threads", "children"), 0.5),
}


class Watch(Callback):
    """Appends [step, *usage] to a file every few steps; the command line finds it by `long_run.Watch`."""

    def __init__(self, file: str, every: int = EVERY) -> None:
        self.file, self.every = Path(file), every

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            with self.file.open("a") as file:
                file.write(json.dumps([trainer.global_step, *usage()]) + "\n")


class Slope(NamedTuple):
    """Of a straight line, for each 1,000 steps."""

    per_1000: float
    standard_error: float


def slope(steps: np.ndarray, values: np.ndarray) -> Slope:
    """Least squares, with the standard error of the slope: sqrt(residuals / (n - 2) / spread of the steps).

    >>> slope(np.array([0.0, 500.0, 1000.0]), np.array([1.0, 2.0, 3.0]))
    Slope(per_1000=2.0, standard_error=0.0)
    """
    from_mean = steps - steps.mean()
    spread = (from_mean**2).sum()
    rise = (from_mean * values).sum() / spread
    residuals = values - values.mean() - rise * from_mean
    return Slope(float(1000 * rise), float(1000 * math.sqrt((residuals**2).sum() / (len(steps) - 2) / spread)))


def between_evaluations(samples: np.ndarray, every: int) -> np.ndarray:
    """The means of the samples between an evaluation and the next, (evaluations, columns).

    What one step leaves to the next makes neighbouring samples alike; of these means each stands more for itself.
    """
    windows = (samples[:, 0] - 1) // every
    return np.stack([samples[windows == window].mean(axis=0) for window in np.unique(windows)])


def judge(samples: np.ndarray, every: int, warm_up: int) -> dict[str, Any]:
    """The slope of each quantity behind the warm-up, and those that grow: by more than the limit and than chance.

    Args:
        samples: (samples, 1 + quantities), each [step, *usage].
        every: steps from one evaluation to the next.
        warm_up: steps that do not count.
    """
    means = between_evaluations(samples[samples[:, 0] > warm_up], every)
    slopes = {name: slope(means[:, 0], means[:, 1 + place]) for place, name in enumerate(Usage._fields)}
    grows = [
        name
        for name, limit in LIMITS.items()
        if slopes[name].per_1000 > limit and slopes[name].per_1000 > 3 * slopes[name].standard_error
    ]
    return {"slopes": {name: one._asdict() for name, one in slopes.items()}, "grows": grows}


def config(folder: Path, workers: int, callbacks: list[Any], steps: int, every: int, small: dict[str, Any]) -> Path:
    """What is laid over the quickstart, as a file."""
    watch = {"class_path": "long_run.Watch", "init_args": {"file": str(folder / "usage.jsonl")}}
    trainer = {
        "accelerator": "cpu",
        "max_epochs": -1,
        "max_steps": steps,
        "val_check_interval": every,
        "check_val_every_n_epoch": None,
        "default_root_dir": str(folder / "runs"),
        "callbacks": [watch, *callbacks],
    }
    data = {"init_args": {"root": str(folder.parent / "videos"), "num_workers": workers, **small}}
    path = folder / "long_run.yaml"
    path.write_text(yaml.safe_dump({"data": data, "trainer": trainer}))
    return path


def settle_interned_strings(count: int = 400_000) -> None:
    """Have Python's table of interned strings grow now.

    Strings that come and go use up its places, until it is built anew, once, and twice as large: 3.7 MiB that would
    come anywhere in a run, and look like a leak to a straight line.
    """
    for number in range(count):
        sys.intern(f"long run {number}")


def train(path: Path, start_method: str, threads: int | None) -> None:
    """`lightframe fit`, in a process of its own."""
    from lightframe.cli import main

    # A spawned process would spawn its loaders' workers too; they are to start as they do for everybody.
    multiprocessing.set_start_method(start_method, force=True)
    settle_interned_strings()
    if threads:
        torch.set_num_threads(threads)
    main(["fit", "--config", str(QUICKSTART), "--config", str(path)])


def measure(work: Path, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A row: one training from beginning to end."""
    workers, callbacks = SETTINGS[name]
    folder = work / str(list(SETTINGS).index(name))
    folder.mkdir()
    path = config(folder, workers, callbacks, options.steps, options.every, options.small)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(train, path, multiprocessing.get_start_method(), options.threads).result()
    samples = np.array([json.loads(line) for line in (folder / "usage.jsonl").read_text().splitlines()])
    row = {"setting": name, "workers": workers, **judge(samples, options.every, options.warm_up)}
    return {**row, "columns": ["step", *Usage._fields], "samples": samples.round(2).tolist()}


def show(row: dict[str, Any]) -> str:
    """A row as lines of text."""
    lines = [row["setting"]]
    first, last = row["samples"][0], row["samples"][-1]
    for place, (name, one) in enumerate(row["slopes"].items(), start=1):
        lines.append(
            f"  {name:<22} {first[place]:9.1f} -> {last[place]:9.1f}   "
            f"{one['per_1000']:+8.3f} +- {one['standard_error']:.3f} per 1,000 steps"
            f"{'   GROWS' if name in row['grows'] else ''}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Train, print, and write the JSON; 1 when something grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=100, help="steps from one evaluation to the next")
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="steps that do not count")
    parser.add_argument("--threads", type=int, help="of torch; default: as it likes")
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help="settings")
    parser.add_argument("--small", type=json.loads, default={}, help="arguments of the data, to try it: {'size': 32}")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "long_run.json")
    options = parser.parse_args(arguments)
    if not Path("/proc/self/statm").is_file():
        parser.error("this reads /proc, which Linux alone has")
    rows: list[dict[str, Any]] = []
    content = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"lightframe": lightframe.__version__, "torch": torch.__version__},
        "settings": {"steps": options.steps, "every": options.every, "warm_up": options.warm_up, "limits": LIMITS},
        "rows": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.only:
            rows.append(measure(Path(temporary), name, options))
            print(show(rows[-1]), flush=True)
            options.output.write_text(json.dumps(content, indent=1) + "\n")  # a row takes minutes: keep each
    grows = [f"{name} ({row['setting']})" for row in rows for name in row["grows"]]
    print(f"Growing: {', '.join(grows)}" if grows else "Nothing grows")
    return 1 if grows else 0


if __name__ == "__main__":
    os.chdir(HERE)  # where the command line finds `long_run.Watch`
    raise SystemExit(main())
