"""The per-image files of an evaluation: predictions, and the pictures that a report shows.

`results.json` holds sums. Intervals over images, and the images most often misclassified, need the
predictions of every image: arrays in the order of `images.npz`.

| file in `predictions/` | arrays |
| --- | --- |
| ``images.npz`` | ``ids``, ``labels`` |
| ``clean-clean-0.npz``, ``c-fog-3.npz``, ``attack-linf-0.npz`` | ``prediction``, ``confidence`` |
| ``p-tilt.npz`` | ``prediction`` of every frame, ``flips``, ``pairs`` |
| ``fourier-vertical-3.npz`` | ``prediction`` at every horizontal frequency |
| ``ood-textures-0.npz`` | ``is_outside``, ``confidence``, ``max_logit``, ``energy`` |

Cells of images also have the arrays of ``evaluate --metrics``, see `evaluation.measures`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8, UInt16

from augmix.errors import RunError
from augmix.files import load_npz, write_npz
from augmix.results import ROUNDED, require

EXAMPLES_FILE = "examples.npz"
HARDEST_FILE = "hardest.npz"
IMAGES_FILE = "images.npz"
MISTAKES_FILE = "mistakes.npz"
PREDICTIONS_FOLDER = "predictions"

Classes = UInt8[np.ndarray, " image"] | UInt16[np.ndarray, " image"] | Int32[np.ndarray, " image"]
FrameClasses = (
    UInt8[np.ndarray, "image frame"]
    | UInt16[np.ndarray, "image frame"]
    | Int32[np.ndarray, "image frame"]
)
Record = TypeVar(
    "Record",
    "MeasuredImages",
    "Predictions",
    "SequencePredictions",
    "FrequencyPredictions",
    "OutlierPredictions",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredImages:
    """The images that were measured: their indices in the source, and their classes."""

    ids: Int64[np.ndarray, " image"]
    labels: Int64[np.ndarray, " image"]

    def __post_init__(self) -> None:
        require(len(self.ids) == len(self.labels) > 0, "ids and labels must be of equal length")
        require(min(self.ids.min(), self.labels.min()) >= 0, "ids and labels must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Predictions of every image of a `Cell`."""

    prediction: Classes  # of the largest logit, the first of equals
    confidence: Float32[np.ndarray, " image"]  # its softmax probability, before any temperature
    measures: dict[str, Float32[np.ndarray, " image"]] = field(default_factory=dict)  # by name

    def __post_init__(self) -> None:
        fits = len(self.prediction) == len(self.confidence)
        require(fits, "prediction and confidence must be of equal length")
        for name, values in self.measures.items():
            fits = len(values) == len(self.confidence) and bool(np.isfinite(values).all())
            require(fits, f"{name} must be a finite number an image")
        require((self.prediction >= 0).all(), "prediction must be at least 0")
        fits = (self.confidence >= 0) & (self.confidence <= ROUNDED)
        require(fits.all(), "confidence must be in [0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencePredictions:
    """Predictions of every frame of a `SequenceCell`, and how many of each image's pairs flip."""

    prediction: FrameClasses
    flips: UInt16[np.ndarray, " image"]
    pairs: UInt16[np.ndarray, " image"]

    def __post_init__(self) -> None:
        fits = len(self.prediction) == len(self.flips) == len(self.pairs)
        require(fits, "prediction, flips and pairs must be of equal length")
        require((self.prediction >= 0).all(), "prediction must be at least 0")
        require((self.flips <= self.pairs).all(), "flips must be at most pairs")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyPredictions:
    """Predictions of every image of a `FrequencyCell`, at each of its horizontal frequencies."""

    prediction: FrameClasses

    def __post_init__(self) -> None:
        require((self.prediction >= 0).all(), "prediction must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierPredictions:
    """The scores of every image of an `OutlierCell`, the clean ones first."""

    is_outside: Bool[np.ndarray, " image"]  # of no class
    confidence: Float64[np.ndarray, " image"]
    max_logit: Float64[np.ndarray, " image"]
    energy: Float64[np.ndarray, " image"]

    def __post_init__(self) -> None:
        for entry in fields(self):
            values = getattr(self, entry.name)
            fits = len(values) == len(self.is_outside) and bool(np.isfinite(values).all())
            require(fits, f"{entry.name} must be a finite number an image")


def predictions_path(folder: Path, suite: str, name: str, severity: int | float = 0) -> Path:
    """Return the file of a cell's predictions in a run folder.

    Those of ``p`` and ``fourier`` have no severity.
    """
    tail = "" if suite in ("p", "fourier") else f"-{severity}"
    return folder / PREDICTIONS_FOLDER / f"{suite}-{name}{tail}.npz"


def images_path(folder: Path) -> Path:
    """Return the file of the measured images in a run folder."""
    return folder / PREDICTIONS_FOLDER / IMAGES_FILE


def to_classes(predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Convert class indices to the smallest type that `Predictions` has for so many classes."""
    kind = np.uint8 if num_classes <= 2**8 else np.uint16 if num_classes <= 2**16 else np.int32
    return predictions.astype(kind)


def write_predictions(
    path: Path,
    record: MeasuredImages
    | Predictions
    | SequencePredictions
    | FrequencyPredictions
    | OutlierPredictions,
) -> None:
    """Write one file of `predictions/` atomically; the same arrays give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {entry.name: getattr(record, entry.name) for entry in fields(record)}
    measures = arrays.pop("measures", {})
    write_npz(path, {**arrays, **measures})


def load_images(folder: Path) -> MeasuredImages:
    """Load the measured images of a run folder; a missing or damaged file is a `RunError`."""
    return _load(images_path(folder), MeasuredImages)


def load_predictions(folder: Path, suite: str, name: str, severity: int | float) -> Predictions:
    """Load the predictions of a cell; a missing or damaged file is a `RunError`."""
    return _load(predictions_path(folder, suite, name, severity), Predictions)


def load_sequence_predictions(folder: Path, name: str) -> SequencePredictions:
    """Load the predictions of a perturbation; a missing or damaged file is a `RunError`."""
    return _load(predictions_path(folder, "p", name), SequencePredictions)


def load_frequency_predictions(folder: Path, name: str) -> FrequencyPredictions:
    """Load the predictions of a `FrequencyCell`; a missing or damaged file is a `RunError`."""
    return _load(predictions_path(folder, "fourier", name), FrequencyPredictions)


def load_outlier_predictions(folder: Path, name: str) -> OutlierPredictions:
    """Load the scores of an `OutlierCell`; a missing or damaged file is a `RunError`."""
    return _load(predictions_path(folder, "ood", name), OutlierPredictions)


_AGAIN = "delete it and evaluate the run again"


def _load(path: Path, record: type[Record]) -> Record:
    if not path.exists():
        raise RunError(
            f"{path} does not exist; evaluate the run again, which measures what is missing"
        )
    arrays, hints = load_npz(path, hint=_AGAIN), get_type_hints(record)
    has_measures = hints.pop("measures", None) is not None
    try:
        for name, hint in hints.items():
            require(name in arrays, f"the array {name} is missing")
            require(isinstance(arrays[name], hint), f"{name} must not be {_form(arrays[name])}")
        found: dict[str, Any] = {name: arrays.pop(name) for name in hints}
        if has_measures:
            for name, values in arrays.items():
                fits = values.ndim == 1 and values.dtype == np.float32
                require(fits, f"{name} must not be {_form(values)}")
            found["measures"] = arrays
        return record(**found)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); {_AGAIN}") from error


def load_examples(folder: Path) -> dict[str, np.ndarray]:
    """Load the example images of a run folder, empty if it has none.

    ``clean`` is uint8 `image height width channel`; ``labels`` and ``ids`` have one number an
    image; a corruption is uint8 `severity image height width channel`.
    """
    path = folder / EXAMPLES_FILE
    arrays = load_npz(path, hint=_AGAIN) if path.exists() else {}
    clean = arrays.get("clean")
    _check_images(path, arrays, "clean", ("labels", "ids"))
    for name in arrays.keys() - {"clean", "labels", "ids"}:
        own = arrays[name]
        is_like = clean is not None and own.ndim == 5 and own.shape[1:] == clean.shape
        if not is_like or own.dtype != np.uint8:
            raise RunError(f"{path}: {name} must not be {_form(own)}; {_AGAIN}")
    return arrays


def load_hardest(folder: Path) -> dict[str, np.ndarray]:
    """Load `hardest.npz` of a run folder, empty if it has none; see `evaluation.store`."""
    path = folder / HARDEST_FILE
    arrays = load_npz(path, hint=_AGAIN) if path.exists() else {}
    _check_images(path, arrays, "images", ("labels", "ids", "errors"))
    return arrays


def load_mistakes(folder: Path) -> dict[str, np.ndarray]:
    """Load `mistakes.npz` of a run folder, empty if it has none.

    Its arrays hold the most confident mistakes on clean and on corrupted images, one an image:
    ``images`` as the model saw them (uint8 `image height width channel`), ``ids``, ``labels``,
    ``predictions``, ``confidence``, and the cell's ``names`` and ``severities``.
    """
    path = folder / MISTAKES_FILE
    arrays = load_npz(path, hint=_AGAIN) if path.exists() else {}
    _check_images(path, arrays, "images", ("labels", "ids", "predictions"))
    if arrays:
        shape = arrays["ids"].shape
        for name, kinds in (("confidence", "f"), ("names", "U"), ("severities", "iuf")):
            own = arrays.get(name)
            if own is None or own.shape != shape or own.dtype.kind not in kinds:
                raise RunError(f"{path} is damaged (the array {name} does not fit); {_AGAIN}")
    return arrays


def _check_images(
    path: Path, arrays: dict[str, np.ndarray], images: str, numbers: Iterable[str]
) -> None:
    """Refuse arrays that are not images with some whole numbers each."""
    if not arrays:
        return
    try:
        for name in (images, *numbers):
            require(name in arrays, f"the array {name} is missing")
        pixels = arrays[images]
        fits = pixels.ndim == 4 and pixels.dtype == np.uint8 and pixels.shape[3] in (1, 3)
        require(fits and pixels.size > 0, f"{images} must not be {_form(pixels)}")
        for name in numbers:
            own = arrays[name]
            fits = own.shape == pixels.shape[:1] and own.dtype.kind in "iu" and own.min() >= 0
            require(fits, f"{name} must not be {_form(own)} or below 0")
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); {_AGAIN}") from error


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"
