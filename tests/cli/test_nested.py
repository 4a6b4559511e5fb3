"""Names and their arguments typed apart become one value."""

import json
from pathlib import Path

import pytest

from lightframe.cli.nested import chosen_class, merge_nested
from lightframe.errors import UsageError


def last(words: list[str], name: str) -> object:
    merged = merge_nested(words)
    name = name if "." in name else f"model.{name}"
    return json.loads(merged[len(merged) - 1 - merged[::-1].index(f"--{name}") + 1])


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        (["--model.net", "a.B", "--model.net.width", "32"], "net", {"name": "a.B", "width": 32}),
        (["--model.net.width=32", "--model.net.name=a.B"], "net", {"name": "a.B", "width": 32}),
        (["--model.net=a.B", "--model.net.blocks", "[1, 2]"], "net", {"name": "a.B", "blocks": [1, 2]}),
        (["--model.loss", "ce", "--model.loss.ce.label_smoothing", "0.1"], "loss", {"ce": {"label_smoothing": 0.1}}),
        (
            ["--model.loss.ce", "1.0", "--model.loss.ce.label_smoothing=0.1", "--model.loss.focal.gamma", "2"],
            "loss",
            {"ce": {"weight": 1.0, "label_smoothing": 0.1}, "focal": {"gamma": 2}},
        ),
        (
            ["--model.optimizer_args.larc.clip", "true", "--model.optimizer_args.weight_decay", "1e-4"],
            "optimizer_args",
            {"larc": {"clip": True}, "weight_decay": 1e-4},
        ),
        (
            ["--model.init_from=a.pth", "--model.init_from.inflate=true"],
            "init_from",
            {"path": "a.pth", "inflate": True},
        ),
        (["--data.augment", "flip", "--data.augment.flip.p", "0.1"], "data.augment", {"flip": {"p": 0.1}}),
        (
            ["--data.augment", "[crop, flip]", "--data.augment.flip.p=0"],
            "data.augment",
            {"crop": None, "flip": {"p": 0}},
        ),
        (
            ["--model.net", '{"class_path": "a.B"}', "--model.net.width", "3"],
            "net",
            {"class_path": "a.B", "init_args": {"width": 3}},
        ),
    ],
)
def test_typed_apart(words: list[str], name: str, expected: object) -> None:
    assert last(words, name) == expected


def test_arguments_are_laid_over_those_of_a_config(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "model:\n  net: {name: a.B, width: 8, depth: 2}\n  lr: 0.1\ndata:\n  init_args: {augment: [flip], size: 8}\n"
    )
    words = ["fit", "--config", str(config), "--model.net.width", "32"]
    assert last(words, "net") == {"name": "a.B", "width": 32, "depth": 2}
    assert merge_nested(words)[:3] == words[:3]
    assert last([*words, "--data.augment.flip.p", "0.2"], "data.augment") == {"flip": {"p": 0.2}}


def test_arguments_are_laid_over_the_default() -> None:
    merged = merge_nested(["fit", "--data.augment.mixup.alpha", "0.2"], {"data.augment": ("crop", "flip")})
    assert merged == ["fit", "--data.augment", '{"crop": null, "flip": null, "mixup": {"alpha": 0.2}}']


def test_what_is_not_nested_stays_as_it_was() -> None:
    words = ["fit", "--model.net", "a.B", "--data.root=x", "--model.lr", "-1", "--model.loss", "[ce, bce]"]
    assert merge_nested(words) == words


def test_a_value_that_has_no_arguments_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be set"):
        merge_nested(["--model.loss=[ce, bce]", "--model.loss.ce.label_smoothing=0.1"])


def test_chosen_class(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("data:\n  class_path: a.A\n")
    second.write_text("data: b.B\n")
    assert chosen_class([f"--config={first}"], "data") == "a.A"
    assert chosen_class(["--config", str(first), "-c", str(second)], "data") == "b.B"
    assert chosen_class(["--config", str(first), "--data=c.C", "--data.size", "3"], "data") == "c.C"
    assert chosen_class(["--data.class_path", "d.D"], "data") == "d.D"
    assert chosen_class(["--data.size", "3"], "data") is None
