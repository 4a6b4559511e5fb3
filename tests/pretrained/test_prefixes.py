"""Names behind any stack of prefixes."""

import itertools

import pytest
from torch import Size

from lightframe.pretrained.prefixes import bare, match_names

NET = {"stem.weight": Size([2, 3]), "stem.bias": Size([2]), "head.weight": Size([5, 2])}
WORDS = ("module", "net", "model", "_orig_mod")


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_any_stack_in_any_order(depth: int) -> None:
    for words in itertools.product(WORDS, repeat=depth):
        prefix = "".join(f"{word}." for word in words)
        file = {prefix + name: shape for name, shape in NET.items()}
        assert match_names(file, NET).pairs == {name: prefix + name for name in NET}


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_nets_own_names_may_begin_so(depth: int) -> None:
    """Whatever the net's names begin with, those of the file are the same behind their prefix."""
    own = {f"net.model.{name}": shape for name, shape in NET.items()} | {"model.extra": Size([7])}
    for words in itertools.product(WORDS, repeat=depth):
        prefix = "".join(f"{word}." for word in words)
        assert match_names({prefix + name: shape for name, shape in own.items()}, own).pairs == {
            name: prefix + name for name in own
        }


def test_the_prefix_of_most_wins_where_names_could_mean_two_things() -> None:
    net = {"weight": Size([2]), "net.weight": Size([3])}
    file = {"net.weight": Size([2]), "net.net.weight": Size([3])}
    assert match_names(file, net).pairs == {"weight": "net.weight", "net.weight": "net.net.weight"}


def test_shapes_decide_between_two_nets_in_one_file() -> None:
    other = {name: Size([9, *shape[1:]]) for name, shape in NET.items()}
    file = {f"model.{name}": s for name, s in other.items()} | {f"module.{name}": s for name, s in NET.items()}
    assert set(match_names(file, NET).pairs.values()) == {f"module.{name}" for name in NET}


def test_wrappers_in_the_middle() -> None:
    assert bare("_orig_mod.blocks.0._orig_mod.conv._checkpoint_wrapped_module.weight") == "blocks.0.conv.weight"
    file = {"features.module.0.weight": Size([2]), "classifier.weight": Size([3])}
    net = {"features._orig_mod.0.weight": Size([2]), "classifier.weight": Size([3])}
    assert match_names(file, net).pairs == dict(zip(net, file, strict=True))
    kept = {"module.0.weight": Size([2]), "parts.module.weight": Size([3])}
    assert match_names(kept, kept).pairs == {name: name for name in kept}


def test_a_prefix_of_all_names_is_one_whatever_it_is_called() -> None:
    deeper = {f"detector.{name}": shape for name, shape in NET.items()}
    assert match_names(NET, deeper).pairs == {f"detector.{name}": name for name in NET}
    assert match_names(deeper, NET).pairs == {name: f"detector.{name}" for name in NET}


def test_further_prefixes_are_told() -> None:
    file = {f"student.{name}": shape for name, shape in NET.items()} | {"teacher.stem.weight": Size([2, 3])}
    assert not match_names(file, NET).pairs
    assert len(match_names(file, NET, prefixes=("module", "student")).pairs) == 3


def test_nothing_in_common() -> None:
    found = match_names({"a": Size([1])}, {"b": Size([1])})
    assert found.pairs == {}
    assert found.score == (0, 0)
    assert match_names({}, NET).pairs == {}
