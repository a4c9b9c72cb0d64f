"""How far a measured number may be off: bootstrap over images, binomial counts, seeds.

Images are resampled as a whole: an image that is drawn twice counts twice in every corruption,
severity and run at once, so the correlation between the cells of an image, and between two models
on the same images, is kept. `Draws` of one stream and number of images therefore belong together:
their means and differences are draws again.

Intervals say what another set of as many images of the same kind would give, for this model; they
know nothing of the noise of training, which only several seeds show (`spread`, `seed_difference`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32, Integer, Real

from augmix.rng import Purpose, Stream

LEVEL = 0.95
NUM_RESAMPLES = 1000
STREAM = Stream(seed=0, purpose=Purpose.BOOTSTRAP)
_BLOCK = 2**17  # resampled images worked on at a time: they stay in the cache
_ANGLES = 20_001  # steps of the integral of Student's distribution

Verdict = Literal["lower", "higher", "within noise"]
Cells = Bool[np.ndarray, "cell image"] | Integer[np.ndarray, "cell image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number and the range in which it would lie with other images, or other seeds."""

    estimate: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Of a difference: ``within noise`` where the range holds 0."""
        if self.low <= 0 <= self.high:
            return "within noise"
        return "lower" if self.high < 0 else "higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """A number, and what it would have been with resampled images.

    Attributes:
        estimate: From the images as measured.
        resampled: From each resampled set; the same place in two draws is the same set.
        bias: By how much resampled values lie above the estimate on average.
    """

    estimate: float
    resampled: Float64[np.ndarray, " resample"]
    bias: float = 0.0

    def interval(self, level: float = LEVEL) -> Interval:
        """The percentile interval, without the bias of resampling.

        A mean has none. Calibration errors do: every resampled set is noisier within its bins than
        the measured one, so its values lie too high, by as much again as the measured value itself
        does. The interval is of the value that so many images give on average.

        Raises:
            ValueError: If the level is not between 0 and 1.
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
    """First minus second, on the same resampled sets."""
    _check_together([first, second])
    return Draws(
        estimate=first.estimate - second.estimate,
        resampled=first.resampled - second.resampled,
        bias=first.bias - second.bias,
    )


def average(draws: Sequence[Draws]) -> Draws:
    """The mean of several numbers of the same images: cells, corruptions, seeds.

    Raises:
        ValueError: If there is none, or they were not resampled equally often.
    """
    _check_together(draws)
    return Draws(
        estimate=float(np.mean([each.estimate for each in draws])),
        resampled=np.mean([each.resampled for each in draws], axis=0),
        bias=float(np.mean([each.bias for each in draws])),
    )


def resample_counts(
    num_images: int, *, num_resamples: int = NUM_RESAMPLES, stream: Stream = STREAM
) -> Iterator[Int32[np.ndarray, "resample image"]]:
    """How often each image is drawn into each resampled set, some sets at a time.

    Set r is drawn at address r of the stream, whatever comes with it.

    Raises:
        ValueError: If there is no image or no set.
    """
    if num_images < 1 or num_resamples < 2:
        raise ValueError(
            f"at least 1 image and 2 resampled sets are needed, got {num_images} and "
            f"{num_resamples}"
        )
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
    """Means over images, several at once.

    An error is the mean of 0 and 1; a mean corruption error the mean of each image's share of wrong
    cells; mCE the same with cells weighed by the baseline; a flip probability the mean of each
    sequence's share of flips.
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
    """RMS calibration error of every cell, with bins made anew in each resampled set.

    Args:
        confidence: Largest softmax probability, in [0, 1].
        correct: Whether the prediction is right.
        bin_size: As in `metrics.rms_calibration_error`, which gives the same estimates.
        num_resamples: Resampled sets.
        stream: Where they are drawn.
    """
    num_cells, num_images = confidence.shape
    order = np.argsort(confidence, axis=1, kind="stable")
    gap = correct.astype(np.float64) - confidence
    gap = np.take_along_axis(gap, order, axis=1)
    once = np.ones((1, num_images), np.int32)
    estimates = [_rms(once, gap[cell], bin_size)[0] for cell in range(num_cells)]
    blocks = []
    for counts in resample_counts(num_images, num_resamples=num_resamples, stream=stream):
        blocks.append(
            [
                _rms(np.take(counts, order[cell], axis=1), gap[cell], bin_size)
                for cell in range(num_cells)
            ]
        )
    resampled = np.concatenate(blocks, axis=1)  # cell resample
    return tuple(
        _biased(float(estimate), values)
        for estimate, values in zip(estimates, resampled, strict=True)
    )


def resample_ece(
    confidence: Float[np.ndarray, "cell image"],
    correct: Cells,
    *,
    num_bins: int = 15,
    num_resamples: int = NUM_RESAMPLES,
    stream: Stream = STREAM,
) -> Draws:
    """Expected calibration error of all cells thrown together, bins of equal width."""
    edges = np.linspace(0, 1, num_bins + 1)
    place = np.searchsorted(edges, np.minimum(confidence, 1.0), side="left") - 1
    gap = correct.astype(np.float64) - confidence
    by_bin = np.stack(
        [np.where(place == number, gap, 0).mean(axis=0) for number in range(num_bins)]
    )
    draws = resample_means(by_bin, num_resamples=num_resamples, stream=stream)
    estimate = float(sum(abs(each.estimate) for each in draws))
    return _biased(estimate, np.abs([each.resampled for each in draws]).sum(axis=0))


def proportion_interval(num_hits: int, num_trials: int, *, level: float = LEVEL) -> Interval:
    """Wilson's interval of a share of independent images; right for 0 of n too.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    Raises:
        ValueError: If there is no trial, or more hits than trials.
    """
    if not 0 <= num_hits <= num_trials or num_trials < 1:
        raise ValueError(f"hits must be 0..trials, got {num_hits} of {num_trials}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = num_hits / num_trials
    middle = (share + z**2 / (2 * num_trials)) / (1 + z**2 / num_trials)
    half = z * np.sqrt(share * (1 - share) / num_trials + z**2 / (4 * num_trials**2))
    half = float(half) / (1 + z**2 / num_trials)
    return Interval(
        estimate=share,
        low=min(max(middle - half, 0.0), share),
        high=max(min(middle + half, 1), share),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation (n - 1) over seeds; the deviation of one seed is NaN."""

    mean: float
    deviation: float
    num: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of a number over seeds.

    Raises:
        ValueError: If there is none.
    """
    if not values:
        raise ValueError("at least 1 seed is needed, got none")
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Spread(mean=float(np.mean(values)), deviation=deviation, num=len(values))


def seed_difference(
    first: Sequence[float], second: Sequence[float], *, level: float = LEVEL
) -> Interval:
    """First minus second, both over several seeds, by Welch's t interval.

    Raises:
        ValueError: If either has fewer than 2 seeds.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"at least 2 seeds of each are needed, got {len(first)}, {len(second)}")
    estimate = float(np.mean(first) - np.mean(second))
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    if not sum(parts):
        return Interval(estimate=estimate, low=estimate, high=estimate)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    half = student_quantile((1 + level) / 2, freedom) * sum(parts) ** 0.5
    return Interval(estimate=estimate, low=estimate - half, high=estimate + half)


def widened(images: Interval, seeds: Interval) -> Interval:
    """The range of images with the noise of seeds added: independent, so squares add up."""
    return Interval(
        estimate=images.estimate,
        low=images.estimate - float(np.hypot(images.estimate - images.low, _half(seeds))),
        high=images.estimate + float(np.hypot(images.high - images.estimate, _half(seeds))),
    )


def student_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t; with t = sqrt(f) tan(a) its density is cos(a) ** (f - 1).

    Raises:
        ValueError: If the level is not in [0.5, 1) or the degrees of freedom below 1.
    """
    if not 0.5 <= level < 1 or freedom < 1:
        raise ValueError(
            f"level must be in [0.5, 1) and freedom at least 1, got {level} and {freedom}"
        )
    angles = np.linspace(0, np.pi / 2, _ANGLES)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(2 * level - 1, mass / mass[-1], angles)
    return float(np.sqrt(freedom) * np.tan(angle))


def _rms(
    counts: Int32[np.ndarray, "resample image"],
    gap: Float64[np.ndarray, " image"],
    bin_size: int,
) -> Float64[np.ndarray, " resample"]:
    """RMS over bins of resampled sets; images in order of confidence, gap = correct - confidence.

    An image drawn several times may lie across the edge of a bin; each bin takes its copies.
    """
    num_resamples, num_images = counts.shape
    num_bins = max(num_images // bin_size, 1)
    edges = np.arange(1, num_bins) * bin_size  # drawn images before each inner edge
    reached = np.cumsum(counts, axis=1, dtype=np.int64)
    sums = counts * gap
    np.cumsum(sums, axis=1, out=sums)
    rows = np.arange(num_resamples)[:, None]
    apart = num_images + 1  # rows one after another are one rising sequence
    reached += rows * apart
    place = np.searchsorted(reached.reshape(-1), (edges + rows * apart).reshape(-1))
    place = place.reshape(num_resamples, -1) - rows * num_images
    beyond = np.take_along_axis(reached, place, axis=1) - (edges + rows * apart)  # past the edge
    inner = np.take_along_axis(sums, place, axis=1) - beyond * gap[place]
    totals = np.diff(np.column_stack([np.zeros(num_resamples), inner, sums[:, -1]]), axis=1)
    sizes = np.diff(np.concatenate([[0], edges, [num_images]]))
    return np.sqrt((totals**2 / sizes).sum(axis=1) / num_images)


def _biased(estimate: float, resampled: Float64[np.ndarray, " resample"]) -> Draws:
    """Draws of a number that resampling makes larger."""
    return Draws(estimate=estimate, resampled=resampled, bias=float(resampled.mean()) - estimate)


def _half(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def _check_together(draws: Sequence[Draws]) -> None:
    counts = {len(each.resampled) for each in draws}
    if len(counts) != 1:
        raise ValueError(f"draws of the same resampled sets are needed, got counts {counts}")
