"""What confidence is good for: rejecting predictions, detecting outliers, prediction sets.

Selective prediction rejects the least confident predictions. The risk at coverage c is the error of
the most confident fraction c of them. Equal confidences cannot be distinguished, so every number is
the mean over their orders, and does not depend on the order of the images.

Out-of-distribution detection tells images of no class by a score that is high for images of the
model's classes. Those are the positives: the false positives are images of no class that are taken
for one.

A conformal prediction set holds the right class with a given probability. A score tells how badly
a class fits an image; a threshold is fitted to the scores of the right classes of held-out images,
and the set of an image has all classes whose score is at most it. For images of the same
distribution the right class is in the set with probability ``coverage`` at least, and at most
``1 / (n + 1)`` above it. Under shift nothing is guaranteed, which is why it is measured.

| method | score of class c, at rank k by its probability p |
| --- | --- |
| ``thr`` | 1 - p (LAC; Sadinle et al. 2019) |
| ``aps`` | sum of the k largest probabilities - u * p, u uniform (Romano et al. 2020) |
| ``raps`` | that of ``aps`` + 0.01 * max(k - 5, 0) (Angelopoulos et al. 2021) |
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from augmix.metrics.scores import Confidence, Correct, check_lengths, check_predictions

__all__ = [
    "CONFORMAL",
    "augrc",
    "aurc",
    "auroc",
    "conformal_scores",
    "conformal_threshold",
    "coverage_at_risk",
    "energy_score",
    "fpr_at_recall",
    "label_scores",
    "max_logit",
    "prediction_sets",
    "risk_at_coverage",
    "risk_coverage_curve",
    "set_coverage",
    "set_size",
]

# -- Selective prediction --------------------------------------------------------------------------

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
    return float(_selective_score(confidence, correct).aurc[0])


def augrc(confidence: Confidence, correct: Correct) -> float:
    """Compute the area under the generalised risk-coverage curve.

    The generalised risk at a coverage is the probability that a prediction is both wrong and not
    rejected, so the area is the mean rate of undetected errors, 0..1/2. It equals
    ``(1 - auroc) * accuracy * error + error**2 / 2``, where ``auroc`` is that of telling correct
    from wrong predictions by confidence. Traub et al. (2024), "Overcoming Common Flaws in the
    Evaluation of Selective Classification Systems", equation 7. Args, Raises: As `aurc`.
    """
    return float(_selective_score(confidence, correct).augrc[0])


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
    return float(_selective_score(confidence, correct, coverage).risk[0])


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


def _selective_score(
    confidence: Confidence, correct: Correct, coverage: float = COVERAGE
) -> SelectiveScores:
    confidence, correct = check_predictions(confidence, correct)
    order = np.argsort(confidence, kind="stable")
    once = np.ones((1, len(order)), np.int64)
    return selective_scores(once, confidence[order], correct[order], coverage=coverage)


def _tie_starts(confidence: np.ndarray) -> Int64[np.ndarray, " group"]:
    """Where groups of equal neighbours begin."""
    return np.flatnonzero(np.concatenate([[True], confidence[1:] != confidence[:-1]]))


# -- Out-of-distribution detection -----------------------------------------------------------------

RECALL = 0.95  # of the false positive rate

Logits = Float[np.ndarray, "image class"]


class OutlierScores(NamedTuple):
    """AUROC and false positive rate of several sets."""

    auroc: Float64[np.ndarray, " set"]
    fpr: Float64[np.ndarray, " set"]


def max_logit(logits: Logits) -> Float64[np.ndarray, " image"]:
    """Compute the largest logit of every image (Hendrycks et al. 2022, "Scaling OOD Detection")."""
    return np.asarray(logits, np.float64).max(axis=1)


def energy_score(logits: Logits) -> Float64[np.ndarray, " image"]:
    """Compute the negative free energy, log sum exp of the logits, of every image.

    Liu et al. (2020), "Energy-based Out-of-distribution Detection", at temperature 1. It is 0 of
    logarithms of probabilities.
    """
    wide = np.asarray(logits, np.float64)
    peak = wide.max(axis=1)
    return peak + np.log(np.exp(wide - peak[:, None]).sum(axis=1))


def auroc(inside: Float[np.ndarray, " inside"], outside: Float[np.ndarray, " outside"]) -> float:
    """Compute how often an image of a class has the higher score than one of none; ties count half.

    It is the area under the receiver operating characteristic, as
    `sklearn.metrics.roc_auc_score`.

    Args:
        inside: Scores of images of the model's classes.
        outside: Scores of images of no class.

    Raises:
        ValueError: If one of them is empty, or a score is not a number.

    Example:
        >>> auroc(np.array([0.9, 0.8, 0.4]), np.array([0.5, 0.1]))  # 5 of 6 pairs
        0.8333333333333334
    """
    return float(_outlier_score(inside, outside).auroc[0])


def fpr_at_recall(
    inside: Float[np.ndarray, " inside"],
    outside: Float[np.ndarray, " outside"],
    *,
    recall: float = RECALL,
) -> float:
    """Compute the fraction of outside images that pass where a fraction of the inside ones does.

    The threshold is the largest at which at least ``recall`` of the inside images have a score of
    at least it. FPR95 is that of a recall of 0.95.

    Raises:
        ValueError: As `auroc`, or if the recall is not in (0, 1].
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and at most 1, got {recall}")
    return float(_outlier_score(inside, outside, recall).fpr[0])


def outlier_scores(
    inside_counts: Integer[np.ndarray, "set inside"],
    outside_counts: Integer[np.ndarray, "set outside"],
    inside: Float[np.ndarray, " inside"],
    outside: Float[np.ndarray, " outside"],
    *,
    recall: float = RECALL,
) -> OutlierScores:
    """Compute AUROC and false positive rate of sets in which images occur so many times.

    Args:
        inside_counts: How often each inside image is in each set; the sets are equally large.
        outside_counts: The same of the outside images.
        inside: Scores of images of the model's classes.
        outside: Scores of images of no class.
        recall: Of the false positive rate, in (0, 1].
    """
    values, group = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    by_group = [
        _sum_groups(counts, groups, len(values))
        for counts, groups in (
            (inside_counts, group[: len(inside)]),
            (outside_counts, group[len(inside) :]),
        )
    ]
    (inner, outer), (num_inside, num_outside) = by_group, (each.sum(axis=1) for each in by_group)
    below = np.cumsum(outer, axis=1) - outer / 2
    area = (inner * below).sum(axis=1) / (num_inside * num_outside)
    passed = np.cumsum(inner[:, ::-1], axis=1)  # inside images of at least each value, descending
    wanted = np.ceil(np.round(recall * num_inside, 9))[:, None]
    last = (passed < wanted).sum(axis=1)[:, None]
    taken = np.take_along_axis(np.cumsum(outer[:, ::-1], axis=1), last, axis=1)[:, 0]
    return OutlierScores(auroc=area, fpr=taken / num_outside)


def _sum_groups(
    counts: Integer[np.ndarray, "set image"], group: Integer[np.ndarray, " image"], num_groups: int
) -> Float64[np.ndarray, "set group"]:
    order = np.argsort(group, kind="stable")
    sums = np.zeros((len(counts), num_groups))
    found, starts = np.unique(group[order], return_index=True)
    sums[:, found] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums


def _outlier_score(
    inside: np.ndarray, outside: np.ndarray, recall: float = RECALL
) -> OutlierScores:
    for name, scores in (("inside", inside), ("outside", outside)):
        check_lengths(**{name: scores})
        if np.isnan(scores).any():
            raise ValueError(f"{name} scores must be numbers, got NaN")
    first, second = (np.ones((1, len(each)), np.int64) for each in (inside, outside))
    return outlier_scores(first, second, inside, outside, recall=recall)


# -- Prediction sets -------------------------------------------------------------------------------

Probabilities = Float[np.ndarray, "image class"]
Scores = Float64[np.ndarray, "image class"]
Uniforms = Float[np.ndarray, " image"]
Labels = Integer[np.ndarray, " image"]

PENALTY, FREE_RANKS = 0.01, 5  # of RAPS, as in "A Gentle Introduction to Conformal Prediction"


def thr_scores(probabilities: Probabilities, uniforms: Uniforms) -> Scores:
    """Compute the scores of THR; the uniform numbers are not used."""
    return 1 - np.asarray(probabilities, np.float64)


def aps_scores(probabilities: Probabilities, uniforms: Uniforms) -> Scores:
    """Compute the scores of APS; equal probabilities are ranked by class."""
    return _ranked_scores(probabilities, uniforms)


def raps_scores(
    probabilities: Probabilities,
    uniforms: Uniforms,
    *,
    penalty: float = PENALTY,
    free_ranks: int = FREE_RANKS,
) -> Scores:
    """Compute the scores of RAPS: those of APS with a penalty for each rank after the first few."""
    return _ranked_scores(probabilities, uniforms, penalty=penalty, free_ranks=free_ranks)


CONFORMAL: Mapping[str, Callable[[Probabilities, Uniforms], Scores]] = {
    "thr": thr_scores,
    "aps": aps_scores,
    "raps": raps_scores,
}


def conformal_scores(
    probabilities: Probabilities, method: str, *, uniforms: Uniforms | None = None
) -> Scores:
    """Compute the score of every class of every image.

    Args:
        probabilities: Softmax of the logits.
        method: A key of `CONFORMAL`.
        uniforms: A number in [0, 1) for every image, independent of it. Without, the sets of
            ``aps`` and ``raps`` are not randomised, and larger than they need to be.

    Raises:
        ValueError: If the method is unknown.
    """
    if method not in CONFORMAL:
        raise ValueError(f"method must be one of {', '.join(CONFORMAL)}; got {method!r}")
    zero = np.zeros(len(probabilities))
    return CONFORMAL[method](probabilities, zero if uniforms is None else uniforms)


def conformal_threshold(scores: Float64[np.ndarray, " image"], *, coverage: float = 0.9) -> float:
    """Find the threshold at which sets of new images have a coverage: a quantile of the scores.

    It is the ceil((n + 1) * coverage)-th smallest, and infinite, so that every set has all classes,
    where n is too small for the coverage.

    Args:
        scores: Of the right classes of held-out images.
        coverage: Probability that the right class is in a set, in (0, 1).

    Raises:
        ValueError: If there is no score, or the coverage is out of range.

    Example:
        >>> conformal_threshold(np.array([0.1, 0.4, 0.2, 0.3]), coverage=0.75)  # the 4th of 4
        0.4
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, got {coverage}")
    if not len(scores):
        raise ValueError("a threshold is fitted on at least 1 image, got none")
    rank = int(np.ceil(np.round((len(scores) + 1) * coverage, 9)))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def label_scores(scores: Scores, labels: Labels) -> Float64[np.ndarray, " image"]:
    """Select the score of each image's label."""
    return scores[np.arange(len(labels)), labels]


def prediction_sets(
    probabilities: Probabilities,
    threshold: float,
    method: str,
    *,
    uniforms: Uniforms | None = None,
) -> Bool[np.ndarray, "image class"]:
    """Return which classes are in the set of each image; a set may be empty.

    Args, Raises: As `conformal_scores` and `conformal_threshold`.

    Example:
        >>> held, labels = np.array([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 1])
        >>> scores = conformal_scores(held, "thr")
        >>> threshold = conformal_threshold(label_scores(scores, labels), coverage=0.5)
        >>> prediction_sets(np.array([[0.9, 0.1], [0.5, 0.5]]), threshold, "thr").tolist()
        [[True, False], [False, False]]
    """
    return conformal_scores(probabilities, method, uniforms=uniforms) <= threshold


def set_coverage(sets: Bool[np.ndarray, "image class"], labels: Labels) -> float:
    """Compute the fraction of images whose label is in their set."""
    return float(np.mean(sets[np.arange(len(labels)), labels]))


def set_size(sets: Bool[np.ndarray, "image class"]) -> float:
    """Compute the mean number of classes in a set."""
    return float(np.mean(sets.sum(axis=1)))


def _ranked_scores(
    probabilities: Probabilities,
    uniforms: Uniforms,
    *,
    penalty: float = 0.0,
    free_ranks: int = 0,
) -> Scores:
    wide = np.asarray(probabilities, np.float64)
    order: Int64[np.ndarray, "image class"] = np.argsort(-wide, axis=1, kind="stable")
    ranked = np.take_along_axis(wide, order, axis=1)
    extra = penalty * np.maximum(np.arange(1, wide.shape[1] + 1) - free_ranks, 0)
    ranked_scores = np.cumsum(ranked, axis=1) - np.asarray(uniforms)[:, None] * ranked + extra
    scores = np.empty_like(wide)
    np.put_along_axis(scores, order, ranked_scores, axis=1)
    return scores
