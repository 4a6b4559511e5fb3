"""Mirror images of labels against a plain loop."""

import pytest
import torch

from lightframe import UsageError
from lightframe.datamodules.augment.flip import Flip, mirror_labels

CLASSES = ["jump", "left", "right", "turn right", "turn left"]
PAIRS = {"left": "right", "turn right": "turn left"}
MIRRORED = {"jump": "jump", "left": "right", "right": "left", "turn right": "turn left", "turn left": "turn right"}


def test_label_map_works_in_both_directions():
    permutation = Flip(label_map=PAIRS).label_permutation(CLASSES)
    assert {CLASSES[i]: CLASSES[j] for i, j in enumerate(permutation)} == MIRRORED
    both = {**PAIRS, "right": "left"}
    assert Flip(label_map=both).label_permutation(CLASSES) == permutation


@pytest.mark.parametrize("label_map", [None, {}, {"jump": "jump"}])
def test_without_a_pair_no_label_changes(label_map):
    assert Flip(label_map=label_map).label_permutation(CLASSES) is None
    labels = torch.tensor([1, 2])
    assert mirror_labels(labels, None) is labels


def test_index_labels_against_a_loop():
    labels = torch.tensor([0, 1, 2, 3, 4, 1, -1])
    mirrored = mirror_labels(labels, Flip(label_map=PAIRS).label_permutation(CLASSES))
    assert mirrored.tolist() == [CLASSES.index(MIRRORED[CLASSES[label]]) for label in labels[:-1].tolist()] + [-1]
    assert mirrored.dtype == labels.dtype


def test_multi_hot_labels_against_a_loop():
    rows = [{"jump", "left"}, {"left", "right"}, set(), {"turn left", "right"}]
    labels = torch.tensor([[float(name in row) for name in CLASSES] for row in rows])
    mirrored = mirror_labels(labels, Flip(label_map=PAIRS).label_permutation(CLASSES))
    expected = [[float(name in {MIRRORED[label] for label in row}) for name in CLASSES] for row in rows]
    assert mirrored.tolist() == expected


def test_classes_named_by_numbers():
    assert Flip(label_map={0: 1}).label_permutation(["0", "1"]) == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 1.5}, "flip: p must be a probability"),
        ({"p": "often"}, "flip: p must be a probability"),
        ({"label_map": ["left", "right"]}, "label_map must name classes"),
        ({"label_map": {"left": "right", "jump": "right"}}, "mirrors 'right' into both 'left' and 'jump'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        Flip(**arguments)


def test_a_name_that_is_no_class_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="names 'turn rihgt', which is no class; did you mean 'turn right'"):
        Flip(label_map={"turn left": "turn rihgt"}).label_permutation(CLASSES)
