"""Lightning's files of checkpoints, so that none is ever lost, and none runs code."""

import errno
import io
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lightframe.atomic_write import atomic_write
from lightframe.checkpoint_files import Found, newest_whole
from lightframe.checkpoint_reading import (
    DamagedCheckpointError,
    check_checkpoint,
    conversion,
    foreign,
    foreign_class,
    is_exported,
    load_plain,
)
from lightframe.checkpoint_trust import check_names
from lightframe.errors import UsageError

_FULL = {errno.ENOSPC: "the disk is full", errno.EFBIG: "the file is larger than may be written here"}
if hasattr(errno, "EDQUOT"):  # not on Windows
    _FULL[errno.EDQUOT] = "the disk quota is used up"


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and reads none that is damaged or would run code.

    LightFrameModule puts it in the place of Lightning's own. Any other module gets it with
    `Trainer(plugins=[SafeCheckpointIO()])`. What lies on other machines (`s3://...`) is left to Lightning, but for
    code, which that does not run either.

    Raises:
        DamagedCheckpointError: the file is missing, cut short or damaged; names one to go on with.
        UsageError: the disk is full or the folder read-only; what stood under the name is untouched. Or the file holds
            objects of classes that would have to be run.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        file = local_path(path)
        if file is None or storage_options is not None:  # which Lightning refuses
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        outer = sys.exc_info()[1]  # a training that has failed may be saved
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(file) as opened:
                # Piece by piece: a copy of the whole in memory may be what does not fit.
                torch.save(checkpoint, opened)
        except (OSError, RuntimeError) as error:
            cause = _os_error(error, outer)
            if cause is None:
                raise
            raise UsageError(_not_written(file, cause, _size(checkpoint))) from error

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, _: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        _refuse_code(path, weights_only)
        if local_path(path) is not None:
            return read_checkpoint(path, map_location)
        with foreign_refused(path):
            return super().load_checkpoint(path, map_location, weights_only=True)


def read_checkpoint(
    path: str | Path, map_location: Any = "cpu", *, resumable: bool = False, mmap: bool = False
) -> dict[str, Any]:
    """A checkpoint on this machine, once it is known to be whole; nothing in it is run.

    Args:
        path: a checkpoint, or weights that were exported.
        map_location: as in `torch.load`.
        mmap: leave its tensors in the file until they are used.
        resumable: whether the one that is offered in place of a damaged one is to be trained on.

    Raises:
        DamagedCheckpointError, UsageError: as SafeCheckpointIO does.
    """
    file = local_path(path)
    assert file is not None, path
    reason = check_checkpoint(file)
    try:
        if reason is None:
            return load_plain(file, map_location=map_location, mmap=mmap)
    except DamagedCheckpointError as error:  # between the two
        reason = error.reason
    said = f"there is no file '{file}'" if reason == "is not there" else f"'{file}' {reason}"
    raise DamagedCheckpointError(f"{said}: {_offer(file, resumable)}", reason)


def loadable(path: Any, weights_only: bool | None = None, given: Collection[str] = ()) -> Any:
    """A checkpoint as Lightning's `load_from_checkpoint` may read it: with `weights_only=True`, and whole.

    Args:
        path: a path, a URL or an open file. Exported weights become a checkpoint in memory.
        weights_only: False is refused.
        given: the hyperparameters that the caller gives anew.
    """
    _refuse_code(path, weights_only)
    file = local_path(path) if isinstance(path, str | Path) else None
    if file is None:
        return path
    checkpoint = read_checkpoint(file, mmap=True)
    hyper_parameters = checkpoint.get("hyper_parameters", {})
    check_names({name: value for name, value in hyper_parameters.items() if name not in given}, file)
    if not is_exported(file):
        return path
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    buffer.seek(0)
    return buffer


@contextmanager
def foreign_refused(path: Any) -> Iterator[None]:
    """What torch says of a file with foreign classes, in one sentence; for files that were not looked into before."""
    try:
        yield
    except UnpicklingError as error:
        raise UsageError(foreign(path, foreign_class(path, error) or "object")) from error


def _refuse_code(path: Any, weights_only: bool | None) -> None:
    if weights_only is False:
        raise UsageError(
            f"weights_only=False would let '{path}' run any code: leave it out; if the file needs it and you trust it, "
            f"convert it once with {conversion(path)}"
        )


def local_path(path: str | Path) -> Path | None:
    """The path of a file on this machine, None for any other.

    >>> local_path("s3://bucket/last.ckpt"), local_path("file:///runs/last.ckpt").as_posix()
    (None, '/runs/last.ckpt')
    """
    protocol, found, rest = str(path).partition("://")
    if not found:
        return Path(path)
    return Path(rest) if protocol in ("file", "local") else None


def _offer(path: Path, resumable: bool) -> str:
    """The newest whole checkpoint that is older than `path`: of the same run, else of those beside it.

    Of a folder it is the newest in there.
    """
    try:
        before = path.stat().st_mtime_ns
    except (OSError, ValueError):  # not there, or a name that no file can have
        before = None
    runs = [folder.parent for folder in path.parents if folder.name.startswith("run_")]
    places: list[dict[str, Any]] = [{"folder": path.parent, "depth": 1}, *({"folder": folder} for folder in runs[:1])]
    if is_folder := before is not None and path.is_dir():
        before, places = None, [{"folder": path}]
    for place in places:
        for kind in [True] if resumable else [True, False]:
            found = newest_whole(**place, resumable=kind, before=before)
            if found.path is not None:
                return f"go on with --ckpt_path {found.path}"
    where = "in it" if is_folder else "before it" if before else "beside it"
    return f"there is no whole one {where}; --ckpt_path last is the newest of all runs"


def _os_error(error: BaseException, outer: BaseException | None) -> OSError | None:
    """What the system said: torch's writer of zip files makes a RuntimeError of it. `outer` was there before."""
    cause: BaseException | None = error
    while cause is not None and cause is not outer and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, OSError) and cause is not outer else None


def _not_written(path: Path, error: OSError, size: int) -> str:
    cause = _FULL.get(error.errno or 0)
    if cause is None:
        return f"the checkpoint '{path}' cannot be written ({error.strerror or error}): {_last_good(path)}"
    try:
        free = f" and {shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free"
    except OSError:
        free = ""
    return (
        f"{cause}: the checkpoint '{path}' needs {size / 1e6:,.1f} MB{free}; make room, or write elsewhere with "
        f"--trainer.default_root_dir: {_last_good(path)}"
    )


def _last_good(path: Path) -> str:
    found: Found = newest_whole(path.parent, depth=1)
    if found.path is None:
        return "none was written before it"
    return f"the last good one is whole, go on with --ckpt_path {found.path}"


def _size(value: Any) -> int:
    """Bytes of all tensors, each storage once."""
    storages: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)

    visit(value)
    return sum(storages.values())
