import time

import pytest
import torch

from lightframe.host_flag import HostFlag


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif("not torch.cuda.is_available()"))]
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_what_was_sent_last_is_read(device: str, dtype: torch.dtype) -> None:
    flag = HostFlag()
    for value in (True, False, False, True):
        flag.send(torch.tensor(value, device=device).to(dtype))
        assert flag.read() is value
        assert flag.read() is value


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_work_that_is_queued_behind_is_not_waited_for() -> None:
    flag, over = HostFlag(), torch.cuda.Event()
    flag.send(torch.tensor(True, device="cuda"))
    flag.read()  # pinned memory is taken the first time
    torch.cuda.synchronize()
    flag.send(torch.tensor(False, device="cuda"))
    torch.cuda._sleep(2 * 10**9)
    over.record()
    began = time.perf_counter()
    assert flag.read() is False
    assert not over.query(), f"{time.perf_counter() - began} s"
    torch.cuda.synchronize()
