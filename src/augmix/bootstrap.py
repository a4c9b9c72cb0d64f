"""Confidence intervals of measured numbers: over images, of binomial counts, over seeds.

Errors, accuracy, confidence and flips, which are means over images of values with known limits,
have Wilson's score interval; calibration errors, other metrics of a whole set, and the differences
of two models have percentiles of the bootstrap. No interval leaves the limits of its number.

For a mean over several sets of the same images, Wilson's interval takes the number of independent
images that would give a fraction of the same variance, reduced as Student's t is wider than the
normal distribution (Korn and Graubard, 1998, "Confidence intervals for proportions with small
expected number of positive counts"). For one set that is the number of images itself.

Images are resampled as a whole: an image that is drawn twice counts twice in every corruption,
severity and run at once, so the correlation between the cells of an image, and between two models
on the same images, is kept. `Draws` of one stream and number of images therefore belong together:
their means and differences are draws again.

Intervals are of this model on other images of the same kind; they do not include the noise of
training, which only several seeds show (`spread`, `seed_difference`).
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Int64, Integer, Real
from scipy.special import stdtrit

from augmix import metrics
from augmix.metrics.calibration import equal_mass_ends, smooth_from_sums
from augmix.metrics.uncertainty import COVERAGE, outlier_scores, selective_scores
from augmix.rng import Purpose, Stream

LEVEL = 0.95
NUM_RESAMPLES = 1000
STREAM = Stream(seed=0, purpose=Purpose.BOOTSTRAP)
_BLOCK = 2**17  # resampled images processed at a time: they stay in the cache
_KEPT = 2**21  # of small sets the draws are kept: a report resamples the same images often

Verdict = Literal["lower", "higher", "within noise"]
Kind = Literal[
    "bootstrap", "Wilson", "Student's t", "bootstrap and Student's t", "confidence sequence"
]
Limits = tuple[float, float]
KINDS = (
    "Wilson's for errors, accuracy, confidence and flips, percentiles of the bootstrap for "
    "calibration errors and for differences"
)
"""Which kind of interval is where, for readers of a report."""
ANYTHING: Limits = (-inf, inf)
FRACTION: Limits = (0.0, 1.0)
Cells = Bool[np.ndarray, "cell image"] | Integer[np.ndarray, "cell image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number and its confidence interval over images or seeds."""

    estimate: float
    low: float
    high: float
    kind: Kind = "bootstrap"

    @property
    def verdict(self) -> Verdict:
        """Sign of a difference: ``within noise`` if the interval contains 0."""
        if self.low <= 0 <= self.high:
            return "within noise"
        return "lower" if self.high < 0 else "higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """A number, and its values on resampled images; one index is one set in all draws."""

    estimate: float  # from the images as measured
    resampled: Float64[np.ndarray, " resample"]
    bias: float = 0.0  # mean of the resampled values minus the estimate, where there is one
    limits: Limits = ANYTHING  # the least and the largest value that the number can have
    num_images: int = 0  # of a mean over images of values within finite limits, else 0
    variance: float = 0.0  # of such a mean, estimated without bias
    reach: float = -inf  # the interval goes up to here at least

    def interval(self, level: float = LEVEL) -> Interval:
        """Compute the interval of the kind for this number, within its limits.

        A mean of values with limits has Wilson's score interval, else it is that of percentiles
        without the bias of resampling. A mean has no such bias. Calibration errors do: every
        resampled set is noisier within its bins than the measured one, so its values are too high,
        by as much again as the measured value itself. The interval is of the value that so many
        images give on average.

        Args:
            level: Fraction of repetitions in which the interval holds the number, in (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        if self.num_images:
            return self._score_interval(level)
        tail = (1 - level) / 2
        low, high = np.quantile(self.resampled, (tail, 1 - tail)) - self.bias
        return Interval(
            estimate=self.estimate,
            low=min(max(float(low), self.limits[0]), self.estimate),
            high=max(min(max(float(high), self.reach), self.limits[1]), self.estimate),
        )

    def _score_interval(self, level: float) -> Interval:
        """Wilson's interval of the mean as a fraction of its range."""
        least, width = self.limits[0], self.limits[1] - self.limits[0]
        fraction = min(max((self.estimate - least) / width, 0.0), 1.0)
        count = float(self.num_images)
        if count > 1 and self.variance > 0:
            tail = (1 + level) / 2
            factor = NormalDist().inv_cdf(tail) / float(stdtrit(count - 1, tail))
            effective = fraction * (1 - fraction) * (width * factor) ** 2 / self.variance
            count = max(count, effective)
        low, high = _wilson(fraction, count, level)
        return Interval(
            estimate=self.estimate,
            low=min(least + width * low, self.estimate),
            high=max(least + width * high, self.estimate),
            kind="Wilson",
        )


def difference(first: Draws, second: Draws) -> Draws:
    """Subtract the second from the first, on the same resampled sets."""
    _check_together([first, second])
    return Draws(
        estimate=first.estimate - second.estimate,
        resampled=first.resampled - second.resampled,
        bias=first.bias - second.bias,
        limits=(first.limits[0] - second.limits[1], first.limits[1] - second.limits[0]),
    )


def average(draws: Sequence[Draws]) -> Draws:
    """Average numbers of the same images, resampled equally often: cells, corruptions, seeds."""
    _check_together(draws)
    if len(draws) == 1:
        return draws[0]
    resampled = np.mean([each.resampled for each in draws], axis=0)
    return Draws(
        estimate=float(np.mean([each.estimate for each in draws])),
        resampled=resampled,
        bias=float(np.mean([each.bias for each in draws])),
        limits=_mean_limits([each.limits for each in draws]),
        num_images=min(each.num_images for each in draws),
        variance=float(resampled.var(ddof=1)),
    )


def resample_counts(
    num_images: int, *, num_resamples: int = NUM_RESAMPLES, stream: Stream = STREAM
) -> Iterator[Int32[np.ndarray, "resample image"]]:
    """Count how often each image is drawn into each resampled set, a block of sets at a time.

    Set r is drawn at address r of the stream, whatever the blocks; there are at least 2 sets.
    """
    if num_images < 1 or num_resamples < 2:
        got = f"got {num_images} and {num_resamples}"
        raise ValueError(f"at least 1 image and 2 resampled sets are needed, {got}")
    block = max(1, _BLOCK // num_images)
    is_kept = num_images * num_resamples <= _KEPT
    count = _count_block if is_kept else _count_block.__wrapped__
    for start in range(0, num_resamples, block):
        yield count(num_images, start, min(start + block, num_resamples), stream)


@functools.lru_cache(maxsize=64)  # of at most half a MiB
def _count_block(
    num_images: int, start: int, stop: int, stream: Stream
) -> Int32[np.ndarray, "resample image"]:
    drawn = (stream.generator(r).integers(0, num_images, num_images) for r in range(start, stop))
    counts = np.stack([np.bincount(images, minlength=num_images) for images in drawn])
    counts = counts.astype(np.int32)
    counts.flags.writeable = False
    return counts


def resample_means(
    values: Real[np.ndarray, "statistic image"],
    *,
    limits: Sequence[Limits] = (),
    num_resamples: int = NUM_RESAMPLES,
    stream: Stream = STREAM,
) -> tuple[Draws, ...]:
    """Resample several means over images at once.

    An error is the mean of 0 and 1; a mean corruption error the mean of each image's fraction of
    wrong cells; mCE the same with cells weighted by the baseline; a flip probability the mean of
    each sequence's fraction of flips.

    Args:
        values: Of every image.
        limits: Of the values of each statistic. If all are finite, intervals are Wilson's.
    """
    columns = np.asarray(values, np.float64).T  # image statistic
    num_images = len(columns)
    counts = resample_counts(num_images, num_resamples=num_resamples, stream=stream)
    sums = np.concatenate([block @ columns for block in counts])
    variances = columns.var(axis=0) / max(num_images - 1, 1)
    return tuple(
        Draws(
            estimate=float(estimate),
            resampled=resampled,
            limits=within,
            num_images=num_images if np.isfinite(within).all() else 0,
            variance=float(variance),
        )
        for estimate, resampled, variance, within in zip(
            columns.mean(axis=0),
            sums.T / num_images,
            variances,
            limits or [ANYTHING] * columns.shape[1],
            strict=True,
        )
    )


def resample_rms(
    confidence: Float[np.ndarray, "cell image"],
    correct: Cells,
    *,
    bin_size: int = 100,
    num_resamples: int = NUM_RESAMPLES,
    stream: Stream = STREAM,
) -> tuple[Draws, ...]:
    """Resample the RMS calibration error of every cell, binning each resampled set again.

    Arguments are those of `metrics.rms_calibration_error`, which gives the same estimates.
    """
    num_images = confidence.shape[1]
    order = np.argsort(confidence, axis=1, kind="stable")
    gap = correct.astype(np.float64) - confidence
    cells = list(zip(order, np.take_along_axis(gap, order, axis=1), strict=True))
    once = np.ones((1, num_images), np.int32)
    blocks = [
        [_rms(np.take(counts, order, axis=1), gap, bin_size) for order, gap in cells]
        for counts in resample_counts(num_images, num_resamples=num_resamples, stream=stream)
    ]
    resampled = np.concatenate(blocks, axis=1)  # cell resample
    return tuple(
        replace(
            biased(float(_rms(once, gap, bin_size)[0]), values, limits=FRACTION),
            reach=_reach(sure, right),
        )
        for (_, gap), values, sure, right in zip(cells, resampled, confidence, correct, strict=True)
    )


def resample_ranked(
    confidence: Float[np.ndarray, "cell image"],
    correct: Cells,
    *,
    num_bins: int = 15,
    num_resamples: int = NUM_RESAMPLES,
    stream: Stream = STREAM,
) -> dict[str, tuple[Draws, ...]]:
    """Resample the metrics of every cell that go by the order of confidence, all in one pass.

    Args:
        confidence: Of every prediction.
        correct: Whether it is correct.
        num_bins: Bins of equal mass of the adaptive ECE.

    Returns:
        For ``aurc``, ``augrc``, ``risk`` (at a coverage of 0.8), ``adaptive_ece`` and
        ``smooth_ece`` the draws of each cell.
    """
    num_images = confidence.shape[1]
    order = np.argsort(confidence, axis=1, kind="stable")
    cells = [
        (own, sure[own].astype(np.float64), right[own].astype(np.int64))
        for own, sure, right in zip(order, confidence, correct, strict=True)
    ]
    once = np.ones((1, num_images), np.int32)
    blocks = [
        [_ranked(np.take(counts, own, axis=1), sure, right, num_bins) for own, sure, right in cells]
        for counts in resample_counts(num_images, num_resamples=num_resamples, stream=stream)
    ]
    found: dict[str, list[Draws]] = {}
    for number, (_, sure, right) in enumerate(cells):
        reach = _ranked_reach(sure, right)
        for name, (estimate,) in _ranked(once, sure, right, num_bins).items():
            resampled = np.concatenate([block[number][name] for block in blocks])
            draws = biased(float(estimate), resampled, limits=FRACTION)
            found.setdefault(name, []).append(replace(draws, reach=reach[name]))
    return {name: tuple(draws) for name, draws in found.items()}


def _ranked_reach(
    confidence: Float64[np.ndarray, " image"], correct: Int64[np.ndarray, " image"]
) -> dict[str, float]:
    """How far each metric of `resample_ranked` may reach where resampled sets have no error."""
    gap = _reach(confidence, correct)
    kept = int(np.ceil(np.round(COVERAGE * len(correct), 9)))  # by rising confidence the last
    sure = proportion_interval(int((correct[len(correct) - kept :] == 0).sum()), kept).high
    every = proportion_interval(int((correct == 0).sum()), len(correct)).high
    is_right = bool(correct.all())
    return {
        "aurc": every if is_right else -inf,  # errors of any confidence
        "augrc": every / 2 if is_right else -inf,
        "risk": sure,
        "adaptive_ece": gap,
        "smooth_ece": gap,
    }


def _ranked(
    counts: Int32[np.ndarray, "resample image"],
    confidence: Float64[np.ndarray, " image"],
    correct: Int64[np.ndarray, " image"],
    num_bins: int,
) -> dict[str, Float64[np.ndarray, " resample"]]:
    """The metrics of `resample_ranked` of resampled sets, by rising confidence."""
    num_images, gap = counts.shape[1], correct - confidence
    sums = _running_sums(counts, gap)
    edges = equal_mass_ends(num_images, num_bins)[:-1]
    return {
        **selective_scores(counts, confidence, correct)._asdict(),
        "adaptive_ece": np.abs(_bin_totals(counts, sums, gap, edges)).sum(axis=1) / num_images,
        "smooth_ece": smooth_from_sums(sums, confidence),
    }


def resample_outliers(
    inside: Float[np.ndarray, " inside"],
    outside: Float[np.ndarray, " outside"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    stream: Stream = STREAM,
) -> tuple[Draws, Draws]:
    """Resample AUROC and FPR95 of a score: images of a class and of none, each among themselves.

    Args:
        inside: Scores of images of the model's classes.
        outside: Scores of images of no class.
    """
    first_counts, second_counts = (
        np.concatenate([*resample_counts(len(each), num_resamples=num_resamples, stream=own)])
        for each, own in ((inside, stream), (outside, stream.at(part=1)))
    )
    size = max(1, _BLOCK // (len(inside) + len(outside)))
    blocks = [
        outlier_scores(first_counts[at : at + size], second_counts[at : at + size], inside, outside)
        for at in range(0, num_resamples, size)
    ]
    drawn = map(np.concatenate, zip(*blocks, strict=True))
    measured = metrics.auroc(inside, outside), metrics.fpr_at_recall(inside, outside)
    first, second = (
        Draws(estimate=estimate, resampled=resampled, limits=FRACTION)
        for estimate, resampled in zip(measured, drawn, strict=True)
    )
    return first, second


def resample_ece(
    confidence: Float[np.ndarray, "cell image"],
    correct: Cells,
    *,
    num_bins: int = 15,
    num_resamples: int = NUM_RESAMPLES,
    stream: Stream = STREAM,
) -> Draws:
    """Resample the expected calibration error of all cells pooled, with bins of equal width."""
    edges = np.linspace(0, 1, num_bins + 1)
    index = np.searchsorted(edges, np.minimum(confidence, 1.0), side="left") - 1
    gap = correct.astype(np.float64) - confidence
    by_bin = [np.where(index == number, gap, 0).mean(axis=0) for number in range(num_bins)]
    draws = resample_means(np.stack(by_bin), num_resamples=num_resamples, stream=stream)
    estimate = float(sum(abs(each.estimate) for each in draws))
    resampled = np.abs([each.resampled for each in draws]).sum(axis=0)
    reach = _reach(confidence, correct) if len(confidence) == 1 else -inf
    return replace(biased(estimate, resampled, limits=FRACTION), reach=reach)


def proportion_interval(num_hits: int, num_trials: int, *, level: float = LEVEL) -> Interval:
    """Compute Wilson's interval of a fraction of independent images, also of 0 of n, n at least 1.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= num_hits <= num_trials or num_trials < 1:
        raise ValueError(f"hits must be 0..trials, got {num_hits} of {num_trials}")
    fraction = num_hits / num_trials
    low, high = _wilson(fraction, float(num_trials), level)
    return Interval(
        estimate=fraction, low=min(low, fraction), high=max(high, fraction), kind="Wilson"
    )


def _wilson(fraction: float, num_trials: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (fraction + z**2 / (2 * num_trials)) / (1 + z**2 / num_trials)
    half = z * np.sqrt(fraction * (1 - fraction) / num_trials + z**2 / (4 * num_trials**2))
    half = float(half) / (1 + z**2 / num_trials)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _reach(confidence: Float[np.ndarray, "..."], correct: Bool[np.ndarray, "..."] | Any) -> float:
    """How far the accuracy may be from the confidence of a set, by the ends of Wilson's interval.

    No calibration error is below the distance of the two means. Resampled sets of few images that
    are all right, or all wrong, do not show that the next ones may be otherwise.
    """
    accuracy = proportion_interval(int(np.count_nonzero(correct)), correct.size)
    mean = float(np.mean(confidence))
    return max(abs(accuracy.low - mean), abs(accuracy.high - mean))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Compute mean and standard deviation (n - 1) over seeds, of one NaN; none is a ValueError."""
    if not values:
        raise ValueError("at least 1 seed is needed, got none")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), std


def seed_difference(
    first: Sequence[float], second: Sequence[float], *, level: float = LEVEL
) -> Interval:
    """Compute Welch's t interval of first minus second; fewer than 2 seeds are a ValueError."""
    if min(len(first), len(second)) < 2:
        raise ValueError(f"at least 2 seeds of each are needed, got {len(first)}, {len(second)}")
    estimate = float(np.mean(first) - np.mean(second))
    one, other = (float(np.var(values, ddof=1)) / len(values) for values in (first, second))
    if not one + other:
        return Interval(estimate=estimate, low=estimate, high=estimate, kind="Student's t")
    freedom = (one + other) ** 2 / (one**2 / (len(first) - 1) + other**2 / (len(second) - 1))
    half = float(stdtrit(freedom, (1 + level) / 2)) * (one + other) ** 0.5
    return Interval(
        estimate=estimate, low=estimate - half, high=estimate + half, kind="Student's t"
    )


def widened(images: Interval, seeds: Interval, limits: Limits = ANYTHING) -> Interval:
    """Add the noise of seeds to an interval over images: independent, so squares add up."""
    middle, half = images.estimate, (seeds.high - seeds.low) / 2
    return Interval(
        estimate=middle,
        low=max(middle - float(np.hypot(middle - images.low, half)), limits[0]),
        high=min(middle + float(np.hypot(images.high - middle, half)), limits[1]),
        kind="bootstrap and Student's t",
    )


def _rms(
    counts: Int32[np.ndarray, "resample image"], gap: Float64[np.ndarray, " image"], bin_size: int
) -> Float64[np.ndarray, " resample"]:
    """RMS over bins of resampled sets; images by confidence, gap = correct - confidence."""
    num_images = counts.shape[1]
    edges = np.arange(1, max(num_images // bin_size, 1)) * bin_size
    totals = _bin_totals(counts, _running_sums(counts, gap), gap, edges)
    sizes = np.diff(np.concatenate([[0], edges, [num_images]]))
    return np.sqrt((totals**2 / sizes).sum(axis=1) / num_images)


def _running_sums(
    counts: Int32[np.ndarray, "resample image"], gap: Float64[np.ndarray, " image"]
) -> Float64[np.ndarray, "resample image"]:
    sums = counts * gap
    return np.cumsum(sums, axis=1, out=sums)


def _bin_totals(
    counts: Int32[np.ndarray, "resample image"],
    sums: Float64[np.ndarray, "resample image"],
    gap: Float64[np.ndarray, " image"],
    edges: Integer[np.ndarray, " edge"],
) -> Float64[np.ndarray, "resample bin"]:
    """Sum the gaps in each bin of resampled sets; edges count the drawn images before each.

    The copies of an image drawn several times may belong to two bins.
    """
    num_resamples, num_images = counts.shape
    reached = np.cumsum(counts, axis=1, dtype=np.int64)
    rows = np.arange(num_resamples)[:, None]
    apart = num_images + 1  # makes the concatenated sets one increasing sequence
    reached += rows * apart
    at = np.searchsorted(reached.reshape(-1), (edges + rows * apart).reshape(-1))
    at = at.reshape(num_resamples, -1) - rows * num_images
    beyond = np.take_along_axis(reached, at, axis=1) - (edges + rows * apart)  # past the edge
    inner = np.take_along_axis(sums, at, axis=1) - beyond * gap[at]
    return np.diff(np.column_stack([np.zeros(num_resamples), inner, sums[:, -1]]), axis=1)


def biased(
    estimate: float, resampled: Float64[np.ndarray, " resample"], *, limits: Limits = ANYTHING
) -> Draws:
    """Make the draws of a number that resampling increases."""
    bias = float(resampled.mean()) - estimate
    return Draws(estimate=estimate, resampled=resampled, bias=bias, limits=limits)


def _mean_limits(limits: Sequence[Limits]) -> Limits:
    lows, highs = zip(*limits, strict=True)
    return float(np.mean(lows)), float(np.mean(highs))


def _check_together(draws: Sequence[Draws]) -> None:
    counts = {len(each.resampled) for each in draws}
    if len(counts) != 1:
        raise ValueError(f"draws of the same resampled sets are needed, got counts {counts}")
