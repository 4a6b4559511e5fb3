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
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from rich.console import Console
from typing_extensions import override

from lightframe.callbacks import DetectionWriter, EnvironmentReport, EvalTotal, PredictionWriter, StepTimer
from lightframe.cli.checkpoint import checkpoint_defaults, find_ckpt_path, read_checkpoint
from lightframe.cli.nested import chosen_class, merge_nested
from lightframe.cli.parser import Parser, default_of, parameters, refuse
from lightframe.cli.tools import print_tools, run_tool
from lightframe.datamodules import CocoDetectionDataModule, VideoDataModule, VideoError
from lightframe.errors import UsageError
from lightframe.models import Detector
from lightframe.module import LightFrameModule, class_path
from lightframe.registry import import_path
from lightframe.run_folder import new_run_folder, release_run_folder
from lightframe.version import __version__


class SaveConfig(SaveConfigCallback):
    """Writes config.yaml to the run's folder, which is new: nothing stands there to be overwritten."""

    @override
    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        config = self.parser.dump(self.config, skip_unset=False)
        Path(trainer.default_root_dir, self.config_filename).write_text(config, encoding="utf-8")


class LightFrameCLI(LightningCLI):
    """LightningCLI with this package's adapter and data module, its defaults, and a folder for each run.

    Args:
        args: the words of the command line; None: those of the process.
    """

    def __init__(self, args: Sequence[str] | None = None) -> None:
        words = list(sys.argv[1:] if args is None else args)
        self.from_checkpoint: dict[str, dict[str, Any]] = {}
        path = find_ckpt_path(words)
        # A training says itself what it trains: from a checkpoint, an option that was taken out would come back.
        if path and words and words[0] in ("validate", "test", "predict"):
            self.from_checkpoint = checkpoint_defaults(path, words)
        elif path:
            read_checkpoint(path)
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
        self.config = parser.parse_args(self.words)

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
        self.config_init = self.parser.instantiate(staged)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        if self.subcommand == "fit" and isinstance(self.model, LightFrameModule):
            self.model.check_classes(self.datamodule)
        self.trainer = self.instantiate_trainer()

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
            if not any(isinstance(one, ModelCheckpoint) for one in given):
                defaults["enable_checkpointing"] = False
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks used to create")
        # A resumed run has a folder of its own too, and keeps the best of what it saves there.
        warnings.filterwarnings("ignore", message="The dirpath has changed from")
        defaults["callbacks"] = given + self._callbacks(given, settings, bool(defaults["logger"]))
        return super().instantiate_trainer(**{**defaults, **kwargs})

    def _loggers(self) -> list[Logger]:
        folder = str(self.run_folder)
        return [TensorBoardLogger(folder, name="", version=""), CSVLogger(f"{folder}/csv", name="", version="")]

    def _callbacks(self, given: Sequence[Callback], settings: Namespace, logs: bool) -> list[Callback]:
        """The callbacks of every run, but for those of a kind that the user gave."""
        fits = self.subcommand == "fit"
        wanted: list[tuple[bool, type, Any]] = [
            (settings.enable_progress_bar is not False, ProgressBar, RichProgressBar),
            (fits and settings.enable_checkpointing is not False, ModelCheckpoint, lambda: self._checkpoint(given)),
            (fits and logs, LearningRateMonitor, lambda: LearningRateMonitor(logging_interval="step")),
            (fits, StepTimer, StepTimer),
            (fits, EnvironmentReport, EnvironmentReport),
            (self.subcommand == "predict" and not self._detects, PredictionWriter, PredictionWriter),
            (self.subcommand == "predict" and self._detects, DetectionWriter, DetectionWriter),
            (self.subcommand != "predict" and self._detects, EvalTotal, lambda: EvalTotal("coco_map")),
        ]
        return [make() for wants, kind, make in wanted if wants and not any(isinstance(one, kind) for one in given)]

    @property
    def _detects(self) -> bool:
        """Whether a detector gets images with boxes."""
        return isinstance(self.datamodule, CocoDetectionDataModule) and isinstance(
            getattr(self.model, "net", None), Detector
        )

    def _checkpoint(self, given: Sequence[Callback]) -> ModelCheckpoint:
        """Keeps the best, by the first metric or else the loss of the validation split, and the last.

        A net that computes its own loss may do so in training alone, and gives none of the validation split.
        """
        common: dict[str, Any] = {"save_last": True, "auto_insert_metric_name": False}
        computes_loss = isinstance(self.model, LightFrameModule) and not self.model._net_computes_loss
        if self._detects and _validates(self.datamodule) and not any(isinstance(one, EvalTotal) for one in given):
            name, mode = "AP", "max"
        elif computes_loss and _validates(self.datamodule):
            names = self.model.epoch_values["val"].scores() if self.model.losses is not None else []
            name, mode = (names[0], "max") if names else ("loss", "min")
        else:
            return ModelCheckpoint(filename="epoch={epoch:03d}-step={step}", **common)
        # Slashes in a name would make folders, so the metric's is written out.
        filename = f"best-epoch={{epoch:03d}}-{name}={{val/{name}:.4f}}"
        return ModelCheckpoint(monitor=f"val/{name}", mode=mode, filename=filename, **common)

    def before_predict(self) -> None:
        self.config_init.predict["return_predictions"] = False  # they are written, not kept

    def after_fit(self) -> None:
        """Say where everything is."""
        if self.run_folder is None or not self.trainer.is_global_zero:
            return
        lines = {"Run folder": str(self.run_folder)}
        checkpoint = self.trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint):
            if checkpoint.best_model_path:
                score = checkpoint.best_model_score
                shown = f" ({checkpoint.monitor} {score:.4f})" if score is not None else ""
                lines["Best checkpoint"] = _relative(checkpoint.best_model_path) + shown
            if checkpoint.last_model_path:
                lines["Last checkpoint"] = _relative(checkpoint.last_model_path)
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
    try:
        if not run_tool(words):
            LightFrameCLI(words)
    except (ValueError, RuntimeError) as error:
        cause = _mendable(error)
        if cause is None:
            raise
        release_run_folder()
        refuse(cause)
    finally:
        print_tools(words)


def _mendable(error: BaseException) -> Exception | None:
    """What the user can mend among an error and its causes."""
    # jsonargparse wraps what a constructor raises in an error of its own.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UsageError | VideoError):
        cause = cause.__cause__
    if cause is None and str(error).startswith("Error(s) in loading state_dict"):
        first = str(error).splitlines()[1].strip()[:200]
        return UsageError(f"the weights of the checkpoint are those of another net than --model.net makes: {first}")
    return cause
