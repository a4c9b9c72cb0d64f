"""Logits and labels -> what is kept of every image -> one cell of the results."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from augmix import metrics
from augmix.engine.rows import join
from augmix.outcomes import Outcome, to_classes
from augmix.records import Bins, Cell, Scaled

_NUM_BINS = 15  # of equal width, for reliability diagrams and ECE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What is kept of every image of a cell.

    Attributes:
        prediction: Class of the largest logit, the first of equals.
        confidence: Largest softmax probability.
        correct: Whether the prediction is the label.
        nll: Negative log-likelihood, natural logarithm.
        brier: Squared distance of the probabilities to the one-hot label, 0..2.
    """

    prediction: Int64[np.ndarray, " image"]
    confidence: Float64[np.ndarray, " image"]
    correct: Bool[np.ndarray, " image"]
    nll: Float64[np.ndarray, " image"]
    brier: Float64[np.ndarray, " image"]


def score(
    logits: Float64[np.ndarray, "batch label"],
    labels: Int64[np.ndarray, " batch"],
    *,
    temperature: float = 1.0,
) -> Scores:
    """Per-image scores of a batch of logits, in float64; the batch may be empty.

    Args:
        logits: Of any finite size.
        labels: Classes.
        temperature: What logits are divided by first; it changes no prediction.
    """
    rows = np.arange(len(labels))
    prediction = logits.argmax(axis=1)
    scaled = logits / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    confidence = probabilities.max(axis=1)
    probabilities[rows, labels] -= 1
    return Scores(
        prediction=prediction,
        confidence=confidence,
        correct=prediction == labels,
        nll=-log_probabilities[rows, labels],
        brier=(probabilities**2).sum(axis=1),
    )


def gather(
    spot: tuple[str, str, int],
    batches: Sequence[Scores],
    *,
    bin_size: int,
    seconds: float,
    scaled: Sequence[Scores] = (),
) -> Cell:
    """The cell of all scored batches of a spot.

    Args:
        spot: Suite, name, severity.
        batches: In the order of the images.
        bin_size: Predictions in an adaptive bin.
        seconds: Time the cell took.
        scaled: The same batches at a temperature; none if there is none.
    """
    scores = join(batches)
    return Cell(
        suite=spot[0],
        name=spot[1],
        severity=spot[2],
        num_images=len(scores.correct),
        num_errors=int((~scores.correct).sum()),
        nll_sum=float(scores.nll.sum()),
        brier_sum=float(scores.brier.sum()),
        adaptive=_adaptive(scores, bin_size),
        equal_width=_equal_width(scores),
        seconds=seconds,
        scaled=_gather_scaled(join(scaled), bin_size) if scaled else None,
    )


def to_outcome(scores: Scores, num_classes: int) -> Outcome:
    """What the file of a cell keeps of every image."""
    return Outcome(
        prediction=to_classes(scores.prediction, num_classes),
        confidence=scores.confidence.astype(np.float32),
    )


def _gather_scaled(scores: Scores, bin_size: int) -> Scaled:
    return Scaled(
        nll_sum=float(scores.nll.sum()),
        brier_sum=float(scores.brier.sum()),
        adaptive=_adaptive(scores, bin_size),
        equal_width=_equal_width(scores),
    )


def _adaptive(scores: Scores, bin_size: int) -> Bins:
    return _to_bins(metrics.adaptive_bins(scores.confidence, scores.correct, bin_size=bin_size))


def _equal_width(scores: Scores) -> Bins:
    return _to_bins(metrics.equal_width_bins(scores.confidence, scores.correct, num_bins=_NUM_BINS))


def _to_bins(bins: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Bins:
    count, confidence_sum, correct_sum = bins
    return Bins(
        count=[int(value) for value in count],
        confidence_sum=[float(value) for value in confidence_sum],
        correct_sum=[int(value) for value in correct_sum],
    )
