"""The results as tables on the terminal."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_SHARES = {"speedup": "x", "bare_share": "of bare"}
_LEGEND = (
    "x: how many times faster than the way named in the title. of bare: the share of bare decoding, which does nothing "
    "but decode the same frames. error: mean absolute difference, in levels of 255, from a sequential decode that "
    "torchvision crops and resizes. wrong: frames that are nearer to a neighbour of the wanted frame than to itself."
)


def print_results(results: dict[str, Any], console: Console) -> None:
    """One table for each part that was measured, and one of the targets."""
    for column in results.get("columns", {}).values():
        title = f"{column['title']}: CPU time per training clip (x: against {column['baseline']})"
        console.print(_cpu_table(title, column["rows"]))
    for column in results.get("sparse", {}).values():
        console.print(_cpu_table(f"{column['title']}: CPU time of 8 frames over the whole video", column["rows"]))
    for column in results.get("whole", {}).values():
        console.print(_cpu_table(f"{column['title']}: CPU time of 32 whole frames", column["rows"]))
    for key, rows in results.get("loader", {}).items():
        console.print(_loader_table(f"{key}: whole loader, {results['settings']['workers']} workers", rows))
    if "flatness" in results:
        console.print(_flatness_line(results["flatness"]))
    console.print(_target_table(results["targets"]))
    console.print(_LEGEND)


def _cpu_table(title: str, rows: dict[str, dict[str, Any]]) -> Table:
    shares = [key for key in _SHARES if any(row.get(key) for row in rows.values())]
    table = _table(title, "pipeline", "ms", "quartiles", *(_SHARES[key] for key in shares), "error", "wrong")
    for row in (row for row in rows.values() if row["best"]):
        name = f"{row['name']} ({row['variant']})" if row["variant"] else row["name"]
        if "ms" not in row:
            table.add_row(f"{name}: {row['status']}")
            continue
        ms, checked = row["ms"], "error" in row
        table.add_row(
            name,
            f"{ms['median']:.1f}",
            f"{ms['q1']:.1f}-{ms['q3']:.1f}",
            *(f"{row[key]['median']:.2f}" if row.get(key) else "" for key in shares),
            f"{row['error']:.2f}" if checked else "",
            f"{row['wrong_frames']}/{row['checked_frames']}" if checked else "",
            style="bold" if row["name"] == "lightframe" else None,
        )
    return table


def _loader_table(title: str, rows: dict[str, dict[str, Any]]) -> Table:
    table = _table(title, "loader", "clips/s", "quartiles", _SHARES["bare_share"])
    for row in rows.values():
        if "clips_per_s" not in row:
            table.add_row(f"{row['name']}: {row['status']}")
            continue
        rate, share = row["clips_per_s"], row.get("bare_share")
        table.add_row(
            row["name"],
            f"{rate['median']:.1f}",
            f"{rate['q1']:.1f}-{rate['q3']:.1f}",
            f"{share['median']:.2f}" if share else "",
        )
    return table


def _flatness_line(flat: dict[str, Any]) -> str:
    if "series" not in flat:
        return f"Memory and open files: {flat['status']}"
    rss, files = flat["rss_mib"], flat["open_files"]
    return (
        f"{flat['opens']:,} opened videos: memory {rss['start']:.0f} -> {rss['end']:.0f} MiB "
        f"({flat['rss_mib_per_1000']:+.2f} MiB per 1,000), open files {files['start']} -> {files['end']}"
    )


def _target_table(targets: list[dict[str, Any]]) -> Table:
    table = _table("Targets", "target", "to reach", "measured", "")
    verdicts = {True: "[green]holds", False: "[red]missed", None: "not measured"}
    for target in targets:
        value = "" if target["value"] is None else f"{target['value']:.2f}"
        table.add_row(target["name"], f"{target['target']:g}", value, verdicts[target["holds"]])
    return table


def _table(title: str, name: str, *figures: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(name, overflow="fold")
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
