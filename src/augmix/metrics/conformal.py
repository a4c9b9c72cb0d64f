"""Conformal prediction sets: sets of classes that hold the right one with a stated probability.

A score tells how badly a class fits an image; a threshold is fitted to the scores of the right
classes of held-out images, and the set of an image has all classes whose score is at most it. For
images of the same distribution the right class is in the set with probability ``coverage`` at
least, and at most ``1 / (n + 1)`` above it. Under shift nothing is guaranteed, which is why it is
measured.

| method | score of class c, at rank k by its probability p |
| --- | --- |
| ``thr`` | 1 - p (LAC; Sadinle et al. 2019) |
| ``aps`` | sum of the k largest probabilities - u * p, u uniform (Romano et al. 2020) |
| ``raps`` | that of ``aps`` + 0.01 * max(k - 5, 0) (Angelopoulos et al. 2021) |
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

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
