"""Which errors the user can mend from one line, and which must be seen whole."""

import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

import lightframe
from lightframe.datamodules import VideoError
from lightframe.errors import UsageError
from lightframe.library_errors import DEAD_WORKER
from lightframe.module import LightFrameModule, class_path

_OURS = str(Path(lightframe.__file__).parent)
_LIGHTNING = str(Path(lightning.__file__).parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
# What torch says where a layer and its input do not go together.
_SHAPES = re.compile(
    r"expected .*(input|channels|dim)|size mismatch|sizes? of tensor|shapes? .*(multipl|match|invalid)|kernel size|"
    r"must match|dimension|normalized_shape|more than 1 value per channel|output size is too small|[2-5]D ",
    re.IGNORECASE,
)


def mendable(error: BaseException) -> Exception | None:
    """What the user can mend among an error and its causes; None where the whole traceback is of more use."""
    chain = list(causes(error))
    for cause in chain:
        if isinstance(cause, UsageError | VideoError):
            return cause
    origin = chain[-1]
    if of_a_process := _of_a_process(origin):
        return of_a_process
    if "EADDRINUSE" in str(origin):
        port = re.search(r"port: (\d+)", str(origin))
        return UsageError(
            f"port {port[1] if port else ''} of this machine, by which the processes find each other, is in use, as by "
            "another training: give a free one as MASTER_PORT=29501 before the command, or leave MASTER_PORT out"
        )
    if worker := next(filter(None, (DEAD_WORKER.match(str(cause)) for cause in chain)), None):
        return UsageError(
            f"a worker process of the loader has died ({worker[1]}): by hand, or the memory is full (fewer num_workers "
            "or a smaller batch_size take less); a training goes on with --ckpt_path last"
        )
    if twice := re.search(r"more than one stateful callback of type `(\w+)`", str(origin)):
        return UsageError(f"there are two callbacks {twice[1]}: leave one of them out, such as the one that was typed")
    if isinstance(origin, AttributeError | TypeError) and "VideoBatch" in str(origin):
        return UsageError(
            f"{origin}: without a loss, the net takes the whole batch and gives its own loss: give --model.loss ce, or "
            "a net that does"
        )
    if of_the_user(origin):
        return of_shapes(origin)
    # Lightning's own verdict on what it was asked for; jsonargparse wraps what a constructor raises.
    wrapped = isinstance(origin, ValueError | TypeError | ImportError | RuntimeError) and len(chain) > 1
    said = isinstance(origin, ValueError | TypeError | ImportError) or "conditioned on metric" in str(origin)
    if isinstance(origin, MisconfigurationException) or wrapped or (said and _raised_in(origin, _LIGHTNING)):
        return UsageError(in_one_line(origin))
    return of_shapes(origin)


def _of_a_process(error: BaseException) -> UsageError | None:
    """What was wrong in a forked process, which gives its error as text."""
    said = str(error)
    if isinstance(error, ProcessRaisedException) and (
        ours := re.search(r"^lightframe\.[\w.]+Error: (.+)", said, re.MULTILINE)
    ):
        return UsageError(ours[1])
    if isinstance(error, ProcessExitedException):
        how = f"was ended by {error.signal_name}" if error.signal_name else f"ended with exit code {error.exit_code}"
        return UsageError(
            f"the process of rank {error.error_index} {how}, and the others with it: by hand, or the memory is full "
            "(then try a smaller batch_size)"
        )
    return None


def original(error: BaseException) -> BaseException:
    """The first of the errors that led to this one, without jsonargparse's account of it."""
    return list(causes(error))[-1] if str(error).startswith(("Does not validate", "Problem with")) else error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was raised from, the first cause last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def in_one_line(error: BaseException) -> str:
    """What a library says, without its marks for Markdown and its repetitions.

    >>> in_one_line(ValueError("`a` is wrong.  HINT: Did you mean `b`?"))
    "'a' is wrong. Did you mean 'b'?"
    """
    return " ".join(str(error).replace("HINT: ", "").replace("`", "'").split())


def of_the_user(error: BaseException) -> bool:
    """Whether an error came up in a file that is neither a library's nor this package's."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        files.append(error.filename)
    # What the program itself began with stands before our own first file.
    first = next((number for number, file in enumerate(files) if file.startswith(_OURS)), 0)
    return any(not file.startswith((_OURS, *_LIBRARIES, "<")) for file in files[first:])


def of_shapes(error: BaseException) -> UsageError | None:
    """For a net that does not take its inputs: which net, which shapes, and where; None for any other error."""
    if not isinstance(error, RuntimeError | ValueError) or not _SHAPES.search(str(error)):
        return None
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    module = next((one for frame, _ in frames if isinstance(one := _self(frame), LightFrameModule)), None)
    inside = [(frame, line) for frame, line in frames if module is not None and _self(frame) is module.net]
    calls = [frame for frame, _ in inside if frame.f_code.co_name == "forward"]
    if not calls or module is None:
        return None
    code = calls[0].f_code
    given = [calls[0].f_locals.get(name) for name in code.co_varnames[1 : code.co_argcount]]
    shapes = ", ".join(str(tuple(one.shape)) for one in given if isinstance(one, Tensor)) or "this kind"
    frame, line = next(
        ((frame, line) for frame, line in reversed(frames) if isinstance(_self(frame), nn.Module) and _is_own(frame)),
        inside[-1],
    )
    return UsageError(
        f"the net {class_path(type(module.net))} does not take inputs of shape {shapes}: {in_one_line(error)[:300]} "
        f"({Path(frame.f_code.co_filename).name}, line {line}); change the net, or the clips with --data.frames and "
        "--data.size (a clip is (batch, 3, frames, height, width))"
    )


def _self(frame: FrameType) -> object:
    return frame.f_locals.get("self")


def _is_own(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith((*_LIBRARIES, "<"))


def _raised_in(error: BaseException, folder: str) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(folder)
