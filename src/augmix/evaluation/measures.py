"""Measures beyond error and RMS calibration error: those of every cell, and those of ``--metrics``.

| group | per-image arrays | numbers of a cell |
| --- | --- | --- |
| always | | ``adaptive_ece``, ``smooth_ece``, ``aurc``, ``augrc``, ``risk`` |
| ``classwise`` | ``classwise_gap`` | ``classwise_ece`` |
| ``conformal`` | ``thr_covered``, ``thr_size`` | ``thr_coverage``, ``thr_size`` |
| ``calibrators`` | ``vector_confidence`` | ``vector_rms``, ``vector_smooth_ece`` |

The methods of sets are ``thr``, ``aps`` and ``raps``; the calibrators are ``temperature``,
``vector``, ``isotonic`` and ``histogram``. Prediction sets and calibrators are fitted on the
held-out clean images of the temperature, and sets on the softmax of unscaled logits, so that no
image counts twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from augmix import metrics
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, Group
from augmix.metrics import CONFORMAL, ImageScores
from augmix.models.calibration import (
    ConfidenceMap,
    VectorScaling,
    fit_histogram,
    fit_isotonic,
    fit_vector_scaling,
)
from augmix.rng import Purpose, Stream

CALIBRATORS = ("temperature", "vector", "isotonic", "histogram")
_MAPS = ("isotonic", "histogram")
NUM_ARRAYS: dict[Group, int] = {"classwise": 1, "conformal": 6, "calibrators": 5}
"""Per-image arrays of each group."""
_PROBABILITIES = "probabilities"  # of a cell, until its sums are known

Logits = Float64[np.ndarray, "image class"]
Ids = Int64[np.ndarray, " image"]


def cell_measures(scores: ImageScores) -> dict[str, float]:
    """Compute the measures that every cell has."""
    answers = scores.confidence, scores.correct
    return {
        "adaptive_ece": metrics.adaptive_calibration_error(*answers),
        "smooth_ece": metrics.smooth_calibration_error(*answers),
        "aurc": metrics.aurc(*answers),
        "augrc": metrics.augrc(*answers),
        "risk": metrics.risk_at_coverage(*answers),
    }


def fit_measures(
    groups: Sequence[Group],
    scores: ImageScores,
    logits: Logits | None,
    labels: Int64[np.ndarray, " image"],
    ids: Ids,
    *,
    coverage: float,
    seed: int,
) -> dict[str, Any]:
    """Fit prediction sets and calibrators on held-out images.

    Args:
        groups: Those asked for.
        scores: Of the images.
        logits: Of the images; None if only predictions and confidences are known.
        labels: Their classes.
        ids: The images.
        coverage: Of the prediction sets, in (0, 1).
        seed: Of the uniform numbers of the sets.

    Returns:
        What `Results.fitted` holds.
    """
    fitted: dict[str, Any] = {"num_images": len(labels)}
    notes = []
    if "conformal" in groups:
        assert logits is not None  # checked by the callers
        probabilities = np.exp(metrics.log_softmax(logits))
        uniforms = draw_uniforms(ids, seed)
        thresholds = {}
        for method in CONFORMAL:
            every = metrics.conformal_scores(probabilities, method, uniforms=uniforms)
            own = metrics.label_scores(every, labels)
            threshold = metrics.conformal_threshold(own, coverage=coverage)
            thresholds[method] = threshold if np.isfinite(threshold) else None
        fitted |= {"coverage": coverage, "thresholds": thresholds}
        if None in thresholds.values():
            notes.append(
                f"{len(labels)} held-out images are too few for prediction sets of coverage "
                f"{coverage:g}: every set has all classes; hold out at least "
                f"{int(np.ceil(coverage / (1 - coverage) - 1e-9))}"
            )
    if "calibrators" in groups:
        fitted |= {
            "isotonic": asdict(fit_isotonic(scores.confidence, scores.correct)),
            "histogram": asdict(fit_histogram(scores.confidence, scores.correct)),
        }
        if logits is not None:
            try:
                fitted["vector"] = asdict(fit_vector_scaling(logits, labels))
            except ValueError as error:
                fitted["vector"] = None
                notes.append(f"{error}; it is left out: hold out more images")
    return fitted | {"note": "; ".join(notes)}


def draw_uniforms(ids: Ids, seed: int) -> Float64[np.ndarray, " image"]:
    """Draw the number of each image that randomises its prediction sets, the same in every cell."""
    stream = Stream(seed=seed, purpose=Purpose.CONFORMAL)
    return stream.uniforms(ids % 2**32, count=1)[0, :, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The groups of ``--metrics`` of an evaluation, with what was fitted for them."""

    groups: tuple[Group, ...]
    fitted: Mapping[str, Any]
    temperature: float | None = None  # None if only predictions and confidences are known
    seed: int = 0

    def of_images(
        self,
        scores: ImageScores,
        logits: Logits | None,
        labels: Int64[np.ndarray, " image"],
        ids: Ids,
        *,
        classwise_sums: Float64[np.ndarray, "class bin"] | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute the arrays of some images of a cell.

        Without the ``classwise_sums`` of the whole cell, the group ``classwise`` keeps the
        probabilities for `of_cell`.
        """
        found: dict[str, np.ndarray] = {}
        if logits is not None and {"classwise", "conformal"} & {*self.groups}:
            probabilities = np.exp(metrics.log_softmax(logits))
            if "classwise" in self.groups and classwise_sums is None:
                found[_PROBABILITIES] = probabilities
            elif "classwise" in self.groups:
                found["classwise_gap"] = metrics.image_classwise_gap(
                    probabilities, labels, sums=classwise_sums
                )
            if "conformal" in self.groups:
                found |= self._sets(probabilities, labels, ids)
        if "calibrators" not in self.groups:
            return found
        if logits is not None:
            tempered = metrics.image_scores(logits, labels, temperature=self.temperature or 1.0)
            found["temperature_confidence"] = tempered.confidence
            if self.fitted.get("vector"):
                scaled = VectorScaling(**self.fitted["vector"]).logits(logits)
                vector = metrics.image_scores(scaled, labels)
                found |= {"vector_confidence": vector.confidence, "vector_correct": vector.correct}
        for name in _MAPS:
            found[f"{name}_confidence"] = ConfidenceMap(**self.fitted[name])(scores.confidence)
        return found

    def _sets(
        self, probabilities: Logits, labels: Int64[np.ndarray, " image"], ids: Ids
    ) -> dict[str, np.ndarray]:
        uniforms = draw_uniforms(ids, self.seed)
        found = {}
        for method, threshold in self.fitted["thresholds"].items():
            limit = np.inf if threshold is None else threshold
            sets = metrics.prediction_sets(probabilities, limit, method, uniforms=uniforms)
            found[f"{method}_covered"] = sets[np.arange(len(labels)), labels]
            found[f"{method}_size"] = sets.sum(axis=1)
        return found

    def of_cell(
        self,
        arrays: dict[str, np.ndarray],
        scores: ImageScores,
        labels: Int64[np.ndarray, " image"],
        *,
        bin_size: int,
    ) -> tuple[dict[str, float], dict[str, Float32[np.ndarray, " image"]]]:
        """Compute the numbers of a cell from the arrays of all its images; both are kept."""
        arrays = dict(arrays)
        if (probabilities := arrays.pop(_PROBABILITIES, None)) is not None:
            arrays["classwise_gap"] = metrics.image_classwise_gap(probabilities, labels)
        values: dict[str, float] = {}
        if "classwise_gap" in arrays:
            values["classwise_ece"] = float(arrays["classwise_gap"].mean())
        for method in self.fitted.get("thresholds", ()):
            values[f"{method}_coverage"] = float(arrays[f"{method}_covered"].mean())
            values[f"{method}_size"] = float(arrays[f"{method}_size"].mean())
        for name in CALIBRATORS:
            if (confidence := arrays.get(f"{name}_confidence")) is not None:
                correct = arrays.get(f"{name}_correct", scores.correct)
                rms = metrics.rms_calibration_error(confidence, correct, bin_size=bin_size)
                values[f"{name}_rms"] = rms
                values[f"{name}_smooth_ece"] = metrics.smooth_calibration_error(confidence, correct)
        if "vector_correct" in arrays:
            values["vector_error"] = float(1 - arrays["vector_correct"].mean())
        return values, {name: each.astype(np.float32) for name, each in arrays.items()}


def describe_metrics(config: EvaluateConfig) -> dict[str, Any]:
    """Return the settings of ``metrics``, for the protocol; none without any."""
    facts: dict[str, Any] = {"metrics": sorted(config.metrics)} if config.metrics else {}
    if "conformal" in config.metrics:
        facts["conformal_coverage"] = config.conformal_coverage
    return facts


def require_logits(groups: Sequence[Group], where: str) -> None:
    """Refuse groups that predictions and confidences alone do not give, with a `RunError`."""
    for name in ("classwise", "conformal"):
        if name in groups:
            raise RunError(
                f"{where} has predictions and confidences only, metrics {name!r} need the logits "
                "or probabilities of every class"
            )
