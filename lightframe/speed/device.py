"""Which device is measured, and what it is called."""

import platform
import re
from pathlib import Path
from typing import Any

import torch

from lightframe.cores import cores
from lightframe.errors import UsageError

_KINDS = ("cuda", "mps", "cpu")


def find_device(name: str = "auto") -> torch.device:
    """The device that is asked for; `auto` is the GPU where there is one.

    Args:
        name: `auto`, `cpu`, `mps`, `cuda` or, of several, `cuda:1`.

    Raises:
        UsageError: there is no such device here.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        if found is None or found.type not in _KINDS:
            return torch.device("cpu")
        name = found.type
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in _KINDS:
        raise UsageError(f"there is no device '{name}': give auto, cpu, mps, cuda, or cuda:1 of several")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(f"there is no device '{name}' here: torch {torch.__version__} finds {count} CUDA GPUs")
        return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"there is no device 'mps' here: torch {torch.__version__} finds no Apple GPU")
    return device


def describe(device: torch.device) -> dict[str, Any]:
    """What decides a device's speed: kind, name, of a GPU memory and compute capability, of a CPU cores and threads."""
    system = f"{platform.system()} {platform.machine()}"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            "kind": "cuda",
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "system": system,
            "cpu": _cpu(),
        }
    threads = torch.get_num_threads()
    name = f"{_cpu()}, {threads} thread{'s' * (threads != 1)}" if device.type == "cpu" else _cpu()
    return {"kind": device.type, "name": name, "cores": cores(), "system": system}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine() or "unknown"
