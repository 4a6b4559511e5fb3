"""The arguments of a class, as its user may type them."""

import inspect
from typing import Any


def parameters(described: Any) -> list[str]:
    """Names of the arguments of a class, those that reach its bases through **kwargs included."""
    names: dict[str, None] = {}
    for base in inspect.getmro(described) if isinstance(described, type) else (described,):
        initializer = base.__dict__.get("__init__") if isinstance(base, type) else base
        if initializer is None:
            continue
        found = inspect.signature(initializer).parameters
        names.update(dict.fromkeys(n for n, p in found.items() if n != "self" and p.kind not in (p.VAR_KEYWORD, 2)))
        if not any(p.kind is p.VAR_KEYWORD for p in found.values()):
            break
    return list(names)


def default_of(described: type, name: str) -> Any:
    """The default of an argument of a class, or of the first of its bases that has it; None where there is none."""
    for base in inspect.getmro(described):
        if "__init__" in base.__dict__ and name in (found := inspect.signature(base.__dict__["__init__"]).parameters):
            default = found[name].default
            return None if default is inspect.Parameter.empty else default
    return None
