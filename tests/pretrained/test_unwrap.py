"""Where frameworks put the weights."""

from typing import Any

import pytest
import torch

from lightframe.errors import UsageError
from lightframe.pretrained.unwrap import unwrap

STATE = {"a.weight": torch.ones(2), "b": torch.zeros(1)}
MOMENTUM = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (STATE, ""),
        ({"state_dict": STATE, "epoch": 3, "optimizer_states": [MOMENTUM]}, "state_dict"),  # Lightning
        ({"epoch": 3, "model_state": STATE, "optimizer_state": MOMENTUM, "cfg": "a: 1"}, "model_state"),  # PySlowFast
        (
            {"epoch": 1, "model": STATE, "optimizer": MOMENTUM, "lr_scheduler": {}, "work_dir": "x"},
            "model",
        ),  # torch-frame
        ({"meta": {"epoch": 1}, "state_dict": STATE, "optimizer": MOMENTUM}, "state_dict"),  # MMAction2
        ({"model": STATE, "optimizer": MOMENTUM, "amp": {"loss_scaler0": {"loss_scale": 2.0}}}, "model"),  # with apex
        ({"model_state_dict": STATE, "loss": 0.1}, "model_state_dict"),
        ({"model": {"state_dict": STATE}}, "model.state_dict"),
        ({"rng_state": torch.get_rng_state(), "net": STATE, "best": torch.tensor(0.5)}, "net"),
        ({"epoch": 3, "my_weights": STATE}, "my_weights"),
    ],
)
def test_the_weights_are_found(found: dict[str, Any], where: str) -> None:
    tensors, others, at = unwrap(found, "x")
    assert list(tensors) == list(STATE)
    assert at == where
    assert not others


def test_what_is_no_tensor_is_told() -> None:
    tensors, others, _ = unwrap({**STATE, "_extra_state": {"x": 1}, "count": 3}, "x")
    assert list(tensors) == list(STATE)
    assert others == {"_extra_state": "dict", "count": "int"}


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        ({}, "it holds the keys ;"),
        ({"epoch": 1, "lr": 0.1}, "it holds the keys epoch, lr;"),
        ([torch.ones(1)], "it holds list;"),
        (torch.ones(1), "it holds Tensor;"),
        ({"generator": STATE, "discriminator": STATE}, "the keys generator, discriminator"),
    ],
)
def test_nothing_to_be_found(found: Any, holds: str) -> None:
    with pytest.raises(UsageError, match=r"there are no tensors by name in x\.pt: .*give a state_dict\(\)") as error:
        unwrap(found, "x.pt")
    assert holds in str(error.value)
