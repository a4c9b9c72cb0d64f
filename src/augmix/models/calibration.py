"""One number that makes confidence honest: logits divided by a temperature.

Fitted on clean held-out images and then used unchanged on everything; it changes no prediction.
Guo et al. (2017); the search is that of the calibration tools the paper's authors published."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

_LOWEST, _HIGHEST = 0.2, 5.0
_PRECISION = 1e-4
_CHUNK = 4096  # images worked on at a time, so that 50,000 x 1,000 logits are never copied

Logits = Float[np.ndarray, "image label"]
Labels = Integer[np.ndarray, " image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """A fitted temperature and what it did on the images it was fitted on.

    Attributes:
        value: What logits are divided by, 0.2..5.
        num_images: Images it was fitted on.
        nll_before: Mean negative log-likelihood of the logits as they were.
        nll_after: The same after division; never larger.
    """

    value: float
    num_images: int
    nll_before: float
    nll_after: float


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The temperature that gives the smallest negative log-likelihood, in 0.2..5.

    Bisection on the sign of the likelihood's derivative until the interval is below 1e-4, then
    the best of its two ends and its middle; float64 throughout.

    Raises:
        ValueError: If there is no image, shapes or labels do not fit, or a logit is not finite.

    Example:
        >>> logits = np.array([[3.0, 0.0], [3.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
        >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 3)  # 3 / ln 3
        2.731
    """
    _check(logits, labels)
    low, high = _LOWEST, _HIGHEST
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if _slope(logits, labels, middle) > 0:
            high = middle
        else:
            low = middle
    return min((low, (low + high) / 2, high), key=lambda value: mean_nll(logits, labels, value))


def measure_temperature(logits: Logits, labels: Labels) -> Temperature:
    """Fit a temperature and tell what it does to the likelihood.

    If even the best temperature of the range is worse than none, the value is 1.

    Raises:
        ValueError: As `fit_temperature`.
    """
    value = fit_temperature(logits, labels)
    before = mean_nll(logits, labels, 1.0)
    after = mean_nll(logits, labels, value)
    if after > before:
        value, after = 1.0, before
    return Temperature(value=value, num_images=len(labels), nll_before=before, nll_after=after)


def mean_nll(logits: Logits, labels: Labels, temperature: float) -> float:
    """Mean negative log-likelihood, natural logarithm, of logits divided by a temperature."""
    total = 0.0
    for scaled, of_label in _scaled_chunks(logits, labels, temperature):
        peak = scaled.max(axis=1)
        sums = np.exp(scaled - peak[:, None]).sum(axis=1)
        total += float((peak + np.log(sums) - of_label).sum())
    return total / len(labels)


def _slope(logits: Logits, labels: Labels, temperature: float) -> float:
    """Of the likelihood with the temperature, times a positive factor: label less expectation."""
    total = 0.0
    for scaled, of_label in _scaled_chunks(logits, labels, temperature):
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        expected = (weights * scaled).sum(axis=1) / weights.sum(axis=1)
        total += float((of_label - expected).sum())
    return total


def _scaled_chunks(logits: Logits, labels: Labels, temperature: float):
    for start in range(0, len(labels), _CHUNK):
        scaled = logits[start : start + _CHUNK].astype(np.float64) / temperature
        chosen = labels[start : start + _CHUNK, None]
        yield scaled, np.take_along_axis(scaled, chosen, axis=1)[:, 0]


def _check(logits: np.ndarray, labels: np.ndarray) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            "a temperature is fitted on logits [image label] with one label an image, "
            f"got shapes {logits.shape} and {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels must be 0..{logits.shape[1] - 1}, got {labels.min()}..{labels.max()}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite to fit a temperature on them")
