"""Figure 7: error and calibration error against severity; severity 0 is the clean images."""

from augmix.report.charts import Curve, Lines
from augmix.report.comparison import Comparison
from augmix.report.estimates import CLEAN, Key
from augmix.report.groups import Group, Number
from augmix.report.summary import number_column
from augmix.report.tables import Column, Row, Table

METRICS = {"error": "Error", "rms": "RMS calibration error"}


def severity_chart(comparison: Comparison, metric: str) -> Lines:
    """A line per row with its interval as a band, in %."""
    levels = (0, *comparison.grid.severities)
    curves = [
        _curve(style, [_at(group, metric, level) for level in levels], levels)
        for style, group in enumerate(comparison.groups)
    ]
    return Lines(
        name=f"severity-{metric}", curves=tuple(curves), x_label="severity", x_ticks=levels
    )


def severity_table(comparison: Comparison, metric: str) -> Table:
    """The numbers behind the chart."""
    levels = (0, *comparison.grid.severities)
    columns = [number_column(comparison, _key(metric, level)) for level in levels]
    rows = [
        Row(label=group.label, style=place, entries=tuple(column[place] for column in columns))
        for place, group in enumerate(comparison.groups)
    ]
    return Table(
        name=f"severity-{metric}",
        title=METRICS[metric],
        unit="mean over corruptions by severity, %",
        columns=tuple(Column(title=str(level) if level else "clean") for level in levels),
        rows=tuple(rows),
    )


def _key(metric: str, level: int) -> Key:
    return Key(metric, "severity", str(level)) if level else Key(metric, CLEAN)


def _at(group: Group, metric: str, level: int) -> Number | None:
    return group.number(_key(metric, level))


def _curve(style: int, numbers: list[Number | None], levels: tuple[int, ...]) -> Curve:
    """Per cent; a band only where every measured point has an interval."""
    nan = float("nan")
    measured = [number for number in numbers if number is not None]
    has_band = bool(measured) and all(number.low is not None for number in measured)
    return Curve(
        style=style,
        x=levels,
        y=[100 * number.value if number else nan for number in numbers],
        low=[100 * (number.low or 0) if number else nan for number in numbers] if has_band else (),
        high=[100 * (number.high or 0) if number else nan for number in numbers]
        if has_band
        else (),
    )
