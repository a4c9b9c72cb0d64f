"""The page: sections laid out by the templates, charts drawn as SVG in the colours of the page.

The page needs no network, and jinja2 escapes every text on it, but for the drawings made here.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

from augmix.bootstrap import KINDS, LEVEL
from augmix.report.comparison import Comparison
from augmix.report.images import collect_thumbs, thumb_uris
from augmix.report.sections import SECTIONS, lead
from augmix.report.tables import (
    DASHES,
    HATCHES,
    MARKERS,
    SERIES,
    Bars,
    Chart,
    HeatMap,
    Lines,
    Point,
    Reliability,
    Scatter,
    Table,
    cycle,
)
from augmix.results import provenance


def render_page(comparison: Comparison, title: str = "Robustness report") -> str:
    """Write the page as HTML, under a title."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["table"] = lambda block: isinstance(block, Table)
    sections = [
        (name, section, content)
        for name, section in SECTIONS.items()
        if (comparison.runs or name == "decisions")
        and (content := section.content(comparison)) is not None
    ]
    drills = [drill for *_, content in sections for drill in content.get("drills", ())]
    used = {image.number for drill in drills for image in drill.hard}
    keys = [_swatch(environment, style) for style in range(len(comparison.groups))]
    styles = {id(run): style for style, g in enumerate(comparison.groups) for run in g.runs}
    return environment.get_template("page.html").render(
        sections=sections,
        draw=lambda chart: {form: Markup(svg) for form, svg in draw(chart).items()},
        version=provenance()["versions"].get("augmix", "from its source tree"),
        level=round(100 * LEVEL),
        kinds=KINDS,
        comparison=comparison,
        keys=keys,
        labels=[group.label for group in comparison.groups],
        run_labels=[run.label for run in comparison.runs],
        run_keys=[keys[styles[id(run)]] for run in comparison.runs],
        thumbs=thumb_uris(collect_thumbs(comparison.runs), used),
        facts=[*_facts(comparison), f"written {date.today().isoformat()}"],
        lead=lead(comparison).replace(" %", "\u00a0%"),
        title=title,
    )


def _swatch(environment: Environment, style: int) -> Markup:
    """A row's line and marker as SVG of 34 x 14 pixels, for legends."""
    dash = DASHES[cycle(style) % len(DASHES)]
    drawn = environment.get_template("swatch.svg").render(
        colour=SERIES[style % len(SERIES)],
        dashes="" if isinstance(dash, str) else " ".join(str(2 * length) for length in dash[1]),
        marker=MARKERS[style % len(MARKERS)],
    )
    return Markup(drawn)


def _facts(comparison: Comparison) -> list[str]:
    """What was measured, for the head of the page."""
    runs = [*comparison.runs] or [*comparison.decided]
    sources = [run.results.source for run in runs]
    first = sources[0]
    num_rows = len(comparison.groups)
    facts = [f"{len(runs)} run{'s' if len(runs) > 1 else ''}"]
    if 0 < num_rows < len(runs):
        facts = [f"{facts[0]} in {num_rows} row{'s' if num_rows > 1 else ''}"]
    if all(source.get("fingerprint") == first.get("fingerprint") for source in sources):
        facts.append(" ".join(str(first[key]) for key in ("name", "split") if key in first))
        decision = runs[0].results.decision
        num_images = decision.num_images if decision else runs[0].results.num_images
        facts.append(f"{num_images:,} images")
        size = first.get("size")
        if isinstance(size, list | tuple) and size:
            facts.append(" × ".join(map(str, size)) + " pixels")
    return facts


# -- Charts ---------------------------------------------------------------------------------------

# Colours that stand for the CSS variables of the page, which matplotlib does not know.
INK, MUTED, GRID, SURFACE = "#0000a1", "#0000a2", "#0000a3", "#0000a4"
_COLOURS = tuple(f"#0000b{index}" for index in range(1, len(SERIES) + 1))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SURFACE: "--surface",
    **dict(zip(_COLOURS, SERIES, strict=True)),
}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": MUTED,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "hatch.color": SURFACE,
}


@contextmanager
def _canvas(width_px: int, height_px: int) -> Iterator[tuple[Figure, Axes]]:
    """Make an empty figure, in the page's style while the block lasts."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def _colour(style: int) -> str:
    return _COLOURS[style % len(_COLOURS)]


def _line(style: int, *, has_marker: bool) -> dict[str, Any]:
    return {
        "color": _colour(style),
        "linewidth": 2,
        "linestyle": DASHES[cycle(style) % len(DASHES)],
        "marker": MARKERS[style % len(MARKERS)] if has_marker else "",
        "markersize": 7,
        "markeredgecolor": SURFACE,
        "markeredgewidth": 0.8,
        "solid_capstyle": "round",
    }


def _to_svg(figure: Figure, name: str) -> str:
    """Write a figure as an ``<svg>`` element without size, with unique ids and CSS colours."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # The browser has the font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.S)
    for length in ("width", "height"):
        text = re.sub(rf'(<svg[^>]*?) {length}="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # older matplotlib
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    return text.strip()


_STEPS = [1, 2, 2.5, 5, 10]  # between the ticks, times a power of ten


def draw(chart: Chart) -> dict[str, str]:
    """Draw a chart as ``<svg>`` elements: ``wide``, and ``narrow`` for phones where it differs."""
    if isinstance(chart, Bars):
        return {"wide": _draw_columns(chart), "narrow": _draw_rows(chart)}
    if isinstance(chart, Lines):
        return {"wide": _draw_lines(chart)}
    if isinstance(chart, HeatMap):
        return {"wide": _draw_map(chart)}
    is_scatter = isinstance(chart, Scatter)
    return {"wide": _draw_scatter(chart) if is_scatter else _draw_reliability(chart)}


def _draw_columns(chart: Bars) -> str:
    """Vertical bars, 1040 pixels wide."""
    names, ticks = chart.categories, np.arange(len(chart.categories))
    with _canvas(1040, 330) as (figure, axes):
        _draw_bars(axes, chart, is_upright=True)
        if len(names) <= 10 and max(map(len, names), default=0) <= 24:
            axes.set_xticks(ticks, [""] * len(names))
            for x, name in enumerate(names):
                _write_below(axes, x, name)
        else:
            axes.set_xticks(ticks, names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.tick_params(axis="x", labelcolor=INK)
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        return _to_svg(figure, f"{chart.name}-wide")


def _write_below(axes: Axes, x: int, text: str) -> None:
    """A name under the axis in up to two lines, each anchored at its middle whatever the font."""
    words = text.split(" ")
    half = (len(words) + 1) // 2
    for line, offset in ((words[:half], -5), (words[half:], -18)):
        axes.annotate(
            " ".join(line),
            (x, 0),
            xytext=(0, offset),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
            color=INK,
        )


def _draw_rows(chart: Bars) -> str:
    """Horizontal bars, 360 pixels wide, for phones."""
    num_rows, num_groups = chart.values.shape
    height = 40 + num_groups * (14 + 13 * max(num_rows, 2))
    with _canvas(360, height) as (figure, axes):
        _draw_bars(axes, chart, is_upright=False)
        axes.set_yticks(np.arange(num_groups), chart.categories)
        axes.set_ylim(num_groups - 0.4, -0.6)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(axis="x")
        axes.margins(x=0.12)
        axes.spines["bottom"].set_visible(False)
        return _to_svg(figure, f"{chart.name}-narrow")


def _draw_bars(axes: Axes, chart: Bars, *, is_upright: bool) -> None:
    """Bars with their intervals as whiskers; a dash where nothing was measured."""
    num_rows, num_groups = chart.values.shape
    thick = 0.82 / max(num_rows, 2)
    for row, values in enumerate(chart.values):
        where = np.arange(num_groups) + (row - (num_rows - 1) / 2) * thick
        ends = np.nan_to_num(values)
        spans = np.stack([values - chart.low[row], chart.high[row] - values])
        spans = np.maximum(np.nan_to_num(spans), 0)  # 0 where there is no interval
        (axes.bar if is_upright else axes.barh)(
            where,
            ends,
            thick,
            color=_colour(row),
            hatch=HATCHES[cycle(row) % len(HATCHES)],
            edgecolor=SURFACE,
            linewidth=0.8,
        )
        tips: dict[str, Any] = {"yerr" if is_upright else "xerr": spans}
        whisker = (where, ends) if is_upright else (ends, where)
        axes.errorbar(*whisker, fmt="none", ecolor=INK, elinewidth=1, alpha=0.7, **tips)
        for at, value in zip(where, values, strict=True):
            if value != value:  # not measured
                position = (at, 0) if is_upright else (0, at)
                axes.annotate("–", position, ha="center", va="bottom", color=MUTED)


def _draw_lines(chart: Lines) -> str:
    with _canvas(chart.width_px, 2 * chart.width_px // 3) as (figure, axes):
        for curve in chart.curves:
            if curve.low:
                shade: dict[str, Any] = {"color": _colour(curve.style), "alpha": 0.16, "lw": 0}
                axes.fill_between(curve.x, curve.low, curve.high, **shade)
            axes.plot(curve.x, curve.y, **_line(curve.style, has_marker=chart.has_markers))
            if curve.marked:
                ring: dict[str, Any] = {"edgecolors": _colour(curve.style), "facecolors": "none"}
                axes.scatter(*curve.marked, s=110, linewidths=1.8, zorder=3, **ring)
        axes.grid(axis="y")
        axes.set_xlabel(chart.x_label)
        if chart.x_ticks is None:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        else:
            axes.set_xticks(list(chart.x_ticks))
        axes.spines["left"].set_visible(False)
        if chart.is_log and any(value > 0 for curve in chart.curves for value in curve.y):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        return _to_svg(figure, chart.name)


def _draw_reliability(chart: Reliability) -> str:
    """380 x 350 pixels."""
    with _canvas(380, 350) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for curve in chart.curves:
            line: Any = _line(curve.style, has_marker=False) | {"linewidth": 1.4}
            axes.plot(curve.x, curve.y, **line)
            axes.scatter(
                curve.x,
                curve.y,
                s=[22 + 140 * fraction for fraction in curve.size],
                marker=MARKERS[curve.style % len(MARKERS)],
                color=_colour(curve.style),
                edgecolors=SURFACE,
                linewidths=0.8,
                zorder=3,
            )
        axes.grid()
        axes.set_xlim(0, 101)
        axes.set_ylim(0, 101)
        axes.set_xlabel("confidence, %")
        axes.text(98, 3, "overconfident", ha="right", fontsize=10)
        axes.text(2, 95, "underconfident", fontsize=10)
        return _to_svg(figure, chart.name)


def _draw_scatter(chart: Scatter) -> str:
    """380 x 310 pixels; both axes start at 0."""
    with _canvas(380, 310) as (figure, axes):
        for style in dict.fromkeys(point.style for point in chart.points):
            points = [point for point in chart.points if point.style == style]
            x, y = zip(*((point.x, point.y) for point in points), strict=True)
            axes.plot(x, y, color=_colour(style), linewidth=1.2, linestyle=(0, (2, 2)))
            for point in points:
                _draw_point(axes, point)
        axes.grid()
        axes.set_xlim(0, 1.06 * axes.get_xlim()[1])
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        return _to_svg(figure, chart.name)


def _draw_map(chart: HeatMap) -> str:
    """380 x 320 pixels; one picture element for each number."""
    rows, columns = chart.values.shape
    left, top = -(columns // 2) - 0.5, -(rows // 2) - 0.5
    with _canvas(380, 320) as (figure, axes):
        shown = axes.imshow(
            chart.values,
            extent=(left, left + columns, top + rows, top),
            vmin=0,
            vmax=chart.top,
            cmap="viridis",
            interpolation="none",
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        bar = figure.colorbar(shown, label=chart.label, shrink=0.8)
        bar.outline.set_visible(False)
        return _to_svg(figure, chart.name)


def _draw_point(axes: Axes, point: Point) -> None:
    shade = _colour(point.style)
    for x, y in ((point.x_span, (point.y, point.y)), ((point.x, point.x), point.y_span)):
        if x and y:
            axes.plot(x, y, color=shade, linewidth=1.4, solid_capstyle="butt", zorder=2)
    axes.plot(
        point.x,
        point.y,
        linestyle="",
        marker=MARKERS[point.style % len(MARKERS)],
        markersize=9,
        markerfacecolor=SURFACE if point.is_hollow else shade,
        markeredgecolor=shade if point.is_hollow else SURFACE,
        markeredgewidth=1.8 if point.is_hollow else 0.8,
        zorder=3,
    )
