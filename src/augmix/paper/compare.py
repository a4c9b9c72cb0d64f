"""Measured numbers beside the published ones: as JSON, CSV, Markdown, and drawn as SVG."""

import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from augmix import files, metrics, published
from augmix.published import ALEXNET_ERRORS, ALEXNET_FLIP_PROBABILITIES
from augmix.report.exports import records_to_csv
from augmix.report.tables import Column, Entry, Row, Table, to_markdown_table
from augmix.results import Results

# Family of networks -> the name in the paper's tables.
NETWORKS = {
    "allconv": "AllConv",
    "densenet": "DenseNet",
    "wrn": "WideResNet",
    "resnext": "ResNeXt",
    "resnet": "ResNet-50",
}
ENSEMBLE = -1  # the seed of an ensemble of all seeds
FIGURES = ("figure5", "figure6", "figure7")
_INK, _ACCENT, _GREY = "#1b2a41", "#d1495b", "#8d99ae"
_CYCLE = (_GREY, "#5c6f8a", _ACCENT, "#8c1c2f")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.hashsalt": "augmix",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One number of a table or figure, in per cent."""

    row: str  # method, and in figures the kind of model
    column: str  # what was measured, e.g. ``cifar10 WideResNet`` or ``mCE``
    published: float | None  # as printed in the paper; None where it prints none
    measured: float | None  # mean over the seeds; None while no run has it
    spread: float | None = None  # standard deviation over the seeds; None for fewer than two
    num_seeds: int = 0
    tolerance: float = 0.0  # points that the two may differ by; 0 if they are not compared

    @property
    def difference(self) -> float | None:
        """Measured minus published, in percentage points."""
        if self.published is None or self.measured is None:
            return None
        return self.measured - self.published

    @property
    def verdict(self) -> str:
        """``pass`` or ``fail`` where the scale is the paper's; empty where nothing is compared."""
        if not self.tolerance or self.difference is None:
            return ""
        return "pass" if abs(self.difference) <= self.tolerance else "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunKey:
    """Which run of a table or figure a result belongs to."""

    data_set: str  # ``cifar10``, ``cifar100`` or ``imagenet``
    family: str  # of the network, a key of `NETWORKS`
    method: str  # a key of `methods.METHODS`
    seed: int  # or `ENSEMBLE` for all seeds together

    @property
    def name(self) -> str:
        """The name of its run folder."""
        last = "ensemble" if self.seed == ENSEMBLE else f"seed{self.seed}"
        return f"{self.data_set}-{self.family}-{self.method}-{last}"


Measured = Mapping[RunKey, Results]


def list_findings(name: str, measured: Measured, *, tolerance: float = 0.0) -> list[Finding]:
    """List the numbers of a table or figure, a key of `paper.PAPER_TABLES`, from its runs so far.

    A mean may differ from the published one by ``tolerance`` percentage points.
    """
    return _LISTED[name](measured, tolerance)


def find(
    row: str,
    column: str,
    values: Sequence[float],
    *,
    published: float | None = None,
    tolerance: float = 0.0,
) -> Finding:
    """Make a finding from the values of its seeds, in per cent."""
    return Finding(
        row=row,
        column=column,
        published=published,
        measured=statistics.fmean(values) if values else None,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        num_seeds=len(values),
        tolerance=tolerance,
    )


def agreement(findings: Sequence[Finding]) -> dict[str, tuple[int, int]]:
    """Count, by column, the pairs of rows in the same order as published, and all pairs.

    A pair whose published or measured numbers are equal is not counted.
    """
    columns: dict[str, list[tuple[float, float]]] = {}
    for finding in findings:
        if finding.published is not None and finding.measured is not None:
            pair = (finding.published, finding.measured)
            columns.setdefault(finding.column, []).append(pair)
    counted = {}
    for column, pairs in columns.items():
        signs = [np.sign(np.subtract(one, other)) for one, other in combinations(pairs, 2)]
        clear = [sign for sign in signs if sign.all()]
        if clear:
            counted[column] = (sum(bool(sign[0] == sign[1]) for sign in clear), len(clear))
    return counted


# -- The numbers of one run -----------------------------------------------------------------------


def mean_error(results: Results) -> float:
    """Average the error over corruptions and severities, in per cent: CIFAR-C's score."""
    return 100 * metrics.mean_error(_errors(results))


def _errors(results: Results) -> dict[str, list[float]]:
    """Errors of every measured corruption at its severities."""
    errors: dict[str, list[float]] = {}
    for cell in results.cells:
        if cell.suite == "c":
            errors.setdefault(cell.name, []).append(cell.error)
    return errors


def _corruption_errors(results: Results) -> dict[str, float]:
    """CE of every corruption of the benchmark, in per cent."""
    errors = _errors(results)
    return {
        name: 100 * metrics.corruption_error(errors[name], baseline)
        for name, baseline in ALEXNET_ERRORS.items()
    }


def _flip_rates(results: Results) -> dict[str, float]:
    """FR of every perturbation of the benchmark, in per cent."""
    measured = {cell.name: cell.flip_probability for cell in results.sequences}
    return {
        name: 100 * metrics.flip_rate(measured[name], baseline)
        for name, baseline in ALEXNET_FLIP_PROBABILITIES.items()
    }


def _rms(results: Iterable[Results], severities: Sequence[int]) -> list[float]:
    """Mean RMS calibration error of the cells at some severities, in per cent, of each run."""
    cells = [[cell for cell in one.cells if cell.severity in severities] for one in results]
    return [
        100 * statistics.fmean(metrics.rms_from_bins(*cell.adaptive) for cell in of_run)
        for of_run in cells
    ]


# -- The tables and figures -----------------------------------------------------------------------


def _cifar_table(number: int, measured: Measured, tolerance: float) -> list[Finding]:
    """A row for each method, a column for each data set and network."""
    return _filled(
        find(
            published.LABELS[row.method],
            f"{row.data} {row.network}",
            list(map(mean_error, _of_row(measured, row))),
            published=row.mean,
            tolerance=tolerance,
        )
        for row in published.TABLES[number].rows
        if row.network in NETWORKS.values()
    )


def _imagenet_table(
    number: int,
    cells_of: Callable[[Results], Mapping[str, float]],
    mean_name: str,
    measured: Measured,
    tolerance: float,
) -> list[Finding]:
    """A row for each method, a column for each corruption or perturbation."""
    findings = []
    for row in published.TABLES[number].rows:
        label, printed = published.LABELS[row.method], row.cells or {}
        results = _of_row(measured, row)
        found = [one.find("clean", "clean", 0) for one in results]
        clean = [100 * cell.error for cell in found if cell]
        cells = [cells_of(one) for one in results]
        means = [statistics.fmean(one[name] for name in printed) for one in cells]
        findings.append(find(label, "clean error", clean, published=row.clean))
        for name, value in printed.items():
            findings.append(find(label, name, [one[name] for one in cells], published=value))
        findings.append(find(label, mean_name, means, published=row.mean, tolerance=tolerance))
    return _filled(findings)


def _errors_of_resnext(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 5: the ResNeXt on CIFAR-10-C, as in Table 1."""
    column = f"cifar10 {NETWORKS['resnext']}"
    return [
        replace(finding, column="error on CIFAR-10-C")
        for finding in list_findings("table1", measured, tolerance=tolerance)
        if finding.column == column
    ]


def _stability_and_calibration(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 6, beside which the paper prints no numbers."""
    findings = []
    for method in dict.fromkeys(key.method for key in measured):
        results = [one for key, one in measured.items() if key.method == method]
        flips = [
            100 * statistics.fmean(cell.flip_probability for cell in one.sequences)
            for one in results
        ]
        label = published.LABELS[method]
        findings += [
            find(label, "mean flip probability", flips),
            find(label, "RMS calibration error, clean", _rms(results, (0,))),
            find(label, "RMS calibration error, corrupted", _rms(results, range(1, 6))),
        ]
    return findings


def _calibration_by_severity(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 7: single networks (mean over seeds) and their ensembles; severity 0 is clean."""
    groups: dict[str, list[Results]] = {}
    for key, one in measured.items():
        name = published.LABELS[key.method] + (" ensemble" if key.seed == ENSEMBLE else "")
        groups.setdefault(name, []).append(one)
    return [
        find(name, f"severity {severity}", _rms(results, (severity,)))
        for name, results in groups.items()
        for severity in range(6)
    ]


def _of_row(measured: Measured, row: published.Row) -> list[Results]:
    """The runs of a printed row."""
    return [
        one
        for key, one in measured.items()
        if (key.data_set, NETWORKS[key.family], key.method) == (row.data, row.network, row.method)
    ]


def _filled(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out columns and rows of which nothing was measured."""
    everything = list(findings)
    columns = {finding.column for finding in everything if finding.measured is not None}
    rows = {finding.row for finding in everything if finding.measured is not None}
    return [each for each in everything if each.column in columns and each.row in rows]


_LISTED: Mapping[str, Callable[[Measured, float], list[Finding]]] = {
    "table1": partial(_cifar_table, 1),
    "table2": partial(_imagenet_table, 2, _corruption_errors, "mCE"),
    "table3": partial(_imagenet_table, 3, _flip_rates, "mFR"),
    "table4": partial(_cifar_table, 4),
    "figure5": _errors_of_resnext,
    "figure6": _stability_and_calibration,
    "figure7": _calibration_by_severity,
}


# -- Files ----------------------------------------------------------------------------------------


def write_findings(
    folder: Path, name: str, findings: Sequence[Finding], about: Mapping[str, Any]
) -> list[Path]:
    """Write ``NAME.json``, ``NAME.csv`` and ``NAME.md`` of a table or figure into a folder.

    ``about`` has ``title``, ``scale``, ``summary``, ``runs`` (folder -> state) and ``remarks``
    (lines).
    """
    records = [
        {**files.to_plain(each), "difference": each.difference, "verdict": each.verdict}
        for each in findings
    ]
    paths = [folder / f"{name}.{suffix}" for suffix in ("json", "csv", "md")]
    order = {column: list(pair) for column, pair in agreement(findings).items()}
    files.write_json(paths[0], {**about, "findings": records, "pairs_in_published_order": order})
    columns = [*(each.name for each in fields(Finding)), "difference", "verdict"]
    files.write_bytes(paths[1], records_to_csv(records, columns).encode())
    files.write_bytes(paths[2], _to_markdown(findings, about).encode())
    return paths


def _to_markdown(findings: Sequence[Finding], about: Mapping[str, Any]) -> str:
    """A page with the measured numbers, and the published ones in parentheses."""
    lines = [
        f"# {about['title']}",
        "",
        f"Scale `{about['scale']}`: {about['summary']}. In per cent: measured (published).",
        "",
        to_markdown_table(_to_table(findings)),
        "",
        *(f"- {remark}" for remark in about["remarks"]),
        *(
            f"- {column}: {same} of {pairs} pairs of methods in the published order"
            for column, (same, pairs) in agreement(findings).items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _to_table(findings: Sequence[Finding]) -> Table:
    columns = list(dict.fromkeys(finding.column for finding in findings))
    by_row: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        by_row.setdefault(finding.row, {})[finding.column] = finding
    return Table(
        name="findings",
        title="",
        corner="",
        columns=tuple(Column(title=column) for column in columns),
        rows=tuple(
            Row(label=label, entries=tuple(_entry(found.get(column)) for column in columns))
            for label, found in by_row.items()
        ),
    )


def _entry(finding: Finding | None) -> Entry:
    if finding is None or (finding.measured is None and finding.published is None):
        return Entry(text="")
    parts = ["-" if finding.measured is None else f"{finding.measured:.1f}"]
    parts += [f"± {finding.spread:.1f}"] if finding.spread is not None else []
    parts += [f"({finding.published:g})"] if finding.published is not None else []
    return Entry(text=" ".join([*parts, finding.verdict]).strip(), value=finding.measured)


# -- Figures --------------------------------------------------------------------------------------


def draw(path: Path, name: str, findings: Sequence[Finding]) -> Path:
    """Draw one of `FIGURES` into an SVG file, from the numbers of `list_findings`."""
    if name not in FIGURES:
        raise ValueError(f"name must be one of {', '.join(FIGURES)}; got {name!r}")
    columns = list(dict.fromkeys(finding.column for finding in findings))
    with matplotlib.rc_context(_STYLE):
        if name == "figure7":
            figure = Figure(figsize=(5.2, 3.4), layout="constrained")
            _draw_lines(figure.subplots(), findings, columns)
        else:
            panels = max(1, len(columns))
            width = 3.6 * panels if panels > 1 else 5.2
            figure = Figure(figsize=(width, 3.2), layout="constrained")
            grid = figure.subplots(1, panels, squeeze=False)[0]
            for axes, column in zip(grid, columns, strict=False):
                _draw_bars(axes, [each for each in findings if each.column == column])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    files.write_bytes(path, buffer.getvalue())
    return path


def _draw_bars(axes: Axes, findings: Sequence[Finding]) -> None:
    """A bar for each method; a ring where the paper prints a number."""
    shown = [finding for finding in findings if finding.measured is not None]
    heights = [finding.measured or 0.0 for finding in shown]
    colours = [_ACCENT if finding.row.startswith("AugMix") else _GREY for finding in shown]
    axes.bar(range(len(shown)), heights, color=colours, width=0.7)
    for x, (finding, height) in enumerate(zip(shown, heights, strict=True)):
        if finding.spread is not None:
            axes.errorbar(x, height, yerr=finding.spread, color=_INK, capsize=3, linewidth=1)
        axes.annotate(
            f"{height:.1f}",
            (x, height),
            xytext=(0, 2 if finding.spread is None else 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    printed = [(x, finding.published) for x, finding in enumerate(shown) if finding.published]
    if printed:
        axes.scatter(*zip(*printed, strict=True), s=26, facecolor="white", edgecolor=_INK, zorder=3)
        axes.scatter([], [], s=26, facecolor="white", edgecolor=_INK, label="published")
        axes.legend(frameon=False, loc="lower left", fontsize=8)
    labels = [finding.row for finding in shown]
    axes.set_xticks(range(len(shown)), labels, rotation=35, ha="right")
    axes.set_title(f"{findings[0].column}, %", loc="left", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.12)


def _draw_lines(axes: Axes, findings: Sequence[Finding], columns: Sequence[str]) -> None:
    """A line for each kind of model over the severities."""
    rows = list(dict.fromkeys(finding.row for finding in findings))
    for style, row in enumerate(rows):
        values = {each.column: each.measured for each in findings if each.row == row}
        measured = [values.get(column) for column in columns]
        axes.plot(
            range(len(columns)),
            [math.nan if value is None else value for value in measured],
            marker="o",
            markersize=4,
            color=_CYCLE[style % len(_CYCLE)],
            linestyle="--" if row.endswith("ensemble") else "-",
            label=row,
        )
    axes.set_xticks(range(len(columns)), [column.removeprefix("severity ") for column in columns])
    axes.set_xlabel("severity (0: clean)")
    axes.set_title("RMS calibration error, %", loc="left", fontsize=9)
    axes.set_ylim(bottom=0)
    if rows:
        axes.legend(frameon=False, fontsize=8)
