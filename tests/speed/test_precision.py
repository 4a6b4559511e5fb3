"""Which precisions a device has; GPUs are made up."""

from contextlib import nullcontext

import pytest
import torch

from lightframe.errors import UsageError
from lightframe.speed import precision
from lightframe.speed.precision import default_precisions, find_precision, lacking, run_precision

CUDA = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """Makes a GPU with or without bfloat16 and TF32, which came together."""

    def make(ampere: bool) -> None:
        monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
        monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: ampere)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: ampere)

    return make


def test_of_new_gpus(gpu) -> None:
    gpu(ampere=True)
    assert default_precisions(CUDA) == ["fp32", "32-true", "tf32", "16-mixed", "bf16-mixed"]


def test_of_old_gpus(gpu) -> None:
    gpu(ampere=False)
    assert default_precisions(CUDA) == ["fp32", "16-mixed"]
    assert "Ampere" in str(lacking("bf16-mixed", CUDA))
    assert "same as fp32" in str(lacking("tf32", CUDA))


def test_of_cpus() -> None:
    cpu = torch.device("cpu")
    assert default_precisions(cpu) == ["fp32"]
    assert lacking("bf16-mixed", cpu) is None
    assert "same as fp32" in str(lacking("32-true", cpu))


@pytest.mark.parametrize(
    ("matmul", "conv", "name"),
    [(False, True, "32-true"), (True, True, "tf32"), (False, False, "fp32"), (True, False, None)],
)
def test_a_run_in_32_bits_is_what_the_flags_make_of_it(gpu, monkeypatch, matmul, conv, name) -> None:
    gpu(ampere=True)
    monkeypatch.setattr(precision, "float32_in_tf32", lambda: (matmul, conv))
    found = run_precision("32-true", CUDA)
    assert found == name if name else lacking(found, CUDA) is not None
    gpu(ampere=False)
    assert run_precision("32-true", CUDA) == "fp32"


def test_a_run_in_another_precision_is_not_measured() -> None:
    assert lacking(run_precision("64-true", CUDA), CUDA) == "a run in 64-true is not measured: give another precision"


def test_unknown() -> None:
    with pytest.raises(UsageError, match="did you mean 'bf16-mixed'"):
        find_precision("bf16")
