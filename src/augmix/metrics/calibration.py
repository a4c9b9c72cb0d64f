"""Calibration of the largest softmax probability, computed from bins.

`results.Cell` keeps bins only: the functions named ``*_from_bins`` give the same numbers from a
cell as the others do from every prediction.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer

from augmix.metrics.scores import Confidence, Correct, check_predictions

Counts = Sequence[int] | Integer[np.ndarray, " bin"]
Sums = Sequence[float] | Float[np.ndarray, " bin"]
Bins = tuple[Int64[np.ndarray, " bin"], Float64[np.ndarray, " bin"], Int64[np.ndarray, " bin"]]
Curve = tuple[Float64[np.ndarray, " bin"], Float64[np.ndarray, " bin"], Float64[np.ndarray, " bin"]]


def adaptive_bins(confidence: Confidence, correct: Correct, *, bin_size: int = 100) -> Bins:
    """Sort predictions by confidence into bins of equal size; the last bin takes the rest too.

    Equal confidences keep the order of the images. Fewer than ``2 * bin_size`` are one bin.

    Args:
        confidence: Largest softmax probability of every image, in [0, 1].
        correct: Whether the prediction is correct, as booleans or 0 and 1.
        bin_size: At least 1.

    Returns:
        Count, sum of confidences and number of correct predictions of every bin, least confident
        first.

    Raises:
        ValueError: If lengths differ or are 0, a value is out of range, or the bin size is.
    """
    confidence, correct = check_predictions(confidence, correct)
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
    """Bin predictions by intervals (low, high] of equal width; a confidence of 0 is in none.

    Args, Returns, Raises: As `adaptive_bins`; ``num_bins`` is at least 1.
    """
    confidence, correct = check_predictions(confidence, correct)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    edges = np.linspace(0, 1, num_bins + 1)
    index = np.searchsorted(edges, np.minimum(confidence, 1.0), side="left") - 1
    confidence, correct, index = (values[index >= 0] for values in (confidence, correct, index))
    return (
        np.bincount(index, minlength=num_bins).astype(np.int64),
        np.bincount(index, weights=confidence, minlength=num_bins).astype(np.float64),
        np.bincount(index, weights=correct, minlength=num_bins).astype(np.int64),
    )


def pool_bins(bins: Iterable[Iterable[Counts | Sums]]) -> Bins:
    """Add up the bins of several cells, bin by bin."""
    count, confidence_sum, correct_sum = zip(*bins, strict=True)
    return np.sum(count, axis=0), np.sum(confidence_sum, axis=0), np.sum(correct_sum, axis=0)


def accuracy_from_bins(count: Counts, confidence_sum: Sums, correct_sum: Counts) -> float:
    """Compute the fraction of correct predictions over all bins."""
    return float(np.sum(correct_sum) / np.sum(count))


def confidence_from_bins(count: Counts, confidence_sum: Sums, correct_sum: Counts) -> float:
    """Compute the mean confidence over all bins."""
    return float(np.sum(confidence_sum) / np.sum(count))


def rms_from_bins(
    count: Counts, confidence_sum: Sums, correct_sum: Counts, *, legacy: bool = False
) -> float:
    """Compute the root mean square over predictions of their bin's accuracy - mean confidence.

    ``legacy`` leaves the last bin out of the sum, as the published code does; it still counts in
    the number of predictions, so a single bin gives 0.

    Raises:
        ValueError: If the bins differ in number or hold no prediction.
    """
    fraction, gap = _gaps(count, confidence_sum, correct_sum, legacy=legacy)
    return float(np.sqrt(fraction @ gap**2))


def ece_from_bins(
    count: Counts, confidence_sum: Sums, correct_sum: Counts, *, legacy: bool = False
) -> float:
    """Average |accuracy - mean confidence| of its bin over predictions; see `rms_from_bins`."""
    fraction, gap = _gaps(count, confidence_sum, correct_sum, legacy=legacy)
    return float(fraction @ np.abs(gap))


def mce_from_bins(
    count: Counts, confidence_sum: Sums, correct_sum: Counts, *, legacy: bool = False
) -> float:
    """Find the largest |accuracy - mean confidence| of any bin; see `rms_from_bins`."""
    gap = _gaps(count, confidence_sum, correct_sum, legacy=legacy)[1]
    return float(np.abs(gap).max(initial=0.0))


def curve_from_bins(count: Counts, confidence_sum: Sums, correct_sum: Counts) -> Curve:
    """Compute mean confidence, accuracy and fraction of the predictions of every bin.

    Empty bins have fraction 0 and NaN for the others; see `rms_from_bins`.
    """
    fraction, _ = _gaps(count, confidence_sum, correct_sum, legacy=False)
    with np.errstate(invalid="ignore"):
        return np.divide(confidence_sum, count), np.divide(correct_sum, count), fraction


def rms_calibration_error(
    confidence: Confidence, correct: Correct, *, bin_size: int = 100, legacy: bool = False
) -> float:
    """Compute the RMS calibration error with bins of equal size, the metric of the AugMix paper.

    Hendrycks, Mazeika and Dietterich (2019), "Deep anomaly detection with outlier exposure".

    Args:
        confidence: Largest softmax probability of every image, in [0, 1].
        correct: Whether the prediction is correct, as booleans or 0 and 1.
        bin_size: Predictions in a bin, at least 1.
        legacy: Leave out the most confident bin, as the published code does.

    Raises:
        ValueError: As `adaptive_bins`.

    Example:
        >>> confidence = np.array([0.6, 0.6, 0.9, 0.9])
        >>> correct = np.array([True, False, True, True])
        >>> round(rms_calibration_error(confidence, correct, bin_size=2), 4)
        0.1
    """
    return rms_from_bins(*adaptive_bins(confidence, correct, bin_size=bin_size), legacy=legacy)


def mean_absolute_deviation(
    confidence: Confidence, correct: Correct, *, bin_size: int = 100, legacy: bool = False
) -> float:
    """Compute the MAD calibration error, the p = 1 form of `rms_calibration_error`."""
    return ece_from_bins(*adaptive_bins(confidence, correct, bin_size=bin_size), legacy=legacy)


def maximum_absolute_deviation(
    confidence: Confidence, correct: Correct, *, bin_size: int = 100, legacy: bool = False
) -> float:
    """Compute the p = infinity form of `rms_calibration_error`: the largest gap of any bin."""
    return mce_from_bins(*adaptive_bins(confidence, correct, bin_size=bin_size), legacy=legacy)


def expected_calibration_error(
    confidence: Confidence, correct: Correct, *, num_bins: int = 15
) -> float:
    """Compute the ECE with bins of equal width, for comparison with other work."""
    bins = equal_width_bins(confidence, correct, num_bins=num_bins)
    inside = int(bins[0].sum())
    return ece_from_bins(*bins) * inside / len(confidence) if inside else 0.0


def maximum_calibration_error(
    confidence: Confidence, correct: Correct, *, num_bins: int = 15
) -> float:
    """Compute the MCE: the largest gap of any bin of equal width."""
    bins = equal_width_bins(confidence, correct, num_bins=num_bins)
    return mce_from_bins(*bins) if bins[0].any() else 0.0


def reliability_curve(confidence: Confidence, correct: Correct, *, num_bins: int = 15) -> Curve:
    """Compute `curve_from_bins` of bins of equal width; raises as `equal_width_bins`."""
    return curve_from_bins(*equal_width_bins(confidence, correct, num_bins=num_bins))


def _gaps(
    count: Counts, confidence_sum: Sums, correct_sum: Counts, *, legacy: bool
) -> tuple[Float64[np.ndarray, " kept"], Float64[np.ndarray, " kept"]]:
    """Fraction of the predictions in each bin, and accuracy minus mean confidence (empty: 0)."""
    counts, confidences = np.asarray(count, np.float64), np.asarray(confidence_sum, np.float64)
    num_correct = np.asarray(correct_sum)
    if not counts.shape == confidences.shape == num_correct.shape or not counts.sum() > 0:
        shapes = f"{counts.shape}, {confidences.shape}, {num_correct.shape}"
        raise ValueError(
            "bins must agree in number and hold a prediction, "
            f"got {shapes} with {counts.sum():.0f} in all"
        )
    gap = (num_correct - confidences) / np.maximum(counts, 1)
    fraction = counts / counts.sum()
    return (fraction[:-1], gap[:-1]) if legacy else (fraction, gap)
