"""Selective prediction: the errors that remain if the least confident predictions are rejected.

The risk at coverage c is the error of the most confident fraction c of the predictions. Equal
confidences cannot be told apart, so every number is the mean over their orders, and does not depend
on the order of the images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer

from augmix.metrics.scores import Confidence, Correct, check_predictions

COVERAGE = 0.8  # of the risk in results and reports

Counts = Integer[np.ndarray, "set image"]
Totals = Float64[np.ndarray, " set"]


class SelectiveScores(NamedTuple):
    """AURC, AUGRC and risk at a coverage of several sets."""

    aurc: Totals
    augrc: Totals
    risk: Totals


def aurc(confidence: Confidence, correct: Correct) -> float:
    """Compute the area under the risk-coverage curve: the mean risk over all coverages k / n.

    Geifman and El-Yaniv (2017), "Selective Classification for Deep Neural Networks".

    Args:
        confidence: Largest softmax probability of every image, in [0, 1].
        correct: Whether the prediction is correct, as booleans or 0 and 1.

    Raises:
        ValueError: If lengths differ or are 0, or a value is out of range.

    Example:
        >>> found = aurc(np.array([0.9, 0.8, 0.6, 0.5]), np.array([1, 1, 0, 1]))
        >>> round(found, 4)  # (1/3 + 1/4) / 4
        0.1458
    """
    return float(_score(confidence, correct).aurc[0])


def augrc(confidence: Confidence, correct: Correct) -> float:
    """Compute the area under the generalised risk-coverage curve.

    The generalised risk at a coverage is the probability that a prediction is both wrong and not
    rejected, so the area is the mean rate of undetected errors, 0..1/2. It equals
    ``(1 - auroc) * accuracy * error + error**2 / 2``, where ``auroc`` is that of telling correct
    from wrong predictions by confidence. Traub et al. (2024), "Overcoming Common Flaws in the
    Evaluation of Selective Classification Systems", equation 7. Args, Raises: As `aurc`.
    """
    return float(_score(confidence, correct).augrc[0])


def risk_at_coverage(
    confidence: Confidence, correct: Correct, *, coverage: float = COVERAGE
) -> float:
    """Compute the error of the ceil(coverage * n) most confident predictions.

    Args:
        confidence: Largest softmax probability of every image, in [0, 1].
        correct: Whether the prediction is correct, as booleans or 0 and 1.
        coverage: Fraction that is not rejected, in (0, 1].

    Raises:
        ValueError: As `aurc`, or if the coverage is out of range.
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must be above 0 and at most 1, got {coverage}")
    return float(_score(confidence, correct, coverage).risk[0])


def coverage_at_risk(confidence: Confidence, correct: Correct, *, risk: float = 0.05) -> float:
    """Find the largest coverage k / n at which the risk is at most the one given.

    It is 0 if the risk is higher at every coverage. Args, Raises: As `aurc`; risk is in [0, 1].
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"risk must be 0..1, got {risk}")
    coverage, risks = risk_coverage_curve(confidence, correct)
    fits = np.flatnonzero(risks <= risk)
    return float(coverage[fits[-1]]) if len(fits) else 0.0


def risk_coverage_curve(
    confidence: Confidence, correct: Correct
) -> tuple[Float64[np.ndarray, " image"], Float64[np.ndarray, " image"]]:
    """Compute the coverages 1 / n .. 1 and the risk at each; raises as `aurc`."""
    confidence, correct = check_predictions(confidence, correct)
    order = np.argsort(-confidence, kind="stable")
    starts = _tie_starts(confidence[order])
    sizes = np.diff(starts, append=len(order))
    wrong = np.add.reduceat(1 - correct[order], starts)
    errors = np.cumsum(np.repeat(wrong / sizes, sizes))
    count = np.arange(1, len(order) + 1)
    return count / len(order), errors / count


def selective_scores(
    counts: Counts,
    confidence: Confidence,
    correct: Correct,
    *,
    coverage: float = COVERAGE,
) -> SelectiveScores:
    """Compute the scores of sets in which each prediction occurs so many times, as in a bootstrap.

    Args:
        counts: How often each prediction is in each set; the sets are equally large.
        confidence: Of the predictions, ascending.
        correct: As booleans or 0 and 1.
        coverage: Of the risk, in (0, 1].
    """
    num_drawn = int(counts[0].sum())
    starts = _tie_starts(confidence)
    ends = np.append(starts[1:], len(confidence))
    is_wrong = np.asarray(correct) == 0
    wrong = np.add.reduceat(is_wrong.astype(np.int64), starts)
    starts, ends, wrong = (each[wrong > 0] for each in (starts, ends, wrong))
    reached = np.cumsum(counts, axis=1, dtype=np.int64)
    reached = np.concatenate([np.zeros((len(counts), 1), np.int64), reached], axis=1)
    first, last = num_drawn - reached[:, ends], num_drawn - reached[:, starts]  # ranks, exclusive
    rate = np.ones(first.shape)  # of errors among equal confidences
    mixed = np.flatnonzero(wrong < ends - starts)
    if len(mixed):
        member = np.concatenate([np.arange(starts[k], ends[k]) for k in mixed])
        begins = np.cumsum((ends - starts)[mixed]) - (ends - starts)[mixed]
        errors = np.add.reduceat(counts[:, member] * is_wrong[member], begins, axis=1)
        size = (last - first)[:, mixed]
        rate[:, mixed] = np.divide(errors, size, out=np.zeros(size.shape), where=size > 0)
    # An error at rank r counts at every coverage from r / n on
    rank, kept = np.arange(1, num_drawn + 1), int(np.ceil(np.round(coverage * num_drawn, 9)))
    weights = (
        np.cumsum(1 / rank[::-1])[::-1] / num_drawn,
        (num_drawn - rank + 0.5) / num_drawn**2,
        (rank <= kept) / kept,
    )
    sums = (np.concatenate([[0.0], np.cumsum(each)]) for each in weights)
    return SelectiveScores(*((rate * (each[last] - each[first])).sum(axis=1) for each in sums))


def _score(confidence: Confidence, correct: Correct, coverage: float = COVERAGE) -> SelectiveScores:
    confidence, correct = check_predictions(confidence, correct)
    order = np.argsort(confidence, kind="stable")
    once = np.ones((1, len(order)), np.int64)
    return selective_scores(once, confidence[order], correct[order], coverage=coverage)


def _tie_starts(confidence: np.ndarray) -> Int64[np.ndarray, " group"]:
    """Where groups of equal neighbours begin."""
    return np.flatnonzero(np.concatenate([[True], confidence[1:] != confidence[:-1]]))
