"""A net in one file: its weights as safetensors, and in its header what it takes to predict with them."""

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightframe.atomic_write import atomic_write
from lightframe.errors import UsageError
from lightframe.version import __version__

FORMAT_VERSION = 1
_KEY, _CHECKSUM = "lightframe", "lightframe-crc32"
# What a resumed training needs of a checkpoint, and a net does not.
_LEFT_OUT = ("resume",)


def export_weights(checkpoint_path: str | Path, output: str | Path | None = None) -> Path:
    """Write the weights of a checkpoint as safetensors, with all that `lightframe predict` needs to use them.

    The file holds the weights that are evaluated (with EMA the averaged ones) by their names in the module, such as
    `net.stem.weight`. In the metadata of its header the key `lightframe` holds JSON: format_version, the module's
    class_path and hyper_parameters, data_class and data (class names, clip settings, mean and std), objects (what was
    given as an object, by name of its class) and a checksum of each tensor; `lightframe-crc32` is the checksum of that.

    Args:
        checkpoint_path: of a LightFrameModule.
        output: the file to write. Default: the checkpoint's name with .safetensors.

    Returns:
        The file.

    Raises:
        UsageError: the checkpoint is damaged or of another framework, or the file cannot be written.

    Example::

        lightframe export runs/run_0/checkpoints/last.ckpt --output model.safetensors
        lightframe predict --ckpt_path model.safetensors --data.predict new_videos
    """
    from safetensors.torch import save

    from lightframe.checkpoint_io import read_checkpoint

    path = Path(output) if output is not None else Path(checkpoint_path).with_suffix(".safetensors")
    if path.suffix != ".safetensors":
        raise UsageError(f"output must be named *.safetensors, not '{path.name}'")
    checkpoint = read_checkpoint(checkpoint_path)
    ours = checkpoint.get("lightframe")
    if not ours or "state_dict" not in checkpoint:
        raise UsageError(
            f"'{checkpoint_path}' is no checkpoint of a LightFrameModule, so what its net is cannot be told"
        )
    # A tensor of its own for each name: safetensors takes none that share memory, as tied weights do.
    if others := [name for name, value in checkpoint["state_dict"].items() if not isinstance(value, Tensor)]:
        raise UsageError(
            f"'{checkpoint_path}' has more than tensors in its state_dict ({others[0]}), and safetensors none"
        )
    tensors = {name: value.detach().clone().contiguous() for name, value in checkpoint["state_dict"].items()}
    about = {
        "format_version": FORMAT_VERSION,
        "exported_with": __version__,
        **{key: value for key, value in ours.items() if key not in _LEFT_OUT},
        "hyper_parameters": dict(checkpoint.get("hyper_parameters", {})),
        "epoch": checkpoint.get("epoch", 0),
        "global_step": checkpoint.get("global_step", 0),
        "pytorch-lightning_version": checkpoint["pytorch-lightning_version"],
        "checksums": {name: _checksum(tensor) for name, tensor in tensors.items()},
    }
    _check_keys(about, checkpoint_path)
    text = json.dumps(about)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(save(tensors, {"format": "pt", _KEY: text, _CHECKSUM: str(zlib.crc32(text.encode()))}))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written ({error.strerror or error}): give --output") from error
    return path


def load_exported(path: str | Path) -> dict[str, Any]:
    """An exported file as a checkpoint of weights only: `state_dict`, `hyper_parameters`, `lightframe` and so on.

    Weights that another program wrote as safetensors have the key `state_dict` alone.

    Raises:
        DamagedCheckpointError: the file is cut short, or bytes of it are wrong.
        UsageError: a later version of this package wrote it.
    """
    from safetensors import SafetensorError, safe_open

    from lightframe.checkpoint_reading import damaged

    if reason := _wrong_length(Path(path)):
        raise damaged(path, reason)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        text = metadata.get(_KEY, "")
        if metadata.get(_CHECKSUM) != (str(zlib.crc32(text.encode())) if text else None):
            raise damaged(path, "is damaged (the checksum of its header is wrong)")
        about = json.loads(text or "{}")
    except UsageError:
        raise
    except (SafetensorError, ValueError) as error:
        raise damaged(path, f"is damaged ({str(error)[:100]})") from error
    if not about:
        return {"state_dict": state}
    if about["format_version"] > FORMAT_VERSION:
        raise UsageError(
            f"'{path}' was exported with lightframe {about['exported_with']}, which is newer than this one "
            f"({__version__}): update lightframe"
        )
    checksums = about.pop("checksums")
    for name, tensor in state.items():
        if checksums.get(name) != _checksum(tensor):
            raise damaged(path, f"is damaged (the checksum of {name} is wrong)")
    if missing := checksums.keys() - state.keys():
        raise damaged(path, f"is damaged ({min(missing)} is not in it)")
    top = ("hyper_parameters", "epoch", "global_step", "pytorch-lightning_version")
    return {
        "state_dict": state,
        **{key: about.pop(key) for key in top},
        _KEY: about,
    }


def _check_keys(value: Any, path: str | Path) -> None:
    """Raise a UsageError where JSON would make strings of other keys."""
    if isinstance(value, Mapping):
        if others := [key for key in value if not isinstance(key, str)]:
            raise UsageError(
                f"the hyperparameters of '{path}' have keys that are no strings ({others[0]!r}): name them"
            )
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _check_keys(item, path)


def _wrong_length(path: Path) -> str | None:
    """Whether the file is as long as its header says; safetensors only says that it is not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        (length,) = struct.unpack("<Q", start) if len(start) == 8 else (size,)
        if 8 + length > size:
            return "is cut short (its header is not whole)"
        try:
            header: Mapping[str, Any] = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError):
            return "is damaged (its header cannot be read)"
    expected = 8 + length + max(ends, default=0)
    return f"is cut short ({expected - size} bytes are missing)" if expected > size else None


def _checksum(tensor: Tensor) -> int:
    """CRC-32 of the shape, the type and the bytes of a tensor."""
    about = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
    return zlib.crc32(data.data, zlib.crc32(about))
