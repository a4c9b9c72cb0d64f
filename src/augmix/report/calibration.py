"""Calibration: reliability curves, what they sum up to, and temperature scaling."""

import numpy as np

from augmix.metrics import curve_from_bins
from augmix.report.charts import Curve, Reliability
from augmix.report.comparison import Comparison, Group
from augmix.report.estimates import CLEAN, CORRUPTED, Key, arrays, pooled, rms_of
from augmix.report.load import Run
from augmix.report.summary import number_column
from augmix.report.tables import Column, Entry, Row, Table, group_kind, plain
from augmix.results import Bins, Cell, Scaled

MIN_IN_BIN = 10  # predictions behind a point of a reliability diagram
TITLES = {CLEAN: "Clean images", CORRUPTED: "Corrupted images, pooled"}


def reliability_chart(comparison: Comparison, scope: str) -> Reliability | None:
    """Accuracy against confidence of every row, its seeds pooled."""
    curves = [
        _curve(style, pooled([cell.equal_width for cell in cells]))
        for style, group in enumerate(comparison.groups)
        if (cells := _cells(comparison, group, scope))
    ]
    return Reliability(name=f"reliability-{scope}", curves=tuple(curves)) if curves else None


def calibration_table(comparison: Comparison, scope: str) -> Table | None:
    """Accuracy, mean confidence, their gap by ECE, and RMS calibration error of every row."""
    titles = {"accuracy": "Accuracy", "confidence": "Confidence", "ece": "ECE", "rms": "RMS cal."}
    if not any(group.number(Key("ece", scope)) for group in comparison.groups):
        return None
    columns = [_column(comparison, metric, scope) for metric in titles]
    rows = [
        Row(
            label=group.label,
            style=place,
            kind=group_kind(group),
            entries=tuple(column[place] for column in columns),
        )
        for place, group in enumerate(comparison.groups)
    ]
    return Table(
        name=f"calibration-{scope}",
        title=TITLES[scope],
        unit="%",
        columns=tuple(Column(title=title) for title in titles.values()),
        rows=tuple(rows),
    )


def temperature_table(comparison: Comparison) -> Table | None:
    """What temperature scaling changes: before and after, clean and corrupted."""
    scaled = [(place, group) for place, group in enumerate(comparison.groups) if _is_scaled(group)]
    if not scaled:
        return None
    rows = [
        Row(
            label=group.label,
            style=place,
            kind=group_kind(group),
            entries=_scaled(group, comparison),
        )
        for place, group in scaled
    ]
    fitted = scaled[0][1].first.results.temperature or {}
    return Table(
        name="temperature",
        title="Temperature scaling",
        columns=(
            Column(title="Temperature"),
            *(
                Column(title=title, unit=unit, group=f"{name}, {where}")
                for where in ("clean", "corrupted")
                for name, unit in (("RMS cal.", "%"), ("NLL", "nats"))
                for title in ("before", "after")
            ),
        ),
        rows=tuple(rows),
        note=f"Fitted on {int(fitted.get('num_images', 0)):,} clean images that are not measured; "
        "errors do not change. Elsewhere on this page everything is before scaling.",
    )


def _column(comparison: Comparison, metric: str, scope: str) -> list[Entry]:
    """Marked only where smaller is better."""
    from_best = number_column(comparison, Key(metric, scope))
    if metric in ("ece", "rms"):
        return from_best
    return [Entry(text=each.text, value=each.value, detail=each.detail) for each in from_best]


def _cells(comparison: Comparison, group: Group, scope: str) -> list[Cell]:
    if scope == CORRUPTED:
        return [cell for run in group.runs for cell in comparison.grid.cells(run.results)]
    found = [run.results.find("clean", "clean", 0) for run in group.runs]
    return [cell for cell in found if cell is not None]


def _curve(style: int, bins: Bins) -> Curve:
    count = np.array(bins.count)
    confidence, accuracy, share = curve_from_bins(*arrays(bins))
    used = count >= MIN_IN_BIN
    return Curve(
        style=style,
        x=(100 * confidence[used]).tolist(),
        y=(100 * accuracy[used]).tolist(),
        size=share[used].tolist(),
    )


def _is_scaled(group: Group) -> bool:
    return all(run.results.temperature for run in group.runs)


def _scaled(group: Group, comparison: Comparison) -> tuple[Entry, ...]:
    """Mean over seeds of the temperature and of each number before and after."""
    temperatures = [float((run.results.temperature or {})["value"]) for run in group.runs]
    entries = [_mean(temperatures, scale=1.0, decimals=3)]
    for scope in (CLEAN, CORRUPTED):
        pairs = [_pairs(run, comparison, scope) for run in group.runs]
        for scale, decimals, take in ((100.0, 1, _rms_pair), (1.0, 3, _nll_pair)):
            values = [np.mean([take(*pair) for pair in each], axis=0) for each in pairs if each]
            for side in (0, 1):
                known = [float(value[side]) for value in values]
                known = known if len(known) == len(pairs) else []
                entries.append(_mean(known, scale=scale, decimals=decimals))
    return tuple(entries)


def _pairs(run: Run, comparison: Comparison, scope: str) -> list[tuple[Cell, Scaled]]:
    clean = run.results.find("clean", "clean", 0)
    cells = comparison.grid.cells(run.results) if scope == CORRUPTED else [clean] if clean else []
    return [(cell, cell.scaled) for cell in cells if cell.scaled is not None]


def _rms_pair(cell: Cell, scaled: Scaled) -> tuple[float, float]:
    return rms_of(cell), rms_of(scaled)


def _nll_pair(cell: Cell, scaled: Scaled) -> tuple[float, float]:
    return cell.nll_sum / cell.num_images, scaled.nll_sum / cell.num_images


def _mean(values: list[float], *, scale: float, decimals: int) -> Entry:
    entry = plain(float(np.mean(values)) if values else None, scale=scale, decimals=decimals)
    if len(values) < 2:
        return entry
    deviation = scale * float(np.std(values, ddof=1))
    return Entry(text=entry.text, value=entry.value, detail=f"± {deviation:.{decimals}f}")
