"""What a reader must know before believing the numbers, in plain sentences."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from augmix.records import Cell, SequenceCell
from augmix.report.grids import Grid, attacked_cell, planned_grid
from augmix.report.runs import Run

_HARMLESS = {  # what was measured and by which machine, not how
    *["suite", "names", "severities", "sequences", "seed", "batch_size", "precision", "device"],
    *["max_images", "temperature_images", "class_names"],
}
_MAX_NAMED = 8  # cells or corruptions named one by one


def differences(runs: Sequence[Run]) -> list[str]:
    """What keeps the runs from being compared: a sentence per setting in which they differ.

    A setting that a run does not have, since it measured less, is no difference.
    """
    found = []
    for part in ("source", "protocol"):
        plain = [_flat(getattr(run.results, part)) for run in runs]
        for key in dict.fromkeys(key for each in plain for key in each):
            having = [
                (run, each[key]) for run, each in zip(runs, plain, strict=True) if key in each
            ]
            if len({json.dumps(value, sort_keys=True) for _, value in having}) > 1:
                values = [_show(value) for _, value in having]
                who = _who_has_what([run for run, _ in having], values)
                found.append(f"{part} {key.replace('_', ' ')}: {who}")
    counts = [_show({cell.num_images for cell in _measured(run)}) for run in runs]
    if not found and len(set(counts)) > 1:
        found.append("images in a measured set: " + _who_has_what(runs, counts))
    if not found and not _have_same_images(runs):
        found.append("the images that were measured: other ones of the same source")
    return found


def remarks(runs: Sequence[Run], grid: Grid) -> list[str]:
    """What a reader must know before believing the averages, in plain sentences."""
    found = [sentence for run in runs for sentence in _missing(run)]
    bare = [run.label for run in runs if run.answers is None]
    if bare:
        found.append(
            f"No intervals for {_listed(bare)}: the outcomes of single images were not kept. "
            "Evaluate into a new folder to have them."
        )
    plans = [planned_grid(run.results) for run in runs]
    names = list(dict.fromkeys(name for plan in plans for name in plan.names))
    levels = sorted({level for plan in plans for level in plan.severities})
    left_out = [name for name in names if name not in grid.names]
    if grid and (left_out or len(levels) > len(grid.severities)):
        found.append(
            f"Averages over corruptions use only what every run has measured completely: "
            f"{_some(grid.names)}, at severities {_some(grid.severities)}."
            + (f" Left out: {_some(left_out)}." if left_out else "")
        )
    if names and not grid:
        found.append(
            "The runs have no completely measured corruption in common, so nothing is averaged "
            "over corruptions; measure the same corruptions with `augmix evaluate`."
        )
    seeds = [_show(run.results.protocol.get("seed")) for run in runs]
    if len(set(seeds)) > 1:
        found.append(
            "The random corruptions were drawn from different seeds: "
            f"{_who_has_what(runs, seeds)}. The sets are equally hard but not the same images."
        )
    return found


def _missing(run: Run) -> list[str]:
    """What one run lacks of what it planned."""
    found = []
    plan = planned_grid(run.results)
    missing = [
        f"{name} {level}"
        for name in plan.names
        for level in plan.severities
        if run.results.find("c", name, level) is None
    ]
    total = len(plan.names) * len(plan.severities)
    if not run.results.find("clean", "clean", 0):
        found.append(f"{run.label} was not measured on clean images.")
    if not any(cell.suite == "c" for cell in run.results.cells):
        found.append(f"{run.label} was not measured on corrupted images.")
    elif missing:
        found.append(
            f"{run.label} is incomplete: {len(missing)} of {total} corrupted sets are not measured "
            f"({_some(missing)}). Evaluate it again; it goes on where it stopped."
        )
    wanted = run.results.protocol.get("sequences") or []
    lacking = [name for name in wanted if run.results.find_sequence(name) is None]
    if lacking:
        found.append(
            f"{run.label} is incomplete: {len(lacking)} of {len(wanted)} perturbations are not "
            f"measured ({_some(lacking)}). Evaluate it again; it goes on where it stopped."
        )
    if "attack" in run.results.protocol.get("suite", ()) and not attacked_cell(run.results):
        found.append(
            f"{run.label} is incomplete: the attack is not measured. Evaluate it again; it goes on "
            "where it stopped."
        )
    return found


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Settings that count, those of dictionaries one by one; nothing that is not set."""
    flat = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            flat |= {f"{key} {inner}": entry for inner, entry in value.items()}
        elif key not in _HARMLESS and value is not None and (key, value) != ("frost_textures", ""):
            flat[key] = value
    return flat


def _measured(run: Run) -> tuple[Cell | SequenceCell, ...]:
    return (*run.results.cells, *run.results.sequences)


def _have_same_images(runs: Sequence[Run]) -> bool:
    ids = [run.answers.images.ids for run in runs if run.answers is not None]
    return all(np.array_equal(each, ids[0]) for each in ids)


def _who_has_what(runs: Sequence[Run], values: Sequence[str]) -> str:
    """``4 for A and B, 8 for C``."""
    groups: dict[str, list[str]] = {}
    for run, value in zip(runs, values, strict=True):
        groups.setdefault(value, []).append(run.label)
    return "; ".join(f"{value} for {_listed(labels)}" for value, labels in groups.items())


def _listed(names: Sequence[str]) -> str:
    """``A, B and C``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _show(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    if isinstance(value, str):
        return value if len(value) <= 40 else value[:12] + "…"
    return json.dumps(value, ensure_ascii=False)


def _some(entries: Sequence[Any]) -> str:
    """The first few entries, and how many more there are."""
    shown = ", ".join(str(entry).replace("_", " ") for entry in entries[:_MAX_NAMED])
    more = len(entries) - _MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
