"""Proper scores against the worked example of the specification."""

import inspect
import math

import numpy as np
import pytest

from augmix.metrics import brier_score, error_rate, negative_log_likelihood, soft_f1

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
    assert np.array_equal(before, PROBABILITIES)


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
