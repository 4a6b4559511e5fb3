"""What a config says of augmentations, in any of its forms, becomes a list of objects with their names."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightframe.datamodules.augment.registry import AUGMENTATIONS
from lightframe.errors import UsageError
from lightframe.registry import check_arguments, split_spec

FORMS = "a name, {name: {argument: value}}, an import path, a callable, or a list of these"


def read_spec(spec: Any) -> list[tuple[str, Any]]:
    """Name and object of each augmentation, in the order in which they are asked for.

    Args:
        spec: one of
            - None: no augmentation;
            - a name in AUGMENTATIONS, or the import path of a class or function on uint8 clips (T, 3, H, W);
            - the same with arguments: `{"flip": {"p": 0.3}}`, `{"name": "flip", "p": 0.3}` or
              `{"class_path": ..., "init_args": {...}}`. None, True or {} stands for no arguments, False leaves the
              augmentation out;
            - a dict of several: `{"random_resized_crop": None, "flip": {"p": 0.3}}`;
            - a callable on uint8 clips, or what a registered factory gives;
            - a list of these.

    Raises:
        UsageError: another form, or arguments that do not fit.
        UnknownNameError: neither a name in AUGMENTATIONS nor an import path.

    >>> [name for name, _ in read_spec(["flip", {"mixup": {"alpha": 0.8}}])]
    ['flip', 'mixup']
    """
    if spec is None:
        return []
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return [augmentation for item in spec for augmentation in read_spec(item)]
    if isinstance(spec, str) or (isinstance(spec, Mapping) and ("name" in spec or "class_path" in spec)):
        name, arguments = split_spec("augmentation", spec)
        return [(name, _build(name, arguments))]
    if isinstance(spec, Mapping):
        return [(name, _build(name, _arguments(name, value))) for name, value in spec.items() if value is not False]
    return [(getattr(spec, "__name__", type(spec).__name__), spec)]


def _arguments(name: Any, value: Any) -> Mapping[str, Any]:
    if not isinstance(name, str):
        raise UsageError(f"an augmentation's name must be a string, not {name!r}")
    if value is None or value is True:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"augmentation '{name}': give its arguments by name, {{argument: value}}, not {value!r}")
    return value


def _build(name: str, arguments: Mapping[str, Any]) -> Any:
    """A class, or a registered function, is called with the arguments; a function at an import path gets them bound."""
    factory: Callable[..., Any] = AUGMENTATIONS[name]
    if not isinstance(factory, type) and name.lower() not in AUGMENTATIONS.names():
        check_arguments("augmentation", name, factory, (None,), arguments)
        return functools.partial(factory, **arguments)
    check_arguments("augmentation", name, factory, (), arguments)
    try:
        return factory(**arguments)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"augmentation '{name}': {error}") from error
