"""Stability along perturbation sequences: flip probability, flip rate, top-5 distance.

Hendrycks and Dietterich (2019), "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", section 4. Each frame is compared with the one before it; the frames of a noise
sequence have no order in time, so each is compared with the first.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer

from augmix.metrics.errors import check_complete

__all__ = [
    "flip_probability",
    "flip_rate",
    "image_flips",
    "image_top5_distance",
    "mean_flip_rate",
    "mean_top5_distance",
    "num_pairs",
    "top5_distance",
    "top_classes",
    "zipf_distance",
]

TOP = 5


def num_pairs(num_frames: int, *, is_noise: bool, difficulty: int = 1) -> int:
    """Count the pairs of frames that are compared in a sequence; see `image_flips`."""
    return num_frames - (1 if is_noise else difficulty)


def image_flips(
    predictions: Integer[np.ndarray, "sequence frame"],
    *,
    is_noise: bool = False,
    difficulty: int = 1,
) -> Int64[np.ndarray, " sequence"]:
    """Count the pairs of compared frames of each sequence whose predictions differ.

    Args:
        predictions: Predicted class of every frame.
        is_noise: Compare with the first frame instead of an earlier one.
        difficulty: Frames between the two that are compared, at least 1; 1 for noise.
    """
    reference, later = _compared(predictions, is_noise=is_noise, difficulty=difficulty)
    return (later != reference).sum(axis=1)


def flip_probability(
    predictions: Integer[np.ndarray, "sequence frame"],
    *,
    is_noise: bool = False,
    difficulty: int = 1,
) -> float:
    """Compute how often the prediction changes from one frame to the next; see `image_flips`.

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
    flips = image_flips(predictions, is_noise=is_noise, difficulty=difficulty)
    pairs = num_pairs(predictions.shape[1], is_noise=is_noise, difficulty=difficulty)
    return float(flips.sum() / (pairs * len(flips)))


def flip_rate(flip_probability: float, baseline: float) -> float:
    """Divide the flip probability of one perturbation by the baseline's, which is above 0: FR.

    The baseline of the literature is AlexNet.
    """
    if not baseline > 0:
        raise ValueError(f"the baseline's flip probability must be above 0, got {baseline}")
    return flip_probability / baseline


def mean_flip_rate(flip_probabilities: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """Average `flip_rate` over the baseline's perturbations: mFR; the baseline itself has 1.

    A baseline is, for example, `published.ALEXNET_FLIP_PROBABILITIES`. Both sides have the same
    perturbations; else it is a ValueError.
    """
    check_complete(flip_probabilities, baseline)
    rates = [flip_rate(flip_probabilities[name], baseline[name]) for name in baseline]
    return float(np.mean(rates))


def top_classes(
    logits: Float64[np.ndarray, "image class"], count: int = TOP
) -> Int64[np.ndarray, "image rank"]:
    """Find the classes of the largest finite logits, largest first, equal ones by class.

    It returns all classes where there are fewer than ``count``.
    """
    rest = logits.copy()
    rows = np.arange(len(rest))
    found = np.empty((len(rest), min(count, rest.shape[1])), np.int64)
    for rank in range(found.shape[1]):
        found[:, rank] = rest.argmax(axis=1)
        rest[rows, found[:, rank]] = -np.inf
    return found


def image_top5_distance(
    top: Int64[np.ndarray, "sequence frame rank"], *, is_noise: bool = False, difficulty: int = 1
) -> Int64[np.ndarray, " sequence"]:
    """Sum `top5_distance` over the pairs of each sequence, from the five `top_classes` of frames.

    Pairs are compared as in `image_flips`.
    """
    reference, later = _compared(top, is_noise=is_noise, difficulty=difficulty)
    is_same = reference[..., :, None] == later[..., None, :]  # sequence pair rank rank
    moved = np.where(is_same.any(axis=-1), is_same.argmax(axis=-1), TOP)
    return np.abs(moved - np.arange(TOP)).sum(axis=(1, 2))


def top5_distance(
    logits: Float[np.ndarray, "sequence frame class"], *, is_noise: bool = False
) -> float:
    """Compute how far classes move inside or across the top five from one frame to the next: uT5D.

    The distance of two frames is the sum over the first frame's top five classes of
    |min(rank, 6) - min(rank in the second, 6)|, from 0 (none moves) to 15 (all leave). Equal logits
    are ranked by class; anything of the same order as logits gives the same.

    Raises:
        ValueError: If there are fewer than 2 frames or 5 classes.
    """
    distance = image_top5_distance(_rank(logits)[1][:, :, :TOP], is_noise=is_noise)
    return float(distance.sum() / (num_pairs(logits.shape[1], is_noise=is_noise) * len(distance)))


def mean_top5_distance(distances: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """Average over perturbations `top5_distance` divided by the baseline's: mT5D.

    No source gives AlexNet's distances; use those of a model that was measured the same way. Both
    sides have the same perturbations; else it is a ValueError.
    """
    check_complete(distances, baseline)
    low = [name for name, value in baseline.items() if not value > 0]
    if low:
        value = baseline[low[0]]
        raise ValueError(f"the baseline's distances must be above 0, got {value} for {low}")
    return float(np.mean([distances[name] / baseline[name] for name in baseline]))


def zipf_distance(
    logits: Float[np.ndarray, "sequence frame class"], *, is_noise: bool = False
) -> float:
    """Compute `top5_distance` over all ranks, weighted by Zipf's law.

    It is the sum of |1/i - 1/sigma(i)| / i, where sigma(i) is the rank in the second frame of the
    class at rank i of the first. It is in the published scripts, but in none of the paper's tables.
    """
    rank, order = _rank(logits)
    reference, _ = _compared(order, is_noise=is_noise)
    moved = np.take_along_axis(rank[:, 1:], reference, axis=2) + 1
    first = np.arange(1, rank.shape[2] + 1)
    return float((np.abs(1 / first - 1 / moved) / first).sum(axis=2).mean())


def _compared(
    frames: Integer[np.ndarray, "sequence frame *rest"], *, is_noise: bool, difficulty: int = 1
) -> tuple[Integer[np.ndarray, "sequence pair *rest"], Integer[np.ndarray, "sequence pair *rest"]]:
    """The earlier and the later frames of all pairs; how strong noise is does not change them."""
    if is_noise:
        later = frames[:, 1:]
        return np.broadcast_to(frames[:, :1], later.shape), later
    return frames[:, :-difficulty], frames[:, difficulty:]


def _rank(
    logits: Float[np.ndarray, "sequence frame class"],
) -> tuple[Int64[np.ndarray, "sequence frame class"], Int64[np.ndarray, "sequence frame class"]]:
    """Rank of every class, from 0, and the class at every rank; equal logits by class."""
    logits = np.asarray(logits)
    if logits.ndim != 3 or not len(logits) or logits.shape[1] < 2 or logits.shape[2] < TOP:
        raise ValueError(
            f"logits must be [sequence frame class] with at least 2 frames and {TOP} classes, "
            f"got shape {logits.shape}"
        )
    order = np.argsort(-logits, axis=2, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(logits.shape[2]), axis=2)
    return rank, order
