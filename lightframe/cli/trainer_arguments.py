"""Arguments of the Trainer that cannot be meant, or that this machine cannot fulfil; asked before anything begins."""

from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from lightframe.errors import UsageError, did_you_mean

# argument -> the least value, and what 0 would have meant.
_LEAST = {
    "max_epochs": (-1, "-1 trains until it is stopped"),
    "min_epochs": (0, ""),
    "max_steps": (-1, "-1 leaves the end to max_epochs"),
    "num_nodes": (1, "give the number of machines"),
    "accumulate_grad_batches": (1, "1 accumulates nothing"),
    "gradient_clip_val": (0, "null clips nothing"),
    "check_val_every_n_epoch": (1, "to validate never, give limit_val_batches=0"),
    "num_sanity_val_steps": (-1, "0 is for none, -1 for all"),
    "log_every_n_steps": (0, "0 logs nothing"),
    "reload_dataloaders_every_n_epochs": (0, "0 never makes them anew"),
    "fast_dev_run": (0, "give true, or a number of batches"),
}
_SHARES = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches")


def check_trainer(settings: Any, command: str) -> None:
    """Raise a UsageError for what the Trainer would refuse late, or in words of its own, or take in silence.

    Args:
        settings: the Trainer's arguments as attributes.
        command: `fit`, `validate`, `test` or `predict`.
    """
    for name, (least, hint) in _LEAST.items():
        value = getattr(settings, name)
        if isinstance(value, int | float) and not value >= least:
            raise UsageError(f"trainer.{name} must be {least} or more, got {value}" + (f": {hint}" if hint else ""))
    for name in (*_SHARES, "val_check_interval"):
        _check_share(name, getattr(settings, name))
    if settings.val_check_interval == 0 and isinstance(settings.val_check_interval, int | float):
        raise UsageError("trainer.val_check_interval=0: to validate never, give trainer.limit_val_batches=0")
    if command == "fit" and settings.limit_train_batches == 0 and settings.limit_train_batches is not None:
        raise UsageError("trainer.limit_train_batches=0 trains nothing: leave it out, or use lightframe validate")
    least, most = settings.min_epochs, settings.max_epochs
    if least is not None and most is not None and -1 < most < least:
        raise UsageError(f"trainer.min_epochs={least} is more than trainer.max_epochs={most}: leave one of them out")
    _check_devices(settings.accelerator, settings.devices)
    _check_strategy(settings.strategy)
    _check_precision(settings.precision, device_kind(settings.accelerator))


def _check_share(name: str, value: Any) -> None:
    if isinstance(value, float) and not (0 <= value <= 1 or value.is_integer()):
        raise UsageError(f"trainer.{name}={value}: give a share from 0.0 to 1.0, or a whole number of batches")
    if isinstance(value, int | float) and value < 0:
        raise UsageError(f"trainer.{name}={value}: give a share from 0.0 to 1.0, or a whole number of batches")


def device_kind(accelerator: Any) -> str:
    """The kind of device that the Trainer will take: `cuda`, `mps`, `cpu` or another that it knows.

    Raises:
        UsageError: there is no such kind, or none of it here.
    """
    gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
    if accelerator in ("auto", None):
        return gpu or "cpu"
    if not isinstance(accelerator, str):
        return "other"
    known = {*AcceleratorRegistry.available_accelerators(), "auto", "gpu"}
    if accelerator not in known:
        raise UsageError(
            f"trainer.accelerator: there is no '{accelerator}'{did_you_mean(accelerator, known)} "
            f"(known: {', '.join(sorted(known))})"
        )
    if accelerator == "gpu" and gpu:
        return gpu
    if accelerator in ("gpu", "cuda", "mps") and accelerator != gpu:
        what = {"mps": "Apple GPU"}.get(accelerator, "GPU")
        raise UsageError(
            f"trainer.accelerator={accelerator}: torch {torch.__version__} finds no {what} here: leave it out, or give "
            "--trainer.accelerator cpu"
        )
    return accelerator


def _check_devices(accelerator: Any, devices: Any) -> None:
    kind = device_kind(accelerator)
    if isinstance(devices, str) and devices not in ("auto", "-1"):
        try:
            devices = [int(one) for one in devices.split(",") if one.strip()] if "," in devices else int(devices)
        except ValueError:
            raise UsageError(
                f"trainer.devices: '{devices}' is no number of devices: give a number, auto, or those to use, as [0, 1]"
            ) from None
    if isinstance(devices, bool) or not isinstance(devices, int | list):
        return
    if devices in (0, []) or (isinstance(devices, int) and devices < (-1 if kind != "cpu" else 1)):
        raise UsageError(f"trainer.devices={devices}: give 1 or more, or auto; for none but the CPU, accelerator=cpu")
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind)
    asked = devices if isinstance(devices, int) else max(devices) + 1
    if there is not None and asked > there:
        raise UsageError(
            f"trainer.devices={devices}: there {'is' if there == 1 else 'are'} {there} of kind {kind} here, numbered "
            f"from 0: give at most {there}, or auto"
        )
    if isinstance(devices, list) and len(set(devices)) < len(devices):
        raise UsageError(f"trainer.devices={devices}: a device stands there twice: give each once")


def _check_strategy(strategy: Any) -> None:
    known = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(strategy, str) and strategy not in known:
        hint = did_you_mean(strategy, known) or f" (known: {', '.join(known)})"
        raise UsageError(f"trainer.strategy: there is no '{strategy}'{hint}")


def _check_precision(precision: Any, kind: str) -> None:
    wanted = str(precision)
    if kind == "cpu" and wanted in ("16", "16-mixed"):
        raise UsageError(
            f"trainer.precision={wanted}: a CPU does not train in mixed float16: give bf16-mixed or 32-true, or "
            "--trainer.accelerator gpu where there is one"
        )
    if kind == "cuda" and wanted.startswith("bf16") and not torch.cuda.is_bf16_supported():
        raise UsageError(f"trainer.precision={wanted}: this GPU has no bfloat16: give 16-mixed or 32-true")
    if kind == "mps" and wanted in ("64", "64-true"):
        raise UsageError(f"trainer.precision={wanted}: this GPU has no float64: give 32-true, or the CPU")
    if wanted.startswith("transformer-engine") and (kind != "cuda" or torch.cuda.get_device_capability() < (8, 9)):
        raise UsageError(
            f"trainer.precision={wanted}: float8 needs an NVIDIA GPU of compute capability 8.9 or more: give "
            "bf16-mixed or 32-true"
        )


def check_seed(seed: Any) -> None:
    """Raise a UsageError for a number that no random generator takes."""
    if isinstance(seed, int) and not isinstance(seed, bool) and not 0 <= seed < 2**32:
        raise UsageError(f"seed_everything={seed}: give a number from 0 to {2**32 - 1}")
