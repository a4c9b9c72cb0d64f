"""Prediction sets against loops over classes, and their coverage against its bounds."""

import numpy as np
import pytest

from augmix import metrics
from augmix.metrics.conformal import raps_scores


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


def test_refusals():
    with pytest.raises(ValueError, match="method must be one of thr, aps, raps; got 'lac'"):
        metrics.conformal_scores(np.ones((1, 1)), "lac")
    with pytest.raises(ValueError, match=r"coverage must be between 0 and 1, got 1\.0"):
        metrics.conformal_threshold(np.ones(3), coverage=1.0)
    with pytest.raises(ValueError, match="at least 1 image, got none"):
        metrics.conformal_threshold(np.empty(0))
