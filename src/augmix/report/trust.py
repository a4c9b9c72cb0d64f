"""How far a confidence can be trusted, as metrics and tables of the report.

More calibration errors, selective prediction, prediction sets and calibrators.

The metrics of this module are in no table of the summary; they stand in tables of their own, and in
CSV, JSON and LaTeX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from augmix import metrics
from augmix.bootstrap import FRACTION, Draws, resample_means, resample_ranked
from augmix.report.comparison import Comparison
from augmix.report.estimates import (
    IMAGE_SCOPES,
    METRICS,
    NUM_RESAMPLES,
    CellArrays,
    Key,
    Metric,
    Scope,
    resample_cells_rms,
    stacked,
)
from augmix.report.tables import Column, Row, Table, shown, table_by_row
from augmix.results import Cell

SCORES = {"confidence": "Max softmax", "max_logit": "Max logit", "energy": "Energy"}
METHODS = {"thr": "THR", "aps": "APS", "raps": "RAPS"}  # of prediction sets
CALIBRATORS = {
    "temperature": "Temperature",
    "vector": "Vector scaling",
    "isotonic": "Isotonic regression",
    "histogram": "Histogram binning",
}
_BY_SEVERITY = (*IMAGE_SCOPES, Scope.SEVERITY)
_SCOPES = {Scope.CLEAN: "Clean", Scope.CORRUPTED: "Corrupted"}


def _resample_ranked(cells: Sequence[CellArrays]) -> Mapping[str, Sequence[Draws]]:
    return resample_ranked(*stacked(cells), num_resamples=NUM_RESAMPLES)


def _measure(name: str, cell: CellArrays) -> np.ndarray:
    return cell.measures[name]


def _known(name: str, cell: Cell) -> float | None:
    return cell.measures.get(name)


def _calibrated(name: str, cell: CellArrays) -> CellArrays:
    """A cell with the confidences of a calibrator, which may change predictions."""
    correct = cell.measures.get(f"{name}_correct", cell.correct) > 0
    return replace(
        cell,
        confidence=cell.measures[f"{name}_confidence"],
        prediction=correct.astype(np.int64),
        labels=np.ones(len(correct), np.int64),
    )


def _calibrated_rms(name: str, cell: CellArrays) -> float:
    own = _calibrated(name, cell)
    return metrics.rms_calibration_error(own.confidence, own.correct, bin_size=own.bin_size)


def _resample_calibrated(name: str, cells: Sequence[CellArrays]) -> Sequence[Draws]:
    return resample_cells_rms([_calibrated(name, cell) for cell in cells])


METRICS |= {
    "adaptive_ece": Metric(
        title="Adaptive ECE",
        limits=FRACTION,
        tables=("more",),
        per_set=lambda cell: metrics.adaptive_calibration_error(cell.confidence, cell.correct),
        from_cell=lambda cell: cell.measures.get("adaptive_ece"),
        resample=_resample_ranked,
    ),
    "smooth_ece": Metric(
        title="Smooth ECE",
        limits=FRACTION,
        tables=("more",),
        per_set=lambda cell: metrics.smooth_calibration_error(cell.confidence, cell.correct),
        from_cell=lambda cell: cell.measures.get("smooth_ece"),
        resample=_resample_ranked,
    ),
    "classwise_ece": Metric(
        title="Class-wise ECE",
        decimals=2,
        limits=FRACTION,
        tables=("more",),
        per_set=lambda cell: float(cell.measures["classwise_gap"].mean()),
        from_cell=lambda cell: cell.measures.get("classwise_ece"),
        resample=lambda cells: [
            replace(each, limits=FRACTION)
            for each in resample_means(np.stack([c.measures["classwise_gap"] for c in cells]))
        ],
        is_asked=True,
    ),
    "aurc": Metric(
        title="AURC",
        decimals=2,
        limits=FRACTION,
        tables=("more",),
        per_set=lambda cell: metrics.aurc(cell.confidence, cell.correct),
        from_cell=lambda cell: cell.measures.get("aurc"),
        resample=_resample_ranked,
    ),
    "augrc": Metric(
        title="AUGRC",
        decimals=2,
        limits=FRACTION,
        tables=("more",),
        per_set=lambda cell: metrics.augrc(cell.confidence, cell.correct),
        from_cell=lambda cell: cell.measures.get("augrc"),
        resample=_resample_ranked,
    ),
    "risk": Metric(
        title="Risk at 80 % coverage",
        column="Risk at 80 %",
        limits=FRACTION,
        tables=("more",),
        per_set=lambda cell: metrics.risk_at_coverage(cell.confidence, cell.correct),
        from_cell=lambda cell: cell.measures.get("risk"),
        resample=_resample_ranked,
    ),
}
for _name, _title in METHODS.items():
    METRICS[f"{_name}_coverage"] = Metric(
        title=f"Coverage of {_title} sets",
        column="Coverage",
        limits=FRACTION,
        lower_is_better=None,
        scopes=_BY_SEVERITY,
        tables=("sets",),
        per_image=partial(_measure, f"{_name}_covered"),
        from_cell=partial(_known, f"{_name}_coverage"),
        is_asked=True,
    )
    METRICS[f"{_name}_size"] = Metric(
        title=f"Mean size of {_title} sets",
        column="Size",
        unit="classes",
        scale=1.0,
        decimals=2,
        limits=(0.0, np.inf),
        lower_is_better=None,
        scopes=_BY_SEVERITY,
        tables=("sets",),
        per_image=partial(_measure, f"{_name}_size"),
        from_cell=partial(_known, f"{_name}_size"),
        is_asked=True,
    )
for _name, _title in CALIBRATORS.items():
    METRICS[f"{_name}_rms"] = Metric(
        title=f"RMS calibration error after {_title.lower()}",
        column=_title,
        limits=FRACTION,
        scopes=_BY_SEVERITY,
        tables=("calibrators",),
        per_set=partial(_calibrated_rms, _name),
        from_cell=partial(_known, f"{_name}_rms"),
        resample=partial(_resample_calibrated, _name),
        is_asked=True,
    )
    METRICS[f"{_name}_smooth_ece"] = Metric(
        title=f"Smooth ECE after {_title.lower()}",
        scopes=_BY_SEVERITY,
        tables=(),
        from_cell=partial(_known, f"{_name}_smooth_ece"),
        is_asked=True,
    )
for _name, _title in SCORES.items():
    for _kind, _words in (("auroc", "AUROC"), ("fpr95", "FPR95")):
        METRICS[f"{_kind}_{_name}"] = Metric(
            title=f"{_words} of {_title.lower()}",
            column=_words,
            limits=FRACTION,
            lower_is_better=_kind == "fpr95",
            scopes=(Scope.OUTLIERS,),
            tables=("outliers",),
        )
METRICS["vector_error"] = Metric(
    title="Error after vector scaling",
    limits=FRACTION,
    scopes=_BY_SEVERITY,
    tables=(),
    per_image=lambda cell: 1 - cell.measures["vector_correct"],
    from_cell=partial(_known, "vector_error"),
    is_asked=True,
)


def more_table(comparison: Comparison, scope: Scope) -> Table | None:
    """Show the other calibration errors and selective prediction of every row."""
    names = [name for name, metric in METRICS.items() if "more" in metric.tables]
    columns = {
        key: Column(title=METRICS[name].heading)
        for name in names
        if comparison.has(key := Key(name, scope))
    }
    if not columns:
        return None
    return table_by_row(
        comparison,
        columns,
        name=f"trust-{scope}",
        title=f"{_SCOPES[scope]} images, mean over sets"
        if scope != Scope.CLEAN
        else "Clean images",
        unit="%",
    )


def set_tables(comparison: Comparison) -> list[Table]:
    """Show coverage and size of prediction sets, clean and by severity."""
    every = (run.results.fitted or {} for run in comparison.runs)
    fitted = next((each for each in every if "coverage" in each), {})
    coverage = 100 * float(fitted.get("coverage") or 0)
    note = (
        f"Sets fitted for a coverage of {coverage:g} % on {int(fitted.get('num_images') or 0):,} "
        "clean images that are not measured. APS and RAPS are randomised; a set may be empty."
        + _fitting_notes(comparison)
    )
    titles = {"coverage": "Coverage of prediction sets", "size": "Size of prediction sets"}
    tables = [
        _table_by_severity(
            comparison,
            {title: f"{method}_{kind}" for method, title in METHODS.items()},
            name=f"sets-{kind}",
            title=titles[kind],
            unit="%" if kind == "coverage" else "classes",
            corner="Method",
            note=note if kind == "coverage" else "",
        )
        for kind in titles
    ]
    return [table for table in tables if table is not None]


def calibrator_table(comparison: Comparison) -> Table | None:
    """Show the RMS calibration error without and with each calibrator, clean and by severity."""
    names = {title: f"{name}_rms" for name, title in CALIBRATORS.items()}
    keys = (Key(name, scope) for name in names.values() for scope in IMAGE_SCOPES)
    if not any(map(comparison.has, keys)):
        return None
    errors = [
        f"{group.label} {scope} {100 * found.value:.1f} % instead of {100 * before.value:.1f} %"
        for group in comparison.groups
        for scope in IMAGE_SCOPES
        if (found := group.number(Key("vector_error", scope)))
        and (before := group.number(Key("error", scope)))
    ]
    changed = f" Vector scaling changes the error: {'; '.join(errors)}." if errors else ""
    return _table_by_severity(
        comparison,
        {"None": "rms", **names},
        name="calibrators",
        title="RMS calibration error by calibrator",
        unit="%",
        corner="Calibrator",
        note=f"Fitted on held-out clean images.{changed}{_fitting_notes(comparison)}",
    )


def _fitting_notes(comparison: Comparison) -> str:
    notes = [(run.results.fitted or {}).get("note") for run in comparison.runs]
    return "".join(f" {note}." for note in dict.fromkeys(filter(None, notes)))


def _table_by_severity(
    comparison: Comparison, names: Mapping[str, str], *, note: str = "", **settings: str
) -> Table | None:
    """A row for each of some metrics of each row of the report, a column for each severity."""
    levels = [str(level) for level in comparison.grid.severities]
    keys = {"Clean": (Scope.CLEAN, ""), "Corrupted": (Scope.CORRUPTED, "")}
    keys |= {f"Severity {level}": (Scope.SEVERITY, level) for level in levels}
    rows = []
    for style, group in enumerate(comparison.groups):
        for title, metric in names.items():
            about = METRICS[metric]
            numbers = [group.number(Key(metric, *key)) for key in keys.values()]
            if any(numbers):
                entries = [
                    shown(each, scale=about.scale, decimals=about.decimals) for each in numbers
                ]
                label = f"{group.label}: {title}" if len(comparison.groups) > 1 else title
                rows.append(Row(label=label, style=style, entries=tuple(entries)))
    if not rows:
        return None
    columns = tuple(Column(title=title) for title in keys)
    return Table(columns=columns, rows=tuple(rows), note=note, **settings)


def outlier_table(comparison: Comparison) -> Table | None:
    """Show how well images of no class are distinguished from clean ones, by set and run."""
    names = dict.fromkeys(cell.name for run in comparison.runs for cell in run.results.outliers)
    keys = {
        (kind, score): Column(title=METRICS[f"{kind}_{score}"].heading, unit="%", group=title)
        for score, title in SCORES.items()
        for kind in ("auroc", "fpr95")
    }
    rows = []
    for name in names:
        for style, group in enumerate(comparison.groups):
            numbers = [
                group.number(Key(f"{kind}_{score}", Scope.OUTLIERS, name)) for kind, score in keys
            ]
            if any(numbers):
                label = f"{name}: {group.label}" if len(comparison.groups) > 1 else name
                rows.append(Row(label=label, style=style, entries=tuple(map(shown, numbers))))
    if not rows:
        return None
    return Table(
        name="outliers",
        title="Out-of-distribution detection",
        corner="Images of no class",
        columns=tuple(keys.values()),
        rows=tuple(rows),
        note="Against clean images. AUROC: how often a clean image has the higher score, higher is "
        "better. FPR95: images of no class taken for clean where 95 % of the clean ones are. "
        "Logits and energy say nothing more of models that give probabilities.",
    )


def trust_tables(comparison: Comparison) -> list[Table]:
    """List the tables of this module, those that were measured."""
    more = [more_table(comparison, scope) for scope in IMAGE_SCOPES]
    found = [*more, *set_tables(comparison), calibrator_table(comparison)]
    return [table for table in found if table is not None]
