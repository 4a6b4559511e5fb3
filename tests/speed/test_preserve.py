"""What measuring leaves behind: nothing."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lightframe.speed.flags import flags_restorer, float32_in_tf32, set_cudnn, set_float32
from lightframe.speed.preserve import preserved

CPU = torch.device("cpu")
BACKENDS: Any = torch.backends


def draws() -> list[Any]:
    """The next random number of each generator."""
    return [random.random(), np.random.rand(), torch.rand(()).item()]


@pytest.mark.parametrize("fails", [False, True])
def test_random_numbers_go_on_where_they_were(fails: bool) -> None:
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draws()
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    try:
        with preserved(CPU):
            torch.manual_seed(1)
            np.random.seed(1)
            random.seed(1)
            draws()
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert draws() == expected


def answers() -> dict[str, Any]:
    """Everything that torch tells of these flags through either of its interfaces; an error is an answer."""
    asked = {
        "generic": lambda: BACKENDS.fp32_precision,
        "matmul": lambda: BACKENDS.cuda.matmul.fp32_precision,
        "cudnn": lambda: BACKENDS.cudnn.fp32_precision,
        "conv": lambda: BACKENDS.cudnn.conv.fp32_precision,
        "rnn": lambda: BACKENDS.cudnn.rnn.fp32_precision,
        "mkldnn matmul": lambda: BACKENDS.mkldnn.matmul.fp32_precision,
        "mkldnn conv": lambda: BACKENDS.mkldnn.conv.fp32_precision,
        "old": torch.get_float32_matmul_precision,
        "old matmul": lambda: BACKENDS.cuda.matmul.allow_tf32,
        "old cudnn": lambda: BACKENDS.cudnn.allow_tf32,
        "benchmark": lambda: BACKENDS.cudnn.benchmark,
        "deterministic": lambda: BACKENDS.cudnn.deterministic,
    }
    said = {}
    for name, question in asked.items():
        try:
            said[name] = question()
        except RuntimeError as error:
            said[name] = type(error).__name__
    return said


@pytest.fixture
def flags() -> Iterator[None]:
    """Puts back torch's defaults, as far as torch can: where nothing was said, it says the same now."""
    yield
    BACKENDS.fp32_precision = "none"
    BACKENDS.cudnn.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    for place in (BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv):
        place.fp32_precision = "none"
    BACKENDS.cudnn.benchmark = BACKENDS.cudnn.deterministic = False
    assert answers()["old"] == "highest"


SCENES = {
    "defaults": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "old, no TF32": lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
    "old matmul": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
    "new matmul": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
    "new conv": lambda: setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
    "new CPU": lambda: setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"),
    "all new ieee": lambda: setattr(BACKENDS, "fp32_precision", "ieee"),
    "all new tf32": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
    "cudnn flags": lambda: (setattr(BACKENDS.cudnn, "benchmark", True), setattr(BACKENDS.cudnn, "deterministic", True)),
}


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("scene", SCENES)
def test_flags(scene: str) -> None:
    """Set to whatever a precision needs, they are what they should be, contradict nothing, and are put back."""
    SCENES[scene]()
    before = answers()
    restore = flags_restorer()
    for matmul in (True, False):
        for conv in (True, False):
            set_float32(matmul, conv)
            assert float32_in_tf32() == (matmul, conv)
            now = answers()
            assert "RuntimeError" not in now.values(), "what torch.compile asks is an error"
            assert (now["old matmul"], now["old cudnn"]) == (matmul, conv)
    set_cudnn("benchmark")
    assert (answers()["benchmark"], answers()["deterministic"]) == (True, False)
    restore()
    assert answers() == before


def test_flags_are_put_back_after_an_error() -> None:
    @preserved(CPU)
    def failing() -> None:
        set_float32(True, False)
        set_cudnn("benchmark+deterministic")
        raise ValueError("no")

    before = answers()
    with pytest.raises(ValueError, match="no"):
        failing()
    assert answers() == before
