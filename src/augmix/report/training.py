"""Curves of the training logs: loss, training error, learning rate against the epoch."""

from dataclasses import dataclass

import numpy as np

from augmix.report.charts import Curve, Lines
from augmix.report.comparison import Comparison
from augmix.report.runs import Run

MAX_POINTS = 300  # of a curve; longer logs are averaged
_CURVES = (  # key of the log, title, logarithmic, scale
    ("loss", "Loss, logarithmic", True, 1.0),
    ("train_error", "Training error, %", False, 100.0),
    ("learning_rate", "Learning rate", False, 1.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the logs show.

    Attributes:
        charts: By title.
        missing: Labels of the runs without a log.
        is_averaged: Whether a log was too long to be drawn step by step.
        is_several: Whether a row's line is that of the first of its seeds.
    """

    charts: dict[str, Lines]
    missing: tuple[str, ...]
    is_averaged: bool
    is_several: bool


def training(comparison: Comparison) -> Training:
    """The curves of every row's first run that kept a log."""
    logged = [
        (style, run)
        for style, group in enumerate(comparison.groups)
        if (run := next((run for run in group.runs if run.log), None))
    ]
    charts = {}
    for key, title, is_log, scale in _CURVES:
        curves = [_curve(style, run, key, scale) for style, run in logged]
        curves = [curve for curve in curves if not np.isnan(curve.y).all()]
        if curves:
            charts[title] = Lines(
                name=f"training-{key.replace('_', '-')}",
                curves=tuple(curves),
                x_label="epoch",
                width_px=310,
                is_log=is_log,
                has_markers=False,
            )
    return Training(
        charts=charts,
        missing=tuple(
            group.label for group in comparison.groups if not any(run.log for run in group.runs)
        ),
        is_averaged=any(len(run.log) > MAX_POINTS for _, run in logged),
        is_several=any(len(group.runs) > 1 for group in comparison.groups),
    )


def _curve(style: int, run: Run, key: str, scale: float) -> Curve:
    """A column of the log against the epoch, averaged down to a readable number of points."""
    pairs = [(record.get("epoch", record["step"]), record.get(key)) for record in run.log]
    values = np.array([(x, np.nan if y is None else scale * y) for x, y in pairs], np.float64)
    chunks = np.array_split(values, min(len(values), MAX_POINTS))
    means = np.array([chunk.mean(axis=0) for chunk in chunks])
    return Curve(style=style, x=means[:, 0].tolist(), y=means[:, 1].tolist())
