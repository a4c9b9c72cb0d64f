"""Errors and what they are worth beside a baseline: CE, mCE and their relative forms."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64, Integer

from augmix.metrics.checks import check_complete, check_lengths, check_table

Severities = Sequence[float] | Float[np.ndarray, " severity"]


def error_rate(
    predictions: Integer[np.ndarray, " image"], labels: Integer[np.ndarray, " image"]
) -> float:
    """Share of wrong predictions.

    Raises:
        ValueError: If the two differ in length or are empty.
    """
    check_lengths(predictions=predictions, labels=labels)
    return float(np.mean(np.asarray(predictions) != np.asarray(labels)))


def mean_error(errors: Mapping[str, Severities]) -> float:
    """Mean over corruptions of the error averaged over severities: the CIFAR-C score.

    Nothing is normalised. The paper's number is over the 15 corruptions of the benchmark.

    Args:
        errors: For each corruption, its errors at the severities measured.
    """
    check_table(errors)
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


def relative_corruption_error(
    errors: Severities,
    clean_error: float,
    baseline: float | Severities,
    baseline_clean_error: float,
) -> float:
    """Relative CE of one corruption: what it adds to the clean error, divided by the baseline's.

    Args:
        errors: Errors at the severities measured.
        clean_error: The model's error on clean images.
        baseline: The baseline's errors at the same severities, or their mean.
        baseline_clean_error: The baseline's error on clean images.

    Raises:
        ValueError: If the baseline does not suffer from the corruption.
    """
    denominator = float(np.mean(baseline)) - baseline_clean_error
    if not denominator > 0:
        raise ValueError(
            f"the baseline's error must be above its clean error {baseline_clean_error}, "
            f"got {float(np.mean(baseline))}"
        )
    return (float(np.mean(errors)) - clean_error) / denominator


def mean_corruption_error(
    errors: Mapping[str, Severities], baseline: Mapping[str, float | Severities]
) -> float:
    """mCE: the mean of `corruption_error` over the baseline's corruptions; 1 is the baseline.

    Severities are averaged before the division, corruptions after it. A mean over fewer corruptions
    or severities is another number under the same name, so an incomplete set is refused.

    Args:
        errors: For each corruption of the baseline, the errors at all severities.
        baseline: For each corruption, the errors (or their mean) of the baseline, e.g.
            `published.ALEXNET_ERRORS`.

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
    """Relative mCE: the mean of `relative_corruption_error` over the baseline's corruptions.

    Args:
        errors: For each corruption of the baseline, the errors at all severities.
        clean_error: The model's error on clean images.
        baseline: For each corruption, the errors (or their mean) of the baseline.
        baseline_clean_error: The baseline's error on clean images.

    Raises:
        ValueError: As `mean_corruption_error`; also if a corruption does not hurt the baseline.
    """
    check_complete(errors, baseline)
    return float(
        np.mean(
            [
                relative_corruption_error(
                    errors[name], clean_error, baseline[name], baseline_clean_error
                )
                for name in baseline
            ]
        )
    )


def error_by_severity(errors: Mapping[str, Severities]) -> Float64[np.ndarray, " severity"]:
    """Mean over corruptions of the error at each severity.

    Args:
        errors: For each corruption, its errors at the same severities.

    Raises:
        ValueError: If nothing was measured, or not every corruption at every severity.
    """
    check_complete(errors, dict.fromkeys(errors))
    return np.mean([np.asarray(values, np.float64) for values in errors.values()], axis=0)
