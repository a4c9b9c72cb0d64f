"""Records of a run: cells, results, per-image predictions and provenance.

A run folder holds `config.json`, `model.json` and `weights.safetensors`, `state.pt`, `log.jsonl`,
`tensorboard/` where that package is installed, `results.json`, `outcomes/` (see `outcomes`) and
`report.html`. Every file but the logs is written under a temporary name, flushed to the disk and
then renamed, so a killed process leaves either the old file or the new one.

`results.json` holds sums; intervals over images and the images most often flipped need every
image. The rows of all files are the images of `images.npz`, in its order.

| file | arrays |
| --- | --- |
| ``images.npz`` | ``ids``, ``labels`` |
| ``clean-clean-0.npz``, ``c-fog-3.npz``, ``attack-linf-0.npz`` | ``prediction``, ``confidence`` |
| ``p-tilt.npz`` | ``prediction`` of every frame, ``flips``, ``pairs`` |
"""

import os
import platform
import sys
import zipfile
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8, UInt16

from augmix import files
from augmix.errors import RunError
from augmix.files import (
    load_json,
    to_plain,
    write_json,
)

CONFIG_FILE = "config.json"
LOG_FILE = "log.jsonl"
RESULTS_FILE = "results.json"
STATE_FILE = "state.pt"
WEIGHTS_FILE = "weights.safetensors"
MODEL_FILE = "model.json"
REPORT_FILE = "report.html"
OUTCOMES_FOLDER = "outcomes"
SCHEMA = 1  # of config.json and model.json
RESULTS_SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Predictions gathered in bins of confidence: enough for every calibration error.

    The bins of `adaptive` hold equally many predictions, sorted by confidence (metrics.md 2.1);
    those of `equal_width` split [0, 1] into equal intervals.

    Attributes:
        count: Predictions in each bin.
        confidence_sum: Sum of the largest softmax probability over each bin.
        correct_sum: Right predictions in each bin.
    """

    count: list[int]
    confidence_sum: list[float]
    correct_sum: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """What a cell's probabilities are worth after temperature scaling; errors stay the same.

    Attributes:
        nll_sum: As in `Cell`, of the softmax of logits divided by the temperature.
        brier_sum: Likewise.
        adaptive: Likewise.
        equal_width: Likewise.
    """

    nll_sum: float
    brier_sum: float
    adaptive: Bins
    equal_width: Bins


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measured set: a corruption at a severity, or the clean or attacked images (severity 0).

    Of an attacked image everything is that of the model's worst answer, to the image itself or to
    an attacked form of it (`attacks.worst_logits`).

    Attributes:
        suite: ``clean``, ``c``, ``own`` (a user's corruption) or ``attack``.
        name: Corruption, ``clean``, or the norm of the attack.
        severity: 1..5; 0 for clean and attacked images.
        num_images: Images measured.
        num_errors: Images whose largest logit is not the label's.
        nll_sum: Sum over images of the negative log-likelihood, natural logarithm.
        brier_sum: Sum over images of the squared distance to the one-hot label (0..2 each).
        adaptive: Bins of equal size for the RMS calibration error.
        equal_width: 15 bins of equal width for reliability diagrams and ECE.
        seconds: Time the cell took.
        scaled: The same after temperature scaling; None if no temperature was fitted.
    """

    suite: str
    name: str
    severity: int
    num_images: int
    num_errors: int
    nll_sum: float
    brier_sum: float
    adaptive: Bins
    equal_width: Bins
    seconds: float
    scaled: Scaled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceCell:
    """One measured perturbation: the sequences of all images (suite ``p``).

    The flip probability is ``num_flips / num_pairs``, the top-5 distance
    ``top5_distance_sum / num_pairs`` (perturbations.md 5).

    Attributes:
        name: Perturbation.
        num_images: Images measured, a sequence each.
        num_pairs: Pairs of frames compared, over all images.
        num_flips: Pairs whose frames were given different classes.
        top5_distance_sum: Sum over the pairs of the distance of their top five, 0..15 each; None
            for a model of fewer than five classes.
        seconds: Time the cell took.
    """

    name: str
    num_images: int
    num_pairs: int
    num_flips: int
    top5_distance_sum: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What `results.json` holds: the cells measured so far and how they were measured.

    Attributes:
        model: What was measured: ``name``, ``num_classes``, ``num_parameters``,
            ``weights_sha256``; for a run its ``method``, ``seed`` and ``label``; ``members`` of an
            ensemble (a list of such facts); ``adaptation``, e.g. ``"batch norm, prior 16"``, or
            empty.
        source: On what: ``name``, ``split``, ``num_images``, ``num_classes``, ``class_names``,
            ``fingerprint``, ``size``.
        protocol: How: ``suite`` (list), ``names`` (corruptions), ``severities``, ``own`` (the
            user's corruptions, each with the sha256 of its code), ``own_severities``, ``sequences``
            (perturbations), ``difficulty``, ``preset``, ``seed``, ``bin_size``,
            ``suite_version``, ``sequence_version``, ``frost_textures``, ``jpeg_quality``,
            ``frames_of``; ``official_c`` and ``official_p`` (sets read from files, else empty)
            with ``fingerprints`` of every cell's files; ``attack_norm``, ``attack_epsilon``,
            ``attack_steps``, ``attack_step_size``, ``attack_restarts``.
        provenance: With what; see `provenance`.
        temperature: None, or ``value``, ``num_images`` it was fitted on, and the mean negative
            log-likelihood of those, ``nll_before`` and ``nll_after``.
        cells: Of ``clean``, ``c``, ``own`` and ``attack``, in that order.
        sequences: Of ``p``, in the order measured.
    """

    model: dict[str, Any]
    source: dict[str, Any]
    protocol: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    temperature: dict[str, Any] | None = None
    cells: tuple[Cell, ...] = ()
    sequences: tuple[SequenceCell, ...] = ()

    def find(self, suite: str, name: str, severity: int) -> Cell | None:
        """The measured cell, or None if it was not measured yet."""
        for cell in self.cells:
            if (cell.suite, cell.name, cell.severity) == (suite, name, severity):
                return cell
        return None

    def find_sequence(self, name: str) -> SequenceCell | None:
        """The measured perturbation, or None if it was not measured yet."""
        return next((cell for cell in self.sequences if cell.name == name), None)


def write_results(path: Path, results: Results) -> None:
    """Write `results.json` atomically."""
    write_json(path, {"schema": RESULTS_SCHEMA, **to_plain(results)})


def load_results(path: Path) -> Results:
    """Read `results.json`.

    Raises:
        RunError: If the file is missing, is not JSON, or has another schema.
    """
    plain = load_json(path)
    schema = plain.pop("schema", None)
    if schema != RESULTS_SCHEMA:
        raise RunError(
            f"{path} must be a results file of schema {RESULTS_SCHEMA}, got {schema!r}; it was "
            "measured by another version of augmix: delete it and evaluate again"
        )
    try:
        cells = tuple(_read_cell(cell) for cell in plain.pop("cells"))
        sequences = tuple(SequenceCell(**cell) for cell in plain.pop("sequences"))
        return Results(cells=cells, sequences=sequences, **plain)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} does not hold the fields of a results file: {error}") from error


def _read_cell(plain: dict[str, Any]) -> Cell:
    scaled = plain["scaled"]
    return Cell(
        **{
            **plain,
            **_read_bins(plain),
            "scaled": Scaled(**{**scaled, **_read_bins(scaled)}) if scaled else None,
        }
    )


def _read_bins(plain: dict[str, Any]) -> dict[str, Bins]:
    return {name: Bins(**plain[name]) for name in ("adaptive", "equal_width")}


def provenance() -> dict[str, Any]:
    """With what a result was made: versions of the packages, the interpreter and the machine."""
    packages = ("augmix", "torch", "numpy", "numba", "pillow", "opencv-python-headless")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _processor() -> str:
    """The CPU's name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


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
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_npz(path, arrays)


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
