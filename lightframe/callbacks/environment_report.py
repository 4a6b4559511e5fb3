"""What a run was made with, in its folder."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightframe.environment import describe_run

# It takes some seconds, which no run waits for: another process does it beside the first steps. (A thread would be
# there when the loader forks its workers.)
_COLLECT = "from torch.utils.collect_env import get_pretty_env_info; print(get_pretty_env_info())"
_PATIENCE = 5.0  # seconds, at the end of a run that was shorter than that takes


class EnvironmentReport(Callback):
    """Writes `environment.txt` in the run folder: command, git commit and changed files, versions, and what torch says
    of the machine (`python -m torch.utils.collect_env`).

    Once, by the first process, when training begins. What takes longer is written beside the first steps by a process
    of its own, which ends with the training at the latest. Nothing here makes a run fail, and environment variables are
    not written.

    Attributes:
        path: of the file, once training began.
    """

    # The machine does not change while this process lives: a second run copies what the first was told.
    _machine: str | None = None

    def __init__(self) -> None:
        self.path: Path | None = None
        self._begin = 0  # of what the collector writes, in characters
        self._collector: subprocess.Popen[bytes] | None = None

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = trainer.log_dir or trainer.default_root_dir  # on every rank: it is broadcast
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        try:
            self._write(Path(folder) / "environment.txt")
        except Exception as error:
            rank_zero_info(f"no environment report: {error}")

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = describe_run() + "\n"
        # Names of files need not be UTF-8.
        path.write_text(text + (EnvironmentReport._machine or ""), encoding="utf-8", errors="backslashreplace")
        self.path, self._begin = path, len(path.read_text(encoding="utf-8"))
        if EnvironmentReport._machine is None:
            with path.open("ab") as file:
                self._collector = subprocess.Popen(
                    [sys.executable, "-c", _COLLECT], stdin=subprocess.DEVNULL, stdout=file, stderr=file
                )

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(_PATIENCE)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Who interrupts a run does not want to wait.
        self._finish(_PATIENCE if isinstance(exception, Exception) else 0.0)

    def _finish(self, patience: float) -> None:
        collector, self._collector = self._collector, None
        if collector is None or self.path is None:
            return
        try:
            collector.wait(patience)
        except subprocess.TimeoutExpired:
            collector.kill()
            collector.wait()
        try:
            if collector.returncode == 0:
                EnvironmentReport._machine = self.path.read_text(encoding="utf-8", errors="replace")[self._begin :]
            else:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("What torch says of the machine is missing: the run ended first.\n")
        except OSError as error:
            rank_zero_info(f"no environment report: {error}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_collector": None}  # a process stays where it is
