"""Differences between rows: each number of one minus another's, its interval and its verdict."""

from augmix.report.comparison import Comparison
from augmix.report.estimates import ATTACKED, CLEAN, CORRUPTED, PERTURBED, Key
from augmix.report.grids import readable
from augmix.report.groups import Group, contrast
from augmix.report.tables import Column, Row, Table, changed

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
