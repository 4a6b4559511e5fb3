"""Files that hold more than tensors and plain values: refused, with the line that converts them."""

import re
import shlex
from pathlib import Path

# Takes the weights out of whatever the file is: a module, a checkpoint of some framework, or a dict of tensors.
_CONVERT = (
    "import sys, torch; c = torch.load(sys.argv[1], 'cpu', weights_only=False); "
    "k = [k for k in ('state_dict', 'model_state', 'model_state_dict', 'model', 'net') if type(c) is dict and k in c]; "
    "c = c[k[0]] if k else c; c = c if isinstance(c, dict) else c.state_dict(); "
    "torch.save({k: v for k, v in c.items() if torch.is_tensor(v)}, sys.argv[2])"
)
_SCRIPT = "import sys, torch; torch.save(torch.jit.load(sys.argv[1], 'cpu').state_dict(), sys.argv[2])"


def conversion(path: str | Path, script: bool = False) -> str:
    """The line for a shell that takes the weights out of a file into a new one beside it; it runs the file's code.

    Args:
        path: the file.
        script: it is a TorchScript archive.
    """
    new = Path(path).with_name(f"{Path(path).stem}-weights.pt")
    return f'python -c "{_SCRIPT if script else _CONVERT}" {shlex.quote(str(path))} {shlex.quote(str(new))}'


def foreign_class(message: str) -> str:
    """The first class or function that torch refused to load, from its message.

    >>> foreign_class("... Unsupported global: GLOBAL torch_frame.trainer.MetricStorage was not an allowed global ...")
    'torch_frame.trainer.MetricStorage'
    """
    named = re.search(r"(?i:global) ([A-Za-z_][\w.]*\.\w+|\w+) (?:was not|whose module)", message)
    return named[1] if named else "an object that is no tensor"


def refusal(path: str | Path, message: str) -> str:
    """Why a file with objects of other classes is not read, and the line that makes one that is."""
    script = "TorchScript" in message
    cause = (
        "is a TorchScript archive" if script else "is of a format (.tar of torch 0.1) that runs code when it is read"
    )
    if "GLOBAL" in message:
        cause = f"holds objects that only code of others makes, the first of them a {foreign_class(message)}"
    return (
        f"'{path}' {cause}, and lightframe runs none; if you trust the file, this line, which runs its code, takes the "
        f"weights out: {conversion(path, script)}"
    )
