"""Error under corruption, perturbation and attack."""

from typing import Any

import numpy as np

from augmix.report.charts import Bars, Curve, Lines, Point, Scatter
from augmix.report.comparison import Comparison, Group, Number, identity
from augmix.report.estimates import (
    ATTACKED,
    CLEAN,
    CORRUPTED,
    PERTURBED,
    Key,
    attacked_cell,
    error_of,
    find_corrupted,
    readable,
)
from augmix.report.load import Run
from augmix.report.summary import number_column
from augmix.report.tables import Column, Entry, Row, Table, group_kind, plain, shown, text


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
    grid = comparison.grid
    names = [
        name
        for name in (*grid.names, *grid.own)
        if any(group.number(Key(metric, "corruption", name)) for group in comparison.groups)
    ]
    if not names:
        return None
    shown_keys = {name: Key(metric, "corruption", name) for name in names}
    keys = {readable(name): key for name, key in shown_keys.items() if name in grid.names}
    if keys:
        keys["mean"] = Key(metric, CORRUPTED)
    own = {name: key for name, key in shown_keys.items() if name in grid.own}
    keys |= {f"{readable(name)} (own, not in the mean)": key for name, key in own.items()}
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
    cells = [
        cell for run in comparison.runs for cell in run.results.cells if cell.suite in ("c", "own")
    ]
    top = max([error_of(cell) for cell in cells], default=0) or 1.0
    tables = [_severity_table(place, group, top) for place, group in enumerate(comparison.groups)]
    return [table for table in tables if table.rows]


def _severity_table(place: int, group: Group, top: float) -> Table:
    cells = [cell for run in group.runs for cell in run.results.cells if cell.suite in ("c", "own")]
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
    cells = [find_corrupted(run.results, name, severity) for run in group.runs]
    errors = [error_of(cell) for cell in cells if cell is not None]
    return float(np.mean(errors)) if len(errors) == len(cells) else None


def _heated(error: float | None, top: float) -> Entry:
    entry = plain(error)
    if error is None:
        return entry
    return Entry(text=entry.text, value=error, heat=round(100 * error / top))


def _of_seeds(group: Group) -> str:
    return f", mean of {len(group.runs)} seeds" if len(group.runs) > 1 else ""


METRICS = {"error": "Error", "rms": "RMS calibration error"}


def severity_chart(comparison: Comparison, metric: str) -> Lines:
    """A line per row with its interval as a band, in %."""
    levels = (0, *comparison.grid.severities)
    curves = [
        _curve(style, [_at(group, metric, level) for level in levels], levels)
        for style, group in enumerate(comparison.groups)
    ]
    return Lines(
        name=f"severity-{metric}", curves=tuple(curves), x_label="severity", x_ticks=levels
    )


def severity_table(comparison: Comparison, metric: str) -> Table:
    """The numbers behind the chart."""
    levels = (0, *comparison.grid.severities)
    columns = [number_column(comparison, _key(metric, level)) for level in levels]
    rows = [
        Row(label=group.label, style=place, entries=tuple(column[place] for column in columns))
        for place, group in enumerate(comparison.groups)
    ]
    return Table(
        name=f"severity-{metric}",
        title=METRICS[metric],
        unit="mean over corruptions by severity, %",
        columns=tuple(Column(title=str(level) if level else "clean") for level in levels),
        rows=tuple(rows),
    )


def _key(metric: str, level: int) -> Key:
    return Key(metric, "severity", str(level)) if level else Key(metric, CLEAN)


def _at(group: Group, metric: str, level: int) -> Number | None:
    return group.number(_key(metric, level))


def _curve(style: int, numbers: list[Number | None], levels: tuple[int, ...]) -> Curve:
    """Per cent; a band only where every measured point has an interval."""
    nan = float("nan")
    measured = [number for number in numbers if number is not None]
    has_band = bool(measured) and all(number.low is not None for number in measured)
    return Curve(
        style=style,
        x=levels,
        y=[100 * number.value if number else nan for number in numbers],
        low=[100 * (number.low or 0) if number else nan for number in numbers] if has_band else (),
        high=[100 * (number.high or 0) if number else nan for number in numbers]
        if has_band
        else (),
    )


def stability_chart(comparison: Comparison) -> Scatter | None:
    """Flip probability against RMS calibration error: clean hollow, corrupted filled, in %."""
    points = []
    for style, group in enumerate(comparison.groups):
        flips = group.number(Key("flip", PERTURBED))
        for scope in (CLEAN, CORRUPTED):
            rms = group.number(Key("rms", scope))
            if flips and rms:
                points.append(
                    Point(
                        style=style,
                        x=100 * rms.value,
                        y=100 * flips.value,
                        x_span=_span(rms),
                        y_span=_span(flips),
                        is_hollow=scope == CLEAN,
                    )
                )
    if not points:
        return None
    return Scatter(
        name="stability",
        points=tuple(points),
        x_label="RMS calibration error, %",
        y_label="mean flip probability, %",
    )


def stability_table(comparison: Comparison, metric: str = "flip") -> Table | None:
    """Flip probability (or flip rate) of every perturbation, a column per row of the page."""
    names = [
        name
        for name in comparison.sequences
        if any(group.number(Key(metric, "perturbation", name)) for group in comparison.groups)
    ]
    if not names:
        return None
    keys = {readable(name): Key(metric, "perturbation", name) for name in names}
    keys["mean"] = Key(metric, PERTURBED)
    titles = {"flip": "Flip probability", "fr": "Flip rate (FR): divided by AlexNet's"}
    return Table(
        name=f"stability-{metric}",
        title=titles[metric],
        unit="%",
        corner="Perturbation",
        columns=tuple(Column(title=group.label) for group in comparison.groups),
        rows=tuple(
            Row(
                label=label,
                kind="total" if label == "mean" else "measured",
                entries=tuple(number_column(comparison, key)),
            )
            for label, key in keys.items()
        ),
    )


def distance_table(comparison: Comparison) -> Table | None:
    """Top-5 distance of every perturbation, unnormalised; 0..15."""
    rows = []
    for name in comparison.sequences:
        found = [
            [run.results.find_sequence(name) for run in group.runs] for group in comparison.groups
        ]
        sums = [
            [
                cell.top5_distance_sum / cell.num_pairs
                for cell in cells
                if cell is not None and cell.top5_distance_sum is not None
            ]
            for cells in found
        ]
        if any(sums):
            values = [
                float(np.mean(each)) if len(each) == len(cells) else None
                for each, cells in zip(sums, found, strict=True)
            ]
            entries = [plain(value, scale=1.0, decimals=2) for value in values]
            rows.append(Row(label=readable(name), entries=tuple(entries)))
    if not rows:
        return None
    return Table(
        name="stability-top5",
        title="Top-5 distance",
        unit="0 to 15, not divided by AlexNet's, for which no source is known",
        corner="Perturbation",
        columns=tuple(Column(title=group.label) for group in comparison.groups),
        rows=tuple(rows),
    )


def _span(number: Number) -> tuple[float, ...]:
    if number.low is None or number.high is None:
        return ()
    return (100 * number.low, 100 * number.high)


_SETTINGS = {
    "attack_norm": "Norm",
    "attack_epsilon": "Radius",
    "attack_steps": "Steps",
    "attack_step_size": "Step",
    "attack_restarts": "Starts",
}
_LEVELS = 255


def attack_table(comparison: Comparison) -> Table | None:
    """Clean and robust error of every row that was attacked, and how it was."""
    keys = (Key("error", CLEAN), Key("error", ATTACKED))
    columns = [number_column(comparison, key) for key in keys]
    rows = [
        Row(
            label=group.label,
            style=place,
            kind=group_kind(group),
            entries=(
                *(text(word) for word in _settings(group.first).values()),
                *(column[place] for column in columns),
            ),
        )
        for place, group in enumerate(comparison.groups)
        if group.number(Key("error", ATTACKED))
    ]
    if not rows:
        return None
    return Table(
        name="attack",
        title="Error under attack",
        columns=(
            *(Column(title=title, is_number=False) for title in _SETTINGS.values()),
            Column(title="Clean error", unit="%"),
            Column(title="Robust error", unit="%"),
        ),
        rows=tuple(rows),
        note="An image counts if the model is wrong about it or about any attacked form of it: "
        "projected gradient descent (Madry et al., 2018) from random starts within the radius. "
        "A stronger attack may turn more images, so the error is at least this.",
    )


def attack_words(comparison: Comparison) -> str:
    """How the runs were attacked, in words; empty if none was."""
    told = []
    for run in comparison.runs:
        if attacked_cell(run.results):
            norm, radius, steps, step, starts = _settings(run).values()
            many = f"from {starts} random start{'s' if starts != '1' else ''}"
            told.append(f"{norm} within {radius}, {steps} steps of {step} {many}")
    return "; ".join(dict.fromkeys(told))


def _settings(run: Run) -> dict[str, str]:
    return {name: _word(run.results.protocol.get(name)) for name in _SETTINGS}


def _word(value: Any) -> str:
    """Lengths that are whole grey levels as such."""
    if not isinstance(value, float):
        return str(value)
    levels = round(_LEVELS * value, 6)
    return f"{levels:.0f}/{_LEVELS}" if levels and levels % 1 == 0 else f"{value:.4g}"


def adaptation_table(comparison: Comparison) -> Table | None:
    """Models as they were trained beside the same models adapted to the measured images."""
    adapted = [group for group in comparison.groups if group.first.adaptation]
    ways = list(dict.fromkeys(group.first.adaptation for group in adapted))
    if not ways:
        return None
    bases: dict[Any, dict[str, Group]] = {}
    for group in comparison.groups:
        family = bases.setdefault(_family(group), {})
        family.setdefault(group.first.adaptation, group)
    families = [family for family in bases.values() if set(family) & set(ways)]
    parts = [(Key("error", CLEAN), "Clean error"), (Key("error", CORRUPTED), "Corruption error")]
    parts.append((Key("rms", CORRUPTED), "RMS cal., corrupted"))
    columns = [
        Column(title=way or "as trained", unit="%", group=title)
        for _, title in parts
        for way in ("", *ways)
    ]
    rows = []
    for family in families:
        shows = family.get("") or next(iter(family.values()))
        entries = [
            shown(family[way].number(key) if way in family else None)
            for key, _ in parts
            for way in ("", *ways)
        ]
        label = shows.label.removesuffix(f", adapted ({shows.first.adaptation})")
        rows.append(Row(label=label, entries=tuple(entries)))
    return Table(
        name="adaptation",
        title="Adapted to the measured images",
        columns=tuple(columns),
        rows=tuple(rows),
        note="An adapted model has seen the images it is measured on, without their labels: its "
        "numbers must not be compared with those of models as they were trained.",
    )


def _family(group: Group) -> tuple[Any, ...]:
    """The same whether adapted or not."""
    hashes = tuple(sorted(str(run.results.model.get("weights_sha256")) for run in group.runs))
    return (identity(group.first, has_adaptation=False), hashes)
