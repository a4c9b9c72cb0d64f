"""Selective prediction and outlier detection against loops, and the promise of prediction sets."""

import inspect
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmix import metrics
from augmix.metrics.uncertainty import outlier_scores, raps_scores, selective_scores


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


unchecked = inspect.unwrap  # past the checker of shapes, to the messages users see


def slow_auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    pairs = [(a, b) for a in inside for b in outside]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def slow_fpr(inside: np.ndarray, outside: np.ndarray, recall: float) -> float:
    for threshold in sorted({*inside, *outside}, reverse=True):
        if sum(a >= threshold for a in inside) >= recall * len(inside) - 1e-9:
            return sum(b >= threshold for b in outside) / len(outside)
    raise AssertionError


@pytest.mark.parametrize("seed", range(4))
def test_pair_by_pair(seed: int):
    rng = np.random.default_rng(seed)
    inside, outside = rng.integers(2, 12, 30) / 4, rng.integers(0, 9, 20) / 4
    assert metrics.auroc(inside, outside) == pytest.approx(slow_auroc(inside, outside))
    for recall in (0.5, 0.95, 1.0):
        found = metrics.fpr_at_recall(inside, outside, recall=recall)
        assert found == pytest.approx(slow_fpr(inside, outside, recall))
    counts = [rng.multinomial(n, np.full(n, 1 / n), size=3) for n in (30, 20)]
    scores = outlier_scores(*counts, inside, outside)
    for number in range(3):
        copies = np.repeat(inside, counts[0][number]), np.repeat(outside, counts[1][number])
        assert scores.auroc[number] == pytest.approx(slow_auroc(*copies))
        assert scores.fpr[number] == pytest.approx(slow_fpr(*copies, 0.95))


def test_scores_of_logits():
    logits = np.array([[1.0, 2.0], [700.0, 700.0]])
    assert metrics.max_logit(logits).tolist() == [2.0, 700.0]
    expected = [math.log(math.e + math.e**2), 700 + math.log(2)]
    np.testing.assert_allclose(metrics.energy_score(logits), expected)
    logs = metrics.log_softmax(logits)
    np.testing.assert_allclose(metrics.energy_score(logs), 0, atol=1e-12)


def test_refusals_of_outlier_metrics():
    one = np.ones(1)
    with pytest.raises(ValueError, match="outside must hold at least 1 image"):
        metrics.auroc(one, np.empty(0))
    with pytest.raises(ValueError, match="inside scores must be numbers, got NaN"):
        metrics.auroc(np.array([np.nan]), one)
    with pytest.raises(ValueError, match="recall must be above 0 and at most 1"):
        metrics.fpr_at_recall(one, one, recall=0.0)


def slow_score(row: np.ndarray, label: int, method: str, u: float) -> float:
    """Score of one class: classes are added from the most probable to it."""
    if method == "thr":
        return 1 - row[label]
    total, rank = 0.0, 0
    for c in sorted(range(len(row)), key=lambda c: (-row[c], c)):
        total, rank = total + row[c], rank + 1
        if c == label:
            penalty = 0.01 * max(rank - 5, 0) if method == "raps" else 0.0
            return total - u * row[c] + penalty
    raise AssertionError


def random_rows(num: int, num_classes: int, seed: int) -> tuple[np.ndarray, ...]:
    """Probabilities, labels drawn by a sharper form of them, and uniform numbers."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (num, num_classes))
    rows = np.exp(metrics.log_softmax(logits))
    true = np.exp(metrics.log_softmax(logits * 1.4))
    labels = (rng.random((num, 1)) < np.cumsum(true, axis=1)).argmax(axis=1)
    return rows, labels, rng.random(num)


@pytest.mark.parametrize("method", ["thr", "aps", "raps"])
def test_scores_class_by_class(method: str):
    rows, _, uniforms = random_rows(20, 8, 0)
    rows[0] = 1 / 8  # all equal: ranked by class
    found = metrics.conformal_scores(rows, method, uniforms=uniforms)
    for row, u, scores in zip(rows, uniforms, found, strict=True):
        expected = [slow_score(row, c, method, u) for c in range(8)]
        np.testing.assert_allclose(scores, expected, atol=1e-12)


@pytest.mark.parametrize("method", ["thr", "aps", "raps"])
def test_coverage_of_images_that_were_not_fitted(method: str):
    """Over many draws of 49 held-out images it is between 0.9 and 0.9 + 1 / 50."""
    found, sizes = [], []
    for seed in range(250):
        rows, labels, uniforms = random_rows(449, 8, seed)
        scores = metrics.conformal_scores(rows, method, uniforms=uniforms)
        own = metrics.label_scores(scores, labels)
        threshold = metrics.conformal_threshold(own[:49], coverage=0.9)
        sets = metrics.prediction_sets(rows[49:], threshold, method, uniforms=uniforms[49:])
        found.append(metrics.set_coverage(sets, labels[49:]))
        sizes.append(metrics.set_size(sets))
    error = np.std(found) / np.sqrt(len(found))
    assert 0.9 - 3 * error < np.mean(found) < 0.92 + 3 * error
    assert error < 0.004
    assert 1 < np.mean(sizes) < 8


def test_threshold_and_sets_by_hand():
    scores = np.array([0.3, 0.1, 0.2])
    assert metrics.conformal_threshold(scores, coverage=0.5) == 0.2  # the 2nd of 3
    assert metrics.conformal_threshold(scores, coverage=0.75) == 0.3
    assert metrics.conformal_threshold(scores, coverage=0.9) == np.inf  # the 4th of 3
    rows = np.array([[0.6, 0.3, 0.1], [0.4, 0.4, 0.2]])
    assert metrics.prediction_sets(rows, np.inf, "thr").all()
    sets = metrics.prediction_sets(rows, 0.65, "thr")  # probabilities of 0.35 and more
    assert sets.tolist() == [[True, False, False], [True, True, False]]
    assert metrics.set_size(sets) == 1.5
    assert metrics.set_coverage(sets, np.array([0, 2])) == 0.5
    sets = metrics.prediction_sets(rows, 0.8, "aps")  # cumulative 0.6, 0.9, 1 and 0.4, 0.8, 1
    assert sets.tolist() == [[True, False, False], [True, True, False]]
    plain = metrics.conformal_scores(rows, "aps")
    np.testing.assert_allclose(
        raps_scores(rows, np.zeros(2), penalty=0.1, free_ranks=1) - plain,
        [[0, 0.1, 0.2], [0, 0.1, 0.2]],
        atol=1e-12,
    )


def test_refusals_of_prediction_sets():
    with pytest.raises(ValueError, match="method must be one of thr, aps, raps; got 'lac'"):
        metrics.conformal_scores(np.ones((1, 1)), "lac")
    with pytest.raises(ValueError, match=r"coverage must be between 0 and 1, got 1\.0"):
        metrics.conformal_threshold(np.ones(3), coverage=1.0)
    with pytest.raises(ValueError, match="at least 1 image, got none"):
        metrics.conformal_threshold(np.empty(0))
