"""The headline: the main numbers of every row, of its single seeds, and the proper scores."""

from collections.abc import Sequence

import numpy as np

from augmix.records import Results
from augmix.report.comparison import Comparison
from augmix.report.estimates import ATTACKED, CLEAN, CORRUPTED, PERTURBED, Key
from augmix.report.grids import (
    Grid,
    attacked_cell,
    brier_of,
    common_grid,
    error_of,
    mean_over,
    nll_of,
    rms_of,
)
from augmix.report.groups import Group
from augmix.report.tables import (
    Column,
    Entry,
    Row,
    Table,
    group_kind,
    marked,
    plain,
    shown,
    text,
)

_COLUMNS = (
    (Key("error", CLEAN), Column(title="Error", unit="%", group="Clean images")),
    (Key("rms", CLEAN), Column(title="RMS cal.", unit="%", group="Clean images")),
    (Key("error", CORRUPTED), Column(title="Error", unit="%", group="Corrupted images")),
    (Key("ce", CORRUPTED), Column(title="mCE", unit="%", group="Corrupted images")),
    (Key("rms", CORRUPTED), Column(title="RMS cal.", unit="%", group="Corrupted images")),
    (Key("flip", PERTURBED), Column(title="Flips", unit="%", group="Perturbed")),
    (Key("fr", PERTURBED), Column(title="mFR", unit="%", group="Perturbed")),
    (Key("error", ATTACKED), Column(title="Robust error", unit="%", group="Attacked")),
)
_ALWAYS = {Key("error", CLEAN), Key("rms", CLEAN), Key("error", CORRUPTED), Key("rms", CORRUPTED)}


def summarise(results: Results, grid: Grid | None = None) -> dict[str, float | None]:
    """The headline numbers of a run: fractions, nats and Brier units; None where not measured.

    Corrupted values are means over cells, each cell counting equally (Hendrycks et al. 2020).

    Args:
        results: One run's measurements.
        grid: Cells to average over; by default every corruption measured at all its severities.

    Returns:
        ``clean_error``, ``corruption_error``, ``rms_calibration_error_clean``,
        ``rms_calibration_error`` (over the corruption cells), ``nll_clean``, ``nll``,
        ``brier_clean``, ``brier`` (0..2), ``flip_probability`` (mean over perturbations) and
        ``robust_error``.
    """
    grid = common_grid([results]) if grid is None else grid
    clean, attacked = results.find("clean", "clean", 0), attacked_cell(results)
    groups = {"_clean": [clean] if clean else [], "": grid.cells(results)}
    flips = [cell.num_flips / cell.num_pairs for cell in results.sequences]
    values: dict[str, float | None] = {
        "clean_error": mean_over(groups["_clean"], error_of),
        "corruption_error": mean_over(groups[""], error_of),
        "flip_probability": float(np.mean(flips)) if flips else None,
        "robust_error": error_of(attacked) if attacked else None,
    }
    for suffix, cells in groups.items():
        values[f"rms_calibration_error{suffix}"] = mean_over(cells, rms_of)
        values[f"nll{suffix}"] = mean_over(cells, nll_of)
        values[f"brier{suffix}"] = mean_over(cells, brier_of)
    return values


def summary_table(comparison: Comparison) -> Table:
    """The main numbers of every row; the best of a column is marked where comparing makes sense."""
    groups = comparison.groups
    used = [
        (key, column)
        for key, column in _COLUMNS
        if key in _ALWAYS or any(group.number(key) for group in groups)
    ]
    columns = [number_column(comparison, key) for key, _ in used]
    rows = [
        Row(
            label=group.label,
            style=place,
            kind=group_kind(group),
            entries=(
                text(group.first.method),
                text(group.first.network),
                *(column[place] for column in columns),
            ),
        )
        for place, group in enumerate(groups)
    ]
    return Table(
        name="summary",
        title="Summary",
        columns=(
            Column(title="Method", is_number=False),
            Column(title="Model", is_number=False),
            *(column for _, column in used),
        ),
        rows=tuple(rows),
    )


def number_column(comparison: Comparison, key: Key) -> list[Entry]:
    """A number of all rows, marked where they may be compared."""
    decimals = 2 if key.metric == "flip" else 1  # most flips are rare
    entries = [shown(group.number(key), decimals=decimals) for group in comparison.groups]
    return marked(comparison.groups, key, entries) if comparison.is_comparable else entries


def seed_table(comparison: Comparison) -> Table | None:
    """The single runs behind rows of several seeds."""
    several = [group for group in comparison.groups if len(group.runs) > 1]
    if not several:
        return None
    keys = [key for key, _ in _COLUMNS if any(group.number(key) for group in several)]
    rows = [
        Row(
            label=run.label,
            style=comparison.groups.index(group),
            kind=group_kind(group),
            entries=(
                text(str(run.results.model.get("seed"))),
                *(_of_run(group, place, key) for key in keys),
            ),
        )
        for group in several
        for place, run in enumerate(group.runs)
    ]
    columns = [column for key, column in _COLUMNS if key in keys]
    return Table(
        name="seeds",
        title="Single seeds",
        columns=(Column(title="Seed", is_number=False), *columns),
        rows=tuple(rows),
    )


def _of_run(group: Group, place: int, key: Key) -> Entry:
    alone = Group(label="", runs=(group.runs[place],), estimates=(group.estimates[place],))
    return shown(alone.number(key))


def score_table(comparison: Comparison) -> Table:
    """Negative log-likelihood and Brier score; sums only, so without intervals over images."""
    rows = []
    for place, group in enumerate(comparison.groups):
        each = [summarise(run.results, comparison.grid) for run in group.runs]
        entries = [
            _mean_entry([values[name] for values in each])
            for name in ("nll_clean", "nll", "brier_clean", "brier")
        ]
        rows.append(
            Row(label=group.label, style=place, kind=group_kind(group), entries=tuple(entries))
        )
    return Table(
        name="scores",
        title="Proper scores",
        columns=tuple(
            Column(title=title, unit=unit, group=group)
            for group, unit in (("Negative log-likelihood", "nats"), ("Brier score", "0–2"))
            for title in ("Clean", "Corrupted")
        ),
        rows=tuple(rows),
    )


def _mean_entry(values: Sequence[float | None]) -> Entry:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return plain(None)
    entry = plain(float(np.mean(known)), scale=1.0, decimals=3)
    if len(known) < 2:
        return entry
    deviation = float(np.std(known, ddof=1))
    return Entry(text=entry.text, value=entry.value, detail=f"± {deviation:.3f}")
