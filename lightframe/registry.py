"""A name or an import path in a config becomes a factory."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from lightframe.errors import UnknownNameError, UsageError, did_you_mean

Factory = Callable[..., Any]
F = TypeVar("F", bound=Factory)


def import_path(path: str, kind: str = "object") -> Any:
    """The object at a dotted path such as `my_package.nets.Net`.

    Raises:
        UnknownNameError: the module or the attribute does not exist. An error inside the module is not hidden.

    >>> import_path("math.pi")
    3.141592653589793
    """
    parts = path.split(".")
    module, depth = None, len(parts) - 1
    while module is None:
        name = ".".join(parts[:depth])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Only the path itself may be missing: an import that fails inside the user's module is theirs to see.
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise
            if depth == 1:
                raise UnknownNameError(f"{kind} '{path}': there is no module '{parts[0]}' to import") from None
            depth -= 1
    found: Any = module
    for done, attribute in enumerate(parts[depth:], start=depth):
        if not hasattr(found, attribute):
            where, hint = ".".join(parts[:done]), did_you_mean(attribute, dir(found))
            raise UnknownNameError(f"{kind} '{path}': '{where}' has no '{attribute}'{hint}")
        found = getattr(found, attribute)
    return found


def accepts(factory: Factory, argument: str) -> bool:
    """Whether `factory` names `argument` in its signature (`**kwargs` alone does not count)."""
    try:
        parameter = inspect.signature(factory).parameters.get(argument)
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    return parameter is not None and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)


def check_arguments(
    kind: str, name: str, factory: Factory, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, partial: bool = False
) -> None:
    """Raise a UsageError with the factory's signature unless it can be called with these arguments."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    takes_all = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    unknown = [] if takes_all else [argument for argument in kwargs if not accepts(factory, argument)]
    try:
        # With an argument that is unknown, the one that seems to be missing is the same with its name mistyped.
        (signature.bind_partial if partial or unknown else signature.bind)(*args, **kwargs)
    except TypeError as error:
        reason = str(error)
        if unknown:
            reason = f"it takes no '{unknown[0]}'" + did_you_mean(unknown[0], signature.parameters)
        shown = signature.replace(
            parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
            return_annotation=signature.empty,
        )
        raise UsageError(f"{kind} '{name}': {reason} (signature: {name}{shown})") from None


def split_spec(kind: str, spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a spec: `"sgd"`, `{"name": "sgd", "lr": 0.1}` or `{"class_path": ..., "init_args": ...}`.

    >>> split_spec("net", {"name": "tiny3d", "width": 8})
    ('tiny3d', {'width': 8})
    """
    if isinstance(spec, str):
        return spec, {}
    if "class_path" in spec:
        unknown = set(spec) - {"class_path", "init_args"}
        if unknown:
            raise UsageError(f"{kind}: beside 'class_path' only 'init_args' may stand, not {sorted(unknown)}")
        return spec["class_path"], dict(spec.get("init_args") or {})
    if not isinstance(spec.get("name"), str):
        raise UsageError(f"{kind}: arguments {sorted(spec)} without a name; give {{name: ..., argument: value}}")
    return spec["name"], {key: value for key, value in spec.items() if key != "name"}


class Registry(Mapping[str, Factory]):
    """Names, in any case, for the factories that a config may ask for.

    An import path (a name with a dot) is always accepted in place of a registered name.

    Args:
        kind: what is listed, in the singular, for error messages: `"loss"`.
        more: gives further names and factories, asked for only when needed (torchvision's models, say).

    >>> NETS = Registry("net")
    >>> @NETS.register("two")
    ... def double(value: int = 1) -> int:
    ...     return 2 * value
    >>> NETS["TWO"] is double, NETS.build("two", value=4), NETS.names()
    (True, 8, ['two'])
    """

    def __init__(self, kind: str, more: Callable[[], Mapping[str, Factory]] | None = None) -> None:
        self.kind = kind
        self._factories: dict[str, Factory] = {}
        self._more = more

    def register(self, *names: str) -> Callable[[F], F]:
        """Decorator: list a factory under one or several names. A name is given once only."""

        def decorator(factory: F) -> F:
            for name in names:
                if self._factories.get(name.lower(), factory) is not factory:
                    raise UsageError(f"{self.kind} '{name}' is registered already; choose another name")
                self._factories[name.lower()] = factory
            return factory

        return decorator

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted({*self._factories, *(self._more() if self._more else ())})

    def __getitem__(self, name: str) -> Factory:
        if not isinstance(name, str):
            raise UsageError(f"a {self.kind} is asked for by its name or import path, not by {name!r}")
        if name.lower() in self._factories:
            return self._factories[name.lower()]
        if self._more:
            more = {known.lower(): factory for known, factory in self._more().items()}
            if name.lower() in more:
                return more[name.lower()]
        if "." in name:
            found = import_path(name, self.kind)
            if not callable(found):
                raise UsageError(f"{self.kind} '{name}' is a {type(found).__name__}, which cannot be called")
            return found
        names = self.names()
        raise UnknownNameError(
            f"unknown {self.kind} '{name}'{did_you_mean(name, names)} "
            f"(known: {', '.join(names)}, or an import path such as my_package.{name})"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def resolve(self, choice: str | Factory) -> tuple[str, Factory]:
        """A name for messages, and the factory behind a name, an import path or a callable."""
        if isinstance(choice, str):
            return choice, self[choice]
        if callable(choice):
            return getattr(choice, "__name__", type(choice).__name__), choice
        raise UsageError(
            f"{self.kind}: give a name, an import path or a function that makes it, not {type(choice).__name__}"
        )

    def build(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the factory `name` with these arguments, after checking that they fit its signature."""
        factory = self[name]
        check_arguments(self.kind, name, factory, args, kwargs)
        return factory(*args, **kwargs)
