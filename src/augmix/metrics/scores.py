"""Proper scores of probabilities, and how well confidence finds errors."""

import numpy as np
from jaxtyping import Float, Integer

from augmix.metrics.checks import Confidence, Correct, check_predictions, check_probabilities


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "image label"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Mean of -log of the label's probability; infinite where that is 0.

    Raises:
        ValueError: If shapes do not fit or a label is out of range.
    """
    probabilities, labels = check_probabilities(probabilities, labels)
    with np.errstate(divide="ignore"):
        return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


def brier_score(
    probabilities: Float[np.ndarray, "image label"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Mean squared distance to the one-hot label, summed over classes: 0..2.

    Some libraries divide by the number of classes; this one does not.

    Raises:
        ValueError: If shapes do not fit or a label is out of range.
    """
    probabilities, labels = check_probabilities(probabilities, labels)
    distance = probabilities.copy()
    distance[np.arange(len(labels)), labels] -= 1
    return float((distance**2).sum(axis=1).mean())


def aurra(confidence: Confidence, correct: Correct) -> float:
    """Area under the response-rate accuracy curve: mean accuracy of the k most confident, all k.

    Raises:
        ValueError: As `adaptive_bins`.
    """
    confidence, correct = check_predictions(confidence, correct)
    order = np.argsort(-confidence, kind="stable")
    return float(np.mean(np.cumsum(correct[order]) / np.arange(1, len(order) + 1)))


def soft_f1(confidence: Confidence, correct: Correct) -> float:
    """Soft F1 of finding errors by 1 - confidence; NaN if nothing is wrong and nothing doubted.

    Raises:
        ValueError: As `adaptive_bins`.
    """
    confidence, correct = check_predictions(confidence, correct)
    doubt, wrong = 1 - confidence, 1 - correct
    total = float((doubt + wrong).sum())
    return float(2 * (doubt @ wrong) / total) if total else float("nan")
