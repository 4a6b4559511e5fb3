"""The tensors by name in what some framework has saved."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightframe.errors import UsageError

# Where frameworks put them: Lightning and MMAction2, PySlowFast, many, torch-frame and many.
_KEYS = ("state_dict", "model_state", "model_state_dict", "model", "net", "network", "module", "weights")


def unwrap(found: Any, source: str) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """The tensors by name, what is no tensor among them with its type, and where in the file they were.

    Args:
        found: what was read.
        source: its name, for messages.

    Raises:
        UsageError: there are no tensors by name in it.

    >>> import torch
    >>> unwrap({"epoch": 3, "model_state": {"head.weight": torch.zeros(2)}}, "x.pyth")
    ({'head.weight': tensor([0., 0.])}, {}, 'model_state')
    """
    where: list[str] = []
    while isinstance(found, Mapping):
        tensors = {str(name): value.detach() for name, value in found.items() if isinstance(value, Tensor)}
        inner = _inner(found, alone=not tensors)
        if inner is None:
            if not tensors:
                break
            others = {str(n): type(v).__name__ for n, v in found.items() if not isinstance(v, Tensor)}
            return tensors, others, ".".join(where)
        where.append(inner)
        found = found[inner]
    held = f"the keys {', '.join(map(str, list(found)[:5]))}" if isinstance(found, Mapping) else type(found).__name__
    raise UsageError(f"there are no tensors by name in {source}: it holds {held or 'nothing'}; give a state_dict()")


def _inner(found: Mapping[Any, Any], alone: bool) -> str | None:
    """The key of the dict with the weights; None where it cannot be told.

    Beside it there may be tensors that are no weights, as states of random numbers.

    Args:
        alone: there are no tensors beside it; then the only dict with tensors is the one, whatever it is called.
    """
    dicts = [key for key, value in found.items() if isinstance(value, Mapping) and _any_tensor(value)]
    known = [key for key in _KEYS if key in dicts]
    if known:
        return known[0]
    return dicts[0] if alone and len(dicts) == 1 else None


def _any_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, Mapping) and any(map(_any_tensor, value.values())))
