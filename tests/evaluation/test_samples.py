import json
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from lightframe import UsageError
from lightframe.evaluation.samples import Samples, check_pair, gather_samples

# Of three processes: sample 0 twice, as a padded sampler gives it, out of order, and one process without any.
OWN = [[4, 0, 2], [1, 3, 0], []]


def outputs_of(index: list[int]) -> dict[str, torch.Tensor]:
    return {"scores": torch.tensor([[10.0 * number, 1.0] for number in index]).reshape(-1, 2)}


def targets_of(index: list[int]) -> list[torch.Tensor]:
    return [torch.arange(number) for number in index]


def gather(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=3)
    found = []
    for piece in (1, 40, 10**6):
        for spills in (False, True):
            own = Samples()
            own.append(OWN[rank], outputs_of(OWN[rank]), targets_of(OWN[rank]))
            whole = gather_samples(own, Path(folder, f"{rank}-{piece}") if spills else None, piece)
            outputs, targets = whole.take(slice(None))
            found.append([whole.index, outputs["scores"].tolist(), [target.tolist() for target in targets]])
            assert whole.spilled == spills
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="torch without torch.distributed")
def test_several_processes(tmp_path: Path) -> None:
    multiprocessing.start_processes(gather, (str(tmp_path),), nprocs=3, start_method="fork")
    right = [[0, 1, 2, 3, 4], outputs_of([0, 1, 2, 3, 4])["scores"].tolist(), [list(range(n)) for n in range(5)]]
    for rank in range(3):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [right] * 6


@pytest.mark.parametrize("index", [[0, 1, 2], [2, 0, 1], [1, 1, 0]])
def test_one_process(index: list[int]) -> None:
    own = Samples()
    for place, number in enumerate(index):
        own.append([number], torch.tensor([[place]]), [number])
    whole = gather_samples(own)
    outputs, targets = whole.take(slice(None))
    assert whole.index == sorted(set(index)) == targets
    assert outputs.flatten().tolist() == [index.index(number) for number in sorted(set(index))]
    assert len(gather_samples(Samples())) == 0


def test_chunks() -> None:
    samples = Samples()
    samples.append([0, 1, 2], torch.arange(3), torch.arange(3))
    samples.append([], torch.zeros(0), torch.zeros(0))  # a batch of nothing but a repeated sample
    assert [outputs.tolist() for outputs, _ in samples.chunks(2)] == [[0, 1], [2]]
    with pytest.raises(UsageError, match="2 samples must be"):
        Samples().append([0, 1], torch.zeros(3), torch.zeros(2))


def test_check_pair() -> None:
    check_pair(1, 2)
    for outputs, targets, missing in ((None, 1, "outputs"), (1, None, "targets")):
        with pytest.raises(UsageError, match=f"needs the {missing}"):
            check_pair(outputs, targets)
