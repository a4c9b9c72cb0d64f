"""Calibration: reliability curves, their summary, and temperature scaling."""

from collections.abc import Sequence

import numpy as np

from augmix import metrics
from augmix.report.comparison import Comparison, Group, Number
from augmix.report.estimates import CLEAN, CORRUPTED, METRICS, Key
from augmix.report.load import Run
from augmix.report.tables import (
    Column,
    Curve,
    Entry,
    Reliability,
    Row,
    Table,
    group_kind,
    shown,
    table_by_row,
)
from augmix.results import Cell, Scaled

_MIN_IN_BIN = 10  # predictions behind a point of a reliability diagram
_TITLES = {CLEAN: "Clean images", CORRUPTED: "Corrupted images, pooled"}


def reliability_chart(comparison: Comparison, scope: str) -> Reliability | None:
    """Draw accuracy against confidence of every row, its seeds pooled."""
    curves = []
    for style, group in enumerate(comparison.groups):
        cells = [cell for run in group.runs for cell in _cells(run, comparison, scope)]
        if cells:
            bins = metrics.pool_bins(cell.equal_width for cell in cells)
            confidence, accuracy, fraction = metrics.curve_from_bins(*bins)
            used = bins[0] >= _MIN_IN_BIN
            curves.append(
                Curve(
                    style=style,
                    x=(100 * confidence[used]).tolist(),
                    y=(100 * accuracy[used]).tolist(),
                    size=fraction[used].tolist(),
                )
            )
    if not curves:
        return None
    return Reliability(
        name=f"reliability-{scope}",
        title=_TITLES[scope],
        note="Accuracy in % against confidence, 15 bins of equal width; larger markers hold more "
        f"predictions, bins of fewer than {_MIN_IN_BIN} are left out.",
        curves=tuple(curves),
    )


def calibration_table(comparison: Comparison, scope: str) -> Table | None:
    """Show accuracy, mean confidence and the calibration errors of every row."""
    if not any(group.number(Key("ece", scope)) for group in comparison.groups):
        return None
    return table_by_row(
        comparison,
        {
            Key(name, scope): Column(title=metric.heading)
            for name, metric in METRICS.items()
            if "calibration" in metric.tables and scope in metric.scopes
        },
        name=f"calibration-{scope}",
        title=_TITLES[scope],
        unit="%",
    )


def score_table(comparison: Comparison) -> Table:
    """Show the proper scores, known as sums only, so without intervals over images."""
    columns = {
        Key(name, scope): Column(title=scope.capitalize(), unit=metric.unit, group=metric.title)
        for name, metric in METRICS.items()
        if "scores" in metric.tables
        for scope in (CLEAN, CORRUPTED)
    }
    return table_by_row(comparison, columns, name="scores", title="Proper scores")


def temperature_table(comparison: Comparison) -> Table | None:
    """Show the calibration before and after temperature scaling, clean and corrupted."""
    scaled = [
        (index, group)
        for index, group in enumerate(comparison.groups)
        if all(run.results.temperature for run in group.runs)
    ]
    if not scaled:
        return None
    rows = [
        Row(
            label=group.label,
            style=index,
            kind=group_kind(group),
            entries=tuple(_before_and_after(group, comparison)),
        )
        for index, group in scaled
    ]
    fitted = scaled[0][1].first.results.temperature or {}
    return Table(
        name="temperature",
        title="Temperature scaling",
        columns=(
            Column(title="Temperature"),
            *(
                Column(title=title, unit=unit, group=f"{name}, {scope}")
                for scope in ("clean", "corrupted")
                for name, unit in (("RMS cal.", "%"), ("NLL", "nats"))
                for title in ("before", "after")
            ),
        ),
        rows=tuple(rows),
        note=f"Fitted on {int(fitted.get('num_images', 0)):,} clean images that are not measured; "
        "errors do not change. Elsewhere on this page everything is before scaling.",
    )


def _before_and_after(group: Group, comparison: Comparison) -> list[Entry]:
    """The temperature, and each number before and after, averaged over seeds."""
    temperatures = [float((run.results.temperature or {})["value"]) for run in group.runs]
    entries = [_mean_entry(temperatures, scale=1.0, decimals=3)]
    for scope in (CLEAN, CORRUPTED):
        pairs = [
            [(cell, cell.scaled) for cell in _cells(run, comparison, scope) if cell.scaled]
            for run in group.runs
        ]
        for scale, decimals, measure in ((100.0, 1, _rms_pair), (1.0, 3, _nll_pair)):
            means = [
                np.mean([measure(*pair) for pair in of_run], axis=0) for of_run in pairs if of_run
            ]
            for after in (0, 1):
                values = [float(mean[after]) for mean in means] if len(means) == len(pairs) else []
                entries.append(_mean_entry(values, scale=scale, decimals=decimals))
    return entries


def _rms_pair(cell: Cell, scaled: Scaled) -> tuple[float, float]:
    before, after = (metrics.rms_from_bins(*each.adaptive) for each in (cell, scaled))
    return before, after


def _nll_pair(cell: Cell, scaled: Scaled) -> tuple[float, float]:
    return cell.nll, scaled.nll_sum / cell.num_images


def _cells(run: Run, comparison: Comparison, scope: str) -> list[Cell]:
    """The measured cells of a scope that all runs share."""
    if scope == CORRUPTED:
        return comparison.grid.cells(run.results)
    clean = run.results.find("clean", "clean", 0)
    return [clean] if clean else []


def _mean_entry(values: Sequence[float], *, scale: float, decimals: int) -> Entry:
    if not values:
        return shown(None)
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    number = Number(value=float(np.mean(values)), std=std)
    return shown(number, scale=scale, decimals=decimals)
