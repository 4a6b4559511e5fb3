"""What is to be reached, and whether it is."""

from typing import Any

from data_path.summary import ratio

_OURS = "lightframe"
_SPEEDUPS = {"h264": 2.3, "fastdecode": 5.5, "mpeg4": 5.5, "720p": 2.4, "transcoded": 20.0}
_BARE_SHARES = {"h264": 0.9, "720p": 0.9, "fastdecode": 0.65, "transcoded": 0.65}
_LOADER_SHARES = {"h264": 0.85}  # on files for fast decode what is left to do beside decoding weighs more
_MIB_PER_1000 = 2.0  # a container left open for each video costs more than ten times as much


def judge(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target with what was measured: name, target, value (None: not measured), holds (None likewise).

    A value is to be at least the target, except where the name says "at most".
    """
    targets = []
    for key, column in results.get("columns", {}).items():
        rows, baseline = column["rows"], column["baseline"]
        ours = rows[_OURS]
        targets.append(_at_least(f"{key}: speed relative to {baseline}", _SPEEDUPS[key], _median(ours.get("speedup"))))
        targets.append(_at_least(f"{key}: speed relative to the best peer", 1.0, _against_peers(rows)))
        if key in _BARE_SHARES:
            share = _median(ours.get("bare_share"))
            targets.append(_at_least(f"{key}: share of bare decode", _BARE_SHARES[key], share))
    sparse = results.get("sparse", {}).get("fastdecode")
    if sparse:
        value = _against_peers(sparse["rows"], "TorchCodec")
        targets.append(_at_least("fastdecode, sparse: speed relative to TorchCodec", 1.0, value))
    for key, rows in results.get("loader", {}).items():
        shares = [_median(rows.get(name, {}).get("bare_share")) for name in (_OURS, f"{_OURS}, threads")]
        share = max((share for share in shares if share is not None), default=None)
        if key in _LOADER_SHARES:
            targets.append(_at_least(f"{key}: loader's share of bare decode", _LOADER_SHARES[key], share))
    flat = results.get("flatness", {})
    if "series" in flat:
        more_files = flat["open_files"]["end"] - flat["open_files"]["start"]
        targets.append(_at_most("MiB per 1,000 opened videos, at most", _MIB_PER_1000, flat["rss_mib_per_1000"]))
        targets.append(_at_most("files left open, at most", 0, more_files))
    return targets


def _median(figures: dict[str, float] | None) -> float | None:
    return figures["median"] if figures else None


def _against_peers(rows: dict[str, dict[str, Any]], prefix: str = "") -> float | None:
    """The lowest ratio of a peer's time to ours; below 1 some peer is faster."""
    ratios = [
        ratio(row, rows[_OURS], "rounds_ms")
        for row in rows.values()
        if row["best"] and row["name"].startswith(prefix) and not row["name"].startswith((_OURS, "bare"))
    ]
    return min((each["median"] for each in ratios if each), default=None)


def _at_least(name: str, target: float, value: float | None) -> dict[str, Any]:
    return {"name": name, "target": target, "value": value, "holds": None if value is None else value >= target}


def _at_most(name: str, target: float, value: float) -> dict[str, Any]:
    return {"name": name, "target": target, "value": value, "holds": value <= target}
