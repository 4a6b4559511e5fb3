import random
from pathlib import Path

import numpy as np
import torch

from lightframe.random_state import random_state, restore_random_state


def draws() -> tuple[float, ...]:
    return (random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.randn(1)))


def test_goes_on_from_a_file(tmp_path: Path) -> None:
    """Also behind one draw of a pair, whose second half the generators keep."""
    random.gauss(0, 1), np.random.randn(), torch.randn(1)
    torch.save(random_state(), tmp_path / "state.pt")
    expected = draws()
    draws()
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draws() == expected


def test_a_state_of_another_device_is_left_alone() -> None:
    state = random_state()
    expected = draws()
    restore_random_state({**state, "cuda": torch.zeros(16, dtype=torch.uint8)})
    assert draws() == expected
