"""Calibration errors against worked numbers and slow loops written out here."""

import inspect
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmix import metrics
from augmix.metrics import (
    accuracy_from_bins,
    adaptive_bins,
    aurra,
    confidence_from_bins,
    ece_from_bins,
    equal_width_bins,
    expected_calibration_error,
    maximum_absolute_deviation,
    maximum_calibration_error,
    mce_from_bins,
    mean_absolute_deviation,
    pool_bins,
    reliability_curve,
    rms_calibration_error,
    rms_from_bins,
    soft_f1,
)

unchecked = inspect.unwrap  # past the checker of shapes, to the messages users see


A_CONFIDENCE = np.array([0.95, 0.55, 0.80, 0.60, 0.99, 0.70, 0.90])
A_CORRECT = np.array([1, 0, 1, 1, 1, 0, 1])
_i = np.arange(1050)
B_CONFIDENCE = 0.1 + 0.9 * ((37 * _i) % 1050) / 1050
B_CORRECT = (53 * _i + _i // 7) % 100 < 60


def slow_calibration(confidence, correct, bin_size: int, legacy: bool) -> tuple[float, ...]:
    """The published loop over bins, with its last bin unless legacy."""
    order = sorted(range(len(confidence)), key=lambda k: confidence[k])
    num_bins = max(len(confidence) // bin_size, 1)
    bins = [order[j * bin_size : (j + 1) * bin_size] for j in range(num_bins)]
    bins[-1] = order[(num_bins - 1) * bin_size :]
    squares, deviations = 0.0, 0.0
    for members in bins[: len(bins) - 1] if legacy else bins:
        gap = sum(float(correct[k]) - float(confidence[k]) for k in members) / len(members)
        squares += len(members) / len(confidence) * gap**2
        deviations += len(members) / len(confidence) * abs(gap)
    return math.sqrt(squares), deviations


def test_example_a():
    given = (A_CONFIDENCE, A_CORRECT)
    near = {"abs": 5e-11}
    rms = rms_calibration_error(*given, bin_size=3)
    by_hand = math.sqrt(3 / 7 * (17 / 60) ** 2 + 4 / 7 * 0.09**2)
    assert rms == pytest.approx(by_hand, abs=1e-15)
    assert rms == pytest.approx(0.1975685535, **near)
    legacy = rms_calibration_error(*given, bin_size=3, legacy=True)
    assert legacy == pytest.approx(0.1854852067, **near)
    mad = mean_absolute_deviation(*given, bin_size=3)
    assert mad == pytest.approx(0.1728571429, **near)
    legacy = mean_absolute_deviation(*given, bin_size=3, legacy=True)
    assert legacy == pytest.approx(0.1214285714, **near)
    largest = mce_from_bins(*adaptive_bins(*given, bin_size=3))
    assert largest == pytest.approx(0.2833333333, **near)
    assert aurra(*given) == pytest.approx(0.9068027211, **near)
    assert soft_f1(*given) == pytest.approx(0.4273504274, **near)


def test_example_b():
    given = (B_CONFIDENCE, B_CORRECT)
    near = {"abs": 5e-11}
    assert B_CORRECT.mean() == pytest.approx(0.6)
    assert B_CONFIDENCE.mean() == pytest.approx(0.5495714286, **near)
    assert rms_calibration_error(*given) == pytest.approx(0.2643975170, **near)
    assert rms_calibration_error(*given, legacy=True) == pytest.approx(0.2306546268, **near)
    assert mean_absolute_deviation(*given) == pytest.approx(0.2276122449, **near)
    legacy = mean_absolute_deviation(*given, legacy=True)
    assert legacy == pytest.approx(0.1787619048, **near)
    bins = adaptive_bins(*given)
    assert bins[0].tolist() == [100] * 9 + [150]
    assert mce_from_bins(*bins) == pytest.approx(0.4575714286, **near)
    assert expected_calibration_error(*given) == pytest.approx(0.2289684354, **near)
    assert maximum_calibration_error(*given) == pytest.approx(0.4990989011, **near)
    equal = rms_from_bins(*equal_width_bins(*given))
    assert equal == pytest.approx(0.2656087010, **near)
    assert aurra(*given) == pytest.approx(0.5969297918, **near)
    assert soft_f1(*given) == pytest.approx(0.4229128171, **near)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 25),
    st.booleans(),
)
def test_equals_the_slow_loop(pairs: list, bin_size: int, legacy: bool):
    confidence = np.array([pair[0] for pair in pairs], np.float32)
    correct = np.array([pair[1] for pair in pairs])
    rms, mad = slow_calibration(confidence, correct, bin_size, legacy)
    options = {"bin_size": bin_size, "legacy": legacy}
    assert rms_calibration_error(confidence, correct, **options) == pytest.approx(rms, abs=1e-9)
    found = mean_absolute_deviation(confidence, correct, **options)
    assert found == pytest.approx(mad, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 15]),
)
def test_equal_width_equals_the_slow_loop(pairs: list, num_bins: int):
    confidence = np.array([pair[0] / 30 for pair in pairs])  # many on an edge
    correct = np.array([pair[1] for pair in pairs])
    edges = np.linspace(0, 1, num_bins + 1)
    expected, largest = 0.0, 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
            largest = max(largest, gap)
    found = expected_calibration_error(confidence, correct, num_bins=num_bins)
    assert found == pytest.approx(expected, abs=1e-12)
    found = maximum_calibration_error(confidence, correct, num_bins=num_bins)
    assert found == pytest.approx(largest, abs=1e-12)


def test_few_predictions_are_one_bin():
    for num, expected in ((1, [1]), (99, [99]), (199, [199]), (200, [100, 100])):
        count = adaptive_bins(np.linspace(0.1, 1, num), np.ones(num, bool))[0]
        assert count.tolist() == expected
    assert rms_calibration_error(np.array([0.75]), np.array([True])) == 0.25
    assert rms_calibration_error(np.array([0.75]), np.array([True]), legacy=True) == 0


def test_ties_keep_the_order_of_the_images():
    correct = np.array([True, False, True, True])
    _, _, right = adaptive_bins(np.full(4, 0.5), correct, bin_size=2)
    assert right.tolist() == [1, 2]


def test_bins_of_a_record():
    bins = [values.tolist() for values in adaptive_bins(B_CONFIDENCE, B_CORRECT)]
    assert rms_from_bins(*bins) == rms_calibration_error(B_CONFIDENCE, B_CORRECT)
    assert sum(bins[0]) == 1050
    assert sum(bins[1]) == pytest.approx(B_CONFIDENCE.sum())
    assert sum(bins[2]) == B_CORRECT.sum()


def test_pooled_bins_are_those_of_all_predictions():
    half = slice(500), slice(500, None)
    pooled = pool_bins([equal_width_bins(B_CONFIDENCE[part], B_CORRECT[part]) for part in half])
    for ours, all_of_them in zip(pooled, equal_width_bins(B_CONFIDENCE, B_CORRECT), strict=True):
        np.testing.assert_allclose(ours, all_of_them)
    assert accuracy_from_bins(*pooled) == pytest.approx(0.6)
    assert confidence_from_bins(*pooled) == pytest.approx(0.5495714286, abs=5e-11)


def test_single_precision_is_enough():
    single = rms_calibration_error(B_CONFIDENCE.astype(np.float32), B_CORRECT)
    assert single == pytest.approx(0.2643975170, abs=1e-7)


def test_confidence_on_an_edge():
    count, _, _ = equal_width_bins(np.array([0.0, 0.5, 0.5001, 1.0]), np.ones(4, bool), num_bins=2)
    assert count.tolist() == [1, 2]
    above = np.array([1.0000001], np.float32)
    assert equal_width_bins(above, np.array([1]))[0].tolist() == [0] * 14 + [1]
    assert expected_calibration_error(np.zeros(1), np.zeros(1, bool)) == 0
    assert maximum_calibration_error(np.zeros(1), np.zeros(1, bool)) == 0


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5, 1.5], [1, 0], r"confidence must be in \[0, 1\], got 1.5"),
        ([0.5, math.nan], [1, 0], r"confidence must be in \[0, 1\], got nan"),
        ([-0.5], [1], r"confidence must be in \[0, 1\], got -0.5"),
        ([0.5], [2], "correct must be booleans or 0 and 1, got values up to 2"),
        ([0.5], [1, 0], "one axis of equal length"),
        ([], [], "at least 1 image, got none"),
    ],
)
@pytest.mark.parametrize("name", ["adaptive_bins", "equal_width_bins", "aurra", "soft_f1"])
def test_wrong_predictions(name: str, confidence: list, correct: list, message: str):
    with pytest.raises(ValueError, match=message):
        unchecked(getattr(metrics, name))(np.array(confidence, float), np.array(correct, int))


def test_wrong_bins():
    with pytest.raises(ValueError, match="bin_size must be at least 1 prediction, got 0"):
        rms_calibration_error(A_CONFIDENCE, A_CORRECT, bin_size=0)
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        expected_calibration_error(A_CONFIDENCE, A_CORRECT, num_bins=0)
    with pytest.raises(ValueError, match=r"bins must agree .* \(2,\), \(1,\), \(1,\)"):
        rms_from_bins([1, 1], [0.5], [1])
    with pytest.raises(ValueError, match="hold a prediction, got .* with 0 in all"):
        ece_from_bins([0], [0.0], [0])


def test_the_largest_gap_without_the_last_bin():
    """Bins of 2: gaps 0.25 and 0.4; the published loop leaves the second out."""
    confidence, correct = np.array([0.2, 0.3, 0.9, 0.9]), np.array([0, 1, 0, 1])
    assert maximum_absolute_deviation(confidence, correct, bin_size=2) == pytest.approx(0.4)
    legacy = maximum_absolute_deviation(confidence, correct, bin_size=2, legacy=True)
    assert legacy == pytest.approx(0.25)
    assert maximum_absolute_deviation(confidence, correct, legacy=True) == 0  # a single bin
    given = (A_CONFIDENCE, A_CORRECT)
    assert maximum_absolute_deviation(*given, bin_size=3) == pytest.approx(0.2833333333)


def test_reliability_curve_by_hand():
    confidence, correct = np.array([0.2, 0.4, 0.9]), np.array([0, 1, 1])
    sure, right, share = reliability_curve(confidence, correct, num_bins=2)
    assert sure.tolist() == pytest.approx([0.3, 0.9])
    assert right.tolist() == pytest.approx([0.5, 1.0])
    assert share.tolist() == pytest.approx([2 / 3, 1 / 3])
    sure, right, share = reliability_curve(confidence[2:], correct[2:], num_bins=2)
    assert np.isnan([sure[0], right[0]]).all()
    assert share.tolist() == [0, 1]


def slow_smooth(confidence: np.ndarray, correct: np.ndarray, num_points: int = 500) -> float:
    """The kernel at every point, with its reflections; the bandwidth by bisection."""
    points = (np.arange(num_points) + 0.5) / num_points

    def smoothed(width: float) -> float:
        total = np.zeros(num_points)
        for sure, right in zip(confidence, correct, strict=True):
            for shift in range(-4, 5):
                for image in (sure + 2 * shift, -sure + 2 * shift):
                    bell = np.exp(-((points - image) ** 2) / (2 * width**2))
                    total += (float(right) - sure) * bell / (width * math.sqrt(2 * math.pi))
        return float(np.abs(total).mean()) / len(confidence)

    low, high = 1e-3, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if smoothed(middle) > middle else (low, middle)
    return smoothed(high)


@pytest.mark.parametrize("kind", ["mixed", "sure", "one"])
def test_smooth_error_by_its_definition(kind: str):
    every = {
        "mixed": (B_CONFIDENCE[:60], B_CORRECT[:60]),
        "sure": (np.linspace(0.9, 1.0, 30), np.arange(30) % 3 > 0),
        "one": (np.array([0.7]), np.array([False])),
    }
    confidence, correct = every[kind]
    expected = slow_smooth(confidence, correct)
    found = metrics.smooth_calibration_error(confidence, correct)
    assert found == pytest.approx(expected, abs=1e-3)
    order = np.arange(len(confidence))[::-1]
    again = metrics.smooth_calibration_error(confidence[order], correct[order])
    assert again == pytest.approx(found, abs=1e-12)


def slow_classwise(rows: np.ndarray, labels: np.ndarray, num_bins: int) -> float:
    total = 0.0
    for c in range(rows.shape[1]):
        bins: dict[int, list[float]] = {}
        for row, label in zip(rows, labels, strict=True):
            index = next(b for b in range(num_bins) if row[c] <= (b + 1) / num_bins + 1e-15)
            bins.setdefault(index, []).append(row[c] - (label == c))
        total += sum(abs(sum(gaps)) for gaps in bins.values()) / len(labels)
    return total / rows.shape[1]


def test_classwise_error_class_by_class():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet([0.4, 0.7, 1.0, 0.2], 90)
    rows[0] = [0, 0, 1, 0]
    labels = rng.integers(0, 4, 90)
    for num_bins in (1, 4, 15):
        found = metrics.classwise_calibration_error(rows, labels, num_bins=num_bins)
        assert found == pytest.approx(slow_classwise(rows, labels, num_bins), abs=1e-12)
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        metrics.classwise_calibration_error(rows, labels, num_bins=0)


def test_bins_of_equal_mass():
    given = (A_CONFIDENCE, A_CORRECT)
    count, confidence_sum, correct_sum = metrics.equal_mass_bins(*given, num_bins=3)
    assert count.tolist() == [3, 2, 2]  # the first ones are larger
    np.testing.assert_allclose(confidence_sum, [0.55 + 0.6 + 0.7, 0.8 + 0.9, 0.95 + 0.99])
    assert correct_sum.tolist() == [1, 2, 2]
    by_hand = (abs(1 - 1.85) + abs(2 - 1.7) + abs(2 - 1.94)) / 7
    found = metrics.adaptive_calibration_error(*given, num_bins=3)
    assert found == pytest.approx(by_hand, abs=1e-12)
    each = metrics.adaptive_calibration_error(*given, num_bins=50)  # one image a bin
    assert each == pytest.approx(float(np.abs(A_CORRECT - A_CONFIDENCE).mean()))
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        metrics.equal_mass_bins(*given, num_bins=0)
