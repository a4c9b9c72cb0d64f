"""Logits and labels -> what is kept of every image -> one cell of the results."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from augmix import metrics
from augmix.records import Bins, Cell

_NUM_BINS = 15  # of equal width, for reliability diagrams and ECE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What is kept of every image of a cell.

    Attributes:
        confidence: Largest softmax probability.
        correct: Whether the largest logit (the first of equals) is the label's.
        nll: Negative log-likelihood, natural logarithm.
        brier: Squared distance of the probabilities to the one-hot label, 0..2.
    """

    confidence: Float64[np.ndarray, " image"]
    correct: Bool[np.ndarray, " image"]
    nll: Float64[np.ndarray, " image"]
    brier: Float64[np.ndarray, " image"]


def score(
    logits: Float64[np.ndarray, "batch label"], labels: Int64[np.ndarray, " batch"]
) -> Scores:
    """Per-image scores of a batch of logits, in float64."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    distance = probabilities.copy()
    distance[rows, labels] -= 1
    return Scores(
        confidence=probabilities.max(axis=1),
        correct=logits.argmax(axis=1) == labels,
        nll=-log_probabilities[rows, labels],
        brier=(distance**2).sum(axis=1),
    )


def gather(
    spot: tuple[str, str, int], batches: Sequence[Scores], *, bin_size: int, seconds: float
) -> Cell:
    """The cell of all scored batches of a spot."""
    confidence = np.concatenate([batch.confidence for batch in batches])
    correct = np.concatenate([batch.correct for batch in batches])
    return Cell(
        suite=spot[0],
        name=spot[1],
        severity=spot[2],
        num_images=len(correct),
        num_errors=int((~correct).sum()),
        nll_sum=float(np.concatenate([batch.nll for batch in batches]).sum()),
        brier_sum=float(np.concatenate([batch.brier for batch in batches]).sum()),
        adaptive=_to_bins(metrics.adaptive_bins(confidence, correct, bin_size=bin_size)),
        equal_width=_to_bins(metrics.equal_width_bins(confidence, correct, num_bins=_NUM_BINS)),
        seconds=seconds,
    )


def _to_bins(bins: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Bins:
    count, confidence_sum, correct_sum = bins
    return Bins(
        count=[int(value) for value in count],
        confidence_sum=[float(value) for value in confidence_sum],
        correct_sum=[int(value) for value in correct_sum],
    )
