"""Names, import paths and what is said of mistakes."""

import sys
from pathlib import Path

import pytest

from lightframe.errors import UnknownNameError, UsageError
from lightframe.registry import Registry, accepts, import_path, split_spec


def make(registry: Registry) -> Registry:
    @registry.register("one", "uno")
    def one(size: int, *, deep: bool = False) -> tuple[int, bool]:
        return size, deep

    return registry


def test_names_are_found_in_any_case_and_listed_once() -> None:
    registry = make(Registry("thing", more=lambda: {"Two": int}))
    assert registry["ONE"] is registry["uno"]
    assert registry["two"] is int
    assert registry.names() == ["Two", "one", "uno"]
    assert "one" in registry
    assert "three" not in registry
    assert len(registry) == len(list(registry)) == 3


def test_a_second_registration_is_refused_but_the_same_again_is_not() -> None:
    registry = Registry("thing")
    registry.register("one")(int)
    registry.register("One")(int)  # as a module that is loaded twice does
    with pytest.raises(UsageError, match="registered already"):
        registry.register("one")(str)


def test_unknown_names_say_what_is_near_and_what_there_is() -> None:
    registry = make(Registry("thing"))
    with pytest.raises(
        UnknownNameError, match=r"^unknown thing 'onw'; did you mean 'one'\? \(known: one, uno"
    ) as error:
        registry["onw"]
    assert isinstance(error.value, KeyError)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sise": 1}, "it takes no 'sise'; did you mean 'size'"),
        ({}, "missing a required argument: 'size'"),
        ({"size": 1, "deep": True, "x": 0}, r"it takes no 'x'.*\(signature: one\(size, \*, deep=False\)\)"),
    ],
)
def test_arguments_that_do_not_fit_are_answered_with_the_signature(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(Registry("thing")).build("one", **kwargs)


def test_import_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_nets.py").write_text("class Outer:\n    class Net: ...\n")
    (tmp_path / "their_broken.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_path("their_nets.Outer.Net").__name__ == "Net"
    assert Registry("thing")["their_nets.Outer"].__name__ == "Outer"
    with pytest.raises(UnknownNameError, match="'their_nets' has no 'Outr'; did you mean 'Outer'"):
        import_path("their_nets.Outr")
    with pytest.raises(UnknownNameError, match="no module 'nowhere'"):
        import_path("nowhere.at.all")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):  # the user's own import is not hidden
        import_path("their_broken.Net")
    sys.modules.pop("their_nets", None)


def test_specs() -> None:
    assert split_spec("net", "a") == ("a", {})
    assert split_spec("net", {"class_path": "a.B", "init_args": {"c": 1}}) == ("a.B", {"c": 1})
    for wrong, message in (({"width": 3}, "without a name"), ({"class_path": "a.B", "width": 3}, "only 'init_args'")):
        with pytest.raises(UsageError, match=message):
            split_spec("net", wrong)


def test_accepts_counts_named_arguments_only() -> None:
    assert accepts(lambda num_classes: None, "num_classes")
    assert not accepts(lambda **kwargs: None, "num_classes")
    assert not accepts(lambda num_classes, /: None, "num_classes")
