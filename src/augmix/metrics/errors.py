"""Classification errors and their ratios to a baseline: CE, mCE and their relative forms.

Hendrycks and Dietterich (2019), "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", section 4. The baseline of the literature is AlexNet.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from augmix.metrics.scores import check_lengths

__all__ = [
    "class_errors",
    "confusion_matrix",
    "corruption_error",
    "error_by_severity",
    "error_rate",
    "image_corruption_error",
    "mean_corruption_error",
    "mean_error",
    "relative_corruption_error",
    "relative_mean_corruption_error",
]

Severities = Sequence[float] | Float[np.ndarray, " severity"]


def error_rate(
    predictions: Integer[np.ndarray, " image"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Compute the fraction of wrong predictions; there must be one, and a label for each."""
    check_lengths(predictions=predictions, labels=labels)
    return float(np.mean(np.asarray(predictions) != np.asarray(labels)))


def confusion_matrix(
    predictions: Integer[np.ndarray, " image"],
    labels: Integer[np.ndarray, " image"],
    num_classes: int,
) -> Int64[np.ndarray, "class class"]:
    """Count the images of each class (row) that are predicted as each class (column).

    Example:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    check_lengths(predictions=predictions, labels=labels)
    largest = max(int(np.max(predictions)), int(np.max(labels)))
    if largest >= num_classes:
        raise ValueError(f"classes must be below num_classes {num_classes}, got {largest}")
    pairs = np.asarray(labels, np.int64) * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_errors(
    predictions: Integer[np.ndarray, " image"],
    labels: Integer[np.ndarray, " image"],
    num_classes: int,
) -> Float64[np.ndarray, " class"]:
    """Compute the error of the images of each class; NaN for a class without images.

    Example:
        >>> class_errors(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [0.5, 0.0]
    """
    counts = confusion_matrix(predictions, labels, num_classes)
    with np.errstate(invalid="ignore"):
        return 1 - np.diagonal(counts) / counts.sum(axis=1)


def mean_error(errors: Mapping[str, Severities]) -> float:
    """Average errors over severities, then corruptions, without a baseline: the CIFAR-C score.

    The paper's number is over the 15 corruptions of the benchmark.
    """
    _check_table(errors)
    return float(np.mean([np.mean(values) for values in errors.values()]))


def corruption_error(errors: Severities, baseline: float | Severities) -> float:
    """Divide the error of one corruption, averaged over severities, by the baseline's: CE.

    The baseline's errors are of the same severities, or their mean, which must be above 0.
    """
    return float(np.mean(errors)) / _mean_above_0(baseline)


def image_corruption_error(
    wrong: Bool[np.ndarray, "severity image"], baseline: float | Severities
) -> Float64[np.ndarray, " image"]:
    """Compute the contribution of each image to CE: `corruption_error` is its mean over images."""
    return wrong.mean(axis=0) / _mean_above_0(baseline)


def relative_corruption_error(
    errors: Severities,
    clean_error: float,
    baseline: float | Severities,
    baseline_clean_error: float,
) -> float:
    """Divide what one corruption adds to the clean error by what it adds to the baseline's.

    Errors are of the same severities; the baseline's, above its clean error,
    may be their mean.
    """
    mean = float(np.mean(baseline))
    if not mean > baseline_clean_error:
        raise ValueError(
            f"the baseline's error must be above its clean error {baseline_clean_error}, got {mean}"
        )
    return (float(np.mean(errors)) - clean_error) / (mean - baseline_clean_error)


def mean_corruption_error(
    errors: Mapping[str, Severities], baseline: Mapping[str, float | Severities]
) -> float:
    """Average `corruption_error` over the baseline's corruptions: mCE; the baseline itself has 1.

    Severities are averaged before the division, corruptions after it. A mean over fewer corruptions
    or severities is another number under the same name, so an incomplete set is refused.

    Args:
        errors: For each corruption of the baseline, the errors at all severities.
        baseline: The same of the baseline, or the means, e.g. `published.ALEXNET_ERRORS`.

    Raises:
        ValueError: If a corruption or severity is missing on either side, or an error of the
            baseline is not above 0.
    """
    check_complete(errors, baseline)
    return float(np.mean([corruption_error(errors[name], baseline[name]) for name in baseline]))


def relative_mean_corruption_error(
    errors: Mapping[str, Severities],
    clean_error: float,
    baseline: Mapping[str, float | Severities],
    baseline_clean_error: float,
) -> float:
    """Average `relative_corruption_error` over the baseline's corruptions: relative mCE.

    Raises as `mean_corruption_error` and `relative_corruption_error`.
    """
    check_complete(errors, baseline)
    ratios = [
        relative_corruption_error(errors[name], clean_error, of_baseline, baseline_clean_error)
        for name, of_baseline in baseline.items()
    ]
    return float(np.mean(ratios))


def error_by_severity(errors: Mapping[str, Severities]) -> Float64[np.ndarray, " severity"]:
    """Average the error at each severity over corruptions.

    Raises:
        ValueError: If nothing was measured, or not every corruption at the same severities.
    """
    check_complete(errors, dict.fromkeys(errors))
    return np.mean([np.asarray(values, np.float64) for values in errors.values()], axis=0)


def check_complete(errors: Mapping, baseline: Mapping) -> None:
    """Refuse anything but what the baseline has, at equally many severities throughout."""
    _check_table(errors)
    unknown = [name for name in errors if name not in baseline]
    if unknown:
        raise ValueError(f"the baseline lacks {unknown}; it has {list(baseline)}")
    missing = [name for name in baseline if name not in errors]
    if missing:
        raise ValueError(
            f"the set is incomplete: {missing} of the baseline's {len(baseline)} are not measured; "
            "measure them, or compare with a baseline of fewer"
        )
    counts = {name: int(np.size(values)) for name, values in errors.items()}
    counts |= {f"{name} of the baseline": np.size(v) for name, v in baseline.items() if np.ndim(v)}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the same severities must be measured of everything, got {counts}")


def _check_table(errors: Mapping) -> None:
    if not errors:
        raise ValueError("at least 1 corruption must be measured, got none")
    empty = [name for name, values in errors.items() if not np.size(values)]
    if empty:
        raise ValueError(f"at least 1 severity must be measured, got none for {empty}")


def _mean_above_0(baseline: float | Severities) -> float:
    mean = float(np.mean(baseline))
    if not mean > 0:
        raise ValueError(f"the baseline's error must be above 0, got {mean}")
    return mean
