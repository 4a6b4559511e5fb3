import math

import numpy as np
import pytest
import torch

from lightframe.arguments import check_choice, check_number, check_whole, is_number
from lightframe.errors import UsageError


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_whole_numbers_of_any_kind(value):
    found = check_whole("n", value, 1, 3)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "n must be at least 1, got 0"),
        (4, "n must be at most 3, got 4"),
        (2.0, r"n must be a whole number, got 2\.0"),
        ("2", "n must be a whole number, got '2'"),
        (True, "n must be a whole number, got True"),
        (None, "n must be a whole number, got None"),
    ],
)
def test_no_whole_number(value, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        check_whole("n", value, 1, 3)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), torch.tensor(0.5)])
def test_numbers_of_any_kind(value):
    assert is_number(value)
    assert check_number("x", value, above=0, high=1) == value


@pytest.mark.parametrize("value", [0, 1.5, math.nan, math.inf, "0.5", None, False, [0.5], torch.ones(1)])
def test_no_number(value):
    with pytest.raises(UsageError, match=r"^x must be a number above 0 and at most 1, got "):
        check_number("x", value, above=0, high=1)


@pytest.mark.parametrize(("value", "message"), [(None, "got None"), ("stpo", "got 'stpo'; did you mean 'stop'")])
def test_no_choice(value, message):
    with pytest.raises(UsageError, match=f"action must be one of stop, skip, {message}"):
        check_choice("action", value, ["stop", "skip"])
    assert check_choice("action", "skip", ["stop", "skip"]) == "skip"
