"""Error per corruption: Figure 5's bars, a table of all rows, and each row by severity."""

import numpy as np

from augmix.report.charts import Bars
from augmix.report.comparison import Comparison
from augmix.report.estimates import CORRUPTED, Key
from augmix.report.grids import error_of, readable
from augmix.report.groups import Group
from augmix.report.summary import number_column
from augmix.report.tables import Column, Entry, Row, Table, plain


def corruption_bars(comparison: Comparison) -> Bars | None:
    """Bars of the error per corruption with their intervals, in %."""
    names = comparison.grid.names
    if not names:
        return None
    shape = (3, len(comparison.groups), len(names))
    ends = np.full(shape, np.nan)
    for row, group in enumerate(comparison.groups):
        for column, name in enumerate(names):
            number = group.number(Key("error", "corruption", name))
            if number is not None:
                found = [number.value, number.low, number.high]
                ends[:, row, column] = [np.nan if end is None else 100 * end for end in found]
    return Bars(
        name="bars",
        categories=tuple(readable(name) for name in names),
        values=ends[0],
        low=ends[1],
        high=ends[2],
    )


def corruption_table(comparison: Comparison, metric: str = "error") -> Table | None:
    """Error (or CE, or RMS calibration error) of every corruption, a column per row of the page."""
    names = [
        name
        for name in comparison.grid.names
        if any(group.number(Key(metric, "corruption", name)) for group in comparison.groups)
    ]
    if not names:
        return None
    keys = {readable(name): Key(metric, "corruption", name) for name in names}
    keys["mean"] = Key(metric, CORRUPTED)
    rows = [
        Row(
            label=label,
            kind="total" if label == "mean" else "measured",
            entries=tuple(number_column(comparison, key)),
        )
        for label, key in keys.items()
    ]
    titles = {
        "error": "Error per corruption",
        "ce": "Corruption error (CE): error divided by AlexNet's",
        "rms": "RMS calibration error per corruption",
    }
    return Table(
        name=f"corruptions-{metric}",
        title=titles[metric],
        unit="%, mean over severities",
        corner="Corruption",
        columns=tuple(Column(title=group.label) for group in comparison.groups),
        rows=tuple(rows),
    )


def severity_tables(comparison: Comparison) -> list[Table]:
    """Each row's error by corruption and severity; heat is the share of the largest error."""
    cells = [cell for run in comparison.runs for cell in run.results.cells if cell.suite == "c"]
    top = max([error_of(cell) for cell in cells], default=0) or 1.0
    tables = [_severity_table(place, group, top) for place, group in enumerate(comparison.groups)]
    return [table for table in tables if table.rows]


def _severity_table(place: int, group: Group, top: float) -> Table:
    cells = [cell for run in group.runs for cell in run.results.cells if cell.suite == "c"]
    severities = sorted({cell.severity for cell in cells})
    rows = []
    for name in dict.fromkeys(cell.name for cell in cells):
        errors = [_mean_error(group, name, severity) for severity in severities]
        known = [error for error in errors if error is not None]
        mean = float(np.mean(known)) if len(known) == len(errors) else None
        entries = [_heated(error, top) for error in errors]
        rows.append(Row(label=readable(name), entries=(*entries, plain(mean))))
    return Table(
        name=f"severities-{place}",
        title=group.label,
        unit="error by severity, %" + _of_seeds(group),
        corner="Corruption",
        columns=(*(Column(title=str(level)) for level in severities), Column(title="Mean")),
        rows=tuple(rows),
    )


def _mean_error(group: Group, name: str, severity: int) -> float | None:
    """Mean over seeds; None if one of them lacks the cell."""
    cells = [run.results.find("c", name, severity) for run in group.runs]
    errors = [error_of(cell) for cell in cells if cell is not None]
    return float(np.mean(errors)) if len(errors) == len(cells) else None


def _heated(error: float | None, top: float) -> Entry:
    entry = plain(error)
    if error is None:
        return entry
    return Entry(text=entry.text, value=error, heat=round(100 * error / top))


def _of_seeds(group: Group) -> str:
    return f", mean of {len(group.runs)} seeds" if len(group.runs) > 1 else ""
