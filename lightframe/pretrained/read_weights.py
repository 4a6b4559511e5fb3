"""What a file, a URL or a name of torchvision's holds, read without running any code of it."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import torch

from lightframe.checkpoint_reading import check_checkpoint
from lightframe.errors import UsageError, did_you_mean
from lightframe.export import load_exported
from lightframe.pretrained.foreign import refusal

# What a file often is instead, by its first bytes in lower case.
_OTHERS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: fetch it with git lfs pull",
    b"<!doctype": "is a web page, not weights: what was downloaded is a message of the site, or a login",
    b"\x89hdf": "is an HDF5 file, as Keras writes: convert it to a state dict of torch",
    b"\x93numpy": "is a NumPy array: put it into a dict of tensors and write that with torch.save",
}


def read_weights(source: str | Path | Mapping[str, Any]) -> tuple[Any, str]:
    """What `source` holds, in memory or left on disk, and what to call it in messages.

    Args:
        source: a file, an http(s) or file URL, a name of torchvision's such as `R3D_18_Weights.KINETICS400_V1`, or what
            was read already.

    Raises:
        UsageError: there is no such file, it cannot be fetched, it is damaged, or reading it would run code.
    """
    if isinstance(source, Mapping):
        return source, "the given dict"
    if not isinstance(source, str | Path):
        raise UsageError(
            f"weights are a path, a URL or a dict of tensors, not {type(source).__name__}"
            + (": give its state_dict()" if isinstance(source, torch.nn.Module) else "")
        )
    text = str(source)
    path = Path(text).expanduser()
    if not _exists(path):
        if "://" in text:
            return _read_file(_fetch(text)), text
        if re.fullmatch(r"\w+_Weights\.\w+", text):
            return _torchvision(text), text
    return _read_file(path), text


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a URL may be longer than a file's name
        return False


def _read_file(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        raise UsageError(_missing(path)) from None
    except IsADirectoryError:
        raise UsageError(f"'{path}' is a folder: name a file of weights in it") from None
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror or error}") from None
    if not start:
        raise UsageError(f"'{path}' is empty")
    if start[8:9] == b"{":
        return load_exported(path)  # those of other programs, too
    for mark, what in _OTHERS.items():
        if start.lower().startswith(mark):
            raise UsageError(f"'{path}' {what}")
    return _read_torch(path, zipped=start.startswith(b"PK"))


def _read_torch(path: Path, zipped: bool) -> Any:
    try:
        # With mmap only the weights are read, not the optimizer's state beside them.
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:
        raise
    except Exception as error:  # of any kind, where bytes are not what they should be
        message = str(error)
        if any(sign in message for sign in ("Unsupported global", "unsupported GLOBAL", "TorchScript", "legacy .tar")):
            raise UsageError(refusal(path, message)) from None
        hint = ""
        if path.suffix == ".pkl":
            hint = "; Caffe2's files of PySlowFast's zoo are none: take PyTorchVideo's, such as SLOWFAST_8x8_R50.pyth"
        reason = " ".join(message.split())[:100] or type(error).__name__
        wrong = (check_checkpoint(path) if zipped else None) or f"is no file of torch.save, or is damaged ({reason})"
        raise UsageError(f"'{path}' {wrong}{hint}") from None
    # With mmap torch checks no checksums.
    if zipped and (damage := check_checkpoint(path)) is not None:
        raise UsageError(f"'{path}' {damage}")
    return found


def _fetch(url: str) -> Path:
    """The file behind a URL, downloaded once into torch's folder of downloads."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"'{url}': weights come from a path or an http(s) URL; copy the file here first")
    # torch.hub's own function goes by the file's name alone, and many are called best.pth.
    name = Path(unquote(parts.path)).name or "weights"
    target = Path(torch.hub.get_dir(), "lightframe", f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}")
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(target))  # which renames it when it is whole
        except (URLError, OSError) as error:
            raise UsageError(f"'{url}' cannot be fetched: {_reason(error)}") from None
    return target


def _torchvision(name: str) -> Any:
    from torchvision import models

    try:
        weights = models.get_weight(name)
    except (ValueError, AttributeError, KeyError):
        kinds = {models.get_model_weights(net) for net in models.list_models()}
        known = [f"{kind.__name__}.{one.name}" for kind in kinds for one in kind]
        raise UsageError(f"torchvision has no weights '{name}'{did_you_mean(name, known)}") from None
    try:
        return weights.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except (URLError, OSError) as error:
        raise UsageError(f"'{name}' cannot be fetched: {_reason(error)}") from None


def _reason(error: OSError) -> object:
    return getattr(error, "reason", None) or error.strerror or error


def _missing(path: Path) -> str:
    from torchvision import models

    if str(path) in models.list_models():
        kind = models.get_model_weights(str(path)).__name__
        return f"there is no file '{path}'; torchvision's weights for that net are {kind}.DEFAULT"
    names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"there is no file '{path}'{did_you_mean(path.name, names)}"
