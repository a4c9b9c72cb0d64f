"""Summary, lead sentences and differences."""

from collections.abc import Sequence

import numpy as np

from augmix.report.comparison import Comparison, Group, contrast
from augmix.report.estimates import (
    ATTACKED,
    CLEAN,
    CORRUPTED,
    PERTURBED,
    Grid,
    Key,
    attacked_cell,
    brier_of,
    common_grid,
    error_of,
    mean_over,
    nll_of,
    readable,
    rms_of,
)
from augmix.report.tables import (
    Column,
    Entry,
    Row,
    Table,
    changed,
    group_kind,
    marked,
    plain,
    shown,
    span,
    text,
)
from augmix.results import Results

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
    own = results.protocol.get("own_sequences", {})
    flips = [cell.num_flips / cell.num_pairs for cell in results.sequences if cell.name not in own]
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


def lead(comparison: Comparison) -> str:
    """The result in one sentence, or nothing where runs must not be compared."""
    measured = [
        group
        for group in comparison.groups
        if not group.first.adaptation
        and group.number(Key("error", CLEAN))
        and group.number(Key("error", CORRUPTED))
    ]
    if not measured or (len(comparison.groups) > 1 and not comparison.is_comparable):
        return ""
    ranked = sorted(measured, key=lambda group: _value(group, Key("error", CORRUPTED)))
    best, worst = ranked[0], ranked[-1]
    among = f"Of {len(measured)} models, " if len(measured) > 2 else ""
    sentence = f"{among}{best.label} errs{' least:' if among else ''} on {_errors(best)}"
    if best is worst:
        return sentence + "."
    sentence += f"; {worst.label}{' most:' if among else ''} on {_errors(worst, is_short=True)}."
    return sentence + _judged(best, ranked[1])


def _errors(group: Group, *, is_short: bool = False) -> str:
    corrupted, clean = (100 * _value(group, Key("error", s)) for s in (CORRUPTED, CLEAN))
    if is_short:
        return f"{corrupted:.1f} % and {clean:.1f} %"
    return f"{corrupted:.1f} % of corrupted images and {clean:.1f} % of clean ones"


def _judged(best: Group, second: Group) -> str:
    """How far the best is ahead of the next, and whether that means anything."""
    apart = contrast(second, best, Key("error", CORRUPTED))
    if apart is None:
        return ""
    if apart.verdict == "within noise":
        return f" {best.label} and {second.label} cannot be told apart with these images."
    between = span(apart.low, apart.high)
    points = f"{100 * apart.estimate:.1f} points ({between})"
    return f" {best.label} is ahead of {second.label} by {points}."


def _value(group: Group, key: Key) -> float:
    number = group.number(key)
    assert number is not None
    return number.value


_HEADLINES = (
    (Key("error", CLEAN), "error, clean"),
    (Key("error", CORRUPTED), "error, corrupted"),
    (Key("ce", CORRUPTED), "mCE"),
    (Key("rms", CLEAN), "RMS cal., clean"),
    (Key("rms", CORRUPTED), "RMS cal., corrupted"),
    (Key("flip", PERTURBED), "flip probability"),
    (Key("fr", PERTURBED), "mFR"),
    (Key("error", ATTACKED), "robust error"),
)


def contrast_tables(comparison: Comparison) -> list[Table]:
    """For each row of the page a table of how all others differ from it."""
    if not comparison.is_comparable or any(run.answers is None for run in comparison.runs):
        return []
    return [
        _against(comparison, place, reference) for place, reference in enumerate(comparison.groups)
    ]


def _against(comparison: Comparison, place: int, reference: Group) -> Table:
    others = [group for group in comparison.groups if group is not reference]
    keys = {label: key for key, label in _HEADLINES if reference.number(key)}
    keys |= {
        f"error, {readable(name)}": Key("error", "corruption", name)
        for name in comparison.grid.names
    }
    keys |= {
        f"flips, {readable(name)}": Key("flip", "perturbation", name)
        for name in comparison.sequences
    }
    rows = [
        Row(
            label=label,
            entries=tuple(
                changed(contrast(other, reference, key), decimals=2 if key.metric == "flip" else 1)
                for other in others
            ),
        )
        for label, key in keys.items()
    ]
    return Table(
        name=f"contrast-{place}",
        title=f"Difference from {reference.label}",
        unit="percentage points; negative is better",
        corner="Number",
        columns=tuple(Column(title=other.label) for other in others),
        rows=tuple(rows),
    )


def seeds_counted(comparison: Comparison) -> str:
    """Which noise is in the intervals, as a sentence."""
    counts = [len(group.runs) for group in comparison.groups]
    if min(counts) > 1:
        return "Intervals hold the noise of the images and of training (seeds)."
    if max(counts) > 1:
        return (
            "Between rows of several seeds, intervals hold the noise of the images and of "
            "training; where a row has one seed, of the images alone."
        )
    return (
        "Intervals hold the noise of the images alone: another training run of the same method, "
        "with another seed, differs by more. Report several seeds to see by how much."
    )
