"""Runs side by side: what each measured, what they have in common, and where they differ.

Folders come in, plain numbers go out to the report. Averages are taken over a `Grid` of
corruptions and severities that every run has measured completely, so no mean hides a gap; what was
left out, and why, is said in words by `remarks`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmix.metrics import rms_from_bins
from augmix.records import (
    CONFIG_FILE,
    LOG_FILE,
    RESULTS_FILE,
    Bins,
    Cell,
    Results,
    RunError,
    load_json,
    load_lines,
    load_results,
)

EXAMPLES_FILE = "examples.npz"
_HARMLESS = {"suite", "names", "severities", "seed", "batch_size", "precision", "device"}
_MAX_LISTED = 12  # entries of a list in the table of settings
_MAX_NAMED = 8  # cells or corruptions named one by one in a remark


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run folder as read from disk.

    Attributes:
        folder: Where it lies.
        label: What the page calls it; no two runs share one.
        config: `config.json`, or empty.
        results: `results.json`.
        log: `log.jsonl`, one record a step, repeated steps (after a restart) once.
        examples: Example images: ``clean`` is `image height width channel`, a corruption is
            `severity image height width channel`; ``labels`` one number an image.
    """

    folder: Path
    label: str
    config: dict[str, Any]
    results: Results
    log: list[dict[str, Any]]
    examples: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Corruptions and severities that are averaged over; every cell of it was measured."""

    names: tuple[str, ...]
    severities: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.names and self.severities)

    def cells(self, results: Results) -> list[Cell]:
        """The cells of one run, corruption by corruption."""
        found = [
            results.find("c", name, severity) for name in self.names for severity in self.severities
        ]
        return [cell for cell in found if cell is not None]


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders, in the order given; a folder named twice is read once.

    Raises:
        RunError: If there is none, or one holds no results or a damaged file.
    """
    unique = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    if not unique:
        raise RunError(
            "a report needs at least one run folder, got none; name folders that `augmix train` "
            "and `augmix evaluate` have written"
        )
    results = [_load_results(folder) for folder in unique]
    labels = _distinct([_label(each, folder) for each, folder in zip(results, unique, strict=True)])
    return [
        Run(
            folder=folder,
            label=label,
            config=load_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).exists() else {},
            results=each,
            log=_load_log(folder / LOG_FILE),
            examples=_load_examples(folder / EXAMPLES_FILE),
        )
        for folder, each, label in zip(unique, results, labels, strict=True)
    ]


def common_grid(results: Sequence[Results]) -> Grid:
    """The corruptions that all runs have measured at all severities they all planned.

    Runs without any corrupted cell are left aside: they have nothing to compare.
    """
    measured = [each for each in results if any(cell.suite == "c" for cell in each.cells)]
    if not measured:
        return Grid(names=(), severities=())
    plans = [_planned(each) for each in measured]
    severities = tuple(
        level for level in plans[0].severities if all(level in plan.severities for plan in plans)
    )
    names = tuple(
        name
        for name in plans[0].names
        if all(each.find("c", name, level) for each in measured for level in severities)
    )
    return Grid(names=names if severities else (), severities=severities if names else ())


def summarise(results: Results, grid: Grid | None = None) -> dict[str, float | None]:
    """The headline numbers of a run: fractions, nats and Brier units; None where not measured.

    Corrupted values are means over cells, each cell counting equally (spec: metrics 1 and 2.1).

    Args:
        results: One run's measurements.
        grid: Cells to average over; by default every corruption measured at all its severities.

    Returns:
        ``clean_error``, ``corruption_error``, ``rms_calibration_error_clean``,
        ``rms_calibration_error`` (over the corruption cells), ``nll_clean``, ``nll``,
        ``brier_clean`` and ``brier`` (0..2).
    """
    grid = common_grid([results]) if grid is None else grid
    clean = results.find("clean", "clean", 0)
    groups = {"_clean": [clean] if clean else [], "": grid.cells(results)}
    values: dict[str, float | None] = {
        "clean_error": mean_over(groups["_clean"], error_of),
        "corruption_error": mean_over(groups[""], error_of),
    }
    for suffix, cells in groups.items():
        values[f"rms_calibration_error{suffix}"] = mean_over(cells, rms_of)
        values[f"nll{suffix}"] = mean_over(cells, lambda cell: cell.nll_sum / cell.num_images)
        values[f"brier{suffix}"] = mean_over(cells, lambda cell: cell.brier_sum / cell.num_images)
    return values


def error_of(cell: Cell) -> float:
    """Share of the cell's images that were taken for another class."""
    return cell.num_errors / cell.num_images


def rms_of(cell: Cell) -> float:
    """RMS calibration error of the cell, from bins of equally many predictions."""
    return float(rms_from_bins(*arrays(cell.adaptive)))


def mean_over(cells: Sequence[Cell], value: Callable[[Cell], float]) -> float | None:
    """The mean over cells, each counting equally; None over no cell."""
    return float(np.mean([value(cell) for cell in cells])) if cells else None


def arrays(bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, sums of confidence and sums of right predictions as `metrics` takes them."""
    return (
        np.array(bins.count, np.int64),
        np.array(bins.confidence_sum, np.float64),
        np.array(bins.correct_sum, np.int64),
    )


def pooled(cells: Sequence[Cell]) -> Bins:
    """The equal-width bins of several cells thrown together."""
    columns = zip(*(arrays(cell.equal_width) for cell in cells), strict=True)
    count, confidence, correct = (np.sum(column, axis=0).tolist() for column in columns)
    return Bins(count=count, confidence_sum=confidence, correct_sum=correct)


def differences(runs: Sequence[Run]) -> list[str]:
    """What keeps the runs from being compared: a sentence per setting in which they differ."""
    found = []
    for part, skipped in (
        ("source", {"class_names"}),
        ("protocol", _HARMLESS),
    ):
        plain: list[dict[str, Any]] = [getattr(run.results, part) for run in runs]
        for key in dict.fromkeys(key for each in plain for key in each if key not in skipped):
            values = [_show(each.get(key)) for each in plain]
            if len({json.dumps(each.get(key), sort_keys=True) for each in plain}) > 1:
                found.append(f"{part} {key.replace('_', ' ')}: " + _who_has_what(runs, values))
    counts = [_show({cell.num_images for cell in run.results.cells}) for run in runs]
    if not found and len(set(counts)) > 1:
        found.append("images in a measured set: " + _who_has_what(runs, counts))
    return found


def remarks(runs: Sequence[Run], grid: Grid) -> list[str]:
    """What a reader must know before believing the averages, in plain sentences."""
    found = [sentence for run in runs for sentence in _missing(run)]
    plans = [_planned(run.results) for run in runs]
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


def settings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Every setting of every run, side by side; rows whose values differ are marked."""
    times = [
        {
            "training_seconds": run.log[-1].get("seconds") if run.log else None,
            "measuring_seconds": round(sum(cell.seconds for cell in run.results.cells), 1),
            "folder": run.folder.name,
        }
        for run in runs
    ]
    parts: list[tuple[str, list[dict[str, Any]]]] = [
        ("Model", [run.results.model for run in runs]),
        ("Configuration", [run.config for run in runs]),
        ("Data", [run.results.source for run in runs]),
        ("Protocol of the measurement", [run.results.protocol for run in runs]),
        ("Software and machine", [run.results.provenance for run in runs]),
        ("Run", times),
    ]
    return [
        {"title": title, "rows": _setting_rows(columns)} for title, columns in parts if any(columns)
    ]


def _missing(run: Run) -> list[str]:
    """What one run lacks."""
    found = []
    plan = _planned(run.results)
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
    return found


def _planned(results: Results) -> Grid:
    """The corruptions and severities that the evaluation set out to measure."""
    cells = [cell for cell in results.cells if cell.suite == "c"]
    suites = results.protocol.get("suite", ["c"] if cells else [])
    names = results.protocol.get("names", []) if "c" in suites else []
    severities = results.protocol.get("severities", []) if "c" in suites else []
    return Grid(
        names=tuple(dict.fromkeys([*names, *(cell.name for cell in cells)])),
        severities=tuple(sorted({*severities, *(cell.severity for cell in cells)})),
    )


def _setting_rows(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    flat = [_flatten(column) for column in columns]
    return [
        {
            "name": key.replace("_", " ").replace(".", " › "),
            "shown": [_shortened(_setting(each.get(key))) for each in flat],
            "differs": any(each.get(key) != flat[0].get(key) for each in flat),
        }
        for key in dict.fromkeys(key for each in flat for key in each if key != "schema")
    ]


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: ``policy.severity``."""
    flat = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            flat.update(_flatten(entry, f"{prefix}{key}."))
        else:
            flat[prefix + key] = entry
    return flat


def _setting(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_setting(entry) for entry in value[:_MAX_LISTED])
        more = len(value) - _MAX_LISTED
        return f"{shown}, … ({len(value)})" if more > 0 else shown
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shortened(text: str) -> dict[str, str]:
    """Hashes cut to what an eye compares; ``full`` holds the rest."""
    is_hash = len(text) >= 32 and set(text) <= set("0123456789abcdef")
    return {"text": text[:12] + "…" if is_hash else text, "full": text if is_hash else ""}


def _load_results(folder: Path) -> Results:
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; a report is made from run folders")
    if not (folder / RESULTS_FILE).exists():
        raise RunError(
            f"{folder} holds no {RESULTS_FILE}, so there is nothing to report; "
            f"measure it first: augmix evaluate {folder}"
        )
    results = load_results(folder / RESULTS_FILE)
    if not any(cell.num_images > 0 for cell in results.cells):
        raise RunError(
            f"{folder / RESULTS_FILE} holds no measured cell yet; "
            f"finish the evaluation first: augmix evaluate {folder}"
        )
    return results


def _load_log(path: Path) -> list[dict[str, Any]]:
    """Log records by step; where a restart repeated steps, the later record counts."""
    by_step = {record["step"]: record for record in load_lines(path) if "step" in record}
    return [by_step[step] for step in sorted(by_step)]


def _load_examples(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, EOFError, OSError) as error:
        raise RunError(
            f"{path} is not a file of example images ({error}); delete it and evaluate again"
        ) from error


def _label(results: Results, folder: Path) -> str:
    return str(results.model.get("label") or results.model.get("method") or folder.name)


def _distinct(labels: list[str]) -> list[str]:
    """The labels, numbered where several runs share one."""
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        result.append(f"{label} ({seen[label]})" if labels.count(label) > 1 else label)
    return result if len(set(result)) == len(result) else [*map(str, range(1, len(labels) + 1))]


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
