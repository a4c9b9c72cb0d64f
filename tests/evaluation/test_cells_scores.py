import math

import numpy as np
import pytest

from augmix.evaluation.cells import gather, score
from augmix.results import Bins


def test_the_worked_example_of_the_scores() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.25, 0.5, 0.25]])
    scores = score(np.log(probabilities) + 3.0, np.array([0, 1, 0, 2]))
    np.testing.assert_allclose(scores.confidence, [0.7, 0.8, 0.4, 0.5])
    assert scores.correct.tolist() == [True, True, False, False]
    np.testing.assert_allclose(scores.brier, [0.14, 0.06, 0.74, 0.875])
    np.testing.assert_allclose(scores.nll, [0.35667494, 0.22314355, 1.2039728, 1.38629436])


def test_huge_logits_stay_finite_and_ties_go_to_the_first() -> None:
    scores = score(np.array([[1e4, -1e4], [5.0, 5.0]]), np.array([1, 0]))
    np.testing.assert_allclose(scores.nll, [2e4, math.log(2)])
    np.testing.assert_allclose(scores.confidence, [1, 0.5])
    assert scores.correct.tolist() == [False, True]


def test_a_cell_holds_sums_over_all_batches() -> None:
    # worked example A of the calibration metrics, as two-class logits in two batches
    confidence = np.array([0.95, 0.55, 0.80, 0.60, 0.99, 0.70, 0.90])
    correct = np.array([1, 0, 1, 1, 1, 0, 1])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    batches = [score(logits[part], 1 - correct[part]) for part in (slice(0, 4), slice(4, 7))]
    cell = gather(("c", "fog", 2), batches, bin_size=3, seconds=1.5)
    assert (cell.suite, cell.name, cell.severity, cell.seconds) == ("c", "fog", 2, 1.5)
    assert (cell.num_images, cell.num_errors) == (7, 2)
    assert cell.adaptive.count == [3, 4]
    assert cell.adaptive.correct_sum == [1, 4]
    np.testing.assert_allclose(cell.adaptive.confidence_sum, [1.85, 3.64])
    assert cell.nll_sum == pytest.approx(
        -sum(math.log(c if r else 1 - c) for c, r in zip(confidence, correct, strict=True))
    )
    assert isinstance(cell.equal_width, Bins)
    assert sum(cell.equal_width.count) == 7
    assert len(cell.equal_width.count) == 15
