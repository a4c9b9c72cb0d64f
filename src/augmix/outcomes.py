"""What a model said about every image: the files of a run's `outcomes/` folder.

`results.json` holds sums; intervals over images and the images most often flipped need every
image. The rows of all files are the images of `images.npz`, in its order.

| file | arrays |
| --- | --- |
| ``images.npz`` | ``ids``, ``labels`` |
| ``clean-clean-0.npz``, ``c-fog-3.npz``, ``attack-linf-0.npz`` | ``prediction``, ``confidence`` |
| ``p-tilt.npz`` | ``prediction`` of every frame, ``flips``, ``pairs`` |
"""

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8, UInt16

from augmix import records
from augmix.records import OUTCOMES_FOLDER, RunError

IMAGES_FILE = "images.npz"

Classes = UInt8[np.ndarray, " image"] | UInt16[np.ndarray, " image"] | Int32[np.ndarray, " image"]
FrameClasses = (
    UInt8[np.ndarray, "image frame"]
    | UInt16[np.ndarray, "image frame"]
    | Int32[np.ndarray, "image frame"]
)
Record = TypeVar("Record", "Images", "Outcome", "SequenceOutcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Which images were measured.

    Attributes:
        ids: Their numbers in the source.
        labels: Their classes.
    """

    ids: Int64[np.ndarray, " image"]
    labels: Int64[np.ndarray, " image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A cell of images: of ``clean``, ``c`` or ``attack``; right is whose prediction is its label.

    Of an attacked image it is the model's worst answer, to the image or to an attacked form of it.

    Attributes:
        prediction: Class of the largest logit, the first of equals.
        confidence: Its softmax probability, before any temperature.
    """

    prediction: Classes
    confidence: Float32[np.ndarray, " image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceOutcome:
    """A cell of ``p``.

    Attributes:
        prediction: Class of the largest logit of every frame.
        flips: Pairs of compared frames with different classes.
        pairs: Pairs compared.
    """

    prediction: FrameClasses
    flips: UInt16[np.ndarray, " image"]
    pairs: UInt16[np.ndarray, " image"]


def outcome_path(folder: Path, suite: str, name: str, severity: int = 0) -> Path:
    """The file of a cell in a run folder; a perturbation (suite ``p``) has no severity."""
    tail = "" if suite == "p" else f"-{severity}"
    return folder / OUTCOMES_FOLDER / f"{suite}-{name}{tail}.npz"


def images_path(folder: Path) -> Path:
    """The file of the measured images in a run folder."""
    return folder / OUTCOMES_FOLDER / IMAGES_FILE


def to_classes(predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Class numbers in the smallest type that `Outcome` has for so many classes."""
    kind = np.uint8 if num_classes <= 2**8 else np.uint16 if num_classes <= 2**16 else np.int32
    return predictions.astype(kind)


def write_outcome(path: Path, outcome: Images | Outcome | SequenceOutcome) -> None:
    """Write one file atomically; the same arrays give the same bytes.

    Raises:
        RunError: If it cannot be written.
    """
    arrays: dict[str, Any] = {entry.name: getattr(outcome, entry.name) for entry in fields(outcome)}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write_bytes(path, content.getvalue())


def load_images(folder: Path) -> Images:
    """The measured images of a run folder.

    Raises:
        RunError: If the file is missing or damaged.
    """
    return _load(images_path(folder), Images)


def load_outcome(folder: Path, suite: str, name: str, severity: int) -> Outcome:
    """What the model said about every image of a cell that is no perturbation.

    Raises:
        RunError: If the file is missing or damaged.
    """
    return _load(outcome_path(folder, suite, name, severity), Outcome)


def load_sequence_outcome(folder: Path, name: str) -> SequenceOutcome:
    """What the model said about every frame of a perturbation.

    Raises:
        RunError: If the file is missing or damaged.
    """
    return _load(outcome_path(folder, "p", name), SequenceOutcome)


def _load(path: Path, record: type[Record]) -> Record:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return record(**{entry.name: file[entry.name] for entry in fields(record)})
    except FileNotFoundError:
        raise RunError(
            f"{path} does not exist; evaluate the run again, which measures what is missing"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{path} is damaged ({error}); delete it and evaluate the run again"
        ) from error
