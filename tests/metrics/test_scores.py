"""Scores of probabilities against a worked example."""

import inspect
import math

import numpy as np
import pytest

from augmix.metrics import (
    average_precision,
    brier_score,
    error_rate,
    image_scores,
    negative_log_likelihood,
    soft_f1,
)

unchecked = inspect.unwrap  # past the checker of shapes, to the messages users see


PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.25, 0.5, 0.25]])
LABELS = np.array([0, 1, 0, 2])


def test_worked_example():
    assert brier_score(PROBABILITIES, LABELS) == pytest.approx(0.45375, abs=1e-12)
    nll = negative_log_likelihood(PROBABILITIES, LABELS)
    assert nll == pytest.approx(0.7925214152, abs=5e-11)
    assert error_rate(PROBABILITIES.argmax(axis=1), LABELS) == 0.5


def test_terms():
    expected = ((0.14, 0.35667494), (0.06, 0.22314355), (0.74, 1.2039728), (0.875, 1.38629436))
    for image, (brier, nll) in enumerate(expected):
        one = PROBABILITIES[image : image + 1], LABELS[image : image + 1]
        assert brier_score(*one) == pytest.approx(brier, abs=1e-12)
        assert negative_log_likelihood(*one) == pytest.approx(nll, abs=5e-9)


def test_input_is_left_alone():
    before = PROBABILITIES.copy()
    brier_score(PROBABILITIES, LABELS)
    image_scores(PROBABILITIES, LABELS)
    assert np.array_equal(before, PROBABILITIES)


def test_scores_of_logits():
    scores = image_scores(np.log(PROBABILITIES) + 3.0, LABELS)
    np.testing.assert_allclose(scores.confidence, [0.7, 0.8, 0.4, 0.5])
    assert scores.correct.tolist() == [True, True, False, False]
    np.testing.assert_allclose(scores.brier, [0.14, 0.06, 0.74, 0.875])
    np.testing.assert_allclose(scores.nll, [0.35667494, 0.22314355, 1.2039728, 1.38629436])
    assert image_scores(np.empty((0, 3)), LABELS[:0]).nll.shape == (0,)


def test_a_temperature_divides_the_logits():
    warm = image_scores(np.log(PROBABILITIES), LABELS, temperature=2.0)
    roots = np.sqrt(PROBABILITIES)
    expected = roots / roots.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(warm.confidence, expected.max(axis=1))
    assert warm.nll.mean() == pytest.approx(negative_log_likelihood(expected, LABELS))
    assert warm.prediction.tolist() == PROBABILITIES.argmax(axis=1).tolist()


def test_huge_logits_stay_finite_and_ties_go_to_the_first():
    scores = image_scores(np.array([[1e4, -1e4], [5.0, 5.0]]), np.array([1, 0]))
    np.testing.assert_allclose(scores.nll, [2e4, math.log(2)])
    np.testing.assert_allclose(scores.confidence, [1, 0.5])
    assert scores.correct.tolist() == [False, True]


def test_bounds():
    certain = np.array([[1.0, 0.0]])
    assert brier_score(certain, np.array([1])) == 2
    assert negative_log_likelihood(certain, np.array([1])) == math.inf
    assert negative_log_likelihood(certain, np.array([0])) == 0
    assert math.isnan(soft_f1(np.ones(3), np.ones(3, bool)))


def test_wrong_input():
    for score in (brier_score, negative_log_likelihood):
        with pytest.raises(ValueError, match=r"labels must be 0..2, got 3"):
            score(PROBABILITIES, np.array([0, 1, 3, 2]))
        with pytest.raises(ValueError, match=r"got shapes \(4, 3\) and \(3,\)"):
            unchecked(score)(PROBABILITIES, LABELS[:3])


@pytest.mark.parametrize("metric", [negative_log_likelihood, brier_score])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (50 * np.array([[0.2, 0.8], [0.5, 0.5]]), "row 0 from 10 to 40 with sum 50"),
        (np.array([[0.2, 0.8], [1.5, -0.5]]), "row 1 from -0.5 to 1.5 with sum 1"),
        (np.array([[0.2, 0.8], [0.5, 0.6]]), "row 1 from 0.5 to 0.6 with sum 1.1"),
        (np.array([[0.2, 0.8], [np.nan, 1.0]]), "row 1"),
    ],
)
def test_rows_that_are_no_probabilities_are_refused(metric, rows, message):
    with pytest.raises(ValueError, match=f"{message}.*log_softmax"):
        metric(rows, np.array([0, 1]))


def test_rounded_probabilities_are_taken():
    exact = np.array([[0.2, 0.8], [0.5, 0.5]])
    labels = np.array([1, 0])
    for rounded in (exact.astype(np.float16), exact.astype(np.float32), exact + 2e-4):
        assert brier_score(rounded.clip(0, 1), labels) == pytest.approx(0.29, abs=1e-2)


def test_average_precision():
    """Ranks 1, 2 and 4 of 5; then tied scores, which are shown together."""
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    positive = np.array([True, True, False, True, False])
    assert average_precision(scores, positive) == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert average_precision(np.ones(4), np.array([True, False, False, False])) == 0.25
    ranking = pytest.importorskip("sklearn.metrics")
    draws = np.random.default_rng(0)
    scores, positive = draws.integers(0, 20, 300) / 20, draws.random(300) < 0.3
    expected = ranking.average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="at least one positive, got none"):
        average_precision(scores, np.zeros(300, bool))
