"""Out-of-distribution detection against loops over pairs and thresholds."""

import inspect
import math

import numpy as np
import pytest

from augmix import metrics
from augmix.metrics.outliers import outlier_scores

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


def test_refusals():
    one = np.ones(1)
    with pytest.raises(ValueError, match="outside must hold at least 1 image"):
        metrics.auroc(one, np.empty(0))
    with pytest.raises(ValueError, match="inside scores must be numbers, got NaN"):
        metrics.auroc(np.array([np.nan]), one)
    with pytest.raises(ValueError, match="recall must be above 0 and at most 1"):
        metrics.fpr_at_recall(one, one, recall=0.0)
