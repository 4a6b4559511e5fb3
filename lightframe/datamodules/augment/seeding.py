"""torchvision draws from torch's global generators; here each clip and each batch gets them seeded for itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

# Keys that keep the draws for pixels and for mixing apart from each other and from the sample's own generator.
_PIXELS, _MIXING = 1, 2


def clip_seed(seed: int, epoch: int, index: int) -> int:
    """The seed of what happens to the pixels of video `index` in this epoch, in whatever batch it stands."""
    return _seed([seed, epoch, index], _PIXELS)


def batch_seed(seed: int, epoch: int, indices: Sequence[int]) -> int:
    """The seed of how the batch of these videos is mixed in this epoch."""
    return _seed([seed, epoch, *indices], _MIXING)


def _seed(numbers: Sequence[int], purpose: int) -> int:
    sequence = np.random.SeedSequence(numbers, spawn_key=(purpose,))
    return int(sequence.generate_state(1, np.uint64)[0])


@contextmanager
def seeded_torch(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, torch's generators of the CPU and of `device` start from `seed`; afterwards they are as they were.

    The generators are those of the whole process: no other thread may draw from them meanwhile.

    Args:
        seed: 0 to 2**64 - 1.
        device: where the pixels lie. torchvision draws nearly everything on the CPU, noise on the device.

    >>> with seeded_torch(1):
    ...     first = torch.rand(1)
    >>> with seeded_torch(1):
    ...     print(bool(torch.rand(1) == first))
    True
    """
    device = torch.device(device)
    # Elsewhere (MPS) the state of one device's generator cannot be asked for.
    if device.type not in ("cuda", "xpu"):
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would seed every device too, and nothing would restore that.
            torch.default_generator.manual_seed(seed)
            yield
        return
    module = torch.get_device_module(device)
    with torch.random.fork_rng(devices=[device], device_type=device.type), module.device(device):
        torch.default_generator.manual_seed(seed)
        module.manual_seed(seed)
        yield
