"""The figures of the paper, drawn as SVG from the measured numbers."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from augmix import files
from augmix.paper.compare import ABLATED, FREQUENCY, SCRIPT_BINS, Finding

FIGURES = ("figure5", "figure6", "figure7", "figure8", "figure9", "figure11")
_INK, _ACCENT, _GREY = "#1b2a41", "#d1495b", "#8d99ae"
_CYCLE = (_GREY, "#5c6f8a", _ACCENT, "#8c1c2f")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.hashsalt": "augmix",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(path: Path, name: str, findings: Sequence[Finding]) -> Path:
    """Draw one of `FIGURES` into an SVG file, from the numbers of `list_findings`."""
    if name not in FIGURES:
        raise ValueError(f"name must be one of {', '.join(FIGURES)}; got {name!r}")
    shown = [finding for finding in findings if SCRIPT_BINS not in finding.column]
    columns = list(dict.fromkeys(finding.column for finding in shown))
    with matplotlib.rc_context(_STYLE):
        figure = _FORMS.get(name, _figure_of_bars)(shown, columns)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    files.write_bytes(path, buffer.getvalue())
    return path


def _height(finding: Finding) -> float:
    """What is drawn; a gap where nothing was measured."""
    return math.nan if finding.measured is None else finding.measured


def _figure_of_bars(findings: Sequence[Finding], columns: Sequence[str]) -> Figure:
    """A panel for each column."""
    panels = max(1, len(columns))
    width = 3.6 * panels if panels > 1 else 5.2
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for axes, column in zip(grid, columns, strict=False):
        _draw_bars(axes, [each for each in findings if each.column == column])
    return figure


def _figure_by_severity(findings: Sequence[Finding], columns: Sequence[str]) -> Figure:
    """A panel for each number, whose columns end in the severity."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    names = list(dict.fromkeys(column.split(",")[0] for column in columns))
    for axes, name in zip(figure.subplots(1, 2), names, strict=False):
        _draw_lines(axes, findings, [each for each in columns if each.startswith(f"{name},")])
        axes.set_title(f"{name}, %", loc="left", fontsize=9)
    return figure


def _figure_of_ablation(findings: Sequence[Finding], columns: Sequence[str]) -> Figure:
    """A panel for each setting; the paper's value is filled."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    found = {f.row: f for f in findings if f.column == "error on CIFAR-10-C"}
    for axes, (label, _) in zip(figure.subplots(2, 3).flat, ABLATED.values(), strict=True):
        rows = [row for row in found if row.startswith(f"{label} ")]
        heights = [_height(found[row]) for row in rows]
        spreads = [found[row].spread or 0.0 for row in rows]
        positions = range(len(rows))
        axes.errorbar(positions, heights, yerr=spreads, color=_GREY, linewidth=1.2, capsize=2)
        colours = [_ACCENT if row.endswith("(paper)") else "white" for row in rows]
        axes.scatter(positions, heights, s=22, color=colours, edgecolor=_INK, zorder=3)
        names = [row.removeprefix(f"{label} ").removesuffix(" (paper)") for row in rows]
        axes.set_xticks(positions, names)
        axes.set_title(label, loc="left", fontsize=9)
    figure.supylabel("error on CIFAR-10-C, %", fontsize=9)
    return figure


def _figure_by_corruption(findings: Sequence[Finding], columns: Sequence[str]) -> Figure:
    """A group of bars for each corruption, a bar for each method."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    axes = figure.subplots()
    rows = list(dict.fromkeys(finding.row for finding in findings))
    width = 0.8 / max(len(rows), 1)
    shades = matplotlib.colormaps["Greys"](np.linspace(0.25, 0.75, max(len(rows), 1)))
    for number, row in enumerate(rows):
        heights = [_height(finding) for finding in findings if finding.row == row]
        positions = np.arange(len(columns)) + (number - (len(rows) - 1) / 2) * width
        axes.bar(
            positions,
            heights,
            width,
            label=row,
            color=_ACCENT if row == "AugMix" else shades[number],
        )
    labels = [column.replace("_", " ") for column in columns]
    axes.set_xticks(range(len(columns)), labels, rotation=35, ha="right")
    axes.set_title("error by corruption of CIFAR-10-C, mean of severities, %", loc="left", size=9)
    if rows:
        axes.legend(frameon=False, fontsize=8, ncols=len(rows), loc="upper left")
    axes.margins(x=0.01, y=0.16)
    return figure


def _figure_of_maps(findings: Sequence[Finding], columns: Sequence[str]) -> Figure:
    """A heat map for each method, the lowest frequency in the middle, all on one scale."""
    rows = list(dict.fromkeys(finding.row for finding in findings))
    single = [finding for finding in findings if finding.column.startswith(FREQUENCY)]
    figure = Figure(figsize=(2.3 * max(len(rows), 1) + 0.7, 2.6), layout="constrained")
    grid = figure.subplots(1, max(len(rows), 1), squeeze=False)[0]
    top = max([finding.measured or 0.0 for finding in single], default=1.0)
    drawn = None
    for axes, row in zip(grid, rows, strict=False):
        positions = {
            (int(vertical), int(horizontal)): finding.measured
            for finding in single
            if finding.row == row
            for vertical, horizontal in [finding.column.removeprefix(FREQUENCY).split()]
        }
        (first, left), (last, right) = min(positions), max(positions)
        values = [[positions[v, h] for h in range(left, right + 1)] for v in range(first, last + 1)]
        extent = (left - 0.5, right + 0.5, last + 0.5, first - 0.5)
        drawn = axes.imshow(values, vmin=0, vmax=top, cmap="viridis", extent=extent)
        axes.set_title(row, loc="left", fontsize=9)
    if drawn is not None:
        figure.colorbar(drawn, ax=list(grid), label="error, %")
    return figure


_FORMS = {
    "figure7": _figure_by_severity,
    "figure8": _figure_of_ablation,
    "figure9": _figure_of_maps,
    "figure11": _figure_by_corruption,
}


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
    axes.set_xticks(range(len(columns)), [column.rpartition(" ")[2] for column in columns])
    axes.set_xlabel("severity (0: clean)")
    axes.set_ylim(bottom=0)
    if rows:
        axes.legend(frameon=False, fontsize=8)
