"""Scores of predicted probabilities: of each image, and of a set."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

__all__ = [
    "ImageScores",
    "aurra",
    "average_precision",
    "brier_score",
    "image_brier",
    "image_nll",
    "image_scores",
    "log_softmax",
    "negative_log_likelihood",
    "soft_f1",
]

_ROUNDING = 1e-5  # a float32 softmax may exceed 1 by this much
# How far a sum of probabilities may lie from 1: of float32 or float64, of half precision
SUM_TOLERANCE = (1e-3, 1e-2)

Confidence = Float[np.ndarray, " image"]
Correct = Bool[np.ndarray, " image"] | Integer[np.ndarray, " image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """Scores of every image of a batch."""

    prediction: Int64[np.ndarray, " image"]  # class of the largest logit, the first of equals
    confidence: Float64[np.ndarray, " image"]  # largest softmax probability
    correct: Bool[np.ndarray, " image"]  # whether the prediction is the label
    nll: Float64[np.ndarray, " image"]  # negative log-likelihood, natural logarithm
    brier: Float64[np.ndarray, " image"]  # squared distance to the one-hot label, 0..2


def image_scores(
    logits: Float64[np.ndarray, "image class"],
    labels: Int64[np.ndarray, " image"],
    *,
    temperature: float = 1.0,
) -> ImageScores:
    """Compute all per-image scores of a batch, which may be empty.

    The temperature divides the logits, which are finite; it changes no prediction.
    """
    log_probabilities = log_softmax(logits, temperature=temperature)
    probabilities = np.exp(log_probabilities)
    prediction = logits.argmax(axis=1)
    return ImageScores(
        prediction=prediction,
        confidence=probabilities.max(axis=1),
        correct=prediction == labels,
        nll=image_nll(log_probabilities, labels),
        brier=image_brier(probabilities, labels),
    )


def log_softmax(
    logits: Float64[np.ndarray, "image class"], *, temperature: float = 1.0
) -> Float64[np.ndarray, "image class"]:
    """Compute log-probabilities of logits divided by the temperature; they stay finite."""
    scaled = logits / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def image_nll(
    log_probabilities: Float64[np.ndarray, "image class"], labels: Integer[np.ndarray, " image"]
) -> Float64[np.ndarray, " image"]:
    """Compute the negative log-probability of every image's label."""
    return -log_probabilities[np.arange(len(labels)), labels]


def image_brier(
    probabilities: Float64[np.ndarray, "image class"], labels: Integer[np.ndarray, " image"]
) -> Float64[np.ndarray, " image"]:
    """Compute every image's squared distance to its one-hot label, summed over classes: 0..2."""
    distance = probabilities.copy()
    distance[np.arange(len(labels)), labels] -= 1
    return (distance**2).sum(axis=1)


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "image class"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Compute the mean of -log of the label's probability; infinite where that is 0.

    Labels are columns of the probabilities; another one, and rows that are no probabilities, are a
    ValueError.
    """
    probabilities, labels = check_probabilities(probabilities, labels)
    with np.errstate(divide="ignore"):
        return float(image_nll(np.log(probabilities), labels).mean())


def brier_score(
    probabilities: Float[np.ndarray, "image class"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Compute the mean of `image_brier`: 0..2.

    Some libraries divide by the number of classes; this one does not. Raises as
    `negative_log_likelihood`.
    """
    return float(image_brier(*check_probabilities(probabilities, labels)).mean())


def aurra(confidence: Confidence, correct: Correct) -> float:
    """Compute the area under the response-rate accuracy curve.

    It is the accuracy of the k most confident predictions, averaged over all k. Raises as
    `adaptive_bins`.
    """
    confidence, correct = check_predictions(confidence, correct)
    order = np.argsort(-confidence, kind="stable")
    return float(np.mean(np.cumsum(correct[order]) / np.arange(1, len(order) + 1)))


def average_precision(
    scores: Float[np.ndarray, " image"], positive: Bool[np.ndarray, " image"]
) -> float:
    """Compute the area under the precision-recall curve of finding the positives by a high score.

    It is the mean over the positives of the precision among all images of at least their score, as
    `sklearn.metrics.average_precision_score`.

    Raises:
        ValueError: If the lengths differ, or there is no positive.
    """
    check_lengths(scores=scores, positive=positive)
    positive = np.asarray(positive, bool)
    if not positive.any():
        raise ValueError("average precision needs at least one positive, got none")
    levels, level = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    shown = np.cumsum(np.bincount(level, minlength=len(levels)))
    hits = np.bincount(level[positive], minlength=len(levels))
    return float((hits * np.cumsum(hits) / shown).sum() / positive.sum())


def soft_f1(confidence: Confidence, correct: Correct) -> float:
    """Compute the soft F1 of finding errors by 1 - confidence.

    It is NaN if every prediction is right and has confidence 1. Raises as `adaptive_bins`.
    """
    confidence, correct = check_predictions(confidence, correct)
    doubt, wrong = 1 - confidence, 1 - correct
    total = float((doubt + wrong).sum())
    return float(2 * (doubt @ wrong) / total) if total else float("nan")


def are_probabilities(
    rows: Float64[np.ndarray, "image class"], *, tolerance: float
) -> Bool[np.ndarray, " image"]:
    """Return which rows are in [0, 1] and sum to 1; of NaN none is."""
    with np.errstate(invalid="ignore"):
        is_inside = ((rows >= 0) & (rows <= 1 + _ROUNDING)).all(axis=1)
        return is_inside & (np.abs(rows.sum(axis=1) - 1) <= tolerance)


def check_lengths(**arrays: np.ndarray) -> None:
    """Refuse arrays that are not one axis of equal, non-zero length."""
    shapes = {name: np.shape(values) for name, values in arrays.items()}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) != 1:
        raise ValueError(f"{' and '.join(shapes)} must have one axis of equal length, got {shapes}")
    if 0 in next(iter(shapes.values())):
        raise ValueError(f"{' and '.join(shapes)} must hold at least 1 image, got none")


def check_predictions(
    confidence: np.ndarray, correct: np.ndarray
) -> tuple[Float64[np.ndarray, " image"], Int64[np.ndarray, " image"]]:
    """Check the ranges of confidences and of 0 and 1; return both in the types of sums."""
    check_lengths(confidence=confidence, correct=correct)
    confidence = np.asarray(confidence, np.float64)
    wrong = confidence[~((confidence >= 0) & (confidence <= 1 + _ROUNDING))]
    if len(wrong):
        raise ValueError(f"confidence must be in [0, 1], got {wrong[0]}")
    correct = np.asarray(correct)
    if not np.isin(correct, (0, 1)).all():
        raise ValueError(f"correct must be booleans or 0 and 1, got values up to {correct.max()}")
    return confidence, correct.astype(np.int64)


def check_probabilities(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[Float64[np.ndarray, "image class"], Integer[np.ndarray, " image"]]:
    """Check that there is a row of probabilities for every label, and a column for its class."""
    tolerance = SUM_TOLERANCE[np.asarray(probabilities).dtype == np.float16]
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.shape[:1] != labels.shape or not len(labels):
        raise ValueError(
            "probabilities must be [image class] and labels [image] of the same, non-zero length, "
            f"got shapes {probabilities.shape} and {labels.shape}"
        )
    is_wrong = ~are_probabilities(probabilities, tolerance=tolerance)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise ValueError(
            "probabilities must be rows in [0, 1] that sum to 1, got row "
            f"{row} from {probabilities[row].min():.4g} to {probabilities[row].max():.4g} with sum "
            f"{probabilities[row].sum():.4g}; of logits take np.exp(log_softmax(logits))"
        )
    wrong = labels[(labels < 0) | (labels >= probabilities.shape[1])]
    if len(wrong):
        raise ValueError(f"labels must be 0..{probabilities.shape[1] - 1}, got {wrong[0]}")
    return probabilities, labels
