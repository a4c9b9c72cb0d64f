"""Charts as data, and how the rows of a report are told apart in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SERIES = tuple(f"--series-{index}" for index in range(1, 7))
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
HATCHES = ("", "////", "....", "xxxx")
_SHAPES = {  # the markers as paths around the middle of a key
    "o": "M13.5 7a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "s": "M13.5 3.5h7v7h-7z",
    "^": "M17 3l4 7.5h-8z",
    "D": "M17 2.2l4.8 4.8-4.8 4.8-4.8-4.8z",
    "v": "M17 11l-4-7.5h8z",
    "P": "M15.6 3h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",
}


def cycle(style: int) -> int:
    """How often the colours were used up before this row."""
    return style // len(SERIES)


def key(style: int) -> str:
    """The row's line and marker as a swatch of 34 x 14 pixels for an HTML legend."""
    colour = f"var({SERIES[style % len(SERIES)]})"
    dash = DASHES[cycle(style) % len(DASHES)]
    dashes = "" if isinstance(dash, str) else " ".join(str(2 * length) for length in dash[1])
    shape = _SHAPES[MARKERS[style % len(MARKERS)]]
    return (
        '<svg viewBox="0 0 34 14" aria-hidden="true" focusable="false">'
        f'<path d="M1 7H33" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        f'<path d="{shape}" fill="{colour}" stroke="var(--surface)" stroke-width="0.8"/></svg>'
    )


Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One row's line in a chart.

    Attributes:
        style: The row's number on the page, from 0; gives colour, marker and dash.
        x: Any unit.
        y: Same length; NaN leaves a gap.
        low: Lower ends of the intervals, same length, or empty.
        high: Upper ends.
        size: Share of the predictions behind each point, for reliability diagrams.
    """

    style: int
    x: Sequence[Number]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    size: Sequence[Number] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Grouped bars: a group per category, a bar per row, its interval as a whisker.

    Attributes:
        name: Unique on the page; prefixes every id.
        categories: Names under the groups, taken literally.
        values: What the bars show; NaN leaves a gap.
        low: Lower ends of the intervals; NaN where there are none.
        high: Upper ends.
    """

    name: str
    categories: tuple[str, ...]
    values: Float[np.ndarray, "row category"]
    low: Float[np.ndarray, "row category"]
    high: Float[np.ndarray, "row category"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines over a common axis; the unit of y belongs into the caption.

    Attributes:
        name: Unique on the page; prefixes every id.
        curves: At least one.
        x_label: Written under the axis.
        x_ticks: Where ticks stand; None lets matplotlib choose whole numbers.
        width_px: Width of the picture; it is two thirds as high.
        is_log: Logarithmic y axis; otherwise it starts at 0.
        has_markers: A marker on every point.
    """

    name: str
    curves: tuple[Curve, ...]
    x_label: str
    x_ticks: tuple[Number, ...] | None = None
    width_px: int = 380
    is_log: bool = False
    has_markers: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Accuracy against confidence in per cent; markers grow with their share."""

    name: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row's place among two numbers in per cent, with intervals as (low, high) or empty."""

    style: int
    x: Number
    y: Number
    x_span: tuple[Number, ...] = ()
    y_span: tuple[Number, ...] = ()
    is_hollow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points of two numbers; the points of one row are joined in their order.

    Attributes:
        name: Unique on the page; prefixes every id.
        points: At least one.
        x_label: Written under the axis.
        y_label: Written beside it.
    """

    name: str
    points: tuple[Point, ...]
    x_label: str
    y_label: str


Chart = Bars | Lines | Reliability | Scatter
