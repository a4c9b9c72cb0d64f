"""Training curves and settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from augmix.report.charts import Curve, Lines
from augmix.report.comparison import Comparison
from augmix.report.load import Run

MAX_POINTS = 300  # of a curve; longer logs are averaged
_CURVES = (  # key of the log, title, logarithmic, scale
    ("loss", "Loss, logarithmic", True, 1.0),
    ("train_error", "Training error, %", False, 100.0),
    ("learning_rate", "Learning rate", False, 1.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the logs show.

    Attributes:
        charts: By title.
        missing: Labels of the runs without a log.
        is_averaged: Whether a log was too long to be drawn step by step.
        is_several: Whether a row's line is that of the first of its seeds.
    """

    charts: dict[str, Lines]
    missing: tuple[str, ...]
    is_averaged: bool
    is_several: bool


def training(comparison: Comparison) -> Training:
    """The curves of every row's first run that kept a log."""
    logged = [
        (style, run)
        for style, group in enumerate(comparison.groups)
        if (run := next((run for run in group.runs if run.log), None))
    ]
    charts = {}
    for key, title, is_log, scale in _CURVES:
        curves = [_curve(style, run, key, scale) for style, run in logged]
        curves = [curve for curve in curves if not np.isnan(curve.y).all()]
        if curves:
            charts[title] = Lines(
                name=f"training-{key.replace('_', '-')}",
                curves=tuple(curves),
                x_label="epoch",
                width_px=310,
                is_log=is_log,
                has_markers=False,
            )
    return Training(
        charts=charts,
        missing=tuple(
            group.label for group in comparison.groups if not any(run.log for run in group.runs)
        ),
        is_averaged=any(len(run.log) > MAX_POINTS for _, run in logged),
        is_several=any(len(group.runs) > 1 for group in comparison.groups),
    )


def _curve(style: int, run: Run, key: str, scale: float) -> Curve:
    """A column of the log against the epoch, averaged down to a readable number of points."""
    pairs = [(record.get("epoch", record["step"]), record.get(key)) for record in run.log]
    values = np.array([(x, np.nan if y is None else scale * y) for x, y in pairs], np.float64)
    chunks = np.array_split(values, min(len(values), MAX_POINTS))
    means = np.array([chunk.mean(axis=0) for chunk in chunks])
    return Curve(style=style, x=means[:, 0].tolist(), y=means[:, 1].tolist())


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
