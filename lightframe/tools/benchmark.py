"""`lightframe benchmark` and `gpu_cnn_speed`: how fast this machine's device applies and trains standard nets."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from lightframe.errors import UsageError
from lightframe.speed.device import find_device
from lightframe.speed.measure import Effort
from lightframe.speed.nets import default_nets
from lightframe.speed.precision import default_precisions, find_precision, lacking
from lightframe.speed.reference import shipped_reports
from lightframe.speed.report import Report
from lightframe.speed.setting import Setting
from lightframe.speed.sweep import Ways, measure_standard, standard_settings


def gpu_cnn_speed(
    nets: list[str] | str | None = None,
    batch_size: int | None = None,
    shape: list[int] | None = None,
    modes: list[str] | str = "forward,train",
    precision: list[str] | str | None = None,
    memory_format: list[str] | str = "contiguous",
    compile: list[bool] | bool = False,
    device: str = "auto",
    iterations: int | None = None,
    output: Path | None = None,
    compare: list[Path] | Path | None = None,
) -> Report:
    """Measure how fast this machine's device applies and trains nets, and print it beside what other devices did.

    Every combination of what is asked for is a row: median and quartiles of single calls after a warm-up, timed by the
    device's own events (on a CPU and on Apple's GPUs by a clock that waits for the device), on a batch of random
    numbers that lives on the device; beside it the time with the copy from pinned host memory, and the peak of the
    device's memory. What does not fit into memory is a row that says so. Two devices' figures stand side by side only
    where net, batch, pass, precision, memory format, compilation and cuDNN's choice of algorithms are the same.

    On a CPU it is a quick look: few nets, batches of one or two, fp32, five calls.

    Args:
        nets: names, as vgg16,resnet18,resnet50,resnet101,resnet152,mobilenet_v2,r3d_18,slowfast_r50; also any other of
            torchvision's image classifiers, and with shape any net of --model.net or an import path.
        batch_size: samples per batch; by default each net's own, 64 images or 8 to 16 clips on a GPU.
        shape: of one input, such as [3, 16, 112, 112]; by default each net's own.
        modes: forward (as in evaluation), train (forward, loss, backward and a step of SGD with momentum), or both.
        precision: fp32, 32-true (torch's default: TF32 in convolutions only), tf32, 16-mixed, bf16-mixed; by default
            all that a GPU has, and fp32 on a CPU.
        memory_format: contiguous, channels_last, or both.
        compile: whether to use torch.compile, or [false, true] for both.
        device: auto, cpu, mps, cuda, or cuda:1 of several.
        iterations: calls that are timed, by default 30 on a GPU and 5 on a CPU; fewer where they would take more than
            half a minute (on a CPU ten seconds).
        output: a file to keep the figures in, as JSON; one of the same device and versions is added to.
        compare: such files of other devices, to stand beside; those that come with the package always do.

    Returns:
        What was measured.

    Raises:
        UsageError: there is no such net or device, the device lacks a precision that was named, or nothing works.
    """
    chosen = find_device(device)
    ways = Ways(_listed(modes), _precisions(precision, chosen), _listed(memory_format), _flags(compile))
    if any(value is not None and value < 1 for value in (batch_size, iterations, *(shape or ()))):
        raise UsageError("batch_size, iterations and shape must be positive")
    names = _listed(nets) if nets is not None else default_nets(chosen)
    cudnn = "benchmark" if chosen.type == "cuda" else "default"
    settings = standard_settings(names, ways, chosen, batch_size, tuple(shape) if shape else None, cudnn)
    if not settings:
        raise UsageError("nothing is left to measure: name at least one net")
    references = [Report.load(Path(file)) for file in ([compare] if isinstance(compare, str | Path) else compare or [])]
    report, output = Report.of(chosen), Path(output) if output is not None else None
    earlier = Report.load(output) if output is not None and output.exists() else report
    try:
        _save(report, earlier, output)  # a file that cannot be written shows now
        with _progress(len(settings), report.name) as before:
            for row in measure_standard(settings, chosen, Effort.of(chosen, iterations), before):
                report.rows.append(row)
                _save(report, earlier, output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(report.rows)} of {len(settings)} settings are measured") from None
    finally:
        _finish(report, [*references, *shipped_reports(names)], output)
    if not any(row.time for row in report.rows):
        raise UsageError(f"not one of the {len(settings)} settings could be measured; {report.rows[0].status}")
    return report


def _listed(names: Sequence[str] | str) -> list[str]:
    """Names in a list, or in a word with commas."""
    if isinstance(names, str):
        names = names.split(",")
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def _flags(compile: Sequence[bool] | bool) -> list[bool]:
    return [compile] if isinstance(compile, bool) else list(dict.fromkeys(compile))


def _precisions(precision: Sequence[str] | str | None, device: torch.device) -> list[str]:
    if precision is None:
        return default_precisions(device)
    names = _listed(precision)
    for name in names:
        find_precision(name)
        if reason := lacking(name, device):
            raise UsageError(f"precision '{name}' is not to be had: {reason}")
    return names


def _save(report: Report, earlier: Report, output: Path | None) -> None:
    if output is not None:
        report.over(earlier).save(output)


@contextmanager
def _progress(count: int, device: str) -> Iterator[Callable[[Setting], None]]:
    """A bar on the error stream, drawn between two measurements only: a thread that draws would take their time."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.description}"),
        console=console,
        auto_refresh=False,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(device, total=count)
        bar.advance(task, -1)

        def before(setting: Setting) -> None:
            bar.update(task, advance=1, description=f"{setting.key} on {device}", refresh=True)

        yield before


def _finish(report: Report, references: Sequence[Report], output: Path | None) -> None:
    if not report.rows:
        return
    from rich.console import Console

    from lightframe.speed.table import show

    console = Console()
    show(report, references, console)
    if report.device["kind"] == "cpu":
        console.print("A quick look, as on every CPU: small batches, few calls.", highlight=False)
    if output is not None:
        console.print(f"Figures: {output}", markup=False, highlight=False, soft_wrap=True)
