"""The error under attack, with the settings it hangs on."""

from typing import Any

from augmix.report.comparison import Comparison
from augmix.report.estimates import ATTACKED, CLEAN, Key
from augmix.report.grids import attacked_cell
from augmix.report.runs import Run
from augmix.report.summary import number_column
from augmix.report.tables import Column, Row, Table, group_kind, text

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
