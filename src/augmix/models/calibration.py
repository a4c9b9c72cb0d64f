"""Calibrators, fitted on clean held-out images: of logits, or of confidences alone.

| calibrator | changes | fitted to |
| --- | --- | --- |
| temperature | logits divided by one number; no prediction | the likelihood |
| vector scaling | a weight and a bias for each logit; predictions too | the likelihood |
| isotonic regression | confidence, by a rising function; no prediction | correct predictions |
| histogram binning | confidence, by a step for each bin; no prediction | correct predictions |

Guo et al. (2017), "On Calibration of Modern Neural Networks"; the search for the temperature
follows the calibration tools that the authors of AugMix published.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Integer
from scipy import optimize

from augmix.metrics import equal_mass_bins, log_softmax

_LOWEST, _HIGHEST, _LIMIT = 0.2, 5.0, 1000.0  # the last is searched where 5 is not enough
_PRECISION = 1e-4
_CHUNK = 4096  # images at a time, so that 50,000 x 1,000 logits are never copied
_LARGEST_BIAS = 20.0  # of vector scaling, either way
NUM_BINS = 15  # of histogram binning

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


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorScaling:
    """A weight and a bias for the logit of each class."""

    weight: list[float]  # 1/1000..5, as one over a temperature
    bias: list[float]

    def logits(self, logits: Logits) -> Float64[np.ndarray, "image class"]:
        """Scale the logits."""
        return np.asarray(logits, np.float64) * np.array(self.weight) + np.array(self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceMap:
    """A function of the confidence: straight lines between points, or steps up to each point."""

    confidence: list[float]  # ascending
    accuracy: list[float]  # at each point, and below the first and above the last
    is_step: bool  # the accuracy of a point holds from it on, up to the next one

    def __call__(self, confidence: Float[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
        """Map confidences."""
        points, accuracy = np.array(self.confidence), np.array(self.accuracy)
        if not self.is_step:
            return np.interp(confidence, points, accuracy)
        index = np.searchsorted(points, confidence, side="right") - 1
        return accuracy[np.maximum(index, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """What is done to a model's logits, and to the confidence of its prediction."""

    temperature: float = 1.0
    vector: VectorScaling | None = None
    confidence: ConfidenceMap | None = None

    def scale(self, logits: torch.Tensor) -> torch.Tensor:
        """Scale logits `batch class`; a ValueError if they are of other classes."""
        if self.vector is None:
            return logits / self.temperature
        if logits.shape[1] != len(self.vector.weight):
            raise ValueError(
                f"vector scaling was fitted for {len(self.vector.weight)} classes, the model gives "
                f"{logits.shape[1]}; evaluate it without --restrict"
            )
        return torch.from_numpy(self.vector.logits(logits.numpy()))

    def map(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Map the confidence of predictions, the first of the sorted probabilities `batch class`.

        A map says nothing about the others, which are left out.
        """
        if self.confidence is None:
            return probabilities
        return torch.from_numpy(self.confidence(probabilities[:, 0].numpy()))[:, None]

    def describe(self) -> dict[str, Any]:
        """Return what predictions depend on."""
        if self.vector is None and self.confidence is None:
            return {"temperature": self.temperature}
        return {"temperature": None, "calibrator": asdict(self)}


def load_calibrator(name: str, fitted: Mapping[str, Any], temperature: float | None) -> Calibrator:
    """Make the calibrator of a name from what an evaluation fitted.

    Args:
        name: temperature, vector, isotonic or histogram.
        fitted: As of `Results.fitted`.
        temperature: That was fitted, or None.

    Raises:
        ValueError: If it was not fitted.
    """
    if name == "temperature":
        if temperature is None:
            raise ValueError("no temperature was fitted; evaluate with --temperature-images")
        return Calibrator(temperature=temperature)
    if fitted.get(name) is None:
        why = fitted.get("note") if name in fitted else ""
        raise ValueError(
            f"{name} was not fitted"
            + (
                f" ({why})"
                if why
                else "; evaluate with --temperature-images, --metrics calibrators"
            )
        )
    if name != "vector":
        return Calibrator(confidence=ConfidenceMap(**fitted[name]))
    return Calibrator(vector=VectorScaling(**fitted[name]))


def fit_vector_scaling(logits: Logits, labels: Labels) -> VectorScaling:
    """Find the weights and biases of vector scaling that minimise the negative log-likelihood.

    L-BFGS-B from the best temperature, in float64; weights stay in 1/1000..5 and biases in -20..20,
    which only classes reach that the held-out images tell apart without a mistake.

    Raises:
        ValueError: As `fit_temperature`, or if a class has no image: its bias would be as low as
            allowed, and the class never predicted.

    Example:
        >>> logits = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
        >>> found = fit_vector_scaling(logits, np.array([0, 1, 1, 0]))
        >>> bool(mean_nll(found.logits(logits), np.array([0, 1, 1, 0]), 1.0) < 0.6932)  # ln 2
        True
    """
    start = 1 / fit_temperature(logits, labels)
    num_classes = logits.shape[1]
    missing = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(missing):
        raise ValueError(
            f"vector scaling is fitted on at least 1 image of each class, got none of class "
            f"{missing[0]} ({len(missing)} of {num_classes} without)"
        )
    wide = np.asarray(logits, np.float64)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = values[:num_classes], values[num_classes:]
        total, slope = 0.0, np.zeros((2, num_classes))
        for at in range(0, len(labels), _CHUNK):
            part, own = wide[at : at + _CHUNK], labels[at : at + _CHUNK]
            logs = log_softmax(part * weight + bias)
            rows = np.arange(len(own))
            total -= float(logs[rows, own].sum())
            excess = np.exp(logs)
            excess[rows, own] -= 1
            slope += np.stack([(excess * part).sum(axis=0), excess.sum(axis=0)])
        return total / len(labels), slope.reshape(-1) / len(labels)

    within = [(1 / _LIMIT, 1 / _LOWEST)] * num_classes
    within += [(-_LARGEST_BIAS, _LARGEST_BIAS)] * num_classes
    first = np.concatenate([np.full(num_classes, start), np.zeros(num_classes)])
    found = optimize.minimize(loss, first, jac=True, method="L-BFGS-B", bounds=within).x
    return VectorScaling(weight=found[:num_classes].tolist(), bias=found[num_classes:].tolist())


def fit_isotonic(
    confidence: Float[np.ndarray, " image"],
    correct: Bool[np.ndarray, " image"] | Integer[np.ndarray, " image"],
) -> ConfidenceMap:
    """Fit a rising function of the confidence to whether predictions are correct.

    Least squares by pool adjacent violators (Zadrozny and Elkan 2002), equal confidences as one;
    straight lines between the steps, as `sklearn.isotonic.IsotonicRegression`.
    """
    points, group = np.unique(np.asarray(confidence, np.float64), return_inverse=True)
    weights = np.bincount(group).astype(np.float64)
    means = np.bincount(group, weights=np.asarray(correct, np.float64)) / weights
    fitted = optimize.isotonic_regression(means, weights=weights).x
    is_edge = np.diff(fitted) != 0  # inner points of a step are left out
    kept = np.concatenate([[True], is_edge]) | np.concatenate([is_edge, [True]])
    return ConfidenceMap(
        confidence=points[kept].tolist(), accuracy=fitted[kept].tolist(), is_step=False
    )


def fit_histogram(
    confidence: Float[np.ndarray, " image"],
    correct: Bool[np.ndarray, " image"] | Integer[np.ndarray, " image"],
    *,
    num_bins: int = NUM_BINS,
) -> ConfidenceMap:
    """Fit the accuracy in bins of equal mass, from one half way to the last of the bin before.

    Zadrozny and Elkan (2001), "Obtaining calibrated probability estimates from decision trees and
    naive Bayesian classifiers".
    """
    count, _, right = equal_mass_bins(
        np.asarray(confidence), np.asarray(correct), num_bins=num_bins
    )
    ordered = np.sort(np.asarray(confidence, np.float64))
    starts = np.cumsum(count)[:-1]
    edges = np.concatenate([[0.0], (ordered[starts - 1] + ordered[starts]) / 2])
    points, group = np.unique(edges, return_inverse=True)  # bins of equal confidences are one
    accuracy = np.bincount(group, weights=right) / np.bincount(group, weights=count)
    return ConfidenceMap(confidence=points.tolist(), accuracy=accuracy.tolist(), is_step=True)
