"""`lightframe fit | validate | test | predict`, on Lightning's command line."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    Callback,
    Checkpoint,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from rich.console import Console
from torch.multiprocessing import ProcessExitedException
from typing_extensions import override

from lightframe.callbacks import (
    Checkpointer,
    DetectionWriter,
    EnvironmentReport,
    EvalTotal,
    LastCheckpoint,
    PredictionWriter,
    StepTimer,
)
from lightframe.cli.checkpoint import checkpoint_defaults, find_ckpt_path, read_local
from lightframe.cli.config_files import check_words
from lightframe.cli.failures import mendable, original
from lightframe.cli.last_checkpoint import name_last, release_last
from lightframe.cli.monitors import check_monitors
from lightframe.cli.nested import chosen_class, merge_nested
from lightframe.cli.parser import Parser, refuse
from lightframe.cli.ranks import FurtherProcesses, end_with_first, wait_for_cause
from lightframe.cli.resume import CONFIG, check_fits, check_resumable, ended, tell_changes
from lightframe.cli.signatures import default_of, parameters
from lightframe.cli.tools import print_tools, run_tool
from lightframe.cli.trainer_arguments import check_seed, check_trainer
from lightframe.datamodules import CocoDetectionDataModule, VideoDataModule
from lightframe.errors import UsageError
from lightframe.models import Detector
from lightframe.module import LightFrameModule, class_path
from lightframe.registry import import_path
from lightframe.run_folder import keep_run_folder, new_run_folder, release_run_folder
from lightframe.version import __version__


class SaveConfig(SaveConfigCallback):
    """Writes config.yaml to the run's folder, which is new: nothing stands there to be overwritten."""

    @override
    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        config = self.parser.dump(self.config, skip_unset=False)
        Path(trainer.default_root_dir, CONFIG).write_text(config, encoding="utf-8")


class LightFrameCLI(LightningCLI):
    """LightningCLI with this package's adapter and data module, its defaults, and a folder for each run.

    Args:
        args: the words of the command line; None: those of the process.
    """

    def __init__(self, args: Sequence[str] | None = None) -> None:
        words = list(sys.argv[1:] if args is None else args)
        check_words(words)
        self.from_checkpoint: dict[str, dict[str, Any]] = {}
        self.resumed: dict[str, Any] = {}
        words = name_last(words)
        self.ckpt_path = path = find_ckpt_path(words)
        # A training says itself what it trains: from a checkpoint, an option that was taken out would come back.
        if path and words and words[0] in ("validate", "test", "predict"):
            self.from_checkpoint = checkpoint_defaults(path, words)
        elif path:
            self.resumed = read_local(path, resumable=True)
            check_resumable(self.resumed, path)
        self.described = {
            "model": self._chosen_class(words, "model", LightFrameModule),
            "data": self._chosen_class(words, "data", VideoDataModule, LightningDataModule),
        }
        remembered = {
            f"{key}.{name}": value
            for key in self.described
            for name, value in self.from_checkpoint.get(key, {}).get("init_args", {}).items()
        }
        augment = default_of(self.described["data"], "augment")
        self.words = merge_nested(words, {"data.augment": augment, **remembered})
        self.run_folder: Path | None = None
        self.further: FurtherProcesses | None = None
        try:
            super().__init__(
                model_class=LightFrameModule,
                datamodule_class=LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                parser_class=Parser,
                parser_kwargs={"description": "Train, evaluate and benchmark video models.", "version": __version__},
                save_config_callback=SaveConfig,
                save_config_kwargs={"save_to_log_dir": False},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                # The adapter keeps its own hyperparameters, plain ones, from the command line as from Python.
                load_from_checkpoint_support=False,
            )
        except Exception as error:
            wait_for_cause(error)
            raise
        finally:
            if self.further is not None:
                self.further.stop()
            # A run that is refused before its first step leaves nothing behind, any other what it has logged.
            if self.further is not None and self.further.may_have_begun:
                keep_run_folder()

    @override
    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        return super().init_parser(prog="lightframe", **kwargs)

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        assert isinstance(parser, Parser)
        parser.set_defaults({"trainer.log_every_n_steps": 10})
        parser.add_argument(
            "--run_folder",
            type=Literal["count", "time"],
            default="count",
            help="How the run's folder in trainer.default_root_dir (runs) is named: run_0, or by the time it began.",
        )
        for key, described in self.described.items():
            # The class that is asked for has to be the default one: when jsonargparse changes from a default class to
            # another, the defaults of the first stay where both know the argument (its issue 460).
            remembered = self.from_checkpoint.get(key, {}).get("init_args", {})
            init_args = {name: value for name, value in remembered.items() if name in parameters(described)}
            parser.set_defaults({key: {"class_path": class_path(described), "init_args": init_args}})
            parser.described[key] = described

    def _chosen_class(self, words: Sequence[str], key: str, default: type, base: type | None = None) -> type:
        """The class that is typed, in a config or in the checkpoint; a wrong one the parser names better than here.

        Args:
            words: the command line.
            key: `model` or `data`.
            default: where none is asked for.
            base: of what may be asked for, if that is more than the default's subclasses.
        """
        path = chosen_class(words, key) or self.from_checkpoint.get(key, {}).get("class_path", default.__name__)
        try:
            found = import_path(path if "." in path else f"lightframe.{path}")
        except UsageError:
            return default
        return found if isinstance(found, type) and issubclass(found, base or default) else default

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        assert isinstance(parser, Parser)
        parser.commands = self._subcommand_parsers  # type: ignore[assignment]
        parser.evaluates = self.words[0] in ("validate", "test", "predict")
        self.config = parser.parse_args(self.words)
        settings = self.config[self.config.subcommand]
        check_seed(settings.seed_everything)
        check_trainer(settings.trainer, self.config.subcommand)

    @override
    def _parse_ckpt_path(self) -> None:
        """Lightning lets a checkpoint's hyperparameters win over what is typed. Ours came before, as defaults.

        A private method of LightningCLI; tests/cli/test_checkpoint.py notices when it is no longer called so.
        """

    @override
    def instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        data = self._parser(self.subcommand).instantiate(Namespace(data=config.data)).data
        # The saved config must stay what was typed: the number of classes is the data's to tell, also next time.
        staged = self.config.clone()
        staged[self.subcommand].data = data
        arguments = staged[self.subcommand].model.init_args
        if "num_classes" in arguments and arguments.num_classes is None and hasattr(type(data), "num_classes"):
            arguments.num_classes = data.num_classes
        if self.ckpt_path and "init_from" in arguments:
            arguments.init_from = None  # the checkpoint has weights of its own, and that file may be gone
        self.config_init = self.parser.instantiate(staged)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        if self.subcommand == "fit" and isinstance(self.model, LightFrameModule):
            self.model.check_classes(self.datamodule)
        if self.resumed:
            self._check_resumed()
        self.trainer = self.instantiate_trainer()
        self.further = FurtherProcesses(self.trainer)
        if self.subcommand == "fit":
            validates = _validates(self.datamodule) and self.trainer.limit_val_batches != 0
            check_monitors(self.trainer.callbacks, self.model, validates)  # type: ignore[attr-defined]
        self.further.watch()

    def _check_resumed(self) -> None:
        """Refuse what the training cannot go on from; leave where there is nothing left to train."""
        assert self.ckpt_path is not None
        settings = self._get(self.config_init, "trainer")
        check_fits(self.resumed, self.model, self.ckpt_path)
        reason = ended(self.resumed, settings.max_epochs, settings.max_steps)
        if reason and not settings.fast_dev_run:
            print(f"lightframe: the training of '{self.ckpt_path}' had come to its end, {reason}", file=sys.stderr)
            sys.exit(0)
        parser = self._parser(self.subcommand)
        tell_changes(self.ckpt_path, parser.dump(self.config[self.subcommand], skip_unset=False))
        self.resumed = {}  # its file is not to be held open

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        settings = self._get(self.config_init, "trainer")
        if settings.fast_dev_run or settings.barebones:
            return super().instantiate_trainer(**kwargs)
        name_by = self._get(self.config_init, "run_folder")
        self.run_folder = new_run_folder(settings.default_root_dir or "runs", name_by)
        given = settings.callbacks or []
        given = given if isinstance(given, list) else [given]
        defaults: dict[str, Any] = {
            "default_root_dir": str(self.run_folder),
            "logger": self._loggers() if settings.logger in (None, True) else settings.logger,
        }
        if self.subcommand != "fit" and settings.enable_checkpointing is None:
            # Evaluation saves nothing, so it does not miss the callbacks that the training had either.
            if not any(isinstance(one, Checkpoint) for one in given):
                defaults["enable_checkpointing"] = False
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks used to create")
        # A resumed run has a folder of its own; a ModelCheckpoint of the user's keeps the best of what it saves there.
        warnings.filterwarnings("ignore", message="The dirpath has changed from")
        callbacks = given + self._callbacks(given, settings, bool(defaults["logger"]))
        # What last.ckpt has knows what the others have saved.
        defaults["callbacks"] = sorted(callbacks, key=lambda one: isinstance(one, LastCheckpoint))
        return super().instantiate_trainer(**{**defaults, **kwargs})

    def _loggers(self) -> list[Logger]:
        folder = str(self.run_folder)
        return [TensorBoardLogger(folder, name="", version=""), CSVLogger(f"{folder}/csv", name="", version="")]

    def _callbacks(self, given: Sequence[Callback], settings: Namespace, logs: bool) -> list[Callback]:
        """The callbacks of every run, but for those of a kind that the user gave."""
        fits = self.subcommand == "fit"
        saves = fits and settings.enable_checkpointing is not False
        monitor = self._monitor(given) if saves else None
        wanted: list[tuple[bool, type, Any]] = [
            (settings.enable_progress_bar is not False, ProgressBar, RichProgressBar),
            (monitor is not None, ModelCheckpoint, lambda: Checkpointer(monitor)),
            (fits and logs, LearningRateMonitor, lambda: LearningRateMonitor(logging_interval="step")),
            (fits, StepTimer, StepTimer),
            (fits, EnvironmentReport, EnvironmentReport),
            (self.subcommand == "predict" and not self._detects, PredictionWriter, PredictionWriter),
            (self.subcommand == "predict" and self._detects, DetectionWriter, DetectionWriter),
            (self.subcommand != "predict" and self._detects, EvalTotal, lambda: EvalTotal("coco_map")),
            (saves, LastCheckpoint, LastCheckpoint),
        ]
        return [make() for wants, kind, make in wanted if wants and not any(isinstance(one, kind) for one in given)]

    @property
    def _detects(self) -> bool:
        """Whether a detector gets images with boxes."""
        return isinstance(self.datamodule, CocoDetectionDataModule) and isinstance(
            getattr(self.model, "net", None), Detector
        )

    def _monitor(self, given: Sequence[Callback]) -> str | None:
        """By what the best checkpoint is told: the first metric or else the loss of the validation split.

        A net that computes its own loss may do so in training alone, and gives none of the validation split.
        """
        if not _validates(self.datamodule):
            return None
        if self._detects and not any(isinstance(one, EvalTotal) for one in given):
            return "val/AP"
        if not isinstance(self.model, LightFrameModule) or self.model._net_computes_loss:
            return None
        names = self.model.epoch_values["val"].scores() if self.model.losses is not None else []
        return f"val/{names[0]}" if names else "val/loss"

    def before_predict(self) -> None:
        self.config_init.predict["return_predictions"] = False  # they are written, not kept

    def after_fit(self) -> None:
        """Say where everything is."""
        if self.run_folder is None or not self.trainer.is_global_zero:
            return
        lines = {"Run folder": str(self.run_folder)}
        best = (one for one in self.trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint))
        if (checkpoint := next(best, None)) is not None and checkpoint.best_model_path:
            score = checkpoint.best_model_score
            shown = f" ({checkpoint.monitor} {score:.4f})" if score is not None else ""
            lines["Best checkpoint"] = _relative(checkpoint.best_model_path) + shown
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, LastCheckpoint) and callback.path is not None and callback.path.exists():
                lines["Last checkpoint"] = _relative(str(callback.path))
        if any(isinstance(logger, TensorBoardLogger) for logger in self.trainer.loggers):
            lines["TensorBoard"] = f"tensorboard --logdir {self.run_folder}"
        self._say(lines)

    def after_predict(self) -> None:
        """Say where the predictions are."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            path = callback.path if isinstance(callback, PredictionWriter | DetectionWriter) else None
            if path is not None and self.trainer.is_global_zero:
                files = sorted(path.parent.glob(f"predictions*{path.suffix}"))  # one for each process
                self._say({"Predictions": " ".join(map(str, files))})

    def _say(self, lines: dict[str, str]) -> None:
        console = Console(soft_wrap=True, highlight=False)  # a path broken over lines cannot be copied
        for name, value in lines.items():
            console.print(f"[bold]{name + ':':<17}[/bold]", end="")
            console.print(value, markup=False)


def _validates(data: Any) -> bool:
    if isinstance(data, CocoDetectionDataModule):
        return data.has("val")
    return not isinstance(data, VideoDataModule) or data.splits.has("val")


def _relative(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a mistake that the user can mend ends it in one line with exit code 2."""
    # A console script does not have the current folder on its path, and a user's own net stands there.
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    # Lightning 2.6 asks torch 2.15's tree specs in a way that is going away: nothing that a user could mend.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    words = list(sys.argv[1:] if args is None else args)
    end_with_first()
    try:
        if not run_tool(words):
            LightFrameCLI(words)
    except (KeyboardInterrupt, SystemExit) as left:
        # Lightning shuts down in order after Ctrl-C, and leaves with exit code 1.
        if isinstance(left, SystemExit) and (left.code != 1 or not isinstance(left.__context__, KeyboardInterrupt)):
            raise
        way = "; --ckpt_path last goes on from the last checkpoint" if words[:1] == ["fit"] else ""
        print(f"lightframe: stopped{way}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, ProcessExitedException) and error.exit_code > 128:
            sys.exit(error.exit_code)  # of a rank that was forked, and that has saved and left after a signal
        cause = mendable(error)
        if cause is None:
            if (first := original(error)) is error:
                raise
            raise first from None
        release_run_folder()
        refuse(cause)
    finally:
        release_last()
        print_tools(words)
