"""What only a GPU can show."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from recording import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from lightframe import LightFrameModule, gpu_cnn_speed
from lightframe.callbacks import GPUSpeedBenchmark
from lightframe.speed import Row, Setting
from lightframe.speed.measure import Effort, measure
from lightframe.speed.precision import default_precisions
from lightframe.speed.subject import classifier

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.filterwarnings("ignore:Precision .* is not supported by the model summary"),
    pytest.mark.filterwarnings("ignore:You are using a CUDA device"),
]
GPU = torch.device("cuda", 0)
QUICK = Effort(iterations=5, warmup=3)


@pytest.fixture
def kept() -> Iterator[None]:
    """Compares random numbers, flags and memory of before and after."""

    def state() -> list[Any]:
        cudnn: Any = torch.backends.cudnn
        flags = [cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.get_float32_matmul_precision()]
        return [torch.cuda.get_rng_state(GPU).tolist(), torch.get_rng_state().tolist(), *flags]

    torch.ones(8, 8, device=GPU) @ torch.ones(8, 8, device=GPU)  # cuBLAS keeps a workspace from here on
    before, memory = state(), torch.cuda.memory_allocated(GPU)
    yield
    assert state() == before
    # cuBLASLt's workspace and what TF32 or half precision need more of cuBLAS's stay, as they would in training.
    assert torch.cuda.memory_allocated(GPU) - memory < 80 * 2**20


@pytest.mark.usefixtures("kept")
def test_every_precision_and_format() -> None:
    report = gpu_cnn_speed("tiny3d", memory_format="contiguous,channels_last", device="cuda", iterations=3)
    assert [row.status for row in report.rows] == ["ok"] * len(default_precisions(GPU)) * 2 * 2
    for row in report.rows:
        assert row.time is not None
        assert row.with_copy is not None
        assert 0 < row.time.q1 <= row.time.median <= row.time.q3
        weights, batch = row.setting.parameters * 4, 32 * 3 * 8 * 64 * 64 * 4
        assert row.peak_memory is not None
        # Training holds gradients and momenta beside the weights.
        assert row.peak_memory > batch + weights * (3 if row.setting.mode == "train" else 1)


@pytest.mark.usefixtures("kept")
def test_too_much_is_a_row_and_leaves_no_memory_taken() -> None:
    shape = (torch.cuda.get_device_properties(GPU).total_memory // 2**20, 2**20)

    def make() -> Any:
        return classifier(torch.nn.Linear(2**20, 2, device=GPU), shape, GPU)

    assert measure(make, Setting("linear", shape), GPU, QUICK).status == "out of memory"


def test_a_product_takes_as_long_as_it_takes() -> None:
    """Of 16 times the work the time is several times as long: a clock that does not wait would see none of it."""

    def seconds(size: int) -> float:
        def make() -> Any:
            subject = classifier(torch.nn.Linear(8, 2, device=GPU), (2, 8), GPU)
            matrix = torch.rand(size, size, device=GPU)
            subject.predict = lambda batch: matrix @ matrix
            return subject

        row: Row = measure(make, Setting("product", (2, 8), "forward"), GPU, Effort(20, 10, 0.5))
        assert row.time is not None
        return row.time.median

    # 2 n^3 operations; no GPU does 10^17 a second in fp32.
    assert seconds(8192) > 2 * 8192**3 / 1e17
    assert seconds(8192) / seconds(8192 // 4) > 8


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_training_is_the_same(precision: str) -> None:
    def fit(*callbacks: pl.Callback) -> dict[str, torch.Tensor]:
        with torch.random.fork_rng([GPU]):
            pl.seed_everything(1, verbose=False)
            module = LightFrameModule(
                {"name": "tiny3d", "width": 2, "dropout": 0.5}, "ce", lr=0.1, metrics=None, num_classes=2
            )
            data = TensorDataset(torch.rand(8, 3, 4, 32, 32), torch.arange(8) % 2)
            trainer = quiet_trainer(
                accelerator="gpu", devices=1, precision=precision, callbacks=list(callbacks), benchmark=False
            )
            trainer.fit(module, DataLoader(data, batch_size=2, shuffle=True))
        return module.cpu().state_dict()

    torch.backends.cudnn.deterministic = True
    try:
        plain, benchmark = fit(), GPUSpeedBenchmark(iterations=3)
        measured = fit(benchmark)
    finally:
        torch.backends.cudnn.deterministic = False
    assert [row.status for row in benchmark.report.rows] == ["ok", "ok"]
    assert {row.setting.cudnn for row in benchmark.report.rows} == {"deterministic"}
    for name, value in plain.items():
        assert torch.equal(value, measured[name]), name
