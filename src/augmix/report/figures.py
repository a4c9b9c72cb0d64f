"""The pictures of a report: plain numbers in, SVG text and PNG data URIs out.

Every colour in an SVG is one of the page's CSS variables, so the figures follow the page's theme in
light, dark and print; text stays text and takes the page's font. One SVG unit is one CSS pixel.
The i-th run has the same colour, marker and dash in all figures: its style number is i.
"""

import base64
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

# Stand-ins that matplotlib accepts as colours, and the CSS variables they become.
_INK, _MUTED, _GRID, _SURFACE = "#0000a1", "#0000a2", "#0000a3", "#0000a4"
_SERIES = tuple(f"#0000b{index}" for index in range(1, 7))
_VARIABLES = {
    _INK: "--ink",
    _MUTED: "--muted",
    _GRID: "--grid",
    _SURFACE: "--surface",
    **{colour: f"--series-{index}" for index, colour in enumerate(_SERIES, start=1)},
}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SHAPES = {  # the markers as paths around the middle of a key
    "o": "M13.5 7a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "s": "M13.5 3.5h7v7h-7z",
    "^": "M17 3l4 7.5h-8z",
    "D": "M17 2.2l4.8 4.8-4.8 4.8-4.8-4.8z",
    "v": "M17 11l-4-7.5h8z",
    "P": "M15.6 3h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",
}
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_HATCHES = ("", "////", "....", "xxxx")
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "text.color": _MUTED,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "ytick.major.size": 0,
    "hatch.color": _SURFACE,
}

Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One run's line in a chart.

    Attributes:
        style: The run's number on the page, from 0; gives colour, marker and dash.
        x: Any unit.
        y: Same length; NaN leaves a gap.
        size: Share of the predictions behind each point, for reliability diagrams.
    """

    style: int
    x: Sequence[Number]
    y: Sequence[Number]
    size: Sequence[Number] = ()


def bar_chart(
    name: str, categories: Sequence[str], values: Float[np.ndarray, "run category"], *, narrow: bool
) -> str:
    """Grouped bars: a group per category, a bar per run, its value on it where there is room.

    Args:
        name: Unique on the page; prefixes every id.
        categories: Names under the groups, taken literally.
        values: What the bars show; NaN leaves a gap.
        narrow: Horizontal bars, 360 pixels wide, for phones; otherwise vertical, 1040 wide.

    Returns:
        An ``<svg>`` element.
    """
    num_runs, num_groups = values.shape
    thick = 0.82 / max(num_runs, 2)
    with matplotlib.style.context(["default", _STYLE]):
        height = 40 + num_groups * (14 + 13 * max(num_runs, 2)) if narrow else 330
        figure, axes = _figure(360 if narrow else 1040, height)
        for run in range(num_runs):
            where = np.arange(num_groups) + (run - (num_runs - 1) / 2) * thick
            look = {
                "color": _colour(run),
                "hatch": _HATCHES[_cycle(run) % len(_HATCHES)],
                "edgecolor": _SURFACE,
                "linewidth": 0.8,
            }
            if narrow:
                bars = axes.barh(where, np.nan_to_num(values[run]), thick, **look)
            else:
                bars = axes.bar(where, np.nan_to_num(values[run]), thick, **look)
            if narrow or num_runs * num_groups <= 36:
                labels = [f"{value:.1f}" if value == value else "–" for value in values[run]]
                axes.bar_label(bars, labels, padding=2, fontsize=9, color=_MUTED)
        _name_groups(axes, categories, narrow=narrow)
        return _to_svg(figure, name)


def line_chart(
    name: str,
    curves: Sequence[Curve],
    *,
    x_label: str,
    x_ticks: Sequence[Number] | None = None,
    width_px: int = 380,
    is_log: bool = False,
    has_markers: bool = True,
) -> str:
    """Lines over a common axis; the unit of y belongs into the caption.

    Args:
        name: Unique on the page; prefixes every id.
        curves: At least one.
        x_label: Written under the axis.
        x_ticks: Where ticks stand; None lets matplotlib choose whole numbers.
        width_px: Width of the picture; it is two thirds as high.
        is_log: Logarithmic y axis; otherwise it starts at 0.
        has_markers: A marker on every point.
    """
    with matplotlib.style.context(["default", _STYLE]):
        figure, axes = _figure(width_px, 2 * width_px // 3)
        for curve in curves:
            axes.plot(curve.x, curve.y, **_line(curve.style, has_marker=has_markers))
        axes.grid(axis="y")
        axes.set_xlabel(x_label)
        if x_ticks is None:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        else:
            axes.set_xticks(list(x_ticks))
        if is_log and any(value > 0 for curve in curves for value in curve.y):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.spines["left"].set_visible(False)
        return _to_svg(figure, name)


def reliability_chart(name: str, curves: Sequence[Curve]) -> str:
    """Accuracy against confidence in per cent, 380 x 350 pixels; markers grow with their share."""
    with matplotlib.style.context(["default", _STYLE]):
        figure, axes = _figure(380, 350)
        axes.plot([0, 100], [0, 100], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for curve in curves:
            axes.plot(
                curve.x, curve.y, **{**_line(curve.style, has_marker=False), "linewidth": 1.4}
            )
            axes.scatter(
                curve.x,
                curve.y,
                s=[22 + 140 * share for share in curve.size],
                marker=_MARKERS[curve.style % len(_MARKERS)],
                color=_colour(curve.style),
                edgecolors=_SURFACE,
                linewidths=0.8,
                zorder=3,
            )
        axes.grid()
        axes.set_xlim(0, 101)
        axes.set_ylim(0, 101)
        axes.set_xlabel("confidence, %")
        axes.text(98, 3, "overconfident", ha="right", fontsize=10)
        axes.text(2, 95, "underconfident", fontsize=10)
        return _to_svg(figure, name)


def key(style: int) -> str:
    """The run's line and marker as a swatch of 34 x 14 pixels for an HTML legend."""
    colour = f"var({_VARIABLES[_colour(style)]})"
    dash = _DASHES[_cycle(style) % len(_DASHES)]
    dashes = "" if isinstance(dash, str) else " ".join(str(2 * length) for length in dash[1])
    shape = _SHAPES[_MARKERS[style % len(_MARKERS)]]
    return (
        '<svg viewBox="0 0 34 14" aria-hidden="true" focusable="false">'
        f'<path d="M1 7H33" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        f'<path d="{shape}" fill="{colour}" stroke="var(--surface)" stroke-width="0.8"/></svg>'
    )


def data_uri(image: UInt8[np.ndarray, "height width channel"], *, side: int) -> str:
    """The picture as a PNG data URI, reduced so that no side is longer than ``side`` pixels."""
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(width_px: int, height_px: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _name_groups(axes: Axes, categories: Sequence[str], *, narrow: bool) -> None:
    """Category names and a grid along the values."""
    places = np.arange(len(categories))
    if narrow:
        axes.set_yticks(places, categories)
        axes.set_ylim(len(categories) - 0.4, -0.6)
        axes.tick_params(axis="y", labelcolor=_INK)
        axes.grid(axis="x")
        axes.margins(x=0.12)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", size=0)
        return
    if len(categories) <= 10 and max(map(len, categories), default=0) <= 24:
        axes.set_xticks(places, [""] * len(categories))
        for place, category in zip(places, categories, strict=True):
            _write_below(axes, float(place), category)
    else:
        axes.set_xticks(places, categories, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(categories) - 0.4)
    axes.tick_params(axis="x", labelcolor=_INK, size=0)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)


def _write_below(axes: Axes, place: float, text: str) -> None:
    """A name under the axis in up to two lines, each anchored at its middle whatever the font."""
    words = text.split(" ")
    first = " ".join(words[: (len(words) + 1) // 2])
    second = " ".join(words[(len(words) + 1) // 2 :])
    for line, offset in ((first, -5), (second, -18)):
        axes.annotate(
            line,
            (place, 0),
            xytext=(0, offset),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
            color=_INK,
        )


def _cycle(style: int) -> int:
    """How often the colours were used up before this run."""
    return style // len(_SERIES)


def _colour(style: int) -> str:
    return _SERIES[style % len(_SERIES)]


def _line(style: int, *, has_marker: bool) -> dict:
    return {
        "color": _colour(style),
        "linewidth": 2,
        "linestyle": _DASHES[_cycle(style) % len(_DASHES)],
        "marker": _MARKERS[style % len(_MARKERS)] if has_marker else "",
        "markersize": 7,
        "markeredgecolor": _SURFACE,
        "markeredgewidth": 0.8,
        "solid_capstyle": "round",
    }


def _to_svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element for a page: themed, sizeless, with ids of its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # the browser has it
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # older matplotlib
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.strip()
