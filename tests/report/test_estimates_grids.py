"""What is averaged, and what is not: numbers by hand from two bins."""

from dataclasses import replace

import numpy as np
import pytest

from augmix.report import summarise
from augmix.report.estimates import common_grid, rms_of
from augmix.results import Bins, Cell, Results


def cell(name: str, severity: int, num_errors: int, *, num_images: int = 10) -> Cell:
    """A cell whose 10 predictions lie in two bins with gaps of 0.2 and 0.1."""
    bins = Bins(count=[4, 6], confidence_sum=[2.8, 5.4], correct_sum=[2, 6])
    return Cell(
        suite="c" if severity else "clean",
        name=name,
        severity=severity,
        num_images=num_images,
        num_errors=num_errors,
        nll_sum=5.0,
        brier_sum=2.0,
        adaptive=bins,
        equal_width=bins,
        seconds=0.1,
    )


def results(*cells: Cell, names=("fog", "snow"), severities=(1, 2)) -> Results:
    protocol = {"suite": ["clean", "c"], "names": list(names), "severities": list(severities)}
    return Results(model={}, source={}, protocol=protocol, cells=cells)


COMPLETE = (
    cell("clean", 0, 1),
    cell("fog", 1, 2),
    cell("fog", 2, 4),
    cell("snow", 1, 3),
    cell("snow", 2, 9),
)


def test_summary_by_hand():
    summary = summarise(results(*COMPLETE))
    assert summary["clean_error"] == pytest.approx(0.1)
    assert summary["corruption_error"] == pytest.approx((0.2 + 0.4 + 0.3 + 0.9) / 4)
    # bins: |2/4 - 2.8/4| = 0.2 with weight 0.4, |6/6 - 5.4/6| = 0.1 with weight 0.6
    rms = np.sqrt(0.4 * 0.2**2 + 0.6 * 0.1**2)
    assert summary["rms_calibration_error"] == pytest.approx(rms)
    assert summary["rms_calibration_error_clean"] == pytest.approx(rms)
    assert summary["nll"] == pytest.approx(0.5)
    assert summary["brier_clean"] == pytest.approx(0.2)


def test_the_robust_error_is_that_of_the_attack():
    attacked = replace(cell("linf", 0, 7), suite="attack")
    assert summarise(results(*COMPLETE, attacked))["robust_error"] == pytest.approx(0.7)
    assert summarise(results(*COMPLETE))["robust_error"] is None
    with_it, without = (summarise(results(*cells)) for cells in ((*COMPLETE, attacked), COMPLETE))
    assert with_it | {"robust_error": None} == without


def test_rms_of_the_worked_example():
    """metrics.md 2.1, example A: bins of 3, the last one extended."""
    bins = Bins(count=[3, 4], confidence_sum=[0.55 + 0.6 + 0.7, 3.64], correct_sum=[1, 4])
    assert rms_of(replace(COMPLETE[0], adaptive=bins)) == pytest.approx(0.1975685536)


def test_an_incomplete_corruption_is_not_averaged():
    partial = results(*COMPLETE[:-1])  # snow lacks severity 2
    assert common_grid([partial]).names == ("fog",)
    assert summarise(partial)["corruption_error"] == pytest.approx(0.3)
    nothing = results(COMPLETE[0], COMPLETE[1])
    assert summarise(nothing)["corruption_error"] is None
    assert summarise(nothing)["clean_error"] == pytest.approx(0.1)
    assert summarise(results(*COMPLETE[1:]))["clean_error"] is None


def test_runs_are_compared_on_common_cells():
    one = results(*COMPLETE)
    other = results(COMPLETE[0], cell("fog", 2, 5), cell("rain", 2, 1), names=("fog", "rain"))
    other = replace(other, protocol={**other.protocol, "severities": [2]})
    grid = common_grid([one, other])
    assert grid.names == ("fog",)
    assert grid.severities == (2,)
    assert summarise(one, grid)["corruption_error"] == pytest.approx(0.4)
    clean_only = replace(results(COMPLETE[0]), protocol={"suite": ["clean"]})
    assert common_grid([one, clean_only]) == common_grid([one])
