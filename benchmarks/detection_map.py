"""How long do COCO's figures take? lightframe against pycocotools itself and torchmetrics, on this machine.

python benchmarks/detection_map.py               # a quarter of an hour; see benchmarks/README.md
python benchmarks/detection_map.py --images 200  # a trial
"""

import argparse
import contextlib
import gc
import importlib.metadata
import io
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_path.machine import machine
from data_path.summary import quartiles, ratio
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torchmetrics.detection import MeanAveragePrecision

from lightframe.detection import CocoMAP, VocMAP

HERE = Path(__file__).resolve().parent
OURS, VOC, PYCOCOTOOLS, TORCHMETRICS = "lightframe", "lightframe, voc_map", "pycocotools", "torchmetrics"
LIMITS = {PYCOCOTOOLS: 1.15, TORCHMETRICS: 0.5}  # of their time
BATCH = 8

Images = list[dict[str, torch.Tensor]]


def draw_images(images: int, boxes: int, classes: int, objects: float, seed: int = 0) -> tuple[Images, Images]:
    """Outputs and targets like those of a trained detector on COCO.

    Args:
        images: how many.
        boxes: detections in each; three quarters of them lie near objects, mostly with the right label.
        classes: labels are 1 to `classes`.
        objects: in an image, on average; one in a hundred is a crowd.
    """
    random = np.random.default_rng(seed)
    outputs, targets = [], []
    for image in range(images):
        wanted, near = draw_boxes(random, 1 + random.poisson(objects - 1)), boxes * 3 // 4
        labels = random.integers(1, classes + 1, len(wanted))
        chosen = random.integers(0, len(wanted), near)
        sides = np.tile(wanted[chosen, 2:] - wanted[chosen, :2], 2)
        found = np.concatenate(
            [wanted[chosen] + random.normal(0, 0.1, (near, 4)) * sides, draw_boxes(random, boxes - near)]
        )
        guesses = random.integers(1, classes + 1, boxes)
        right = random.random(near) < 0.8
        guesses[:near][right] = labels[chosen][right]
        scores = random.random(boxes) * np.where(np.arange(boxes) < near, 1.0, 0.6)
        outputs.append({"boxes": as_float(found), "labels": torch.from_numpy(guesses), "scores": as_float(scores)})
        crowd = torch.from_numpy(random.random(len(wanted)) < 0.01).long()
        targets.append(
            {"boxes": as_float(wanted), "labels": torch.from_numpy(labels), "iscrowd": crowd, "image_id": image}
        )
    return outputs, targets


def draw_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """Boxes (n, 4) of 8 to 400 pixels in an image of 640 x 480."""
    sides = np.minimum(8 * 50 ** random.random((count, 2)), (640, 480))
    corner = random.random((count, 2)) * ((640, 480) - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def as_float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()


def coco_form(outputs: Images, targets: Images) -> tuple[COCO, np.ndarray]:
    """The same images as pycocotools wants them: an indexed truth, and rows (image, x, y, w, h, score, label)."""
    truth, rows, annotations = COCO(), [], []
    for image, (output, target) in enumerate(zip(outputs, targets, strict=True)):
        boxes = target["boxes"].double().numpy()
        for box, label, crowd in zip(boxes, target["labels"].tolist(), target["iscrowd"].tolist(), strict=True):
            x, y, w, h = *box[:2].tolist(), *(box[2:] - box[:2]).tolist()
            common = {"id": len(annotations) + 1, "image_id": image, "category_id": label}
            annotations.append({**common, "bbox": [x, y, w, h], "area": w * h, "iscrowd": crowd})
        boxes = output["boxes"].double().numpy()
        columns = np.full(len(boxes), image), boxes[:, :2], boxes[:, 2:] - boxes[:, :2], output["scores"].double()
        rows.append(np.column_stack([*columns, output["labels"]]))
    labels = sorted({annotation["category_id"] for annotation in annotations})
    truth.dataset = {
        "images": [{"id": image} for image in range(len(targets))],
        "annotations": annotations,
        "categories": [{"id": label} for label in labels],
    }
    truth.createIndex()
    return truth, np.concatenate(rows)


def run_pycocotools(truth: COCO, rows: np.ndarray) -> list[float]:
    evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def run_metric(make: Callable[[], Any], outputs: Images, targets: Images) -> dict[str, torch.Tensor]:
    metric = make()
    for i in range(0, len(outputs), BATCH):
        metric.update(outputs[i : i + BATCH], targets[i : i + BATCH])
    return metric.compute()


def quiet_torchmetrics() -> MeanAveragePrecision:
    metric = MeanAveragePrecision(backend="pycocotools")
    metric.warn_on_many_detections = False
    return metric


def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """All contestants, one after the other in each round; what they say is compared."""
    rows: dict[str, dict[str, Any]] = {
        name: {"cpu_s": [], "wall_s": []} for name in (OURS, VOC, PYCOCOTOOLS, TORCHMETRICS)
    }
    same = True
    for number in range(options.rounds):
        outputs, targets = draw_images(options.images, options.boxes, options.classes, options.objects, seed=number)
        with contextlib.redirect_stdout(io.StringIO()):
            coco = coco_form(outputs, targets)
        contestants: dict[str, Callable[[], Any]] = {
            OURS: lambda images=(outputs, targets): run_metric(CocoMAP, *images),
            VOC: lambda images=(outputs, targets): run_metric(VocMAP, *images),
            PYCOCOTOOLS: lambda coco=coco: run_pycocotools(*coco),
            TORCHMETRICS: lambda images=(outputs, targets): run_metric(quiet_torchmetrics, *images),
        }
        said = {}
        for name, contestant in contestants.items():
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                said[name] = contestant()
            rows[name]["cpu_s"].append(time.process_time() - cpu)
            rows[name]["wall_s"].append(time.perf_counter() - wall)
            console.print(f"round {number + 1}, {name}: {rows[name]['cpu_s'][-1]:.2f} s of CPU time")
        same &= [value.item() for value in said[OURS].values()] == said[PYCOCOTOOLS]
        console.print(f"AP {said[OURS]['AP']:.4f}, torchmetrics {said[TORCHMETRICS]['map']:.4f}; all equal: {same}")
    return {"rows": rows, "same_as_pycocotools": same}


def judge(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets, each with what was measured."""
    rows = results["rows"]
    targets = [
        {
            "name": f"share of the time of {peer}, at most",
            "target": limit,
            "value": (value := ratio(rows[OURS], rows[peer], "cpu_s")["median"]),
            "holds": value <= limit,
        }
        for peer, limit in LIMITS.items()
    ]
    same = results["same_as_pycocotools"]
    return [*targets, {"name": "all digits are pycocotools'", "target": True, "value": same, "holds": same}]


def show(results: dict[str, Any], console: Console) -> None:
    """The times and the targets as tables."""
    table = Table(
        title="\nFrom tensors to the figures: CPU time", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for heading in ("", "s", "quartiles", "of pycocotools"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in results["rows"].items():
        s, share = quartiles(row["cpu_s"]), ratio(row, results["rows"][PYCOCOTOOLS], "cpu_s")
        table.add_row(name, f"{s['median']:.2f}", f"{s['q1']:.2f}-{s['q3']:.2f}", f"{share['median']:.3f}")
    console.print(table)
    for target in results["targets"]:
        verdict = "[green]holds" if target["holds"] else "[red]missed"
        console.print(f"{target['name']} {target['target']}: {target['value']:.3g} {verdict}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Time COCO's figures.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000, help="images in the set")
    parser.add_argument("--boxes", type=int, default=100, help="detections in an image")
    parser.add_argument("--classes", type=int, default=80, help="classes")
    parser.add_argument("--objects", type=float, default=7.3, help="objects in an image, on average; COCO has 7.3")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with other images")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "detection_map.json", help="the JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write the JSON; 1 when a target is missed."""
    options, console = parse(arguments), Console()
    torch.set_num_threads(1)
    packages = ("lightframe", "torch", "torchmetrics", "pycocotools", "numpy")
    results = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "settings": {name: value for name, value in vars(options).items() if name != "out"},
        **measure(options, console),
    }
    results["targets"] = judge(results)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    show(results, console)
    console.print(f"Written: {options.out}")
    return int(not all(target["holds"] for target in results["targets"]))


if __name__ == "__main__":
    sys.exit(main())
