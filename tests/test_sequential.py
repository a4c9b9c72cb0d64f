"""Intervals that hold at every look: coverage on known tables, and the ends by hand."""

import math

import numpy as np
import pytest

from augmix.sequential import MeanSequence, _penalty


def table(rng: np.random.Generator, *, is_paired: bool) -> np.ndarray:
    """Eight cells of 60 images, wrong or not, or the difference of two models."""
    errors = np.linspace(0.05, 0.6, 8)[:, None]
    first = (rng.random((8, 60)) < errors).astype(float)
    if not is_paired:
        return first
    return first - np.where(rng.random((8, 60)) < 0.8, first, rng.random((8, 60)) < errors)


@pytest.mark.parametrize("is_paired", [False, True])
def test_the_mean_is_inside_at_all_looks_together(is_paired: bool) -> None:
    rng = np.random.default_rng(0)
    limits = (-1.0, 1.0) if is_paired else (0.0, 1.0)
    missed, repetitions = 0, 100
    values = table(rng, is_paired=is_paired)
    for _ in range(repetitions):
        drawn = rng.permuted(values, axis=1)
        sequence = MeanSequence(num_cells=8, num_images=60, limits=limits, precision=0.03)
        is_inside = True
        for rounds in range(60):
            sequence.add(drawn[:, rounds : rounds + 1])
            found = sequence.interval()
            assert found.low <= found.estimate <= found.high
            is_inside &= found.low <= values.mean() + 1e-12 and found.high >= values.mean() - 1e-12
        missed += not is_inside
        assert found.low == pytest.approx(found.high)  # all of them
        assert found.estimate == pytest.approx(values.mean())
    assert missed <= 0.05 * repetitions + 3  # 5 are allowed on average


def test_the_interval_against_its_formula_value_by_value() -> None:
    rng = np.random.default_rng(2)
    num_cells, num_images, precision = 3, 200, 0.05
    values = (rng.random((num_cells, 150)) < 0.3).astype(float)
    sequence = MeanSequence(
        num_cells=num_cells, num_images=num_images, limits=(0.0, 1.0), precision=precision
    )
    sequence.add(values)
    weighted = weights = squares = below = above = 0.0
    for number in range(150):
        before = values[:, :number]
        middle = before.mean() if number else 0.5
        variance = (squares + 3 * 4 / 16) / (3 * (number + 4))
        bet = min(precision / variance, 0.5)
        for cell in range(num_cells):
            x, past = values[cell, number], before[cell].sum()
            guess = (past + 4 * middle) / (number + 4)
            # minus the mean of the images that are left, which is (N mean - past) / (N - number)
            weighted += bet * (x + past / (num_images - number))
            weights += bet * num_images / (num_images - number)
            below += (x - guess) ** 2 * (-math.log(1 - bet * guess) - bet * guess) / guess**2
            rest = 1 - guess
            above += (x - guess) ** 2 * (-math.log(1 - bet * rest) - bet * rest) / rest**2
            squares += (x - guess) ** 2
    reach = math.log(2 / 0.05)
    found = sequence.interval()
    known = values.sum() / (num_cells * num_images)
    assert found.low == pytest.approx(max((weighted - reach - below) / weights, known))
    assert found.high == pytest.approx(min((weighted + reach + above) / weights, known + 0.25))
    assert known < found.low < values.mean() < found.high < known + 0.25
    assert found.estimate == pytest.approx(values.mean())
    assert sequence.num_rounds == 150


@pytest.mark.parametrize("deviation", [0.0, 1e-6, 0.01, 0.3, 1.0])
def test_the_inequality_behind_the_interval_holds(deviation: float) -> None:
    for bet in (0.001, 0.1, 0.3, 0.5):
        x = np.linspace(-deviation, 2.0, 401)
        penalty = float(_penalty(bet, np.array([deviation]))[0])
        left, right = bet * x - penalty * x**2, np.log1p(bet * x)
        assert (left <= right + 1e-12).all()
        if deviation > 1e-3:  # equal at the end, so no smaller penalty will do
            assert left[0] == pytest.approx(right[0])


def test_small_deviations_make_narrow_intervals() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for rate in (0.5, 0.1, 0.02):
        values = (rng.random((20, 400)) < rate).astype(float)
        sequence = MeanSequence(num_cells=20, num_images=4000, limits=(0.0, 1.0), precision=0.02)
        sequence.add(values)
        found = sequence.interval()
        widths.append(found.high - found.low)
        usual = 2 * 1.96 * np.sqrt(rate * (1 - rate) / values.size)
        assert usual < widths[-1] < 2.5 * usual + 0.01
    assert widths[0] > widths[1] > widths[2]


def test_a_precision_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be above 0, got 0"):
        MeanSequence(num_cells=1, num_images=1, limits=(0.0, 1.0), precision=0.0)
