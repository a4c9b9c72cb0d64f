"""What runs gave beside what is published: differences and verdicts, as JSON, CSV, Markdown."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from augmix import metrics, published, records
from augmix.records import Cell, Results

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
        * metrics.corruption_error(
            list(errors_of(results)[name].values()), published.ALEXNET_ERRORS[name]
        )
        for name in published.ALEXNET_ERRORS
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
    records.write_json(paths[0], {**about, "findings": plain, "pairs_in_published_order": order})
    records.write_bytes(paths[1], _csv(plain).encode())
    records.write_bytes(paths[2], markdown(findings, about).encode())
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
        **records.to_plain(finding),
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
