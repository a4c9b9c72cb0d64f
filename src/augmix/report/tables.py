"""Tables as data: the page, LaTeX and Markdown show the same ones.

Percentages begin here: records and estimates hold fractions, entries show per cent.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from augmix.bootstrap import Interval
from augmix.report.comparison import Group, Number, contrast
from augmix.report.estimates import Key

NOTHING = "–"
Mark = Literal["", "best", "tied", "lower", "higher", "within noise"]
_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]|#"})
Kind = Literal["measured", "adapted", "published", "total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A cell of a table.

    Attributes:
        text: What is read.
        value: What is sorted by; None for text and for what was not measured.
        detail: How sure it is: ``17.9 – 19.1``, ``± 0.8``; or nothing.
        mark: Whether it is the best of its column, within noise of the best, or, for a
            difference, its verdict.
        heat: Share of the page's largest value in %, for tables that are coloured.
    """

    text: str
    value: float | None = None
    detail: str = ""
    mark: Mark = ""
    heat: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column; neighbours of one ``group`` share a heading."""

    title: str
    unit: str = ""
    group: str = ""
    is_number: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row; ``style`` is its group's number on the page, which gives colour and marker."""

    label: str
    entries: tuple[Entry, ...]
    style: int | None = None
    kind: Kind = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: Unique on the page.
        title: Above it.
        unit: Of all its numbers, after the title.
        corner: Heading of the rows' labels.
        columns: Headings.
        rows: In order.
        note: Below it.
    """

    name: str
    title: str
    unit: str = ""
    corner: str = "Run"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""


def text(words: str) -> Entry:
    """A cell of words."""
    return Entry(text=words or NOTHING)


def plain(value: float | None, *, scale: float = 100.0, decimals: int = 1) -> Entry:
    """A number without an interval: published ones, sums without outcomes."""
    if value is None:
        return Entry(text=NOTHING)
    return Entry(text=f"{scale * value:.{decimals}f}", value=value)


def shown(number: Number | None, *, scale: float = 100.0, decimals: int = 1) -> Entry:
    """A number with its spread over seeds or its interval."""
    if number is None:
        return Entry(text=NOTHING)
    detail = ""
    if number.deviation is not None:
        detail = f"± {scale * number.deviation:.{decimals}f}"
    elif number.low is not None and number.high is not None:
        detail = span(number.low, number.high, scale=scale, decimals=decimals)
    return Entry(text=f"{scale * number.value:.{decimals}f}", value=number.value, detail=detail)


def changed(interval: Interval | None, *, scale: float = 100.0, decimals: int = 1) -> Entry:
    """A difference with its interval and verdict."""
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
    """An interval as text."""
    write = signed if is_signed else lambda value, decimals: f"{value:.{decimals}f}"
    dash = " to " if is_signed else "–"
    return f"{write(scale * low, decimals)}{dash}{write(scale * high, decimals)}"


def signed(value: float, decimals: int) -> str:
    """With its sign, a true minus, and no sign for what reads as zero."""
    written = f"{abs(value):.{decimals}f}"
    if not float(written):
        return written
    return ("+" if value > 0 else "−") + written


def marked(groups: Sequence[Group], key: Key, entries: Sequence[Entry]) -> list[Entry]:
    """Mark the smallest entry of a number, and all that are within noise of it.

    Equal texts are equally good. Without outcomes only the best is marked. Adapted models have seen
    the images they are measured on, so they do not take part beside others.
    """
    has_others = not all(group.first.adaptation for group in groups)
    places = [
        place
        for place, entry in enumerate(entries)
        if entry.value is not None and not (has_others and groups[place].first.adaptation)
    ]
    if len(places) < 2:
        return list(entries)
    best = min(places, key=lambda place: entries[place].value or 0.0)
    result = list(entries)
    for place in places:
        if entries[place].text == entries[best].text:
            result[place] = replace(entries[place], mark="best")
        else:
            apart = contrast(groups[place], groups[best], key)
            if apart is not None and apart.verdict == "within noise":
                result[place] = replace(entries[place], mark="tied")
    return result


def group_kind(group: Group) -> Kind:
    """Adapted models are told apart from models as they were trained."""
    return "adapted" if group.first.adaptation else "measured"


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
