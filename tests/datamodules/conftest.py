"""What tests of loaders share."""

import gc
import multiprocessing
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_worker_is_left() -> Iterator[None]:
    """No loader's process outlives the test."""
    yield
    if multiprocessing.active_children():
        gc.collect()  # persistent workers end with their loader
    assert multiprocessing.active_children() == []
