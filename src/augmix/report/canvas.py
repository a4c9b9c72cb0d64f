"""Matplotlib's canvas for the page: SVG text whose colours are the page's CSS variables.

Text stays text and takes the page's font. One SVG unit is one CSS pixel.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from augmix.report.styles import DASHES, MARKERS, SERIES, cycle

# Stand-ins that matplotlib accepts as colours, and the CSS variables they become.
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
def canvas(width_px: int, height_px: int) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure of so many pixels, in the page's style while the block lasts."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def colour(style: int) -> str:
    """Stand-in for a row's colour."""
    return _COLOURS[style % len(_COLOURS)]


def line(style: int, *, has_marker: bool) -> dict:
    """A row's line as keywords of matplotlib."""
    return {
        "color": colour(style),
        "linewidth": 2,
        "linestyle": DASHES[cycle(style) % len(DASHES)],
        "marker": MARKERS[style % len(MARKERS)] if has_marker else "",
        "markersize": 7,
        "markeredgecolor": SURFACE,
        "markeredgewidth": 0.8,
        "solid_capstyle": "round",
    }


def to_svg(figure: Figure, name: str) -> str:
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
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    return text.strip()
