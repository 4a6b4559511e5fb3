"""The figures of one setting."""

from dataclasses import asdict, dataclass
from typing import Any

from lightframe.speed.setting import Setting
from lightframe.speed.spread import Spread


@dataclass(frozen=True)
class Row:
    """What one measurement gave.

    Attributes:
        setting: what was measured.
        status: `ok`, or why there are no figures.
        time: seconds of a call on a batch that is on the device.
        with_copy: seconds of a call that first copies the batch from the host's memory, pinned where the device is a
            GPU, without any overlap; None on a CPU.
        peak_memory: bytes that net, optimizer and batch took at most of the device's memory; None but on CUDA.
        first_call: seconds of the very first call, in which memory is taken, algorithms are chosen and code is
            compiled.
    """

    setting: Setting
    status: str = "ok"
    time: Spread | None = None
    with_copy: Spread | None = None
    peak_memory: int | None = None
    first_call: float | None = None

    @property
    def samples_per_second(self) -> float | None:
        """By the median, with the batch on the device."""
        return self.setting.shape[0] / self.time.median if self.time is not None else None

    def to_plain(self) -> dict[str, Any]:
        """The row as JSON and checkpoints hold it."""
        plain = asdict(self)
        plain["setting"]["shape"] = list(self.setting.shape)
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Row":
        """The row that `to_plain` gave.

        >>> row = Row(Setting("vgg16", (16, 3, 224, 224)), time=Spread(0.5, 0.25, 0.75, 10))
        >>> Row.from_plain(row.to_plain()) == row, row.samples_per_second
        (True, 32.0)
        """
        setting = {**plain["setting"], "shape": tuple(plain["setting"]["shape"])}
        spreads = {name: Spread(**plain[name]) if plain[name] else None for name in ("time", "with_copy")}
        return cls(**{**plain, **spreads, "setting": Setting(**setting)})
