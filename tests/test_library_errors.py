import pytest
import torch
from torch import nn

from lightframe.errors import UsageError
from lightframe.library_errors import explained, floats_hint, shown


class OwnError(ValueError):
    pass


class Own(nn.Module):
    """A user's net around one of torch."""

    def forward(self, inputs):
        return nn.functional.linear(inputs, torch.zeros(3, 2))


def raise_own():
    raise OwnError("mine")


def raise_out_of_memory():
    raise torch.OutOfMemoryError("no memory")


def test_what_a_library_refuses_is_explained():
    with (
        pytest.raises(UsageError, match=r"^too wide: .*shapes cannot be multiplied") as raised,
        explained(lambda: "too wide"),
    ):
        nn.Sequential(nn.Linear(2, 3))(torch.zeros(1, 5))
    assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: Own()(torch.zeros(1, 5)), RuntimeError),  # through the user's own code
        (raise_own, OwnError),
        (raise_out_of_memory, torch.OutOfMemoryError),
        (lambda: 1 / 0, ZeroDivisionError),
    ],
)
def test_other_errors_stay_as_they_are(call, kind):
    with pytest.raises(kind) as raised, explained(lambda: "not this"):
        call()
    assert not isinstance(raised.value, UsageError)


def test_a_worker_that_died_is_no_matter_of_what_was_done_then():
    """torch raises this from a signal handler, anywhere."""
    with pytest.raises(AssertionError) as raised, explained(lambda: "the net cannot take this"):
        torch._assert(False, "DataLoader worker (pid 3) is killed by signal: Killed. ")
    assert not isinstance(raised.value, UsageError)
    with pytest.raises(UsageError), explained(lambda: "the net cannot take this"):
        torch._assert(False, "anything else")


def test_a_usage_error_stays_as_it_is():
    with pytest.raises(UsageError, match=r"^plain$"), explained(lambda: "not this"):
        raise UsageError("plain")


def test_without_an_error_nothing_is_asked():
    with explained(lambda: pytest.fail("asked")):
        pass


def test_shown():
    assert shown((torch.zeros(2, 3).byte(), {"a": 1, "b": 2}, "x")) == "tuple of torch.uint8 (2, 3), dict of a, b, str"


@pytest.mark.parametrize(
    ("inputs", "hint"),
    [
        (torch.zeros(1), ""),
        (torch.zeros(1).byte(), "inputs.float() / 255"),
        (torch.zeros(1).double(), "as inputs.float())"),
        ([1], ""),
    ],
)
def test_floats_hint(inputs, hint):
    assert hint in floats_hint(inputs)
    assert bool(floats_hint(inputs)) == bool(hint)
