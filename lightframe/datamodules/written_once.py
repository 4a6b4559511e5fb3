"""A folder of generated files that is written once, and again only when it is not whole."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lightframe.errors import UsageError

MANIFEST = "lightframe-synthetic.json"


def write_once(folder: Path, world: Mapping[str, Any], write: Callable[[], Iterable[Path]]) -> None:
    """Run `write` unless `folder` holds what it wrote before.

    Args:
        folder: everything written lies in it, beside a manifest that lists the files with their sizes.
        world: the settings that decide what is written, as plain values.
        write: writes the files and gives their paths; run anew when it was killed half-way.

    Raises:
        UsageError: the folder holds something else, or what was written with other settings.
    """
    manifest, world = folder / MANIFEST, dict(world)
    if not manifest.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"'{folder}' exists and was not written by lightframe: choose another root")
    else:
        found = json.loads(manifest.read_text())
        if found["world"] != world:
            raise UsageError(
                f"'{folder}' holds a synthetic set with other settings ({found['world']}): choose another root, or "
                "delete it"
            )
        if found["files"] and all(_size(folder / name) == size for name, size in found["files"].items()):
            return
    folder.mkdir(parents=True, exist_ok=True)
    # Without files it marks the folder as ours and unfinished, should this process be killed.
    write_json(manifest, {"world": world, "files": {}})
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in write()}
    write_json(manifest, {"world": world, "files": files})


def write_json(path: Path, value: object) -> None:
    """Write a file that takes its name only when it is whole."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
