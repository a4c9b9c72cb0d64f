"""Tables and charts of errors, stability, attacks, adaptation and calibration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from augmix import metrics, published
from augmix.bootstrap import proportion_interval
from augmix.per_image import load_predictions, predictions_path
from augmix.report.comparison import Comparison, Group, Number, identity, over_seeds
from augmix.report.estimates import IMAGE_SCOPES, METRICS, Key, Scope, readable, short
from augmix.report.load import BANDS, BAR, Run, attacked_cell, own_sequences
from augmix.report.tables import (
    Bars,
    Column,
    Curve,
    Entry,
    HeatMap,
    Lines,
    Point,
    Reliability,
    Row,
    Scatter,
    Table,
    group_row,
    number_entries,
    percent,
    plain,
    shown,
    table_by_row,
)
from augmix.results import Cell, Scaled

# -- By corruption, severity and perturbation -----------------------------------------------------


_MANY = 6  # rows that bars, or bands, can show


def corruption_bars(comparison: Comparison) -> Bars | None:
    """Draw the error of every corruption with its interval, in %; none of more than six rows."""
    names = comparison.grid.names
    if not names or len(comparison.groups) > _MANY:
        return None
    keys = [Key("error", Scope.CORRUPTION, name) for name in names]
    ends = np.array([[percent(group.number(key)) for key in keys] for group in comparison.groups])
    return Bars(
        name="bars",
        title="Error per corruption",
        categories=tuple(readable(name) for name in names),
        values=ends[..., 0],
        low=ends[..., 1],
        high=ends[..., 2],
    )


def corruption_matrix(comparison: Comparison) -> Table | None:
    """Show the errors of more rows than bars can: one line each, the lowest mean error first."""
    names = comparison.grid.names
    if not names or len(comparison.groups) <= _MANY:
        return None
    columns = {Key("error", Scope.CORRUPTED): Column(title="Mean")}
    columns |= {Key("error", Scope.CORRUPTION, name): Column(title=short(name)) for name in names}
    table = table_by_row(
        comparison,
        columns,
        name="corruptions-matrix",
        title="Error of every row and corruption",
        unit="%, mean over severities, the lowest mean first",
        corner="Run",
    )
    found = [each.value or 0.0 for row in table.rows for each in row.entries]
    top = max(found) or 1.0
    rows = [
        replace(
            row,
            entries=tuple(
                each
                if each.value is None
                else replace(each, detail="", heat=round(100 * each.value / top))
                for each in row.entries
            ),
        )
        for row in table.rows
    ]
    rows.sort(key=lambda row: (row.entries[0].value is None, row.entries[0].value))
    return replace(table, rows=tuple(rows))


def corruption_table(comparison: Comparison, metric: str) -> Table | None:
    """Show a metric for every corruption and their mean, a column for each row of the report."""
    grid, about = comparison.grid, METRICS[metric]
    return _table_by_name(
        comparison,
        Key(metric, Scope.CORRUPTED),
        {name: Key(metric, Scope.CORRUPTION, name) for name in (*grid.names, *grid.own)},
        grid.own,
        name=f"corruptions-{metric}",
        title=about.title + ("" if about.baseline else " per corruption"),
        unit=f"{about.unit}, mean over severities",
        corner="Corruption",
    )


def bar_table(comparison: Comparison, metric: str) -> Table | None:
    """Show a metric for every corruption of C-bar and their mean, a column for each row."""
    about = METRICS[metric]
    return _table_by_name(
        comparison,
        Key(metric, Scope.BAR),
        {name: Key(metric, Scope.CORRUPTION, name) for name in comparison.grid.bar},
        (),
        name=f"bar-{metric}",
        title=f"{about.title} per corruption of C-bar",
        unit=f"{about.unit}, mean over severities",
        corner="Corruption",
    )


def stability_table(comparison: Comparison, metric: str) -> Table | None:
    """Show a metric for every perturbation and their mean, a column for each row of the report."""
    own = {name for run in comparison.runs for name in own_sequences(run.results)}
    about, mean = METRICS[metric], Key(metric, Scope.PERTURBED)
    return _table_by_name(
        comparison,
        mean if Scope.PERTURBED in about.scopes else None,
        {name: Key(metric, Scope.PERTURBATION, name) for name in comparison.sequences},
        own,
        name=f"stability-{metric}",
        title=about.title,
        unit=about.unit,
        corner="Perturbation",
    )


def _table_by_name(
    comparison: Comparison,
    mean: Key | None,
    keys: Mapping[str, Key],
    own: Collection[str],
    **settings: Any,
) -> Table | None:
    """A row for each name, their mean, then the user's own; none if nothing was measured."""
    measured = {name: key for name, key in keys.items() if comparison.has(key)}
    names = [name for name in measured if name not in own]
    rows = {readable(name): measured[name] for name in names}
    if mean and rows:
        rows["mean"] = mean
    rows |= {
        f"{readable(name)} (own, not in the mean)": measured[name]
        for name in measured
        if name in own
    }
    if not rows:
        return None
    return Table(
        columns=tuple(Column(title=group.label) for group in comparison.groups),
        rows=tuple(
            Row(
                label=label,
                kind="total" if key == mean else "measured",
                entries=tuple(number_entries(comparison, key)),
            )
            for label, key in rows.items()
        ),
        **settings,
    )


def severity_tables(comparison: Comparison) -> list[Table]:
    """Show each row's error by corruption and severity, with heat relative to the largest error."""
    cells = [
        [
            cell
            for run in group.runs
            for cell in run.results.cells
            if cell.suite in ("c", BAR, "own")
        ]
        for group in comparison.groups
    ]
    top = max([cell.error for of_group in cells for cell in of_group], default=0) or 1.0
    return [
        _severity_table(index, group, of_group, top)
        for index, (group, of_group) in enumerate(zip(comparison.groups, cells, strict=True))
        if of_group
    ]


def _severity_table(index: int, group: Group, cells: list[Cell], top: float) -> Table:
    severities = sorted({cell.severity for cell in cells})
    rows = []
    for name in dict.fromkeys(cell.name for cell in cells):
        errors = [_mean_error(group, cells, name, severity) for severity in severities]
        known = [error for error in errors if error is not None]
        mean = float(np.mean(known)) if len(known) == len(errors) else None
        entries = [
            plain(error) if error is None else replace(plain(error), heat=round(100 * error / top))
            for error in errors
        ]
        rows.append(Row(label=readable(name), entries=(*entries, plain(mean))))
    seeds = f", mean of {len(group.runs)} seeds" if len(group.runs) > 1 else ""
    return Table(
        name=f"severities-{index}",
        title=group.label,
        unit=f"error by severity, %{seeds}",
        corner="Corruption",
        columns=(*(Column(title=str(level)) for level in severities), Column(title="Mean")),
        rows=tuple(rows),
    )


def _mean_error(group: Group, cells: list[Cell], name: str, severity: int | float) -> float | None:
    """Mean over seeds; None if one of them lacks the cell."""
    found = [cell.error for cell in cells if (cell.name, cell.severity) == (name, severity)]
    return float(np.mean(found)) if len(found) == len(group.runs) else None


def severity_chart(comparison: Comparison, metric: str) -> Lines:
    """Draw a metric against severity, a line for each row, with intervals as bands of few rows."""
    levels = (0, *comparison.grid.severities)
    keys = [_at_severity(metric, level) for level in levels]
    about = METRICS[metric]
    curves = []
    for style, group in enumerate(comparison.groups):
        numbers = [group.number(key) for key in keys]
        y, low, high = np.array([percent(number, about.scale) for number in numbers]).T.tolist()
        measured = [number for number in numbers if number is not None]
        is_clear = bool(measured) and len(comparison.groups) <= _MANY
        has_band = is_clear and all(number.low is not None for number in measured)
        band = {"low": low, "high": high} if has_band else {}
        curves.append(Curve(style=style, x=levels, y=y, **band))
    return Lines(
        name=f"severity-{metric}",
        title=f"{about.title}, {about.unit}",
        note="Severity 0 is the clean images.",
        curves=tuple(curves),
        x_label="severity",
        x_ticks=levels,
    )


def severity_table(comparison: Comparison, metric: str) -> Table:
    """Show the numbers behind the chart of a metric against severity."""
    levels = (0, *comparison.grid.severities)
    return table_by_row(
        comparison,
        {
            _at_severity(metric, level): Column(title=str(level) if level else "clean")
            for level in levels
        },
        name=f"severity-{metric}",
        title=METRICS[metric].title,
        unit=f"mean over corruptions by severity, {METRICS[metric].unit}",
    )


def _at_severity(metric: str, level: int | float) -> Key:
    return Key(metric, Scope.SEVERITY, str(level)) if level else Key(metric, Scope.CLEAN)


def stability_chart(comparison: Comparison) -> Scatter | None:
    """Draw flip probability against RMS calibration error: clean hollow, corrupted filled."""
    points = []
    for style, group in enumerate(comparison.groups):
        flips = group.number(Key("flip", Scope.PERTURBED))
        for scope in IMAGE_SCOPES:
            rms = group.number(Key("rms", scope))
            if flips and rms:
                (x, *x_span), (y, *y_span) = percent(rms), percent(flips)
                point = Point(style=style, x=x, y=y, is_hollow=scope == Scope.CLEAN)
                point = point if rms.low is None else replace(point, x_span=tuple(x_span))
                point = point if flips.low is None else replace(point, y_span=tuple(y_span))
                points.append(point)
    if not points:
        return None
    return Scatter(
        name="stability",
        title="Flip probability against calibration error",
        note="Hollow: calibration on clean images; filled: on corrupted ones. "
        "Lower left is better.",
        points=tuple(points),
        x_label="RMS calibration error, %",
        y_label="mean flip probability, %",
    )


# -- Attacked and adapted models ------------------------------------------------------------------

_SETTINGS = {
    "attack_norm": "Norm",
    "attack_epsilon": "Radius",
    "attack_steps": "Steps",
    "attack_step_size": "Step",
    "attack_restarts": "Starts",
}


def attack_table(comparison: Comparison) -> Table | None:
    """Show clean and robust error of every attacked row, and the settings of the attack."""
    if not comparison.has(Key("error", Scope.ATTACKED)):
        return None
    settings = [_attack_settings(group.first) for group in comparison.groups]
    return table_by_row(
        comparison,
        {
            Key("error", Scope.CLEAN): Column(title="Clean error", unit="%"),
            Key("error", Scope.ATTACKED): Column(title="Robust error", unit="%"),
        },
        lead={
            Column(title=title, is_number=False): [each[name] for each in settings]
            for name, title in _SETTINGS.items()
        },
        keep=lambda group: group.number(Key("error", Scope.ATTACKED)) is not None,
        name="attack",
        title="Error under attack",
        note="An image counts if the model is wrong about it or about any attacked form of it: "
        "projected gradient descent (Madry et al., 2018) from random starts within the radius. "
        "A stronger attack may turn more images, so the error is at least this.",
    )


def natural_table(comparison: Comparison) -> Table | None:
    """Show error and calibration on other photographs, beside the clean images of their classes."""
    names = dict.fromkeys(
        cell.name
        for run in comparison.runs
        for cell in run.results.cells
        if cell.suite == "natural" and not cell.name.endswith("-clean")
    )
    if not names:
        return None
    columns, published_beside = [], []
    for group in comparison.groups:
        units = {"Error": "%", "RMS cal.": "%", "Clean error": "%", "AUPR": "%"}
        columns += [
            Column(title=title, unit=unit, group=group.label)
            for title, unit in units.items()
            if title != "AUPR" or "imagenet-o" in names
        ]
        published_beside += [
            f"{model} on {name}: {100 - top:.2f} %"
            for model, by_name in published.NATURAL_TOP_1.items()
            if model in f"{group.label} {group.first.network}"
            for name, top in by_name.items()
            if name in names
        ]
    rows = [
        Row(
            label=name,
            entries=tuple(
                entry
                for group in comparison.groups
                for entry in _natural_entries(group, name, has_outliers="imagenet-o" in names)
            ),
        )
        for name in names
    ]
    note = (
        "The softmax is over the classes of the set. Clean error is on the clean images of these "
        "classes, over the same classes. Images of ImageNet-O are of no class: AUPR is the area "
        "under the precision-recall curve of telling them from the clean ones by 1 - confidence."
    )
    if published_beside:
        note += f" Published by timm, error: {', '.join(published_beside)}."
    return Table(
        name="natural",
        title="Other photographs",
        corner="Set",
        columns=tuple(columns),
        rows=tuple(rows),
        note=note,
    )


def _natural_entries(group: Group, name: str, *, has_outliers: bool) -> list[Entry]:
    pairs = []
    for run in group.runs:
        twin = run.results.find("natural", f"{name}-clean", 0)
        pairs.append((run, run.results.find("natural", name, 0), twin))
    is_outlier = name == "imagenet-o"
    cells = [cell for _, cell, _ in pairs if cell is not None]
    clean = [twin or run.results.find("clean", "clean", 0) for run, _, twin in pairs]
    clean = [cell for cell in clean if cell is not None]
    if len(cells) < len(pairs):
        return [plain(None)] * (4 if has_outliers else 3)
    entries = [
        plain(None) if is_outlier else shown(_error(cells)),
        plain(None)
        if is_outlier
        else shown(over_seeds([metrics.rms_from_bins(*cell.adaptive) for cell in cells])),
        shown(_error(clean)) if len(clean) == len(pairs) else plain(None),
    ]
    if has_outliers:
        areas = [_outlier_precision(run) for run, *_ in pairs] if is_outlier else [None]
        known = [area for area in areas if area is not None]
        entries.append(shown(over_seeds(known)) if len(known) == len(areas) else plain(None))
    return entries


def _error(cells: Sequence[Cell]) -> Number:
    """Mean error over seeds, or that of one with its interval from the counts."""
    number = over_seeds([cell.error for cell in cells])
    if len(cells) > 1:
        return number
    interval = proportion_interval(cells[0].num_errors, cells[0].num_images)
    return replace(number, low=interval.low, high=interval.high, interval=interval.kind)


def _outlier_precision(run: Run) -> float | None:
    """Area of finding ImageNet-O's images by a low confidence; None without predictions."""
    found = [
        predictions_path(run.folder, "natural", name, 0)
        for name in ("imagenet-o", "imagenet-o-clean")
    ]
    if not all(path.exists() for path in found):
        return None
    outside, inside = (
        load_predictions(run.folder, "natural", name, 0).confidence
        for name in ("imagenet-o", "imagenet-o-clean")
    )
    scores = 1 - np.concatenate([outside, inside]).astype(np.float64)
    return metrics.average_precision(scores, np.arange(len(scores)) < len(outside))


def fourier_table(comparison: Comparison) -> Table | None:
    """Show the error under single Fourier-basis perturbations of every row, by band."""
    if not comparison.has(Key("error", Scope.FOURIER)):
        return None
    protocols = [group.first.results.protocol for group in comparison.groups]
    bands = {Key("error", Scope.BAND, band): Column(title=band.capitalize()) for band in BANDS}
    return table_by_row(
        comparison,
        {
            Key("error", Scope.CLEAN): Column(title="Clean error"),
            Key("error", Scope.FOURIER): Column(title="All frequencies"),
            **{key: column for key, column in bands.items() if comparison.has(key)},
        },
        lead={
            Column(title="Norm", is_number=False): [
                f"{each['fourier_norm']:g}" if "fourier_norm" in each else "" for each in protocols
            ],
            Column(title="Map", is_number=False): [
                " × ".join(map(str, each.get("fourier_size", ()))) for each in protocols
            ],
        },
        keep=lambda group: group.number(Key("error", Scope.FOURIER)) is not None,
        name="fourier",
        title="Error under single Fourier-basis perturbations",
        unit="mean over the frequencies, %",
        note="Low, middle and high frequencies are the thirds of the map from its middle outwards. "
        "The norm is that of the change of each channel, in [0, 1] units.",
    )


def fourier_maps(comparison: Comparison) -> list[HeatMap]:
    """Draw each row's error by frequency, its mean over seeds, all rows on one scale."""
    found = {
        style: [run.results.fourier_map for run in group.runs]
        for style, group in enumerate(comparison.groups)
    }
    maps: dict[int, Any] = {}
    for style, errors in found.items():
        measured = [each for each in errors if each is not None]
        if len(measured) == len(errors) and len({each.shape for each in measured}) == 1:
            maps[style] = 100 * np.mean(measured, axis=0)
    known = [values[~np.isnan(values)] for values in maps.values()]
    top = max([float(values.max()) for values in known if values.size], default=0.0)
    return [
        HeatMap(
            name=f"fourier-{style}",
            title=comparison.groups[style].label,
            values=values,
            top=top or 1.0,
            x_label="cycles over the width",
            y_label="cycles over the height",
            label="error, %",
        )
        for style, values in maps.items()
    ]


def attack_words(comparison: Comparison) -> str:
    """Describe the attacks on the runs; empty if none was attacked."""
    found = []
    for run in comparison.runs:
        if attacked_cell(run.results):
            norm, radius, steps, step, starts = _attack_settings(run).values()
            many = f"from {starts} random start{'s' if starts != '1' else ''}"
            found.append(f"{norm} within {radius}, {steps} steps of {step} {many}")
    return "; ".join(dict.fromkeys(found))


def _attack_settings(run: Run) -> dict[str, str]:
    """The settings in words; a length of whole grey levels is a fraction of 255."""
    words = {}
    for name in _SETTINGS:
        value = run.results.protocol.get(name)
        words[name] = str(value)
        if isinstance(value, float):
            levels = round(255 * value, 6)
            words[name] = f"{levels:.0f}/255" if levels and levels % 1 == 0 else f"{value:.4g}"
    return words


def adaptation_table(comparison: Comparison) -> Table | None:
    """Show models as they were trained beside the same models adapted to the measured images."""
    adaptations = dict.fromkeys(group.first.adaptation for group in comparison.groups)
    ways = ["", *(way for way in adaptations if way)]
    if len(ways) == 1:
        return None
    models: dict[Any, dict[str, Group]] = {}
    for group in comparison.groups:
        hashes = sorted(str(run.results.model.get("weights_sha256")) for run in group.runs)
        model = (identity(group.first, has_adaptation=False), *hashes)
        models.setdefault(model, {}).setdefault(group.first.adaptation, group)
    parts = {
        Key("error", Scope.CLEAN): "Clean error",
        Key("error", Scope.CORRUPTED): "Corruption error",
        Key("rms", Scope.CORRUPTED): "RMS cal., corrupted",
    }
    rows = []
    for by_way in models.values():
        if set(by_way) == {""}:
            continue
        group = by_way.get("") or next(iter(by_way.values()))
        entries = [
            shown(by_way[way].number(key) if way in by_way else None)
            for key in parts
            for way in ways
        ]
        label = group.label.removesuffix(f", adapted ({group.first.adaptation})")
        rows.append(Row(label=label, entries=tuple(entries)))
    return Table(
        name="adaptation",
        title="Adapted to the measured images",
        columns=tuple(
            Column(title=way or "as trained", unit="%", group=title)
            for title in parts.values()
            for way in ways
        ),
        rows=tuple(rows),
        note="An adapted model has seen the images it is measured on, without their labels: its "
        "numbers must not be compared with those of models as they were trained.",
    )


# -- Calibration ----------------------------------------------------------------------------------

_MIN_IN_BIN = 10  # predictions behind a point of a reliability diagram
_MIN_POINTS = 3  # of a reliability curve; one of fewer shows nothing
_TITLES = {Scope.CLEAN: "Clean images", Scope.CORRUPTED: "Corrupted images, pooled"}


def reliability_chart(comparison: Comparison, scope: Scope) -> Reliability | None:
    """Draw accuracy against confidence of every row, its seeds pooled."""
    curves = []
    for style, group in enumerate(comparison.groups):
        cells = [cell for run in group.runs for cell in _cells(run, comparison, scope)]
        if cells:
            bins = metrics.pool_bins(cell.equal_width for cell in cells)
            curve = np.stack(metrics.curve_from_bins(*bins))[:, bins[0] >= _MIN_IN_BIN]
            x, y, size = (curve * [[100], [100], [1]]).tolist()
            curves.append(Curve(style=style, x=x, y=y, size=size))
    if max((len(curve.x) for curve in curves), default=0) < _MIN_POINTS:
        return None
    return Reliability(
        name=f"reliability-{scope}",
        title=_TITLES[scope],
        note="Accuracy in % against confidence, 15 bins of equal width; larger markers hold more "
        f"predictions, bins of fewer than {_MIN_IN_BIN} are left out.",
        curves=tuple(curves),
    )


def calibration_table(comparison: Comparison, scope: Scope) -> Table | None:
    """Show accuracy, mean confidence and the calibration errors of every row."""
    if not comparison.has(Key("ece", scope)):
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
        for scope in IMAGE_SCOPES
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
    from augmix.models.calibration import bound_note  # loads torch

    fitted = scaled[0][1].first.results.temperature or {}
    bounds = [
        f"{run.label}: {note}."
        for _, group in scaled
        for run in group.runs
        if (note := bound_note(float((run.results.temperature or {})["value"])))
    ]
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
        rows=tuple(
            group_row(index, group, _before_and_after(group, comparison)) for index, group in scaled
        ),
        note=f"Fitted on {int(fitted.get('num_images', 0)):,} clean images that are not measured; "
        "errors do not change. Elsewhere on this page everything is before scaling."
        + "".join(f" {each}" for each in bounds),
    )


def _before_and_after(group: Group, comparison: Comparison) -> list[Entry]:
    """The temperature, and each number before and after, averaged over seeds."""
    temperatures = [float((run.results.temperature or {})["value"]) for run in group.runs]
    entries = [_mean_entry(temperatures, scale=1.0, decimals=3)]
    for scope in IMAGE_SCOPES:
        cells = [_cells(run, comparison, scope) for run in group.runs]
        pairs = [[(cell, cell.scaled) for cell in each if cell.scaled] for each in cells]
        for scale, decimals, measure in ((100.0, 1, _rms), (1.0, 3, _nll)):
            means = [np.mean([measure(*pair) for pair in each], axis=0) for each in pairs if each]
            for after in (0, 1):
                values = [float(mean[after]) for mean in means] if len(means) == len(pairs) else []
                entries.append(_mean_entry(values, scale=scale, decimals=decimals))
    return entries


def _rms(cell: Cell, scaled: Scaled) -> list[float]:
    return [metrics.rms_from_bins(*each.adaptive) for each in (cell, scaled)]


def _nll(cell: Cell, scaled: Scaled) -> list[float]:
    assert cell.nll is not None  # a temperature is fitted to logits
    return [cell.nll, scaled.nll_sum / cell.num_images]


def _cells(run: Run, comparison: Comparison, scope: Scope) -> list[Cell]:
    """The measured cells of a scope that all runs share."""
    if scope == Scope.CORRUPTED:
        return comparison.grid.cells(run.results)
    clean = run.results.find("clean", "clean", 0)
    return [clean] if clean else []


def _mean_entry(values: Sequence[float], *, scale: float, decimals: int) -> Entry:
    return shown(over_seeds(values) if values else None, scale=scale, decimals=decimals)
