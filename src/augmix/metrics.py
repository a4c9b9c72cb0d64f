"""From predictions to the numbers of the benchmarks: pure functions of NumPy arrays.

Errors, probabilities and rates are fractions, logarithms natural. Tables are mappings from the
name of a corruption or perturbation, so no order has to be agreed on. Every calibration error is
computed from bins, and bins are all that `records.Cell` keeps: the functions named ``*_from_bins``
give the same numbers from a record.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

_ROUNDING = 1e-5  # a float32 softmax may exceed 1 by this much
_TOP = 5

Severities = Sequence[float] | Float[np.ndarray, " severity"]
Confidence = Float[np.ndarray, " image"]
Correct = Bool[np.ndarray, " image"] | Integer[np.ndarray, " image"]
Counts = Sequence[int] | Integer[np.ndarray, " bin"]
Sums = Sequence[float] | Float[np.ndarray, " bin"]
Bins = tuple[Int64[np.ndarray, " bin"], Float64[np.ndarray, " bin"], Int64[np.ndarray, " bin"]]

# -- error and corruption error ----------------------------------------------------------------


def error_rate(
    predictions: Integer[np.ndarray, " image"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Share of wrong predictions.

    Raises:
        ValueError: If the two differ in length or are empty.
    """
    _check_lengths(predictions=predictions, labels=labels)
    return float(np.mean(np.asarray(predictions) != np.asarray(labels)))


def mean_error(errors: Mapping[str, Severities]) -> float:
    """Mean over corruptions of the error averaged over severities: the CIFAR-C score.

    Nothing is normalised. The paper's number is over the 15 corruptions of the benchmark.

    Args:
        errors: For each corruption, its errors at the severities measured.
    """
    _check_table(errors)
    return float(np.mean([np.mean(values) for values in errors.values()]))


def corruption_error(errors: Severities, baseline: float | Severities) -> float:
    """CE of one corruption: the error summed over severities, divided by the baseline's.

    Hendrycks and Dietterich (2019), section 4; the baseline of the literature is AlexNet.

    Args:
        errors: Errors at the severities measured.
        baseline: The baseline's errors at the same severities, or their mean.

    Raises:
        ValueError: If the baseline's mean error is not above 0.
    """
    denominator = float(np.mean(baseline))
    if not denominator > 0:
        raise ValueError(f"the baseline's error must be above 0, got {denominator}")
    return float(np.mean(errors)) / denominator


def mean_corruption_error(
    errors: Mapping[str, Severities], baseline: Mapping[str, float | Severities]
) -> float:
    """mCE: the mean of `corruption_error` over the corruptions of ``errors``; 1 is the baseline.

    Severities are averaged before the division, corruptions after it.

    Args:
        errors: For each corruption, its errors at the severities measured.
        baseline: For at least these corruptions, the errors (or their mean) of the baseline.

    Raises:
        ValueError: If the baseline lacks a corruption, or an error of it is not above 0.
    """
    _check_table(errors, baseline)
    return float(np.mean([corruption_error(errors[name], baseline[name]) for name in errors]))


def relative_mean_corruption_error(
    errors: Mapping[str, Severities],
    clean_error: float,
    baseline: Mapping[str, float | Severities],
    baseline_clean_error: float,
) -> float:
    """Relative mCE: as `mean_corruption_error`, of the error that corruption adds to the clean one.

    Args:
        errors: For each corruption, its errors at the severities measured.
        clean_error: The model's error on clean images.
        baseline: For at least these corruptions, the errors (or their mean) of the baseline.
        baseline_clean_error: The baseline's error on clean images.

    Raises:
        ValueError: If the baseline lacks a corruption or does not suffer from it.
    """
    _check_table(errors, baseline)
    ratios = []
    for name, values in errors.items():
        denominator = float(np.mean(baseline[name])) - baseline_clean_error
        if not denominator > 0:
            raise ValueError(
                f"the baseline's error under {name!r} must be above its clean error "
                f"{baseline_clean_error}, got {float(np.mean(baseline[name]))}"
            )
        ratios.append((float(np.mean(values)) - clean_error) / denominator)
    return float(np.mean(ratios))


# -- stability along perturbation sequences ------------------------------------------------------


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


def mean_flip_rate(flip_probabilities: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """mFR: the mean over perturbations of the flip probability divided by the baseline's.

    Raises:
        ValueError: If the baseline lacks a perturbation, or its flip probability is not above 0.
    """
    return mean_corruption_error(
        {name: [value] for name, value in flip_probabilities.items()}, baseline
    )


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
    logits = np.asarray(logits)
    if logits.ndim != 3 or not len(logits) or logits.shape[1] < 2 or logits.shape[2] < _TOP:
        raise ValueError(
            f"logits must be [sequence frame label] with at least 2 frames and {_TOP} classes, "
            f"got shape {logits.shape}"
        )
    order = np.argsort(-logits, axis=2, kind="stable")
    rank = np.empty_like(order)  # sequence frame label, from 0
    np.put_along_axis(rank, order, np.arange(logits.shape[2]), axis=2)
    top = order[:, :1] if is_noise else order[:, :-1]
    top = np.broadcast_to(top[:, :, :_TOP], (*rank[:, 1:].shape[:2], _TOP))
    moved = np.minimum(np.take_along_axis(rank[:, 1:], top, axis=2), _TOP)
    return float(np.abs(moved - np.arange(_TOP)).sum(axis=2).mean())


# -- calibration of the largest softmax probability ----------------------------------------------


def adaptive_bins(confidence: Confidence, correct: Correct, *, bin_size: int = 100) -> Bins:
    """Predictions sorted by confidence, ``bin_size`` to a bin; the last bin takes the rest too.

    Equal confidences keep the order of the images. Fewer than ``2 * bin_size`` are one bin.

    Args:
        confidence: Largest softmax probability of every image, in [0, 1].
        correct: Whether the prediction is right, as booleans or 0 and 1.
        bin_size: Predictions in a bin, at least 1.

    Returns:
        Count, sum of confidences and number of right predictions of every bin, least confident
        first.

    Raises:
        ValueError: If lengths differ or are 0, a value is out of range, or the bin size is.
    """
    confidence, correct = _check_predictions(confidence, correct)
    if bin_size < 1:
        raise ValueError(f"bin_size must be at least 1 prediction, got {bin_size}")
    order = np.argsort(confidence, kind="stable")
    starts = np.arange(max(len(order) // bin_size, 1)) * bin_size
    count = np.diff(starts, append=len(order))
    return (
        count.astype(np.int64),
        np.add.reduceat(confidence[order], starts),
        np.add.reduceat(correct[order], starts),
    )


def equal_width_bins(confidence: Confidence, correct: Correct, *, num_bins: int = 15) -> Bins:
    """Predictions by intervals (low, high] of equal width; a confidence of exactly 0 is in none.

    Args, Returns, Raises: As `adaptive_bins`; ``num_bins`` is at least 1.
    """
    confidence, correct = _check_predictions(confidence, correct)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    edges = np.linspace(0, 1, num_bins + 1)
    place = np.searchsorted(edges, np.minimum(confidence, 1.0), side="left") - 1
    confidence, correct, place = (values[place >= 0] for values in (confidence, correct, place))
    return (
        np.bincount(place, minlength=num_bins).astype(np.int64),
        np.bincount(place, weights=confidence, minlength=num_bins).astype(np.float64),
        np.bincount(place, weights=correct, minlength=num_bins).astype(np.int64),
    )


def rms_from_bins(
    count: Counts, confidence_sum: Sums, correct_sum: Counts, *, legacy: bool = False
) -> float:
    """Root of the mean over predictions of (accuracy - mean confidence of their bin) squared.

    Args:
        count: Predictions in each bin.
        confidence_sum: Sum of confidences over each bin.
        correct_sum: Right predictions in each bin.
        legacy: Leave the last bin out of the sum, as the published code does; it still counts
            in the number of predictions, so a single bin gives 0.

    Raises:
        ValueError: If the bins differ in number or hold no prediction.
    """
    share, gap = _gaps(count, confidence_sum, correct_sum, legacy=legacy)
    return float(np.sqrt(share @ gap**2))


def ece_from_bins(
    count: Counts, confidence_sum: Sums, correct_sum: Counts, *, legacy: bool = False
) -> float:
    """Mean over predictions of |accuracy - mean confidence| of their bin; see `rms_from_bins`."""
    share, gap = _gaps(count, confidence_sum, correct_sum, legacy=legacy)
    return float(share @ np.abs(gap))


def mce_from_bins(count: Counts, confidence_sum: Sums, correct_sum: Counts) -> float:
    """Largest |accuracy - mean confidence| of any bin; see `rms_from_bins`."""
    return float(np.abs(_gaps(count, confidence_sum, correct_sum, legacy=False)[1]).max())


def rms_calibration_error(
    confidence: Confidence, correct: Correct, *, bin_size: int = 100, legacy: bool = False
) -> float:
    """RMS calibration error with bins of equal size: the calibration metric of AugMix.

    Hendrycks, Mazeika and Dietterich (2019), "Deep anomaly detection with outlier exposure".

    Args:
        confidence: Largest softmax probability of every image, in [0, 1].
        correct: Whether the prediction is right, as booleans or 0 and 1.
        bin_size: Predictions in a bin, at least 1.
        legacy: Leave out the most confident bin, as the published code does.

    Raises:
        ValueError: As `adaptive_bins`.

    Example:
        >>> sure, right = np.array([0.6, 0.6, 0.9, 0.9]), np.array([True, False, True, True])
        >>> round(rms_calibration_error(sure, right, bin_size=2), 4)
        0.1
    """
    return rms_from_bins(*adaptive_bins(confidence, correct, bin_size=bin_size), legacy=legacy)


def mean_absolute_deviation(
    confidence: Confidence, correct: Correct, *, bin_size: int = 100, legacy: bool = False
) -> float:
    """MAD calibration error, the p = 1 form of `rms_calibration_error`."""
    return ece_from_bins(*adaptive_bins(confidence, correct, bin_size=bin_size), legacy=legacy)


def expected_calibration_error(
    confidence: Confidence, correct: Correct, *, num_bins: int = 15
) -> float:
    """ECE with bins of equal width. Not in the paper's tables; for comparison with other work."""
    bins = equal_width_bins(confidence, correct, num_bins=num_bins)
    inside = int(bins[0].sum())
    return ece_from_bins(*bins) * inside / len(confidence) if inside else 0.0


def maximum_calibration_error(
    confidence: Confidence, correct: Correct, *, num_bins: int = 15
) -> float:
    """MCE with bins of equal width: the largest gap of any bin."""
    bins = equal_width_bins(confidence, correct, num_bins=num_bins)
    return mce_from_bins(*bins) if bins[0].any() else 0.0


# -- proper scores and error detection -----------------------------------------------------------


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "image label"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Mean of -log of the label's probability; infinite where that is 0.

    Raises:
        ValueError: If shapes do not fit or a label is out of range.
    """
    probabilities, labels = _check_probabilities(probabilities, labels)
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
    probabilities, labels = _check_probabilities(probabilities, labels)
    distance = probabilities.copy()
    distance[np.arange(len(labels)), labels] -= 1
    return float((distance**2).sum(axis=1).mean())


def aurra(confidence: Confidence, correct: Correct) -> float:
    """Area under the response-rate accuracy curve: mean accuracy of the k most confident, all k.

    Raises:
        ValueError: As `adaptive_bins`.
    """
    confidence, correct = _check_predictions(confidence, correct)
    order = np.argsort(-confidence, kind="stable")
    return float(np.mean(np.cumsum(correct[order]) / np.arange(1, len(order) + 1)))


def soft_f1(confidence: Confidence, correct: Correct) -> float:
    """Soft F1 of finding errors by 1 - confidence; NaN if nothing is wrong and nothing doubted.

    Raises:
        ValueError: As `adaptive_bins`.
    """
    confidence, correct = _check_predictions(confidence, correct)
    doubt, wrong = 1 - confidence, 1 - correct
    total = float((doubt + wrong).sum())
    return float(2 * (doubt @ wrong) / total) if total else float("nan")


# -- checks ----------------------------------------------------------------------------------------


def _check_lengths(**arrays: np.ndarray) -> None:
    shapes = {name: np.shape(values) for name, values in arrays.items()}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) != 1:
        raise ValueError(f"{' and '.join(shapes)} must have one axis of equal length, got {shapes}")
    if 0 in next(iter(shapes.values())):
        raise ValueError(f"{' and '.join(shapes)} must hold at least 1 image, got none")


def _check_table(errors: Mapping, baseline: Mapping | None = None) -> None:
    if not errors:
        raise ValueError("at least 1 corruption must be measured, got none")
    empty = [name for name, values in errors.items() if not np.size(values)]
    if empty:
        raise ValueError(f"at least 1 severity must be measured, got none for {empty}")
    missing = [] if baseline is None else [name for name in errors if name not in baseline]
    if missing:
        raise ValueError(f"the baseline lacks {missing}; it has {list(baseline or ())}")


def _check_predictions(
    confidence: np.ndarray, correct: np.ndarray
) -> tuple[Float64[np.ndarray, " image"], Int64[np.ndarray, " image"]]:
    _check_lengths(confidence=confidence, correct=correct)
    confidence = np.asarray(confidence, np.float64)
    wrong = confidence[~((confidence >= 0) & (confidence <= 1 + _ROUNDING))]
    if len(wrong):
        raise ValueError(f"confidence must be in [0, 1], got {wrong[0]}")
    correct = np.asarray(correct)
    if not np.isin(correct, (0, 1)).all():
        raise ValueError(f"correct must be booleans or 0 and 1, got values up to {correct.max()}")
    return confidence, correct.astype(np.int64)


def _check_probabilities(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[Float64[np.ndarray, "image label"], Integer[np.ndarray, " image"]]:
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.shape[:1] != labels.shape or not len(labels):
        raise ValueError(
            "probabilities must be [image label] and labels [image] of the same, non-zero length, "
            f"got shapes {probabilities.shape} and {labels.shape}"
        )
    wrong = labels[(labels < 0) | (labels >= probabilities.shape[1])]
    if len(wrong):
        raise ValueError(f"labels must be 0..{probabilities.shape[1] - 1}, got {wrong[0]}")
    return probabilities, labels


def _gaps(
    count: Sequence[int] | np.ndarray,
    confidence_sum: Sequence[float] | np.ndarray,
    correct_sum: Sequence[int] | np.ndarray,
    *,
    legacy: bool,
) -> tuple[Float64[np.ndarray, " bin"], Float64[np.ndarray, " bin"]]:
    """Share of all predictions in each bin, and its accuracy minus mean confidence; empty: 0."""
    counts = np.asarray(count, np.float64)
    confidences, rights = np.asarray(confidence_sum, np.float64), np.asarray(correct_sum)
    if not counts.shape == confidences.shape == rights.shape or not counts.sum() > 0:
        raise ValueError(
            "bins must agree in number and hold a prediction, got "
            f"{counts.shape}, {confidences.shape}, {rights.shape} with {counts.sum():.0f} in all"
        )
    gap = (rights - confidences) / np.maximum(counts, 1)
    share = counts / counts.sum()
    return (share[:-1], gap[:-1]) if legacy else (share, gap)
