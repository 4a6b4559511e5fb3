import json
from pathlib import Path

import torch
from torch import distributed, multiprocessing

from lightframe.gather import gather_objects


def test_a_process_by_itself() -> None:
    value = {"a": 1}
    assert gather_objects(value) == [value]
    assert gather_objects(value)[0] is value


def gather(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=3)
    gathered = [gather_objects({"rank": rank, "long": [rank] * rank}), gather_objects(rank * "x")]
    Path(folder, f"{rank}.json").write_text(json.dumps(gathered))
    distributed.destroy_process_group()


def test_several_processes(tmp_path: Path) -> None:
    multiprocessing.start_processes(gather, (str(tmp_path),), nprocs=3, start_method="fork")
    for rank in range(3):
        objects, texts = json.loads((tmp_path / f"{rank}.json").read_text())
        assert objects == [{"rank": other, "long": [other] * other} for other in range(3)]
        assert texts == ["", "x", "xx"]
