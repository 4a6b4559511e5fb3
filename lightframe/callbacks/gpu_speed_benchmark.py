"""How fast the device trains the net that is about to be trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from typing_extensions import override

from lightframe.arguments import check_whole
from lightframe.errors import UsageError
from lightframe.gather import gather_objects
from lightframe.module import LightFrameModule
from lightframe.speed.device import find_device
from lightframe.speed.flags import cudnn_choice
from lightframe.speed.measure import Effort, measure
from lightframe.speed.nets import batch_shape
from lightframe.speed.own import OWN, optimizer_name, own_batch_shape, own_name, own_subject, quiet
from lightframe.speed.precision import find_precision, run_precision
from lightframe.speed.processes import slowest, unevenness
from lightframe.speed.reference import shipped_reports
from lightframe.speed.report import Report
from lightframe.speed.row import Row
from lightframe.speed.setting import MODES, Setting
from lightframe.speed.sweep import Ways, measure_standard, standard_settings


class GPUSpeedBenchmark(Callback):
    """Measures at the start of a training how fast its device is, on the adapter's own net and, if asked, others.

    It measures once, with the first batch, before the first step, on copies: weights, buffers, gradients, random
    numbers, torch's flags and the data are afterwards as they would be without it, and so is the training, bit for
    bit. What does not fit into memory, what the device cannot do and what fails is a row that says so.

    With several processes each measures its own device, all at the same time and without waiting for each other, so
    that none can hang; then they tell each other. Shown and logged are those of the slowest, for which training waits,
    and a sentence says where devices differ. A net that talks to other processes in its own `forward` is the one
    thing that a failure on one device alone would leave waiting: leave it out of `nets`.

    The own net is that of a `LightFrameModule`, in the step that the adapter makes (`unpack`, `forward`,
    `compute_loss`, the optimizer); what a subclass adds in `step` or `training_step` is not in it, nor are gradient
    clipping, accumulation and DDP's exchange of gradients. Strategies that spread a net over devices are skipped.

    | logged key                                     | what                                                 |
    |------------------------------------------------|------------------------------------------------------|
    | speed/<net>/<pass>/<precision>/ms              | milliseconds of a call, median; batch on the device  |
    | speed/<net>/<pass>/<precision>/samples_per_s   | samples a second, by that median                     |
    | speed/<net>/<pass>/<precision>/with_copy_ms    | the same with the copy from the host; not on a CPU   |
    | speed/<net>/<pass>/<precision>/peak_mib        | most memory that net, optimizer and batch took; CUDA |

    They are logged once, at the step of the first batch. `<net>` is `own` or a name, `<pass>` is `forward` or
    `train`; `/channels_last` and `/compiled` follow the precision where that is what was measured.

    Args:
        nets: own, for the net that is trained, with its batch; and any names of `lightframe benchmark --nets`.
        modes: forward, train, or both.
        precision: fp32, 32-true, tf32, 16-mixed, bf16-mixed; by default the one that the training runs in.
        memory_format: contiguous, channels_last, or both.
        compile: whether to use torch.compile; both values for both. It forgets what torch has compiled before.
        iterations: calls that are timed, by default 30 on a GPU and 5 on a CPU.
        output: file for the figures in the run's folder, as `lightframe benchmark --compare` reads it; by default none.
        repeat: measure at the start of every fit, also of one that goes on from a checkpoint.

    Raises:
        UsageError: there is no such net, mode, precision or memory format.

    >>> GPUSpeedBenchmark(precision=["fp16"])
    Traceback (most recent call last):
        ...
    lightframe.errors.UnknownNameError: unknown precision 'fp16'; did you mean 'fp32'? (known: fp32, 32-true, tf32, ...
    """

    def __init__(
        self,
        nets: Sequence[str] = (OWN,),
        modes: Sequence[str] = MODES,
        precision: Sequence[str] | None = None,
        memory_format: Sequence[str] = ("contiguous",),
        compile: Sequence[bool] = (False,),
        iterations: int | None = None,
        output: str | None = None,
        repeat: bool = False,
    ) -> None:
        for name, several in {
            "nets": nets,
            "modes": modes,
            "precision": precision,
            "memory_format": memory_format,
        }.items():
            if isinstance(several, str):  # its letters would be taken for names
                raise UsageError(f"{name} must be a list of names, as ['{several}'], got '{several}'")
        if isinstance(compile, bool):
            raise UsageError(f"compile must be a list, [{compile}] or [False, True] for both, got {compile}")
        if not nets:
            raise UsageError("nets must name at least one net, as ['own']")
        if iterations is not None:
            check_whole("iterations", iterations, 1)
        self.nets = list(nets)
        self.precision = precision
        # The run's own precision is known when the run is; until then fp32 stands for it.
        self.ways = Ways(modes, ("fp32",) if precision is None else precision, memory_format, compile)
        for name in precision or ():
            find_precision(name)
        for net in self.nets:
            if net != OWN:
                batch_shape(net, find_device("cpu"))
        self.iterations = iterations
        self.output = output
        self.repeat = repeat
        self.report: Report | None = None
        self._measured = False
        self._due = False

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._due = self.repeat or not self._measured

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._due:
            return
        self._due, self._measured = False, True
        rank_zero_info("GPUSpeedBenchmark: measuring before the first step")
        ways = self._ways_of(trainer, pl_module.device)
        own = self._own_rows(trainer, pl_module, batch, ways) if OWN in self.nets else []
        mine = [row.to_plain() for row in own + self._standard_rows(pl_module.device, ways)]
        processes = [[Row.from_plain(row) for row in rows] for rows in gather_objects(mine)]
        self.report = Report.of(pl_module.device)
        self.report.rows = slowest(processes)
        self._log(trainer, len(own))
        self._save(trainer)
        if trainer.is_global_zero:
            self._show(unevenness(processes))

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"measured": self._measured}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._measured = state_dict["measured"]

    def _ways_of(self, trainer: Trainer, device: torch.device) -> Ways:
        if self.precision is not None:
            return self.ways
        return replace(self.ways, precisions=(run_precision(str(trainer.precision), device),))

    def _own_rows(self, trainer: Trainer, pl_module: LightningModule, batch: Any, ways: Ways) -> list[Row]:
        if reason := _not_own(trainer, pl_module):
            return [Row(Setting(OWN, ()), f"skipped: {reason}")]
        assert isinstance(pl_module, LightFrameModule)
        device, effort = pl_module.device, Effort.of(pl_module.device, self.iterations)
        settings = ways.of(
            Setting(
                own_name(pl_module),
                own_batch_shape(batch),
                optimizer=optimizer_name(pl_module),
                cudnn=cudnn_choice(device),
            )
        )
        with quiet():
            return [measure(lambda: own_subject(pl_module, batch), setting, device, effort) for setting in settings]

    def _standard_rows(self, device: torch.device, ways: Ways) -> list[Row]:
        names = [name for name in self.nets if name != OWN]
        settings = standard_settings(names, ways, device, cudnn=cudnn_choice(device))
        return list(measure_standard(settings, device, Effort.of(device, self.iterations)))

    def _log(self, trainer: Trainer, own: int) -> None:
        assert self.report is not None
        values: dict[str, float] = {}
        for number, row in enumerate(self.report.rows):
            setting = replace(row.setting, net=OWN) if number < own else row.setting
            values |= {f"speed/{setting.key}/{name}": value for name, value in figures(row).items()}
        # Directly, as Lightning's own monitors do: `self.log` reaches the loggers every `log_every_n_steps` only.
        for logger in trainer.loggers if values else ():
            logger.log_metrics(values, step=trainer.global_step)

    def _save(self, trainer: Trainer) -> None:
        if self.output is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # on every rank: it is broadcast
        if trainer.is_global_zero:
            assert self.report is not None
            self.report.save(folder / self.output)

    def _show(self, uneven: Sequence[str]) -> None:
        from rich.console import Console

        from lightframe.speed.table import show

        assert self.report is not None
        console = Console()
        show(self.report, shipped_reports(set(self.nets) - {OWN}), console)
        for sentence in uneven:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def figures(row: Row) -> dict[str, float]:
    """What is logged of a row, by the last part of the key; nothing of one without figures."""
    if row.time is None:
        return {}
    values = {"ms": row.time.median * 1e3, "samples_per_s": row.samples_per_second}
    values["with_copy_ms"] = row.with_copy.median * 1e3 if row.with_copy is not None else None
    values["peak_mib"] = row.peak_memory / 2**20 if row.peak_memory is not None else None
    return {name: value for name, value in values.items() if value is not None}


def _not_own(trainer: Trainer, pl_module: LightningModule) -> str | None:
    """Why the net cannot be measured, if so."""
    if not isinstance(pl_module, LightFrameModule):
        return f"the steps of a {type(pl_module).__name__} are not known, those of a LightFrameModule are"
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        return f"{type(trainer.strategy).__name__} may have spread the net over several devices"
    return None
