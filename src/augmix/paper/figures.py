"""The paper's figures drawn from measured numbers, as SVG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from augmix import files
from augmix.paper.compare import Finding

FIGURES = ("figure5", "figure6", "figure7")
_INK, _ACCENT, _GREY = "#1b2a41", "#d1495b", "#8d99ae"
_CYCLE = (_GREY, "#5c6f8a", _ACCENT, "#8c1c2f")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.hashsalt": "augmix",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(path: Path, name: str, findings: Sequence[Finding]) -> Path:
    """Draw a figure into an SVG file.

    Args:
        path: The file.
        name: ``figure5``, ``figure6`` or ``figure7``.
        findings: The numbers of `entries.list_findings`.

    Raises:
        ValueError: If the exhibit is no figure of this kind.
    """
    if name not in FIGURES:
        raise ValueError(f"name must be one of {', '.join(FIGURES)}; got {name!r}")
    columns = list(dict.fromkeys(finding.column for finding in findings))
    with matplotlib.rc_context(_STYLE):
        if name == "figure7":
            figure = Figure(figsize=(5.2, 3.4), layout="constrained")
            _lines(figure.subplots(), findings, columns)
        else:
            panels = max(1, len(columns))
            figure = Figure(
                figsize=(3.6 * panels if panels > 1 else 5.2, 3.2), layout="constrained"
            )
            grid = figure.subplots(1, panels, squeeze=False)[0]
            for axes, column in zip(grid, columns, strict=False):
                _bars(axes, [entry for entry in findings if entry.column == column], column)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    files.write_bytes(path, buffer.getvalue())
    return path


def _bars(axes: Axes, entries: Sequence[Finding], title: str) -> None:
    """A bar for each method; a ring where the paper prints a number."""
    shown = [entry for entry in entries if entry.measured is not None]
    places = range(len(shown))
    heights = [entry.measured or 0.0 for entry in shown]
    colours = [_ACCENT if entry.row.startswith("AugMix") else _GREY for entry in shown]
    axes.bar(places, heights, color=colours, width=0.7)
    for place, entry in zip(places, shown, strict=True):
        value = entry.measured or 0.0
        if entry.spread is not None:
            axes.errorbar(place, value, yerr=entry.spread, color=_INK, capsize=3, linewidth=1)
        axes.annotate(
            f"{value:.1f}",
            (place, value),
            xytext=(0, 2 if entry.spread is None else 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    printed = [(p, e.published) for p, e in zip(places, shown, strict=True) if e.published]
    if printed:
        axes.scatter(*zip(*printed, strict=True), s=26, facecolor="white", edgecolor=_INK, zorder=3)
        axes.scatter([], [], s=26, facecolor="white", edgecolor=_INK, label="published")
        axes.legend(frameon=False, loc="lower left", fontsize=8)
    axes.set_xticks(list(places), [entry.row for entry in shown], rotation=35, ha="right")
    axes.set_title(f"{title}, %", loc="left", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.12)


def _lines(axes: Axes, entries: Sequence[Finding], columns: Sequence[str]) -> None:
    """A line for each kind of model over the severities."""
    rows = list(dict.fromkeys(entry.row for entry in entries))
    for style, row in enumerate(rows):
        values = {e.column: e.measured for e in entries if e.row == row and e.measured is not None}
        heights = [values.get(column, float("nan")) for column in columns]
        axes.plot(
            range(len(columns)),
            heights,
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
