"""The results as a picture: speed relative to the old way, a group of bars for each kind of file."""

from pathlib import Path
from typing import Any


def draw(results: dict[str, Any], path: Path) -> None:
    """Write a .svg or .png of the columns.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "lightframe"  # the same figures make the same file
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    columns = list(results["columns"].values())
    names = list(dict.fromkeys(row["name"] for column in columns for row in column["rows"].values()))
    names = [name for name in names if not name.endswith("on the source")]
    figure, axes = plt.subplots(figsize=(11, 4.8), layout="constrained")
    width = 0.84 / len(names)
    for place, name in enumerate(names):
        heights = [_speedup(column, name) for column in columns]
        where = [group + (place - (len(names) - 1) / 2) * width for group in range(len(columns))]
        bars = axes.bar(where, heights, width, label=name, color=_color(name, place), zorder=2)
        if name == "lightframe":
            axes.bar_label(bars, [f"{height:.1f}" if height else "" for height in heights], fontsize=8)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(1, color="black", linewidth=0.8)
    axes.grid(axis="y", which="both", alpha=0.25, zorder=0)
    axes.set_xticks(range(len(columns)), [_label(column) for column in columns], fontsize=8)
    axes.set_ylabel("clips per CPU second, relative to the old way")
    machine = results["machine"]
    axes.set_title(
        f"A training clip: 32 frames at stride 2, random resized crop to 224 ({machine['cpu']})", fontsize=10
    )
    axes.legend(fontsize=7, ncols=2, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
    plt.close(figure)


def _label(column: dict[str, Any]) -> str:
    reference = f"\n(1 = {column['baseline']})" if column["baseline"].endswith("on the source") else ""
    return str(column["title"]).replace(", ", "\n", 1) + reference


def _speedup(column: dict[str, Any], name: str) -> float:
    for row in column["rows"].values():
        if row["name"] == name and row["best"] and row.get("speedup"):
            return row["speedup"]["median"]
    return 0.0


def _color(name: str, place: int) -> Any:
    own = {"lightframe": "#d62728", "lightframe, first visit": "#ff9896", "bare decode": "#c7c7c7"}
    # Two shades a family: OpenCV, PyAV from first frame to last, decord, TorchCodec.
    shades = ["#8c510a", "#dfc27d", "#542788", "#b2abd2", "#1b7837", "#a6dba0", "#2166ac", "#92c5de"]
    return own.get(name, shades[place % len(shades)])
