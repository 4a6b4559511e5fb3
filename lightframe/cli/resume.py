"""What is wrong with going on from a checkpoint, said before any long work."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.nn.parameter import is_lazy

from lightframe.checkpoint_files import is_resumable
from lightframe.errors import UsageError
from lightframe.module import LightFrameModule
from lightframe.optimizers import OPTIMIZERS, build_optimizer
from lightframe.plain import plain_where_possible
from lightframe.registry import Registry
from lightframe.schedulers import SCHEDULERS

Checkpoint = Mapping[str, Any]

CONFIG = "config.yaml"  # what a run was, in its folder
# Settings that change nothing in what is learnt from a step, or of which is said elsewhere what comes of them.
_FREE = (
    *("ckpt_path", "run_folder", "weights_only", "model.init_from", "model.metrics"),
    *("model.lr", "model.optimizer", "model.optimizer_args", "model.scheduler", "model.scheduler_args"),
    *("data.num_workers", "data.threads", "trainer.default_root_dir", "trainer.logger", "trainer.profiler"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.log_every_n_steps"),
)


def check_resumable(checkpoint: Checkpoint, path: str) -> None:
    """Raise a UsageError where a checkpoint holds weights only."""
    if checkpoint and not is_resumable(dict(checkpoint)):
        raise UsageError(
            f"'{path}' holds weights only, and training needs the optimizer's state to go on: begin anew from its "
            f"weights with --model.init_from {path} in place of --ckpt_path"
        )


def check_fits(checkpoint: Checkpoint, module: Any, path: str) -> None:
    """Raise a UsageError where a checkpoint is of another net, optimizer or scheduler than the module's."""
    if not isinstance(module, LightFrameModule) or is_overridden("configure_model", module):
        return  # whose parts are made later
    anew = f"or begin anew from its weights with --model.init_from {path} in place of --ckpt_path"
    strict = module.strict_loading and type(module).on_load_checkpoint is LightFrameModule.on_load_checkpoint
    if strict and (reason := other_net(checkpoint["state_dict"], module.state_dict())):
        raise UsageError(
            f"the weights of '{path}' are those of another net than --model.net makes: {reason}; give the net it was "
            f"trained with, {anew}"
        )
    if type(module).configure_optimizers is not LightFrameModule.configure_optimizers:
        return
    if reason := _other_optimizer(checkpoint, module) or _other_scheduler(checkpoint, module):
        raise UsageError(f"'{path}' was trained with {reason}: give what it was trained with, {anew}")
    if ignored := _ignored(checkpoint, module):
        rank_zero_warn(f"training goes on with what '{path}' was trained with, {ignored}")


def _ignored(checkpoint: Checkpoint, module: LightFrameModule) -> str:
    """Settings that come back with the optimizer's and the scheduler's state, whatever is typed."""
    saved = checkpoint.get("hyper_parameters", {})
    names = [name for name in ("lr", "optimizer_args", "scheduler_args") if name in saved]
    both = {name: (saved[name], plain_where_possible(getattr(module, name))) for name in names}
    return ", ".join(f"{name} {a}, not {b}" for name, (a, b) in both.items() if _listed(a) != _listed(b))


def tell_changes(path: str, config: str, shown: int = 5) -> None:
    """Warn where a run goes on with other settings than the one whose checkpoint it takes had.

    Args:
        path: of the checkpoint, in the folder of its run; of one that lies elsewhere nothing is known.
        config: this run's own, in YAML.
        shown: how many settings are named.
    """
    try:
        before = yaml.safe_load((Path(path).parent.parent / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return
    had, has = dict(_settings(before)), dict(_settings(yaml.safe_load(config)))
    # A name that one of them lacks is that of another class or version, and has no value there.
    names = [name for name in had if name in has and name not in _FREE and had[name] != has[name]]
    if names:
        told = [_change(name, had[name], has[name]) for name in names[:shown]]
        more = [f"and {len(names) - shown} more"] if len(names) > shown else []
        rank_zero_warn(
            f"'{path}' was trained with other settings than this run has, which goes on with its own, and ends "
            f"otherwise than that one would have: {'; '.join([*told, *more])}"
        )


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    """Each argument of each section of a run's config."""
    for section, value in (config if isinstance(config, Mapping) else {}).items():
        if isinstance(value, Mapping):
            inner = value.get("init_args")
            for name, argument in {**value, **(inner if isinstance(inner, Mapping) else {})}.items():
                if name != "init_args":
                    yield f"{section}.{name}", argument
        else:
            yield section, value


def _change(name: str, before: Any, now: Any) -> str:
    words = f"{name} {before}, not {now}"
    return words if len(words) <= 80 else name


def _listed(value: Any) -> Any:
    """A value with lists in the place of tuples, which YAML does not have."""
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def other_net(saved: Mapping[str, Any], own: Mapping[str, Any], shown: int = 3) -> str | None:
    """How the names and shapes of two `state_dict`s differ; None where they do not.

    >>> import torch
    >>> other_net({"a": torch.zeros(2)}, {"a": torch.zeros(3), "b": torch.zeros(1)})
    'a is (2,) there and (3,) here, b is not in it'
    """
    differ = []
    for name in [*saved, *(name for name in own if name not in saved)]:
        if name not in own:
            differ.append(f"{name} is not here")
        elif name not in saved:
            differ.append(f"{name} is not in it")
        elif isinstance(own[name], Tensor) and isinstance(saved[name], Tensor) and not is_lazy(own[name]):
            there, here = tuple(saved[name].shape), tuple(own[name].shape)
            if there != here:
                differ.append(f"{name} is {there} there and {here} here")
    more = [f"and {len(differ) - shown} more"] if len(differ) > shown else []
    return ", ".join([*differ[:shown], *more]) or None


def _other_optimizer(checkpoint: Checkpoint, module: LightFrameModule) -> str | None:
    hyper_parameters = checkpoint.get("hyper_parameters", {})
    saved = hyper_parameters.get("optimizer")
    if _differ(OPTIMIZERS, saved, module.optimizer):
        return f"optimizer {saved}, not {module.optimizer}"
    built = build_optimizer(module.optimizer, module.parameter_groups(), module.lr, module.optimizer_args)
    if not checkpoint["optimizer_states"]:
        return "no optimizer"
    larc = [bool((args or {}).get("larc")) for args in (hyper_parameters.get("optimizer_args"), module.optimizer_args)]
    if isinstance(saved, str) and larc[0] != larc[1]:
        return "LARC, not without" if larc[0] else "no LARC, not with it"
    own, theirs = built.state_dict()["param_groups"], checkpoint["optimizer_states"][0]["param_groups"]
    counts = [[len(group["params"]) for group in groups] for groups in (theirs, own)]
    if counts[0] != counts[1]:
        return f"parameter groups of {counts[0]} tensors, not {counts[1]}"
    if missing := sorted(own[0].keys() - theirs[0].keys()):
        return f"another optimizer, which has no '{missing[0]}'"
    return None


def _other_scheduler(checkpoint: Checkpoint, module: LightFrameModule) -> str | None:
    saved = checkpoint.get("hyper_parameters", {}).get("scheduler")
    if _differ(SCHEDULERS, saved, module.scheduler):
        return f"scheduler {saved}, not {module.scheduler}"
    had, has = bool(checkpoint["lr_schedulers"]), module.scheduler is not None or bool(module.scheduler_args)
    if had != has:
        return "a scheduler or warmup, not without" if had else "no scheduler or warmup, not with one"
    return None


def _differ(registry: Registry, saved: Any, own: Any) -> bool:
    """Whether two names stand for different things; what was given as an object cannot be told."""
    if not isinstance(saved, str) or not isinstance(own, str):
        return False
    try:
        return registry[saved] is not registry[own]
    except UsageError:
        return saved.lower() != own.lower()


def ended(checkpoint: Checkpoint, max_epochs: int | None, max_steps: int) -> str | None:
    """Why there is nothing left to train, or None.

    Args:
        checkpoint: of a training.
        max_epochs: of the Trainer, as is max_steps.
        max_steps: -1 for no limit.
    """
    done, steps = epochs_done(checkpoint), checkpoint.get("global_step", 0)
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    if not epochs["started"] == epochs["processed"] == epochs["completed"]:
        return None  # the end of its last epoch is still to be logged
    if max_epochs is None:  # as the Trainer has it
        max_epochs = 1000 if max_steps == -1 else -1
    if max_epochs != -1 and done >= max_epochs:
        return f"{done} of {max_epochs} epochs are done: raise --trainer.max_epochs"
    if max_steps != -1 and steps >= max_steps:
        return f"{steps} of {max_steps} steps are done: raise --trainer.max_steps"
    return None


def epochs_done(checkpoint: Checkpoint) -> int:
    """Whole epochs that a checkpoint has behind it."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
