"""Models adapted to the measured images beside the same models as they were trained."""

from typing import Any

from augmix.report.comparison import Comparison
from augmix.report.estimates import CLEAN, CORRUPTED, Key
from augmix.report.groups import Group, identity
from augmix.report.tables import Column, Row, Table, shown


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
