"""Out-of-distribution detection: scores of images, and how well they tell images of no class.

A score is high for images of the model's classes. Those are the positives: the false positives are
images of no class that are taken for one.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Integer

from augmix.metrics.scores import check_lengths

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
    return float(_score(inside, outside).auroc[0])


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
    return float(_score(inside, outside, recall).fpr[0])


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


def _score(inside: np.ndarray, outside: np.ndarray, recall: float = RECALL) -> OutlierScores:
    for name, scores in (("inside", inside), ("outside", outside)):
        check_lengths(**{name: scores})
        if np.isnan(scores).any():
            raise ValueError(f"{name} scores must be numbers, got NaN")
    first, second = (np.ones((1, len(each)), np.int64) for each in (inside, outside))
    return outlier_scores(first, second, inside, outside, recall=recall)
