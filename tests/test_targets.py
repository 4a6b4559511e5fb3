import pytest
import torch

from lightframe.errors import UsageError
from lightframe.targets import to_indices, to_multi_hot


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_become_one_hot(dtype):
    result = to_multi_hot(torch.tensor([1, 0, 2], dtype=dtype), 3, torch.float64)
    assert result.dtype == torch.float64
    assert result.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16])
def test_targets_per_class_are_kept(dtype):
    targets = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=dtype)
    assert to_multi_hot(targets, 3).dtype == torch.float32
    assert to_multi_hot(targets, 3).tolist() == [[1, 1, 0], [0, 0, 0]]


def test_targets_of_a_single_class_are_binary_labels():
    assert to_multi_hot(torch.tensor([1, 0]), 1).tolist() == [[1], [0]]
    assert to_multi_hot(torch.tensor([0.25, 1.0]), 1).tolist() == [[0.25], [1]]
    assert to_multi_hot(torch.tensor([[1], [0]]), 1).tolist() == [[1], [0]]


def test_an_empty_batch_is_no_error():
    assert to_multi_hot(torch.zeros(0, dtype=torch.long), 3).shape == (0, 3)
    assert to_indices(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_named(label):
    labels = torch.tensor([0, label])
    with pytest.raises(UsageError, match=rf"label {label} is out of range: with 3 classes the labels are 0 to 2"):
        to_multi_hot(labels, 3)
    with pytest.raises(UsageError, match=rf"label {label} is out of range"):
        to_indices(torch.zeros(2, 3), labels)


def test_labels_are_not_looked_at_off_the_cpu():
    # The meta device has no values: reading one would raise, as waiting for one stalls a GPU.
    labels = torch.tensor([0, 5], device="meta")
    assert to_multi_hot(labels, 3).shape == (2, 3)
    assert to_indices(torch.zeros(2, 3, device="meta"), labels).shape == (2,)


def test_the_target_is_the_best_scored_class_among_the_row_s_highest():
    outputs = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    targets = torch.tensor([[0.3, 0.7, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 1.0]])
    assert to_indices(outputs, targets).tolist() == [1, 1, 2, 0]
    assert to_indices(outputs, targets > 0.4).tolist() == [1, 1, 2, 0]  # booleans


def test_a_row_without_positives_gets_its_lowest_score():
    outputs = torch.tensor([[3.0, 1.0, 2.0], [-torch.inf, 1.0, 2.0]])
    assert to_indices(outputs, torch.zeros(2, 3)).tolist() == [1, 0]


def test_a_masked_logit_stays_the_target():
    outputs = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert to_indices(outputs, torch.tensor([[0.0, 0.0, 1.0]])).tolist() == [2]


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1), ()])
def test_other_shapes_are_refused_naming_both(shape):
    targets = torch.zeros(shape, dtype=torch.long)
    with pytest.raises(UsageError) as error:
        to_indices(torch.zeros(2, 3), targets)
    assert str(tuple(shape)) in str(error.value)
    assert "(2, 3)" in str(error.value)


@pytest.mark.parametrize("targets", [torch.zeros(2, 4), torch.zeros(2), torch.zeros(2, dtype=torch.bool)])
def test_what_is_neither_label_nor_one_number_per_class_is_refused(targets):
    with pytest.raises(UsageError) as error:
        to_multi_hot(targets, 3)
    assert str(tuple(targets.shape)) in str(error.value)
    assert "(2, 3)" in str(error.value)
