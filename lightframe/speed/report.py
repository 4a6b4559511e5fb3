"""All figures of one run on one device, and the file that keeps them."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from lightframe.environment import versions
from lightframe.errors import UsageError
from lightframe.speed.device import describe
from lightframe.speed.row import Row

# Counted up when a figure comes to mean something else: files of another number are not set beside each other.
FORMAT = "lightframe speed 1"


@dataclass
class Report:
    """What was measured where.

    Attributes:
        device: name, kind and more of the device, see `describe`.
        rows: the figures.
        versions: of what computed them.
        date: when, in UTC.
        source: where the report comes from, when it was read from a file.
    """

    device: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).date().isoformat())
    source: str = "measured now"

    @classmethod
    def of(cls, device: torch.device) -> "Report":
        """An empty report of a device."""
        return cls(describe(device))

    @property
    def name(self) -> str:
        """Of the device."""
        return str(self.device["name"])

    def over(self, earlier: "Report") -> "Report":
        """This report with the rows of an earlier one that were not measured again.

        Raises:
            UsageError: it is of another device or of other versions.
        """
        if (earlier.device, earlier.versions) != (self.device, self.versions):
            raise UsageError(
                f"{earlier.source} has figures of {earlier.name} and other versions or another device than now: "
                "choose another output"
            )
        again = {replace(row.setting, parameters=0) for row in self.rows}
        kept = [row for row in earlier.rows if replace(row.setting, parameters=0) not in again]
        return replace(self, rows=kept + self.rows)

    def to_plain(self) -> dict[str, Any]:
        """The report as JSON and checkpoints hold it."""
        rows = [row.to_plain() for row in self.rows]
        return {"format": FORMAT, "device": self.device, "versions": self.versions, "date": self.date, "rows": rows}

    @classmethod
    def from_plain(cls, plain: dict[str, Any], source: str) -> "Report":
        """The report that `to_plain` gave."""
        rows = [Row.from_plain(row) for row in plain["rows"]]
        return cls(plain["device"], rows, plain["versions"], plain["date"], source)

    def save(self, file: Path) -> None:
        """Write the report as JSON.

        Raises:
            UsageError: the file cannot be written.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(self.to_plain(), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"'{file}' cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, file: Path) -> "Report":
        """Read what `save` wrote.

        Raises:
            UsageError: there is no such file, or it holds something else.
        """
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"'{file}' cannot be read: {error.strerror}") from error
        except ValueError:
            plain = None
        if not isinstance(plain, dict) or not str(plain.get("format", "")).startswith("lightframe speed"):
            raise UsageError(f"'{file}' was not written by lightframe benchmark --output")
        if plain["format"] != FORMAT:
            raise UsageError(f"'{file}' is of '{plain['format']}', whose figures mean something else: measure anew")
        return cls.from_plain(plain, str(file))


def _versions() -> dict[str, str]:
    """Of Python, the packages that compute, and what torch was built with."""
    built_with = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return versions(("torch", "torchvision")) | {name: str(value) for name, value in built_with.items() if value}
