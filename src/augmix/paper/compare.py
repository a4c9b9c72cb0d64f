"""Measured beside published numbers."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from augmix import files, metrics, published
from augmix.published import ALEXNET_ERRORS
from augmix.results import Cell, Results

# Family of networks -> the name in the paper's tables.
NETWORKS = {
    "allconv": "AllConv",
    "densenet": "DenseNet",
    "wrn": "WideResNet",
    "resnext": "ResNeXt",
    "resnet": "ResNet-50",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One number of an exhibit, in percent.

    Attributes:
        row: Method, and in figures the kind of model.
        column: What was measured, e.g. ``cifar10 WideResNet`` or ``mCE``.
        published: As printed in the paper; None where it prints none.
        measured: Mean over the seeds; None while no run has it.
        spread: Standard deviation over the seeds; None for fewer than two.
        num_seeds: Runs measured.
        tolerance: Points that measured and published may differ by; 0 if they are not compared.
    """

    row: str
    column: str
    published: float | None
    measured: float | None
    spread: float | None = None
    num_seeds: int = 0
    tolerance: float = 0.0

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points of percent."""
        if self.published is None or self.measured is None:
            return None
        return self.measured - self.published

    @property
    def verdict(self) -> str:
        """``pass`` or ``fail`` where the scale is the paper's; empty where nothing is compared."""
        if not self.tolerance or self.difference is None:
            return ""
        return "pass" if abs(self.difference) <= self.tolerance else "fail"


def find(
    row: str,
    column: str,
    values: Sequence[float],
    *,
    published: float | None = None,
    tolerance: float = 0.0,
) -> Finding:
    """A finding from the values of its seeds, in percent."""
    return Finding(
        row=row,
        column=column,
        published=published,
        measured=statistics.fmean(values) if values else None,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        num_seeds=len(values),
        tolerance=tolerance,
    )


def errors_of(results: Results) -> dict[str, dict[int, float]]:
    """Error of every measured corruption by severity, as fractions."""
    errors: dict[str, dict[int, float]] = {}
    for cell in results.cells:
        if cell.suite == "c":
            errors.setdefault(cell.name, {})[cell.severity] = cell.num_errors / cell.num_images
    return errors


def clean_error(results: Results) -> float:
    """Clean error, in percent."""
    cell = results.find("clean", "clean", 0)
    return math.nan if cell is None else 100 * cell.num_errors / cell.num_images


def mean_error(results: Results) -> float:
    """Mean over corruptions of the mean over severities, in percent; CIFAR's measure."""
    return 100 * statistics.fmean(
        statistics.fmean(by_severity.values()) for by_severity in errors_of(results).values()
    )


def corruption_errors(results: Results) -> dict[str, float]:
    """CE of every corruption against AlexNet's, in percent."""
    return {
        name: 100
        * metrics.corruption_error(list(errors_of(results)[name].values()), ALEXNET_ERRORS[name])
        for name in ALEXNET_ERRORS
    }


def flip_probabilities(results: Results) -> dict[str, float]:
    """Flip probability of every measured perturbation, as fractions."""
    return {cell.name: cell.num_flips / cell.num_pairs for cell in results.sequences}


def rms(cells: Iterable[Cell]) -> float:
    """Mean of the RMS calibration errors of cells, in percent."""
    return 100 * statistics.fmean(
        metrics.rms_from_bins(
            np.array(cell.adaptive.count),
            np.array(cell.adaptive.confidence_sum),
            np.array(cell.adaptive.correct_sum),
        )
        for cell in cells
    )


def agreement(findings: Sequence[Finding]) -> dict[str, tuple[int, int]]:
    """By column: pairs of rows that published and measured numbers put in the same order, of all.

    A pair whose published or measured numbers are equal is not counted.
    """
    columns: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.difference is not None:
            columns.setdefault(finding.column, []).append(finding)
    counted = {}
    for column, entries in columns.items():
        signs = [
            (_sign(one.published, other.published), _sign(one.measured, other.measured))
            for one, other in combinations(entries, 2)
        ]
        clear = [pair for pair in signs if all(pair)]
        if clear:
            counted[column] = (sum(ours == theirs for ours, theirs in clear), len(clear))
    return counted


def write_findings(
    folder: Path, name: str, findings: Sequence[Finding], about: Mapping[str, Any]
) -> list[Path]:
    """Write ``NAME.json``, ``NAME.csv`` and ``NAME.md`` into a folder.

    Args:
        folder: Where to.
        name: Of the exhibit.
        findings: Its numbers.
        about: ``title``, ``scale``, ``summary``, ``runs`` (folder -> state), ``remarks`` (lines).
    """
    plain = [_plain(finding) for finding in findings]
    paths = [folder / f"{name}.{ending}" for ending in ("json", "csv", "md")]
    order = {column: list(pair) for column, pair in agreement(findings).items()}
    files.write_json(paths[0], {**about, "findings": plain, "pairs_in_published_order": order})
    files.write_bytes(paths[1], _csv(plain).encode())
    files.write_bytes(paths[2], markdown(findings, about).encode())
    return paths


def markdown(findings: Sequence[Finding], about: Mapping[str, Any]) -> str:
    """The page of an exhibit: measured numbers with the published ones in parentheses."""
    rows = list(dict.fromkeys(finding.row for finding in findings))
    columns = list(dict.fromkeys(finding.column for finding in findings))
    place = {(finding.row, finding.column): finding for finding in findings}
    lines = [
        f"# {about['title']}",
        "",
        f"Scale `{about['scale']}`: {about['summary']}. In percent: measured (published).",
        "",
        "| | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
        *(
            f"| {row} | " + " | ".join(_show(place.get((row, column))) for column in columns) + " |"
            for row in rows
        ),
        "",
        *(f"- {remark}" for remark in about["remarks"]),
    ]
    for column, (same, pairs) in agreement(findings).items():
        lines.append(f"- {column}: {same} of {pairs} pairs of methods in the published order")
    return "\n".join(lines) + "\n"


def _show(finding: Finding | None) -> str:
    if finding is None or (finding.measured is None and finding.published is None):
        return ""
    measured = "-" if finding.measured is None else f"{finding.measured:.1f}"
    if finding.spread is not None:
        measured += f" ± {finding.spread:.1f}"
    if finding.published is not None:
        measured += f" ({finding.published:g})"
    return f"{measured} {finding.verdict}".strip()


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        **files.to_plain(finding),
        "difference": finding.difference,
        "verdict": finding.verdict,
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    names = list(rows[0]) if rows else ["row", "column", "published", "measured"]
    writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _sign(one: float | None, other: float | None) -> int:
    if one is None or other is None:
        return 0
    return (one > other) - (one < other)


ENSEMBLE = -1  # the seed of an ensemble of all seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """One run of an exhibit.

    Attributes:
        data_set: ``cifar10``, ``cifar100`` or ``imagenet``.
        family: Of the network, a key of `findings.NETWORKS`.
        method: A key of `methods.METHODS`.
        seed: Of the run; `ENSEMBLE` for all seeds together.
    """

    data_set: str
    family: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder."""
        last = "ensemble" if self.seed == ENSEMBLE else f"seed{self.seed}"
        return f"{self.data_set}-{self.family}-{self.method}-{last}"


Measured = Mapping[Spot, Results]
Maker = Callable[[Measured, float], list[Finding]]


def list_findings(name: str, measured: Measured, *, tolerance: float = 0.0) -> list[Finding]:
    """The numbers of an exhibit.

    Args:
        name: A key of `exhibits.EXHIBITS`.
        measured: The results of its runs so far.
        tolerance: Points of percent a mean may differ from the published one.
    """
    return _MAKERS[name](measured, tolerance)


def _cifar_table(number: int) -> Maker:
    def make(measured: Measured, tolerance: float) -> list[Finding]:
        """A row for each method, a column for each data set and network."""
        rows = published.TABLES[number].rows
        entries = [
            find(
                _label(row.method),
                f"{row.data} {row.network}",
                _values(measured, row.data, row.network, row.method, mean_error),
                published=row.mean,
                tolerance=tolerance,
            )
            for row in rows
            if row.network in NETWORKS.values()
        ]
        return _filled(entries)

    return make


def _imagenet_table(
    number: int, cells_of: Callable[[Results], Mapping[str, float]], mean_name: str
) -> Maker:
    def make(measured: Measured, tolerance: float) -> list[Finding]:
        """A row for each method, a column for each corruption or perturbation."""
        entries = []
        for row in published.TABLES[number].rows:
            results = _results(measured, row.data, row.network, row.method)
            label, tables = _label(row.method), [cells_of(one) for one in results]
            entries.append(
                find(label, "clean error", list(map(clean_error, results)), published=row.clean)
            )
            for name, cell in (row.cells or {}).items():
                entries.append(find(label, name, [table[name] for table in tables], published=cell))
            means = [statistics.fmean(table[name] for name in row.cells or {}) for table in tables]
            entries.append(find(label, mean_name, means, published=row.mean, tolerance=tolerance))
        return _filled(entries)

    return make


def _flip_rates(results: Results) -> dict[str, float]:
    """FR of every standard perturbation against AlexNet's, in percent."""
    measured, baseline = flip_probabilities(results), published.ALEXNET_FLIP_PROBABILITIES
    return {name: 100 * metrics.flip_rate(measured[name], baseline[name]) for name in baseline}


def _errors_of_resnext(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 5: Table 1's row of the ResNeXt on CIFAR-10-C."""
    column = f"cifar10 {NETWORKS['resnext']}"
    found = [entry for entry in _MAKERS["table1"](measured, tolerance) if entry.column == column]
    return [replace(entry, column="error on CIFAR-10-C") for entry in found]


def _stability_and_calibration(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 6: no numbers are printed beside it."""
    entries = []
    for method in dict.fromkeys(spot.method for spot in measured):
        results = [one for spot, one in measured.items() if spot.method == method]
        flips = [100 * statistics.fmean(flip_probabilities(one).values()) for one in results]
        entries += [
            find(_label(method), "mean flip probability", flips),
            find(_label(method), "RMS calibration error, clean", _rms(results, (0,))),
            find(_label(method), "RMS calibration error, corrupted", _rms(results, range(1, 6))),
        ]
    return entries


def _calibration_by_severity(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 7: single networks (mean over seeds) and their ensembles; severity 0 is clean."""
    groups: dict[str, list[Results]] = {}
    for spot, one in measured.items():
        name = _label(spot.method) + (" ensemble" if spot.seed == ENSEMBLE else "")
        groups.setdefault(name, []).append(one)
    return [
        find(name, f"severity {severity}", _rms(results, (severity,)))
        for name, results in groups.items()
        for severity in range(6)
    ]


def _rms(results: Iterable[Results], severities: Iterable[int]) -> list[float]:
    wanted = set(severities)
    return [rms(cell for cell in one.cells if cell.severity in wanted) for one in results]


def _values(
    measured: Measured,
    data: str,
    network: str,
    method: str,
    number: Callable[[Results], float],
) -> list[float]:
    return [number(one) for one in _results(measured, data, network, method)]


def _results(measured: Measured, data: str, network: str, method: str) -> list[Results]:
    return [
        one
        for spot, one in measured.items()
        if (spot.data_set, NETWORKS[spot.family], spot.method) == (data, network, method)
    ]


def _filled(entries: list[Finding]) -> list[Finding]:
    """Without the columns and rows that nothing was measured of."""
    columns = {entry.column for entry in entries if entry.measured is not None}
    rows = {entry.row for entry in entries if entry.measured is not None}
    return [entry for entry in entries if entry.column in columns and entry.row in rows]


def _label(method: str) -> str:
    return published.LABELS[method]


_MAKERS: Mapping[str, Maker] = {
    "table1": _cifar_table(1),
    "table2": _imagenet_table(2, corruption_errors, "mCE"),
    "table3": _imagenet_table(3, _flip_rates, "mFR"),
    "table4": _cifar_table(4),
    "figure5": _errors_of_resnext,
    "figure6": _stability_and_calibration,
    "figure7": _calibration_by_severity,
}
