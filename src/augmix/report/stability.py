"""Stability: flip probabilities along perturbation sequences, and Figure 6 beside calibration."""

import numpy as np

from augmix.report.charts import Point, Scatter
from augmix.report.comparison import Comparison
from augmix.report.estimates import CLEAN, CORRUPTED, PERTURBED, Key
from augmix.report.grids import readable
from augmix.report.groups import Number
from augmix.report.summary import number_column
from augmix.report.tables import Column, Row, Table, plain


def stability_chart(comparison: Comparison) -> Scatter | None:
    """Flip probability against RMS calibration error: clean hollow, corrupted filled, in %."""
    points = []
    for style, group in enumerate(comparison.groups):
        flips = group.number(Key("flip", PERTURBED))
        for scope in (CLEAN, CORRUPTED):
            rms = group.number(Key("rms", scope))
            if flips and rms:
                points.append(
                    Point(
                        style=style,
                        x=100 * rms.value,
                        y=100 * flips.value,
                        x_span=_span(rms),
                        y_span=_span(flips),
                        is_hollow=scope == CLEAN,
                    )
                )
    if not points:
        return None
    return Scatter(
        name="stability",
        points=tuple(points),
        x_label="RMS calibration error, %",
        y_label="mean flip probability, %",
    )


def stability_table(comparison: Comparison, metric: str = "flip") -> Table | None:
    """Flip probability (or flip rate) of every perturbation, a column per row of the page."""
    names = [
        name
        for name in comparison.sequences
        if any(group.number(Key(metric, "perturbation", name)) for group in comparison.groups)
    ]
    if not names:
        return None
    keys = {readable(name): Key(metric, "perturbation", name) for name in names}
    keys["mean"] = Key(metric, PERTURBED)
    titles = {"flip": "Flip probability", "fr": "Flip rate (FR): divided by AlexNet's"}
    return Table(
        name=f"stability-{metric}",
        title=titles[metric],
        unit="%",
        corner="Perturbation",
        columns=tuple(Column(title=group.label) for group in comparison.groups),
        rows=tuple(
            Row(
                label=label,
                kind="total" if label == "mean" else "measured",
                entries=tuple(number_column(comparison, key)),
            )
            for label, key in keys.items()
        ),
    )


def distance_table(comparison: Comparison) -> Table | None:
    """Top-5 distance of every perturbation, unnormalised; 0..15."""
    rows = []
    for name in comparison.sequences:
        found = [
            [run.results.find_sequence(name) for run in group.runs] for group in comparison.groups
        ]
        sums = [
            [
                cell.top5_distance_sum / cell.num_pairs
                for cell in cells
                if cell is not None and cell.top5_distance_sum is not None
            ]
            for cells in found
        ]
        if any(sums):
            values = [
                float(np.mean(each)) if len(each) == len(cells) else None
                for each, cells in zip(sums, found, strict=True)
            ]
            entries = [plain(value, scale=1.0, decimals=2) for value in values]
            rows.append(Row(label=readable(name), entries=tuple(entries)))
    if not rows:
        return None
    return Table(
        name="stability-top5",
        title="Top-5 distance",
        unit="0 to 15, not divided by AlexNet's, for which no source is known",
        corner="Perturbation",
        columns=tuple(Column(title=group.label) for group in comparison.groups),
        rows=tuple(rows),
    )


def _span(number: Number) -> tuple[float, ...]:
    if number.low is None or number.high is None:
        return ()
    return (100 * number.low, 100 * number.high)
