"""Calibration of the largest softmax probability, computed from bins.

`results.Cell` keeps bins only: the functions named ``*_from_bins`` give the same numbers from a
cell as the others do from every prediction.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer

from augmix.metrics.scores import Confidence, Correct, check_predictions, check_probabilities

__all__ = [
    "accuracy_from_bins",
    "adaptive_bins",
    "adaptive_calibration_error",
    "classwise_calibration_error",
    "classwise_sums",
    "confidence_from_bins",
    "curve_from_bins",
    "ece_from_bins",
    "equal_mass_bins",
    "equal_mass_ends",
    "equal_width_bins",
    "expected_calibration_error",
    "image_classwise_gap",
    "maximum_absolute_deviation",
    "maximum_calibration_error",
    "mce_from_bins",
    "mean_absolute_deviation",
    "pool_bins",
    "reliability_curve",
    "rms_calibration_error",
    "rms_from_bins",
    "smooth_calibration_error",
]

_SMOOTH_POINTS = 400  # of the line [0, 1] at which smoothed gaps are computed
_HALVINGS = 11  # of the interval of the bandwidth, the first ending at the error itself

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


def equal_mass_bins(confidence: Confidence, correct: Correct, *, num_bins: int = 15) -> Bins:
    """Sort predictions by confidence into so many bins, whose sizes differ by at most 1.

    The first bins are the larger ones. Fewer predictions than bins are one bin each. Args, Returns,
    Raises: As `adaptive_bins`; ``num_bins`` is at least 1.
    """
    confidence, correct = check_predictions(confidence, correct)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    order = np.argsort(confidence, kind="stable")
    ends = equal_mass_ends(len(order), num_bins)
    starts = np.concatenate([[0], ends[:-1]])
    return (
        np.diff(ends, prepend=0).astype(np.int64),
        np.add.reduceat(confidence[order], starts),
        np.add.reduceat(correct[order], starts),
    )


def equal_mass_ends(num_images: int, num_bins: int) -> Int64[np.ndarray, " bin"]:
    """Number of predictions up to the end of each bin of `equal_mass_bins`."""
    num_bins = min(num_bins, num_images)
    small, larger = divmod(num_images, num_bins)
    number = np.arange(1, num_bins + 1)
    return number * small + np.minimum(number, larger)


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


def adaptive_calibration_error(
    confidence: Confidence, correct: Correct, *, num_bins: int = 15
) -> float:
    """Compute the ECE with bins of equal mass, the adaptive ECE of the predicted class.

    Nixon et al. (2019), "Measuring Calibration in Deep Learning". `mean_absolute_deviation` is the
    same with bins of a given size. Raises as `equal_mass_bins`.
    """
    return ece_from_bins(*equal_mass_bins(confidence, correct, num_bins=num_bins))


def classwise_calibration_error(
    probabilities: Float[np.ndarray, "image class"],
    labels: Integer[np.ndarray, " image"],
    *,
    num_bins: int = 15,
) -> float:
    """Compute the class-wise ECE: the ECE of every class's probability, mean over classes.

    For each class, all images are put into bins of equal width by its probability, which is
    compared with the fraction of them that have this class. Kull et al. (2019), "Beyond temperature
    scaling", equation 3.

    Raises:
        ValueError: If shapes do not fit, rows are no probabilities, or a label is no column.
    """
    return float(image_classwise_gap(probabilities, labels, num_bins=num_bins).mean())


def image_classwise_gap(
    probabilities: Float[np.ndarray, "image class"],
    labels: Integer[np.ndarray, " image"],
    *,
    num_bins: int = 15,
    sums: Float64[np.ndarray, "class bin"] | None = None,
) -> Float64[np.ndarray, " image"]:
    """Compute what each image adds to `classwise_calibration_error`, which is the mean.

    It is the image's probability minus its one-hot label, each with the sign that the sum over the
    bin of the class has, averaged over classes.

    Args:
        probabilities: Softmax of the logits.
        labels: Columns of the probabilities.
        num_bins: Bins of equal width of every class.
        sums: Of a set that the images are a part of, see `classwise_sums`; by default their own.
    """
    probabilities, labels = check_probabilities(probabilities, labels)
    if sums is None:
        sums = classwise_sums(probabilities, labels, num_bins=num_bins)
    found = np.zeros(len(labels))
    for number, (column, own) in enumerate(zip(probabilities.T, sums, strict=True)):
        signs = np.sign(own)[_classwise_bins(column, num_bins)]
        found += signs * (column - (labels == number))
    return found / probabilities.shape[1]


def classwise_sums(
    probabilities: Float[np.ndarray, "image class"],
    labels: Integer[np.ndarray, " image"],
    *,
    num_bins: int = 15,
) -> Float64[np.ndarray, "class bin"]:
    """Sum probability minus one-hot label over the images in each bin of each class.

    Sums of parts of a set add up to those of the set.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    found = []
    for number, column in enumerate(np.asarray(probabilities, np.float64).T):
        index, gap = _classwise_bins(column, num_bins), column - (labels == number)
        found.append(np.bincount(index, weights=gap, minlength=num_bins))
    return np.array(found)


def _classwise_bins(
    column: Float64[np.ndarray, " image"], num_bins: int
) -> Integer[np.ndarray, " image"]:
    """The bin (low, high] of each probability; 0 is in the first."""
    return np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], column, side="left")


def smooth_calibration_error(confidence: Confidence, correct: Correct) -> float:
    """Compute the smooth ECE (smECE), which has no bins.

    The gaps of confidence and correctness are smoothed over the confidence by a Gaussian kernel
    that is reflected at 0 and 1; smECE is the integral of the absolute value, at the bandwidth that
    equals it. Blasiok and Nakkiran (2023), "Smooth ECE: Principled Reliability Diagrams via Kernel
    Smoothing", as their package relplot. Raises as `adaptive_bins`.
    """
    confidence, correct = check_predictions(confidence, correct)
    order = np.argsort(confidence, kind="stable")
    gap = np.cumsum((correct - confidence)[order])
    return float(smooth_from_sums(gap[None], confidence[order])[0])


def smooth_from_sums(
    sums: Float64[np.ndarray, "set image"], confidence: Float[np.ndarray, " image"]
) -> Float64[np.ndarray, " set"]:
    """Compute the smooth ECE of sets from the running sums of their gaps, by rising confidence.

    Args:
        sums: Of correctness minus confidence of the predictions up to each one; divided by their
            number, which is that of the columns.
        confidence: Of the predictions, ascending.
    """
    from scipy.fft import dct, idct  # here, since help texts need the records of results alone

    edges = np.arange(1, _SMOOTH_POINTS) / _SMOOTH_POINTS
    ends = np.append(np.searchsorted(confidence, edges, side="right"), len(confidence))
    padded = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
    cells = np.diff(padded[:, ends], prepend=0, axis=1) / len(confidence)
    # A Gaussian reflected at both ends multiplies the cosine waves of [0, 1]
    waves = np.asarray(dct(cells, type=2, axis=1))
    decay = (np.pi * np.arange(_SMOOTH_POINTS)) ** 2 / 2

    def smoothed(width: Float64[np.ndarray, " set"]) -> Float64[np.ndarray, " set"]:
        found = idct(waves * np.exp(-decay * width[:, None] ** 2), type=2, axis=1)
        return np.abs(np.asarray(found)).sum(axis=1)

    low, high = np.zeros(len(sums)), np.abs(cells).sum(axis=1)  # wider kernels give less
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_above = smoothed(middle) > middle
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    return smoothed((low + high) / 2)


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
