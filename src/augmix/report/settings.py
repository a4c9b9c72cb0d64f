"""Every setting of every run, side by side."""

from collections.abc import Sequence
from typing import Any

from augmix.report.runs import Run

_MAX_LISTED = 12  # entries of a list


def settings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Every setting of every run, side by side; rows whose values differ are marked."""
    times = [
        {
            "training_seconds": run.log[-1].get("seconds") if run.log else None,
            "measuring_seconds": round(sum(cell.seconds for cell in run.results.cells), 1),
            "folder": run.folder.name,
        }
        for run in runs
    ]
    parts: list[tuple[str, list[dict[str, Any]]]] = [
        ("Model", [run.results.model for run in runs]),
        ("Configuration", [run.config for run in runs]),
        ("Data", [run.results.source for run in runs]),
        ("Protocol of the measurement", [run.results.protocol for run in runs]),
        ("Software and machine", [run.results.provenance for run in runs]),
        ("Run", times),
    ]
    return [
        {"title": title, "rows": _setting_rows(columns)} for title, columns in parts if any(columns)
    ]


def _setting_rows(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    flat = [_flatten(column) for column in columns]
    return [
        {
            "name": key.replace("_", " ").replace(".", " › "),
            "shown": [_shortened(_setting(each.get(key))) for each in flat],
            "differs": any(each.get(key) != flat[0].get(key) for each in flat),
        }
        for key in dict.fromkeys(key for each in flat for key in each if key != "schema")
    ]


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: ``policy.severity``."""
    flat = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            flat.update(_flatten(entry, f"{prefix}{key}."))
        else:
            flat[prefix + key] = entry
    return flat


def _setting(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_setting(entry) for entry in value[:_MAX_LISTED])
        more = len(value) - _MAX_LISTED
        return f"{shown}, … ({len(value)})" if more > 0 else shown
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shortened(text: str) -> dict[str, str]:
    """Hashes cut to what an eye compares; ``full`` holds the rest."""
    is_hash = len(text) >= 32 and set(text) <= set("0123456789abcdef")
    return {"text": text[:12] + "…" if is_hash else text, "full": text if is_hash else ""}
