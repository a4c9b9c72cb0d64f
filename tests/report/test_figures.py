"""Drawings: as long as their values, in the colours of the page."""

import re

import numpy as np
import pytest

from augmix.report.page import draw
from augmix.report.tables import Bars, Curve, Lines


def test_figures_take_the_colours_of_the_page():
    curve = Curve(style=7, x=[0, 1], y=[1, 2.5], low=[0.5, 2], high=[1.5, 3])
    lines = Lines(name="a", title="A", curves=(curve,), x_label="severity & more", x_ticks=(0, 1))
    svg = draw(lines)["wide"]
    assert svg.startswith("<svg")
    assert "var(--series-2)" in svg  # the eighth run has the second colour again, dashed
    assert "stroke-dasharray" in svg
    assert "severity &amp; more" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg.replace("&#", ""))


def bars(values: list, low: list, high: list) -> Bars:
    ends = [np.array(each, float) for each in (values, low, high)]
    return Bars(
        name="b", title="B", categories=("x", "y"), values=ends[0], low=ends[1], high=ends[2]
    )


def test_bars_are_as_long_as_their_values():
    nothing = [[np.nan] * 2] * 2
    svg = draw(bars([[10, 20], [np.nan, 5]], nothing, nothing))["wide"]
    found = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--series-(\d)\)', svg)
    heights = {}
    for path, series in found:
        y = [float(value) for value in re.findall(r"[ML] \S+ (\S+)", path)]
        heights.setdefault(series, []).append(max(y) - min(y))
    assert heights["1"][1] / heights["1"][0] == pytest.approx(2, rel=1e-3)
    assert heights["1"][0] / heights["2"][1] == pytest.approx(2, rel=1e-3)
    assert heights["2"][0] == 0
    assert ">–<" in svg


def test_whiskers_are_as_long_as_their_intervals():
    """Of 10 (8 to 14) and 20 (19 to 21): 6 and 2 beside bars of 10 and 20."""
    svg = draw(bars([[10, 20]], [[8, 19]], [[14, 21]]))["wide"]
    paths = re.findall(r'<path d="M (\S+) (\S+) \nL (\S+) (\S+) \n"[^>]*style="[^"]*--ink', svg)
    lengths = [abs(float(y0) - float(y1)) for x0, y0, x1, y1 in paths if x0 == x1]
    bar = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--series-1\)', svg)[0]
    y = [float(value) for value in re.findall(r"[ML] \S+ (\S+)", bar)]
    assert len(lengths) == 2
    assert lengths[0] / (max(y) - min(y)) == pytest.approx(0.6, rel=1e-3)
    assert lengths[0] / lengths[1] == pytest.approx(3, rel=1e-3)
