"""Selective prediction against loops over thresholds and over the orders of equal confidences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmix import metrics
from augmix.metrics.selective import selective_scores


def slow_scores(wrong: tuple[int, ...], coverage: float) -> tuple[float, float, float]:
    """AURC, AUGRC and the risk of errors in order of confidence, the most confident first."""
    n = len(wrong)
    risks = [sum(wrong[:k]) / k for k in range(1, n + 1)]
    joint = [0.0, *(sum(wrong[:k]) / n for k in range(1, n + 1))]
    area = sum((a + b) / 2 / n for a, b in itertools.pairwise(joint))
    kept = next(k for k in range(1, n + 1) if k >= coverage * n - 1e-9)
    return sum(risks) / n, area, risks[kept - 1]


def over_orders(confidence: np.ndarray, correct: np.ndarray, coverage: float) -> list[float]:
    """Mean over all orders of the images that sort them by confidence."""
    orders = [
        order
        for order in itertools.permutations(range(len(confidence)))
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order))
    ]
    found = [slow_scores(tuple(1 - int(correct[i]) for i in o), coverage) for o in orders]
    return np.mean(found, axis=0).tolist()


def all_scores(confidence: np.ndarray, correct: np.ndarray, coverage: float) -> list[float]:
    return [
        metrics.aurc(confidence, correct),
        metrics.augrc(confidence, correct),
        metrics.risk_at_coverage(confidence, correct, coverage=coverage),
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
    st.sampled_from([0.25, 0.5, 0.8, 1.0]),
)
def test_equal_confidences_count_in_every_order(pairs, coverage):
    confidence = np.array([level / 4 for level, _ in pairs])
    correct = np.array([right for _, right in pairs])
    expected = over_orders(confidence, correct, coverage)
    assert all_scores(confidence, correct, coverage) == pytest.approx(expected, abs=1e-12)
    order = np.arange(len(pairs))[::-1]
    again = all_scores(confidence[order], correct[order], coverage)
    assert again == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    confidence, correct = np.array([0.9, 0.5, 0.8, 0.6]), np.array([1, 1, 0, 1])
    # risks 0, 1/2, 1/3, 1/4; errors kept 0, 0, 1, 1, 1 of 4
    assert metrics.aurc(confidence, correct) == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert metrics.augrc(confidence, correct) == pytest.approx(2.5 / 16)
    assert metrics.risk_at_coverage(confidence, correct, coverage=0.5) == pytest.approx(0.5)
    assert metrics.coverage_at_risk(confidence, correct, risk=0.3) == 1.0
    assert metrics.coverage_at_risk(confidence, correct, risk=0.2) == 0.25
    assert metrics.coverage_at_risk(np.array([0.5]), np.array([0]), risk=0.2) == 0.0
    assert metrics.aurc(confidence, np.ones(4, int)) == 0.0
    assert metrics.aurc(confidence, np.zeros(4, int)) == pytest.approx(1.0)
    assert metrics.augrc(confidence, np.zeros(4, int)) == pytest.approx(0.5)


def test_counts_are_copies():
    rng = np.random.default_rng(1)
    confidence = np.sort(rng.integers(1, 12, 40) / 12)
    correct = rng.random(40) < confidence
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=5)
    found = selective_scores(counts, confidence, correct, coverage=0.6)
    for number, drawn in enumerate(counts):
        copies = np.repeat(confidence, drawn), np.repeat(correct, drawn)
        expected = all_scores(*copies, 0.6)
        assert [each[number] for each in found] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("coverage", [0.0, 1.1])
def test_out_of_range(coverage: float):
    with pytest.raises(ValueError, match="coverage must be above 0 and at most 1"):
        metrics.risk_at_coverage(np.array([0.5]), np.array([1]), coverage=coverage)
    with pytest.raises(ValueError, match=r"risk must be 0\.\.1"):
        metrics.coverage_at_risk(np.array([0.5]), np.array([1]), risk=coverage - 1.5)
