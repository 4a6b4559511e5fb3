"""What a tensor of a file is for a net."""

import torch

from lightframe.pretrained.matching import Entry, make_plan, shape


def entries(**tensors: torch.Tensor) -> dict[str, Entry]:
    return {name.replace("__", "."): Entry(f"file.{name}", tensor) for name, tensor in tensors.items()}


def test_each_is_one_of_four() -> None:
    net = {"a.weight": torch.zeros(2, 3), "b": torch.zeros(4), "c.weight": torch.zeros(2), "d": torch.zeros(1)}
    plan = make_plan(
        entries(a__weight=torch.ones(2, 3), b=torch.ones(4, 1), c__weight=torch.ones(3), e=torch.ones(1)), net
    )
    assert plan.loaded == ["a.weight"]
    assert plan.reshaped == {"b": "4x1 as 4"}
    assert plan.skipped == {
        "file.e": "the net has no such tensor",
        "file.c__weight": "its shape is 3, the net's 2",
    }
    assert plan.missing == ["c.weight", "d"]
    assert plan.values.keys() == {"a.weight", "b"}
    assert plan.replaced == []


def test_only_a_head_of_another_size_is_replaced() -> None:
    net = {"head.weight": torch.zeros(5, 2), "head.bias": torch.zeros(5), "neck.weight": torch.zeros(2, 2)}
    head = {"head.weight", "head.bias"}
    wrong = entries(head__weight=torch.ones(4, 2), head__bias=torch.ones(4), neck__weight=torch.ones(3, 3))
    plan = make_plan(wrong, net, head)
    assert plan.replaced == ["head.weight", "head.bias"]
    assert plan.missing == [*plan.replaced, "neck.weight"]
    assert make_plan({}, net, head).replaced == []  # a file without a head could have had one


def test_entries_may_have_to_be_changed() -> None:
    entry = Entry("x", torch.tensor([1.0, 2.0]), lambda tensor: tensor.flip(0), "turned round")
    plan = make_plan({"a": entry}, {"a": torch.zeros(2)})
    assert plan.values["a"].tolist() == [2.0, 1.0]
    assert plan.reshaped == {"a": "turned round"}


def test_tensors_without_plain_numbers() -> None:
    sparse = torch.eye(2).to_sparse()
    plan = make_plan(
        entries(a=sparse, b=torch.empty(2, device="meta")), {name: torch.zeros(2, 2) for name in ("a", "b")}
    )
    assert set(plan.skipped.values()) == {"it is quantized, sparse or has no values"}
    assert make_plan(entries(a=torch.ones(2) * 1j), {"a": torch.ones(2)}).skipped


def test_shapes_in_words() -> None:
    assert [shape(torch.Size(size)) for size in ((), (3,), (3, 4))] == ["a number", "3", "3x4"]
