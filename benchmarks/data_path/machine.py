"""On what it was measured."""

import importlib.metadata
import platform
import re
from pathlib import Path

import av

from lightframe.cores import cores

_PACKAGES = (
    "lightframe",
    "torch",
    "torchvision",
    "av",
    "torchcodec",
    "decord",
    "opencv-python-headless",
    "opencv-python",
    "pillow",
    "numpy",
)


def machine() -> dict[str, str | int]:
    """Processor, cores that this process may use, system."""
    return {"cpu": _cpu(), "cores": cores(), "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    """Of Python, the packages that are installed, and the FFmpeg that each decoder brings or finds."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["ffmpeg of av"] = ", ".join(f"{name} {'.'.join(map(str, v))}" for name, v in av.library_versions.items())
    try:
        import cv2

        libraries = re.findall(r"(avcodec|avformat|swscale):\s+YES \((.+?)\)", cv2.getBuildInformation())
        found["ffmpeg of opencv"] = ", ".join(f"lib{name} {version}" for name, version in libraries)
    except ImportError:
        pass
    try:
        import torchcodec

        found["ffmpeg of torchcodec"] = str(torchcodec.ffmpeg_major_version)
    except Exception:  # not installed, or it finds no FFmpeg, for which it raises several kinds of errors
        pass
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or "unknown"
