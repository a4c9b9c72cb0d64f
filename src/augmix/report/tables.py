"""Tables and charts as data: the page, LaTeX and Markdown show the same ones.

Records and estimates hold fractions; from the entries of a table on, they are per cent.
"""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from augmix.bootstrap import Interval
from augmix.report.comparison import Comparison, Group, Number, contrast
from augmix.report.estimates import METRICS, Key

NOTHING = "–"
Mark = Literal["", "best", "tied", "lower", "higher", "within noise", "right"]
_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]|#"})
Kind = Literal["measured", "adapted", "published", "total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A cell of a table."""

    text: str
    value: float | None = None  # what rows are sorted by; None for text and for missing numbers
    detail: str = ""  # its uncertainty: ``17.9 – 19.1``, ``± 0.8``; or nothing
    # Beside the best of its column, the verdict of a difference, or what is right in a matrix
    mark: Mark = ""
    heat: int | None = None  # in % of the report's largest value, for tables that are coloured


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column; neighbours of one ``group`` share a heading."""

    title: str
    unit: str = ""
    group: str = ""
    is_number: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row; ``style`` is the index of its group, which gives colour and marker."""

    label: str
    entries: tuple[Entry, ...]
    style: int | None = None
    kind: Kind = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table."""

    name: str  # unique in the report
    title: str
    unit: str = ""  # of all its numbers, after the title
    corner: str = "Run"  # heading of the rows' labels
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""  # below it

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings over neighbouring columns of one group, with their number of columns."""
        names = groupby(column.group for column in self.columns)
        return [(name, len(list(columns))) for name, columns in names]


def text(words: str) -> Entry:
    """Make an entry of words."""
    return Entry(text=words or NOTHING)


def plain(value: float | None, *, scale: float = 100.0, decimals: int = 1) -> Entry:
    """Make an entry of a number without an interval, such as a published one."""
    number = None if value is None else Number(value=value)
    return shown(number, scale=scale, decimals=decimals)


def shown(number: Number | None, *, scale: float = 100.0, decimals: int = 1) -> Entry:
    """Make an entry of a number with its standard deviation over seeds, or its interval."""
    if number is None:
        return Entry(text=NOTHING)
    detail = ""
    if number.std is not None:
        detail = f"± {scale * number.std:.{decimals}f}"
    elif number.low is not None and number.high is not None:
        detail = span(number.low, number.high, scale=scale, decimals=decimals)
    return Entry(text=f"{scale * number.value:.{decimals}f}", value=number.value, detail=detail)


def percent(number: Number | None, scale: float = 100.0) -> list[float]:
    """Give a number and the ends of its interval for a chart; NaN where there is none."""
    found = (number.value, number.low, number.high) if number else (None,) * 3
    return [np.nan if end is None else scale * end for end in found]


def changed(interval: Interval | None, *, scale: float = 100.0, decimals: int = 1) -> Entry:
    """Make an entry of a difference with its interval and verdict."""
    if interval is None:
        return Entry(text=NOTHING)
    return Entry(
        text=signed(scale * interval.estimate, decimals),
        value=interval.estimate,
        detail=span(interval.low, interval.high, scale=scale, decimals=decimals, is_signed=True),
        mark=interval.verdict,
    )


def span(
    low: float, high: float, *, scale: float = 100.0, decimals: int = 1, is_signed: bool = False
) -> str:
    """Write an interval."""
    write = signed if is_signed else lambda value, decimals: f"{value:.{decimals}f}"
    dash = " to " if is_signed else "–"
    return f"{write(scale * low, decimals)}{dash}{write(scale * high, decimals)}"


def signed(value: float, decimals: int) -> str:
    """Write a number with its sign, a true minus, and no sign if it rounds to zero."""
    written = f"{abs(value):.{decimals}f}"
    if not float(written):
        return written
    return ("+" if value > 0 else "−") + written


def number_entries(comparison: Comparison, key: Key) -> list[Entry]:
    """Make the entries of a number for all rows, with marks if the rows may be compared.

    The best entry is marked, and all that are within noise of it. Equal texts are equally good.
    Adapted models have seen the images they are measured on, so they are not marked beside others.
    """
    metric, groups = METRICS[key.metric], comparison.groups
    entries = [
        shown(group.number(key), scale=metric.scale, decimals=metric.decimals) for group in groups
    ]
    if metric.lower_is_better is None or not (metric.has_draws and comparison.is_comparable):
        return entries
    sign = 1 if metric.lower_is_better else -1
    has_others = not all(group.first.adaptation for group in groups)
    values = {
        index: sign * entry.value
        for index, entry in enumerate(entries)
        if entry.value is not None and not (has_others and groups[index].first.adaptation)
    }
    if len(values) < 2:
        return entries
    best = min(values, key=values.__getitem__)
    text_of_best = entries[best].text
    for index in values:
        apart = contrast(groups[index], groups[best], key)
        if entries[index].text == text_of_best:
            entries[index] = replace(entries[index], mark="best")
        elif apart and apart.verdict == "within noise":
            entries[index] = replace(entries[index], mark="tied")
    return entries


def table_by_row(
    comparison: Comparison,
    columns: Mapping[Key, Column],
    *,
    lead: Mapping[Column, Sequence[str]] | None = None,
    keep: Callable[[Group], bool] = lambda group: True,
    **settings: Any,
) -> Table:
    """Make a table with a row for each row of the report and a column for each number.

    Columns of words, a word for each row, may stand before them. Settings are those of `Table`.
    """
    words = lead or {}
    entries = [[text(word) for word in column] for column in words.values()]
    entries += [number_entries(comparison, key) for key in columns]
    rows = [
        group_row(index, group, [column[index] for column in entries])
        for index, group in enumerate(comparison.groups)
        if keep(group)
    ]
    return Table(columns=(*words, *columns.values()), rows=tuple(rows), **settings)


def group_row(index: int, group: Group, entries: Iterable[Entry]) -> Row:
    """Make the row of a table that shows a row of the report, in its style."""
    kind = "adapted" if group.first.adaptation else "measured"
    return Row(label=group.label, style=index, kind=kind, entries=tuple(entries))


def to_markdown_table(table: Table) -> str:
    """Write a table as Markdown, under a heading if it has a title."""
    titles = [
        " ".join(part for part in (column.group, column.title, column.unit) if part)
        for column in table.columns
    ]
    rules = ["---", *("---:" if column.is_number else "---" for column in table.columns)]
    rows = [[row.label, *map(_markdown_entry, row.entries)] for row in table.rows]
    lines = [
        "| " + " | ".join(map(escape_markdown, [table.corner, *titles])) + " |",
        "| " + " | ".join(rules) + " |",
        *("| " + " | ".join(map(escape_markdown, row)) + " |" for row in rows),
    ]
    title = f"### {escape_markdown(table.title)}"
    title += f" ({escape_markdown(table.unit)})" if table.unit else ""
    return "\n".join([title, "", *lines] if table.title else lines)


def escape_markdown(text: str) -> str:
    """Escape what Markdown would read as markup or HTML."""
    return html.escape(text, quote=False).translate(_MARKDOWN)


def _markdown_entry(entry: Entry) -> str:
    if not entry.detail or entry.detail[0] == "±":
        return f"{entry.text} {entry.detail}".strip()
    return f"{entry.text} ({entry.detail})"


# -- Charts ---------------------------------------------------------------------------------------

SERIES = tuple(f"--series-{index}" for index in range(1, 7))
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
HATCHES = ("", "////", "....", "xxxx")


def cycle(style: int) -> int:
    """Count how often all colours were used before this row."""
    return style // len(SERIES)


Value = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One row's line in a chart; NaN in ``y`` leaves a gap."""

    style: int  # the row's index in the report; gives colour, marker and dash
    x: Sequence[Value]
    y: Sequence[Value]
    low: Sequence[Value] = ()  # lower ends of the intervals, as many as points, or empty
    high: Sequence[Value] = ()  # upper ends
    size: Sequence[Value] = ()  # fraction of the predictions at each point, for reliability
    marked: tuple[Value, Value] | None = None  # a point with a ring around it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """Any chart; its name is unique on the page and prefixes every id."""

    name: str
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(_Chart):
    """Grouped bars: a group for each category, a bar for each row, its interval as a whisker.

    NaN in the values leaves a gap; the ends are NaN where there is no interval.
    """

    categories: tuple[str, ...]
    values: Float[np.ndarray, "row category"]
    low: Float[np.ndarray, "row category"]
    high: Float[np.ndarray, "row category"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(_Chart):
    """Lines over a common axis; the title has the unit of y."""

    curves: tuple[Curve, ...]  # at least one
    x_label: str
    x_ticks: tuple[Value, ...] | None = None  # None lets matplotlib choose whole numbers
    width_px: int = 380  # width of the picture; it is two thirds as high
    is_log: bool = False  # logarithmic y axis; otherwise it starts at 0
    has_markers: bool = True  # a marker on every point


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability(_Chart):
    """Accuracy against confidence in per cent; markers grow with their fraction of predictions."""

    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row's position by two numbers in per cent, with intervals as (low, high) or empty."""

    style: int
    x: Value
    y: Value
    x_span: tuple[Value, ...] = ()
    y_span: tuple[Value, ...] = ()
    is_hollow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter(_Chart):
    """Points of two numbers, at least one; those of one row are joined in their order."""

    points: tuple[Point, ...]
    x_label: str
    y_label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap(_Chart):
    """Numbers over a plane, as colours; the origin is at row R // 2 and column C // 2."""

    values: Float[np.ndarray, "row column"]  # NaN leaves a gap
    top: float  # value of the brightest colour; the darkest is 0
    x_label: str
    y_label: str
    label: str  # of the colours


Chart = Bars | Lines | Reliability | Scatter | HeatMap
