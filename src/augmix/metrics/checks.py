"""What the metrics demand of their arguments."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

_ROUNDING = 1e-5  # a float32 softmax may exceed 1 by this much

Confidence = Float[np.ndarray, " image"]
Correct = Bool[np.ndarray, " image"] | Integer[np.ndarray, " image"]


def check_lengths(**arrays: np.ndarray) -> None:
    """One axis each, of equal length that is not 0."""
    shapes = {name: np.shape(values) for name, values in arrays.items()}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) != 1:
        raise ValueError(f"{' and '.join(shapes)} must have one axis of equal length, got {shapes}")
    if 0 in next(iter(shapes.values())):
        raise ValueError(f"{' and '.join(shapes)} must hold at least 1 image, got none")


def check_table(errors: Mapping) -> None:
    """Something was measured of everything that is named."""
    if not errors:
        raise ValueError("at least 1 corruption must be measured, got none")
    empty = [name for name, values in errors.items() if not np.size(values)]
    if empty:
        raise ValueError(f"at least 1 severity must be measured, got none for {empty}")


def check_complete(errors: Mapping, baseline: Mapping) -> None:
    """Exactly what the baseline has was measured, at equally many severities throughout."""
    check_table(errors)
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


def check_predictions(
    confidence: np.ndarray, correct: np.ndarray
) -> tuple[Float64[np.ndarray, " image"], Int64[np.ndarray, " image"]]:
    """Confidences in [0, 1] and whether each prediction is right, in the types of sums."""
    check_lengths(confidence=confidence, correct=correct)
    confidence = np.asarray(confidence, np.float64)
    wrong = confidence[~((confidence >= 0) & (confidence <= 1 + _ROUNDING))]
    if len(wrong):
        raise ValueError(f"confidence must be in [0, 1], got {wrong[0]}")
    correct = np.asarray(correct)
    if not np.isin(correct, (0, 1)).all():
        raise ValueError(f"correct must be booleans or 0 and 1, got values up to {correct.max()}")
    return confidence, correct.astype(np.int64)


def check_probabilities(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[Float64[np.ndarray, "image label"], Integer[np.ndarray, " image"]]:
    """A row of probabilities for every label, and labels that have a column."""
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.shape[:1] != labels.shape or not len(labels):
        raise ValueError(
            "probabilities must be [image label] and labels [image] of the same, non-zero length, "
            f"got shapes {probabilities.shape} and {labels.shape}"
        )
    wrong = labels[(labels < 0) | (labels >= probabilities.shape[1])]
    if len(wrong):
        raise ValueError(f"labels must be 0..{probabilities.shape[1] - 1}, got {wrong[0]}")
    return probabilities, labels
