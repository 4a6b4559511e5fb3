"""What a step of EMA costs, beside Lightning's EMAWeightAveraging and beside the training step itself.

    python benchmarks/ema.py

One thread on the CPU, CPU time; with --device cuda wall-clock time between synchronisations.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torchvision
from data_path.machine import machine
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging

import lightframe
from lightframe.callbacks import EMA

NETS = ("r3d_18", "swin3d_t")
TARGET_MS, TARGET_SHARE = 12.0, 0.02


class Wrapped(LightningModule):
    """The net as both callbacks meet it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = getattr(torchvision.models.video, name)()


def clock(device: torch.device) -> Callable[[], float]:
    """Milliseconds: of the process's CPU time, or on a GPU of wall-clock time once it has done its work."""

    def gpu() -> float:
        torch.cuda.synchronize(device)
        return 1000 * time.perf_counter()

    return gpu if device.type == "cuda" else lambda: 1000 * time.process_time()


def update_of(callback: Any, module: LightningModule) -> Callable[[], None]:
    """What the callback does after each optimizer step."""
    trainer: Any = SimpleNamespace(global_step=0)
    callback.setup(trainer, module, "fit") if isinstance(callback, EMAWeightAveraging) else None
    callback.on_train_start(trainer, module)

    def update() -> None:
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, None, None, 0)

    return update


def bare_lerp(module: LightningModule) -> Callable[[], None]:
    """The limit: the arithmetic alone, on tensors of the same shapes, which is bound by the memory's speed."""
    weights = [parameter.detach() for parameter in module.parameters()]
    average = [parameter.clone() for parameter in weights]
    return lambda: torch._foreach_lerp_(average, weights, 0.001)


def training_step(module: Wrapped, batch: int) -> Callable[[], None]:
    """Forward, backward and SGD with momentum, on `batch` clips of 16 frames of 112 x 112 in float32."""
    video = torch.randn(batch, 3, 16, 112, 112, device=module.device)
    labels = torch.arange(batch, device=module.device)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        torch.nn.functional.cross_entropy(module.net(video), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(name: str, device: torch.device, rounds: int, repeats: int, batch: int, steps: int) -> dict[str, Any]:
    """A row of the table; within a round all take turns, each round another one first."""
    module, now = Wrapped(name).to(device), clock(device)
    updates = {
        "lightframe": update_of(EMA(0.999), module),
        "lightning": update_of(EMAWeightAveraging(decay=0.999), module),
        "bare": bare_lerp(module),
    }
    for update in updates.values():
        for _ in range(3):
            update()
    times: dict[str, list[float]] = {key: [] for key in updates}
    for number in range(rounds):
        first = number % len(updates)
        for key in [*list(updates)[first:], *list(updates)[:first]]:
            start = now()
            for _ in range(repeats):
                updates[key]()
            times[key].append((now() - start) / repeats)
    step, step_times = training_step(module, batch), []
    step()
    for _ in range(steps):
        start = now()
        step()
        step_times.append(now() - start)
    ours, theirs, whole = map(statistics.median, (times["lightframe"], times["lightning"], step_times))
    return {
        "net": name,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "update_ms": ours,
        "lightning_update_ms": theirs,
        "bare_lerp_ms": statistics.median(times["bare"]),
        "ratio": statistics.median(b / a for a, b in zip(times["lightframe"], times["lightning"], strict=True)),
        "training_step_ms": whole,
        "share_of_step": ours / whole,
        "rounds_ms": times,
        "steps_ms": step_times,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=10, help="updates in a row, the figure being their mean")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="training steps")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "ema.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    rows = [measure(name, device, args.rounds, args.repeats, args.batch, args.steps) for name in NETS]
    versions = {"lightframe": lightframe.__version__, "torch": torch.__version__}
    where = {**machine(), "threads": 1, "device": "cpu"}
    if device.type == "cuda":
        where["device"] = torch.cuda.get_device_name(device)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": where, "versions": versions, "batch": args.batch, "rows": rows}
    args.output.write_text(json.dumps(content, indent=1) + "\n")
    print("net        update  bare lerp  Lightning's  ratio  training step  share")
    for row in rows:
        print(
            f"{row['net']:<9} {row['update_ms']:5.1f} ms {row['bare_lerp_ms']:7.1f} ms "
            f"{row['lightning_update_ms']:9.1f} ms {row['ratio']:6.1f} "
            f"{row['training_step_ms']:11.0f} ms {row['share_of_step']:6.2%}"
        )
    first = rows[0]
    met = first["update_ms"] <= TARGET_MS and all(row["share_of_step"] <= TARGET_SHARE for row in rows)
    print(f"Targets: {TARGET_MS:.0f} ms for {first['net']}, {TARGET_SHARE:.0%} of a step: {'met' if met else 'MISSED'}")
    return 0 if met or device.type != "cpu" else 1


if __name__ == "__main__":
    raise SystemExit(main())
