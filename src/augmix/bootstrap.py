"""Confidence intervals of measured numbers: bootstrap over images, binomial counts, seeds.

Images are resampled as a whole: an image that is drawn twice counts twice in every corruption,
severity and run at once, so the correlation between the cells of an image, and between two models
on the same images, is kept. `Draws` of one stream and number of images therefore belong together:
their means and differences are draws again.

Intervals are of this model on other images of the same kind; they do not include the noise of
training, which only several seeds show (`spread`, `seed_difference`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Integer, Real
from scipy.special import stdtrit

from augmix.rng import Purpose, Stream

LEVEL = 0.95
NUM_RESAMPLES = 1000
STREAM = Stream(seed=0, purpose=Purpose.BOOTSTRAP)
_BLOCK = 2**17  # resampled images processed at a time: they stay in the cache

Verdict = Literal["lower", "higher", "within noise"]
Cells = Bool[np.ndarray, "cell image"] | Integer[np.ndarray, "cell image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number and its confidence interval over images or seeds."""

    estimate: float
    low: float
    high: float

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

    def interval(self, level: float = LEVEL) -> Interval:
        """Compute the percentile interval, without the bias of resampling; the level is in (0, 1).

        A mean has no bias. Calibration errors do: every resampled set is noisier within its bins
        than the measured one, so its values are too high, by as much again as the measured value
        itself. The interval is of the value that so many images give on average.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        tail = (1 - level) / 2
        low, high = np.quantile(self.resampled, (tail, 1 - tail)) - self.bias
        return Interval(
            estimate=self.estimate,
            low=min(float(low), self.estimate),
            high=max(float(high), self.estimate),
        )


def difference(first: Draws, second: Draws) -> Draws:
    """Subtract the second from the first, on the same resampled sets."""
    _check_together([first, second])
    return Draws(
        estimate=first.estimate - second.estimate,
        resampled=first.resampled - second.resampled,
        bias=first.bias - second.bias,
    )


def average(draws: Sequence[Draws]) -> Draws:
    """Average numbers of the same images, resampled equally often: cells, corruptions, seeds."""
    _check_together(draws)
    return Draws(
        estimate=float(np.mean([each.estimate for each in draws])),
        resampled=np.mean([each.resampled for each in draws], axis=0),
        bias=float(np.mean([each.bias for each in draws])),
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
    for start in range(0, num_resamples, block):
        numbers = range(start, min(start + block, num_resamples))
        drawn = (stream.generator(r).integers(0, num_images, num_images) for r in numbers)
        counts = [np.bincount(images, minlength=num_images) for images in drawn]
        yield np.stack(counts).astype(np.int32)


def resample_means(
    values: Real[np.ndarray, "statistic image"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    stream: Stream = STREAM,
) -> tuple[Draws, ...]:
    """Resample several means over images at once.

    An error is the mean of 0 and 1; a mean corruption error the mean of each image's fraction of
    wrong cells; mCE the same with cells weighted by the baseline; a flip probability the mean of
    each sequence's fraction of flips.
    """
    columns = np.asarray(values, np.float64).T  # image statistic
    counts = resample_counts(len(columns), num_resamples=num_resamples, stream=stream)
    sums = np.concatenate([block @ columns for block in counts])
    return tuple(
        Draws(estimate=float(estimate), resampled=resampled)
        for estimate, resampled in zip(columns.mean(axis=0), sums.T / len(columns), strict=True)
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
        biased(float(_rms(once, gap, bin_size)[0]), values)
        for (_, gap), values in zip(cells, resampled, strict=True)
    )


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
    return biased(estimate, np.abs([each.resampled for each in draws]).sum(axis=0))


def proportion_interval(num_hits: int, num_trials: int, *, level: float = LEVEL) -> Interval:
    """Compute Wilson's interval of a fraction of independent images, also of 0 of n, n at least 1.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= num_hits <= num_trials or num_trials < 1:
        raise ValueError(f"hits must be 0..trials, got {num_hits} of {num_trials}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    fraction = num_hits / num_trials
    middle = (fraction + z**2 / (2 * num_trials)) / (1 + z**2 / num_trials)
    half = z * np.sqrt(fraction * (1 - fraction) / num_trials + z**2 / (4 * num_trials**2))
    half = float(half) / (1 + z**2 / num_trials)
    return Interval(
        estimate=fraction,
        low=min(max(middle - half, 0.0), fraction),
        high=max(min(middle + half, 1), fraction),
    )


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
        return Interval(estimate=estimate, low=estimate, high=estimate)
    freedom = (one + other) ** 2 / (one**2 / (len(first) - 1) + other**2 / (len(second) - 1))
    half = float(stdtrit(freedom, (1 + level) / 2)) * (one + other) ** 0.5
    return Interval(estimate=estimate, low=estimate - half, high=estimate + half)


def widened(images: Interval, seeds: Interval) -> Interval:
    """Add the noise of seeds to an interval over images: independent, so squares add up."""
    middle, half = images.estimate, (seeds.high - seeds.low) / 2
    return Interval(
        estimate=middle,
        low=middle - float(np.hypot(middle - images.low, half)),
        high=middle + float(np.hypot(images.high - middle, half)),
    )


def _rms(
    counts: Int32[np.ndarray, "resample image"], gap: Float64[np.ndarray, " image"], bin_size: int
) -> Float64[np.ndarray, " resample"]:
    """RMS over bins of resampled sets; images in order of confidence, gap = correct - confidence.

    The copies of an image drawn several times may belong to two bins.
    """
    num_resamples, num_images = counts.shape
    num_bins = max(num_images // bin_size, 1)
    edges = np.arange(1, num_bins) * bin_size  # drawn images before each inner edge
    reached = np.cumsum(counts, axis=1, dtype=np.int64)
    sums = counts * gap
    np.cumsum(sums, axis=1, out=sums)
    rows = np.arange(num_resamples)[:, None]
    apart = num_images + 1  # makes the concatenated sets one increasing sequence
    reached += rows * apart
    at = np.searchsorted(reached.reshape(-1), (edges + rows * apart).reshape(-1))
    at = at.reshape(num_resamples, -1) - rows * num_images
    beyond = np.take_along_axis(reached, at, axis=1) - (edges + rows * apart)  # past the edge
    inner = np.take_along_axis(sums, at, axis=1) - beyond * gap[at]
    totals = np.diff(np.column_stack([np.zeros(num_resamples), inner, sums[:, -1]]), axis=1)
    sizes = np.diff(np.concatenate([[0], edges, [num_images]]))
    return np.sqrt((totals**2 / sizes).sum(axis=1) / num_images)


def biased(estimate: float, resampled: Float64[np.ndarray, " resample"]) -> Draws:
    """Make the draws of a number that resampling increases."""
    return Draws(estimate=estimate, resampled=resampled, bias=float(resampled.mean()) - estimate)


def _check_together(draws: Sequence[Draws]) -> None:
    counts = {len(each.resampled) for each in draws}
    if len(counts) != 1:
        raise ValueError(f"draws of the same resampled sets are needed, got counts {counts}")
