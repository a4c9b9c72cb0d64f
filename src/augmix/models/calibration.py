"""Temperature scaling: logits divided by one number, fitted on clean held-out images.

It changes confidence and no prediction. Guo et al. (2017); the search follows the calibration tools
that the authors of AugMix published.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

_LOWEST, _HIGHEST, _LIMIT = 0.2, 5.0, 1000.0  # the last is searched where 5 is not enough
_PRECISION = 1e-4
_CHUNK = 4096  # images at a time, so that 50,000 x 1,000 logits are never copied

Logits = Float[np.ndarray, "image class"]
Labels = Integer[np.ndarray, " image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """A fitted divisor of logits, 0.2..1000, and its effect on the images it was fitted on."""

    value: float
    num_images: int
    nll_before: float  # mean negative log-likelihood before scaling, in nats
    nll_after: float  # the same after scaling; never larger


def bound_note(temperature: float) -> str:
    """Say that a temperature is an end of the range of the search, else nothing."""
    if _LOWEST + _PRECISION < temperature < _LIMIT - _PRECISION:
        return ""
    is_low = temperature < 1
    return (
        f"the temperature {temperature:.4g} is the {'lowest' if is_low else 'highest'} that is "
        "tried, so the calibration after scaling is not the best there is: "
        + (
            "the model is right on all or nearly all images it was fitted on; take more of them"
            if is_low
            else "the confidence says nothing about the images it was fitted on"
        )
    )


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Find the temperature in 0.2..1000 that minimises the negative log-likelihood.

    Bisection on the sign of the derivative until the interval is below 1e-4, then the best of its
    two ends and its middle; float64 throughout. Values above 5 are tried only where the likelihood
    still grows at 5.

    Raises:
        ValueError: If there is no image, shapes or labels do not fit, or a logit is not finite.

    Example:
        >>> logits = np.array([[3.0, 0.0], [3.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
        >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 3)  # 3 / ln 3
        2.731
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            "a temperature is fitted on logits [image class] with one label per image, "
            f"got shapes {logits.shape} and {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels must be 0..{logits.shape[1] - 1}, got {labels.min()}..{labels.max()}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite to fit a temperature")
    low, high = _LOWEST, _HIGHEST
    if _sum_nll(logits, labels, high)[1] < 0:
        low, high = _HIGHEST, _LIMIT
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if _sum_nll(logits, labels, middle)[1] > 0 else (middle, high)
    return min((low, (low + high) / 2, high), key=lambda value: mean_nll(logits, labels, value))


def measure_temperature(logits: Logits, labels: Labels) -> Temperature:
    """Fit a temperature and measure its effect on the likelihood.

    If even the best temperature in the range is worse than none, the value is 1.
    """
    value = fit_temperature(logits, labels)
    before, after = (mean_nll(logits, labels, each) for each in (1.0, value))
    if after > before:
        value, after = 1.0, before
    return Temperature(value=value, num_images=len(labels), nll_before=before, nll_after=after)


def mean_nll(logits: Logits, labels: Labels, temperature: float) -> float:
    """Compute the mean negative log-likelihood (in nats) of logits divided by a temperature."""
    return _sum_nll(logits, labels, temperature)[0] / len(labels)


def _sum_nll(logits: Logits, labels: Labels, temperature: float) -> tuple[float, float]:
    """Sum the negative log-likelihood, and its derivative by the temperature times the latter."""
    total = slope = 0.0
    for start in range(0, len(labels), _CHUNK):
        scaled = logits[start : start + _CHUNK].astype(np.float64) / temperature
        target = np.take_along_axis(scaled, labels[start : start + _CHUNK, None], axis=1)[:, 0]
        peak = scaled.max(axis=1)
        weights = np.exp(scaled - peak[:, None])
        sums = weights.sum(axis=1)
        total += float((peak + np.log(sums) - target).sum())
        slope += float((target - (weights * scaled).sum(axis=1) / sums).sum())
    return total, slope
