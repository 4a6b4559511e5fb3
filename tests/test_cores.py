import multiprocessing

from lightframe.cores import cores


def test_cores() -> None:
    assert 1 <= cores() <= multiprocessing.cpu_count()
