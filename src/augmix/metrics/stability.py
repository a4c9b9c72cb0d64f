"""Stability along perturbation sequences: flip probability, flip rate, top-5 distance."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int64, Integer

from augmix.metrics.checks import check_complete

_TOP = 5


def flip_probability(
    predictions: Integer[np.ndarray, "sequence frame"],
    *,
    is_noise: bool = False,
    difficulty: int = 1,
) -> float:
    """How often the prediction changes from one frame to the next.

    Args:
        predictions: Predicted class of every frame.
        is_noise: Compare with the first frame instead: noise sequences have no order in time.
        difficulty: Frames between the two that are compared, at least 1 (temporal only).

    Raises:
        ValueError: If no two frames can be compared, or difficulty does not fit.
    """
    predictions = np.asarray(predictions)
    if difficulty < 1 or (is_noise and difficulty != 1):
        raise ValueError(f"difficulty must be at least 1, and 1 for noise, got {difficulty}")
    if predictions.ndim != 2 or not len(predictions) or predictions.shape[1] <= difficulty:
        raise ValueError(
            f"predictions must be [sequence frame] with more than {difficulty} frame(s), "
            f"got shape {predictions.shape}"
        )
    reference = predictions[:, :1] if is_noise else predictions[:, :-difficulty]
    return float(np.mean(predictions[:, difficulty:] != reference))


def flip_rate(flip_probability: float, baseline: float) -> float:
    """FR of one perturbation: the flip probability divided by the baseline's.

    Hendrycks and Dietterich (2019), section 4; the baseline of the literature is AlexNet.

    Raises:
        ValueError: If the baseline's is not above 0.
    """
    if not baseline > 0:
        raise ValueError(f"the baseline's flip probability must be above 0, got {baseline}")
    return flip_probability / baseline


def mean_flip_rate(flip_probabilities: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """mFR: the mean of `flip_rate` over the baseline's perturbations; 1 is the baseline.

    Args:
        flip_probabilities: One for each perturbation of the baseline.
        baseline: For each perturbation, e.g. `published.ALEXNET_FLIP_PROBABILITIES`.

    Raises:
        ValueError: If a perturbation is missing on either side, or one of the baseline's is not
            above 0.
    """
    check_complete(flip_probabilities, baseline)
    return float(
        np.mean([flip_rate(flip_probabilities[name], baseline[name]) for name in baseline])
    )


def mean_top5_distance(distances: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """mT5D: the mean over the baseline's perturbations of `top5_distance` divided by its own.

    No source gives AlexNet's distances; take those of a model that was measured the same way.

    Args:
        distances: One for each perturbation of the baseline.
        baseline: For each perturbation, the baseline's distance.

    Raises:
        ValueError: If a perturbation is missing on either side, or one of the baseline's is not
            above 0.
    """
    check_complete(distances, baseline)
    low = [name for name, value in baseline.items() if not value > 0]
    if low:
        raise ValueError(
            f"the baseline's distances must be above 0, got {baseline[low[0]]} for {low}"
        )
    return float(np.mean([distances[name] / baseline[name] for name in baseline]))


def top5_distance(
    logits: Float[np.ndarray, "sequence frame label"], *, is_noise: bool = False
) -> float:
    """uT5D: how far classes move inside or across the top five from one frame to the next.

    The distance of two frames is the sum over the five classes on top of the first of
    |min(rank, 6) - min(rank in the second, 6)|, 0 (none moves) to 15 (all leave). Equal logits are
    ranked by class. Hendrycks and Dietterich (2019), section 4.

    Args:
        logits: Or anything of the same order, of every frame.
        is_noise: Compare with the first frame instead.

    Raises:
        ValueError: If there are fewer than 2 frames or 5 classes.
    """
    rank, order = _rank(logits)
    top = order[:, :1] if is_noise else order[:, :-1]
    top = np.broadcast_to(top[:, :, :_TOP], (*rank[:, 1:].shape[:2], _TOP))
    moved = np.minimum(np.take_along_axis(rank[:, 1:], top, axis=2), _TOP)
    return float(np.abs(moved - np.arange(_TOP)).sum(axis=2).mean())


def zipf_distance(
    logits: Float[np.ndarray, "sequence frame label"], *, is_noise: bool = False
) -> float:
    """As `top5_distance` with all ranks, weighed by Zipf's law: sum of |1/i - 1/sigma(i)| / i.

    Sigma(i) is the rank in the second frame of the class at rank i of the first. In the published
    scripts, not in the paper's tables.
    """
    rank, order = _rank(logits)
    reference = order[:, :1] if is_noise else order[:, :-1]
    reference = np.broadcast_to(reference, rank[:, 1:].shape)
    moved = np.take_along_axis(rank[:, 1:], reference, axis=2) + 1
    first = np.arange(1, rank.shape[2] + 1)
    return float((np.abs(1 / first - 1 / moved) / first).sum(axis=2).mean())


def _rank(
    logits: Float[np.ndarray, "sequence frame label"],
) -> tuple[Int64[np.ndarray, "sequence frame label"], Int64[np.ndarray, "sequence frame label"]]:
    """Rank of every class, from 0, and the class at every rank; equal logits by class."""
    logits = np.asarray(logits)
    if logits.ndim != 3 or not len(logits) or logits.shape[1] < 2 or logits.shape[2] < _TOP:
        raise ValueError(
            f"logits must be [sequence frame label] with at least 2 frames and {_TOP} classes, "
            f"got shape {logits.shape}"
        )
    order = np.argsort(-logits, axis=2, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(logits.shape[2]), axis=2)
    return rank, order
