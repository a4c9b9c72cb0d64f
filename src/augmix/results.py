"""Records of an evaluation: cells, results and provenance.

`results.json` holds sums; `augmix.per_image` has the predictions of every image.
"""

import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Required, TypedDict

import numpy as np
from jaxtyping import Float64

from augmix.errors import RunError, import_library
from augmix.files import (
    load_json,
    load_record,
    to_plain,
    write_json,
)
from augmix.metrics import ece_from_bins, rms_from_bins

DRAWS_FILE = "draws.npz"
RESULTS_FILE = "results.json"
_SCORES = ("confidence", "max_logit", "energy")  # of an `OutlierCell`
RESULTS_SCHEMA = 3  # of results.json and the folder of predictions


ROUNDED = 1 + 1e-6
"""Sums of float32 numbers may exceed their bounds by rounding."""


def require(fits: Any, expected: str) -> None:
    """Refuse a record. Raises a ValueError."""
    if not fits:
        raise ValueError(expected)


def _check_name(name: str) -> None:
    """Refuse a name that cannot be part of a file's name."""
    require(
        bool(name) and not set(name) & set("/\\\0"), f"{name!r} cannot be part of a file's name"
    )


class CellKey(NamedTuple):
    """Identity of a cell: a suite, what is measured in it, and at which severity (0: none)."""

    suite: str
    name: str
    severity: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Predictions binned by confidence: enough for every calibration error.

    Iterating gives the columns as `metrics` takes them: ``metrics.rms_from_bins(*cell.adaptive)``.
    """

    count: list[int]  # predictions in each bin
    confidence_sum: list[float]  # of their largest softmax probabilities
    correct_sum: list[int]  # correct ones

    def __post_init__(self) -> None:
        fits = len(self.count) == len(self.confidence_sum) == len(self.correct_sum)
        require(fits, "count, confidence_sum and correct_sum must be of equal length")
        columns = zip(self.count, self.confidence_sum, self.correct_sum, strict=True)
        fits = all(0 <= total <= n * ROUNDED and 0 <= right <= n for n, total, right in columns)
        require(fits, "confidence_sum and correct_sum must be 0..count in every bin")

    def __iter__(self) -> Iterator[np.ndarray]:
        yield np.array(self.count, np.int64)
        yield np.array(self.confidence_sum, np.float64)
        yield np.array(self.correct_sum, np.int64)

    @classmethod
    def of(cls, columns: Iterable[np.ndarray]) -> "Bins":
        """Make the record of binned predictions from the arrays that `metrics` returns."""
        count, confidence_sum, correct_sum = (column.tolist() for column in columns)
        return cls(count=count, confidence_sum=confidence_sum, correct_sum=correct_sum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """Scores of a cell as in `Cell`, of the softmax of logits divided by the temperature."""

    nll_sum: float
    brier_sum: float
    adaptive: Bins
    equal_width: Bins


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A measured set of images: a corruption at a severity, or the clean or attacked images.

    An attacked image counts by the model's worst answer, to the image itself or to an attacked form
    of it (`attacks.worst_logits`).
    """

    suite: (
        str  # ``clean``, ``c``, ``own`` (a user's corruption), ``c-bar``, ``natural`` or ``attack``
    )
    name: str  # corruption, ``clean``, or the norm of the attack
    severity: int | float  # 1..5; 0 for clean and attacked images, and other photographs
    num_images: int
    num_errors: int  # images whose largest logit is not the label's
    # Of the negative log-likelihoods of the images, natural logarithm, and of the squared distances
    # to the one-hot labels, 0..2 each; None if only predictions and confidences are known
    nll_sum: float | None
    brier_sum: float | None
    adaptive: Bins  # of equally many predictions, for the RMS calibration error
    equal_width: Bins  # 15 of equal width, for reliability diagrams and ECE
    seconds: float
    scaled: Scaled | None = None  # after temperature scaling; None if no temperature was fitted
    measures: dict[str, float] = field(default_factory=dict)  # more numbers; `evaluation.measures`

    def __post_init__(self) -> None:
        _check_name(self.suite)
        _check_name(self.name)
        n, scores = self.num_images, [self, *([self.scaled] if self.scaled else [])]
        require(0 <= self.severity <= 5, "severity must be 0..5")
        require(n >= 1 and 0 <= self.num_errors <= n, "num_errors must be 0..num_images")
        for each in scores:
            nll, brier = each.nll_sum, each.brier_sum
            require(nll is None or nll >= 0, "nll_sum must be at least 0")
            fits = brier is None or 0 <= brier <= 2 * n * ROUNDED
            require(fits, "brier_sum must be 0..2 an image")
            for bins in (each.adaptive, each.equal_width):
                require(sum(bins.count) == n, "bins must hold every image once")

    @property
    def key(self) -> CellKey:
        """Identity of the cell."""
        return CellKey(self.suite, self.name, self.severity)

    @property
    def error(self) -> float:
        """Fraction of the images that are misclassified."""
        return self.num_errors / self.num_images

    @property
    def nll(self) -> float | None:
        """Mean negative log-likelihood, natural logarithm; None if it is not known."""
        return None if self.nll_sum is None else self.nll_sum / self.num_images

    @property
    def brier(self) -> float | None:
        """Mean Brier score, 0..2; None if it is not known."""
        return None if self.brier_sum is None else self.brier_sum / self.num_images


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceCell:
    """A measured perturbation: the sequences of all images (suite ``p``), one each."""

    name: str
    num_images: int
    num_pairs: int  # of frames that were compared, over all images
    num_flips: int  # pairs whose frames were predicted as different classes
    # Over the pairs, 0..15 each; None below five classes, or if only predictions are known
    top5_distance_sum: float | None
    seconds: float

    def __post_init__(self) -> None:
        _check_name(self.name)
        pairs, distance = self.num_pairs, self.top5_distance_sum or 0.0
        require(self.num_images >= 1 and pairs >= 1, "num_images and num_pairs must be above 0")
        require(0 <= self.num_flips <= pairs, "num_flips must be 0..num_pairs")
        require(0 <= distance <= 15 * pairs * ROUNDED, "top5_distance_sum must be 0..15 a pair")

    @property
    def key(self) -> CellKey:
        """Identity of the cell."""
        return CellKey("p", self.name, 0)

    @property
    def flip_probability(self) -> float:
        """Fraction of the compared pairs of frames whose predictions differ."""
        return self.num_flips / self.num_pairs

    @property
    def top5_distance(self) -> float | None:
        """Mean distance of the top five of the compared pairs; None below five classes."""
        return None if self.top5_distance_sum is None else self.top5_distance_sum / self.num_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyCell:
    """Images under single Fourier-basis perturbations of one vertical frequency.

    These are the suite ``fourier``. A frequency and its negative have the same basis image, which
    is measured once: see `fold_frequency`.
    """

    name: str  # ``vertical-3``
    vertical: int  # cycles over the height of the image, from 0 to half of it
    horizontal: list[int]  # cycles over its width, ascending, up to half of it in both directions
    num_images: int
    num_errors: list[int]  # misclassified images at each horizontal frequency
    seconds: float

    def __post_init__(self) -> None:
        _check_name(self.name)
        require(self.vertical >= 0, "vertical must be at least 0")
        require(len(set(self.horizontal)) == len(self.horizontal) > 0, "horizontal must differ")
        require(len(self.num_errors) == len(self.horizontal), "num_errors must be as many")
        fits = self.num_images >= 1 and all(0 <= n <= self.num_images for n in self.num_errors)
        require(fits, "num_errors must be 0..num_images")

    @property
    def key(self) -> CellKey:
        """Identity of the cell."""
        return CellKey("fourier", self.name, 0)

    @property
    def error(self) -> float:
        """Fraction of the images that are misclassified, mean over its frequencies."""
        return sum(self.num_errors) / (self.num_images * len(self.num_errors))


def fold_frequency(vertical: int, horizontal: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the one of all frequencies with the same basis image that is measured.

    Args:
        vertical: Cycles over the height of the image, of either sign.
        horizontal: Cycles over its width.
        size: Height and width of the image in pixels.

    Returns:
        The vertical frequency from 0 to half of the height, and the horizontal one within half of
        the width.

    Example:
        >>> fold_frequency(-3, 5, (32, 32)), fold_frequency(-16, -5, (32, 32))
        ((3, -5), (16, 5))
    """
    height, width = size
    vertical, horizontal = min(
        (vertical % height, horizontal % width), (-vertical % height, -horizontal % width)
    )
    return vertical, horizontal if 2 * horizontal <= width else horizontal - width


class ModelFacts(TypedDict, total=False):
    """The types of what `Results.model` holds."""

    name: str
    num_classes: int | None
    num_parameters: int
    weights_sha256: str
    method: str | None
    seed: int | None
    label: str | None
    members: list["ModelFacts"]
    adaptation: str | None


class SourceFacts(TypedDict, total=False):
    """The types of what `Results.source` holds."""

    name: str
    split: str
    num_images: int
    num_classes: int
    class_names: list[str]
    fingerprint: str
    size: list[int]
    skipped: list[str]
    left_out: dict[str, int]


class ProtocolFacts(TypedDict, total=False):
    """The types of what `Results.protocol` holds."""

    suite: list[str]
    names: list[str]
    severities: list[int | float]
    sequences: list[str]
    difficulty: int
    preset: str | None
    preset_sha256: str
    seed: int
    bin_size: int
    suite_version: str | int
    sequence_version: str | int
    frost_textures: str
    frames_of: str
    own: dict[str, str]
    own_sequences: dict[str, str]
    own_severities: list[int | float]
    bar_names: list[str]
    bar_severities: list[int | float]
    official_c: str
    official_bar: str
    natural: dict[str, str]
    ood: dict[str, str]
    official_p: str
    fingerprints: dict[str, str]
    predictions: str
    attack_norm: str
    attack_epsilon: float
    attack_steps: int
    attack_step_size: float
    attack_restarts: int
    fourier_norm: float
    fourier_size: list[int]
    metrics: list[str]
    conformal_coverage: float


class ProvenanceFacts(TypedDict, total=False):
    """The types of what `Results.provenance` holds."""

    versions: dict[str, str]


class TemperatureFacts(TypedDict):
    """The types of what `Results.temperature` holds."""

    value: float
    num_images: int
    nll_before: float
    nll_after: float


class CalibratorFacts(TypedDict):
    """What `Results.fitted` holds of a function of the confidence."""

    confidence: list[float]
    accuracy: list[float]
    is_step: bool


class VectorFacts(TypedDict):
    """What `Results.fitted` holds of vector scaling."""

    weight: list[float]
    bias: list[float]


class FittedFacts(TypedDict, total=False):
    """The types of what `Results.fitted` holds."""

    num_images: Required[int]
    note: str
    coverage: float
    thresholds: dict[str, float | None]
    vector: VectorFacts | None
    isotonic: CalibratorFacts
    histogram: CalibratorFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierCell:
    """Clean images against images of no class of the model (suite ``ood``).

    Every score is high for images of the model's classes: ``confidence`` (the largest softmax
    probability), ``max_logit`` and ``energy`` (log sum exp of the logits). The latter two are left
    out where the model gives probabilities, of which they say nothing more.
    """

    name: str  # of the images of no class
    num_inside: int  # clean images
    num_images: int  # of no class
    auroc: dict[str, float]  # by score
    fpr95: dict[str, float]  # fraction taken for images of a class where 95 % of those are
    seconds: float

    def __post_init__(self) -> None:
        _check_name(self.name)
        require(min(self.num_inside, self.num_images) >= 1, "there must be images of both kinds")
        names = self.auroc.keys()
        require("confidence" in names, "auroc must have confidence")
        require(
            names <= {*_SCORES}, f"auroc must be of {', '.join(_SCORES)}, got {', '.join(names)}"
        )
        require(names == self.fpr95.keys(), "auroc and fpr95 must be of equal scores")
        values = [*self.auroc.values(), *self.fpr95.values()]
        require(all(0 <= value <= ROUNDED for value in values), "auroc and fpr95 must be 0..1")

    @property
    def key(self) -> CellKey:
        """Identity of the cell."""
        return CellKey("ood", self.name, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An error, or the difference of two, from a growing part of a benchmark; see `decide`.

    A part is some rounds of one image for each cell. Numbers are fractions, and means over cells.
    """

    against: Annotated[dict[str, Any], ModelFacts] | None  # the second model, as `Results.model`
    margin: float  # half the width of the interval that was asked for
    num_cells: int
    num_images: int  # of each cell
    method: str  # that the interval is by
    level: float = 0.95
    num_rounds: int = 0
    errors: list[float] = field(default_factory=list)  # of the model or both, on what was drawn
    std: float = 0.0  # of the error or difference of single images, within cells
    estimate: float = 0.0  # of the error, or of the first model's minus the second's
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        require(self.num_cells >= 1 <= self.num_images, "num_cells and num_images must be above 0")
        require(0 <= self.num_rounds <= self.num_images, "num_rounds must be 0..num_images")
        require(self.low <= self.estimate <= self.high, "estimate must be within low and high")

    @property
    def num_passes(self) -> int:
        """Images that each model was shown."""
        return self.num_cells * self.num_rounds

    @property
    def fraction(self) -> float:
        """Part of all images of all cells that was shown."""
        return self.num_rounds / self.num_images


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Results:
    """Content of `results.json`: the cells measured so far and how they were measured.

    Attributes:
        model: The model: ``name``, ``num_classes``, ``num_parameters``, ``weights_sha256``,
            ``preprocessing`` (fields of `Preprocessing`; None if it has none, a list for several),
            ``outputs`` (its logits for a few of the images, summed up); for a run its ``method``,
            ``seed`` and ``label``; ``members`` of an ensemble (a list of such facts);
            ``adaptation``, e.g. ``"batch norm, prior 16"``, or empty.
        source: The images: ``name``, ``split``, ``num_images``, ``num_classes``, ``class_names``,
            ``fingerprint``, ``size``, ``geometry`` (resizing and crop; empty for images as stored);
            where there are any, ``skipped`` (a line for each broken image) and ``left_out`` (the
            number of other files by the reason).
        protocol: The settings that decide the numbers: ``suite`` (list), ``names`` (corruptions),
            ``severities``, ``sequences`` (perturbations), ``difficulty``, ``preset`` (one of a file
            has a ``preset_sha256``), ``seed``, ``bin_size``, ``suite_version``,
            ``sequence_version``, ``frost_textures``,
            ``jpeg_quality``, ``frames_of``; ``own`` (the user's corruptions, each with the sha256
            of its code), ``own_severities`` and ``own_jpeg_quality``; ``bar_names``,
            ``bar_severities``, ``bar_version`` and ``bar_jpeg_quality`` of suite ``c-bar``;
            ``natural`` (fingerprints of the sets of natural shift), ``ood`` (of images of no
            class);
            ``official_c``, ``official_bar`` and ``official_p`` (sets read from files, else empty)
            with ``fingerprints`` of every cell's files; ``attack_norm``, ``attack_epsilon``,
            ``attack_steps``, ``attack_step_size``, ``attack_restarts``; ``fourier_norm`` and
            ``fourier_size`` (rows and columns of the map); ``metrics`` (groups of more measures)
            and ``conformal_coverage``; ``predictions`` (of another program:
            what its file holds).
        provenance: Versions and machine; see `provenance`.
        temperature: None, or ``value``, ``num_images`` it was fitted on, and the mean negative
            log-likelihood of those, ``nll_before`` and ``nll_after``.
        fitted: None, or what was fitted on the same images for ``--metrics``: the ``thresholds`` of
            prediction sets by method (None: every class) and their ``coverage``; the calibrators
            ``vector``, ``isotonic`` and ``histogram``; a ``note`` of what could not be fitted.
        cells: Cells of images, suite by suite.
        sequences: Cells of sequences, in the order measured.
        frequencies: Cells of Fourier-basis perturbations, from the lowest vertical frequency on.
        outliers: Cells of images of no class, set by set.
        decision: What a part of the images has shown, instead of cells; None if all were measured.
    """

    model: Annotated[dict[str, Any], ModelFacts]
    source: Annotated[dict[str, Any], SourceFacts]
    protocol: Annotated[dict[str, Any], ProtocolFacts]
    provenance: Annotated[dict[str, Any], ProvenanceFacts] = field(default_factory=dict)
    temperature: Annotated[dict[str, Any], TemperatureFacts] | None = None
    fitted: Annotated[dict[str, Any], FittedFacts] | None = None
    cells: tuple[Cell, ...] = ()
    sequences: tuple[SequenceCell, ...] = ()
    frequencies: tuple[FrequencyCell, ...] = ()
    outliers: tuple[OutlierCell, ...] = ()
    decision: Decision | None = None

    @property
    def measured(self) -> tuple[Cell | SequenceCell | FrequencyCell | OutlierCell, ...]:
        """All cells."""
        return (*self.cells, *self.sequences, *self.frequencies, *self.outliers)

    @property
    def num_images(self) -> int:
        """Images of the largest cell, other photographs left out; 0 if nothing is measured."""
        others = ("natural", "ood")
        cells = [cell for cell in self.measured if cell.key.suite not in others] or self.measured
        return max([cell.num_images for cell in cells], default=0)

    @property
    def fourier_map(self) -> Float64[np.ndarray, "row column"] | None:
        """The error at each frequency, the lowest in the middle; None without suite ``fourier``.

        The entry of row r and column c of a map of R x C is the fraction of the images that are
        misclassified at r - R // 2 cycles over the height and c - C // 2 over the width; NaN where
        it was not measured yet.
        """
        if not self.frequencies:
            return None
        errors = {
            (cell.vertical, horizontal): num_errors / cell.num_images
            for cell in self.frequencies
            for horizontal, num_errors in zip(cell.horizontal, cell.num_errors, strict=True)
        }
        rows, columns = self.protocol["fourier_size"]
        height, width = self.source["size"]
        found = np.full((rows, columns), np.nan)
        for row, column in np.ndindex(rows, columns):
            frequency = row - rows // 2, column - columns // 2
            found[row, column] = errors.get(fold_frequency(*frequency, (height, width)), np.nan)
        return found

    def summary(self) -> dict[str, float]:
        """Average what was measured: the numbers at the head of a report, as fractions.

        Corrupted values are means over the cells of all corruptions that were measured at every
        severity (Hendrycks et al. 2020), those of C-bar in a mean of their own; the user's own
        corruptions are in no mean.

        Returns:
            Those measured of ``clean_error``, ``corruption_error``, ``bar_error`` (over the
            cells of C-bar), ``flip_probability``, ``robust_error``, ``fourier_error``,
            ``rms_calibration_error_clean`` and ``rms_calibration_error`` (of the corrupted
            images).
        """
        corrupted = [cell for cell in self.cells if cell.suite == "c"]
        levels = {cell.severity for cell in corrupted}
        measured = {
            cell.name: {c.severity for c in corrupted if c.name == cell.name} for cell in corrupted
        }
        corrupted = [cell for cell in corrupted if measured[cell.name] == levels]
        clean = [cell for cell in self.cells if cell.suite == "clean"]
        own = self.protocol.get("own_sequences") or ()
        perturbed = [cell for cell in self.sequences if cell.name not in own]
        attacked = [cell for cell in self.cells if cell.suite == "attack"]
        frequencies = self.fourier_map
        values = {
            "clean_error": [cell.error for cell in clean],
            "corruption_error": [cell.error for cell in corrupted],
            "bar_error": [cell.error for cell in self.cells if cell.suite == "c-bar"],
            "rms_calibration_error_clean": [rms_from_bins(*cell.adaptive) for cell in clean],
            "rms_calibration_error": [rms_from_bins(*cell.adaptive) for cell in corrupted],
            "flip_probability": [cell.flip_probability for cell in perturbed],
            "robust_error": [cell.error for cell in attacked],
        }
        found = {name: float(np.mean(each)) for name, each in values.items() if each}
        if frequencies is not None and not np.isnan(frequencies).any():
            errors = [n / cell.num_images for cell in self.frequencies for n in cell.num_errors]
            found["fourier_error"] = float(np.mean(errors))
        return found

    def __repr__(self) -> str:
        numbers = (f"{name} {value:.4f}" for name, value in self.summary().items())
        label = self.model.get("label") or self.model.get("name") or "model"
        source = self.source.get("name") or "images"
        about = f"{label} on {self.num_images} of {source}, {len(self.measured)} cells"
        return f"<Results of {', '.join([about, *numbers])}>"

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` of all measured cells, a row each, errors as fractions.

        Raises:
            RunError: If pandas is not installed.
        """
        pandas = import_library("pandas", "results.to_pandas()", "pandas")
        rows = []
        for cell in self.measured:
            row: dict[str, Any] = {**cell.key._asdict(), "num_images": cell.num_images}
            if isinstance(cell, SequenceCell):
                row |= {"flip_probability": cell.flip_probability}
                row |= {"top5_distance": cell.top5_distance}
            elif isinstance(cell, OutlierCell):
                row |= {f"auroc_{name}": value for name, value in cell.auroc.items()}
                row |= {f"fpr95_{name}": value for name, value in cell.fpr95.items()}
            else:
                row["error"] = cell.error
            if isinstance(cell, Cell):
                row |= {
                    "nll": cell.nll,
                    "brier": cell.brier,
                    "ece": ece_from_bins(*cell.equal_width),
                }
                row["rms_calibration_error"] = rms_from_bins(*cell.adaptive)
                row |= cell.measures
            rows.append({**row, "seconds": cell.seconds})
        return pandas.DataFrame(rows)

    def find(self, suite: str, name: str, severity: int | float) -> Cell | None:
        """Return the cell, or None if it was not measured yet."""
        key = (suite, name, severity)
        return next((cell for cell in self.cells if cell.key == key), None)

    def find_sequence(self, name: str) -> SequenceCell | None:
        """Return the perturbation's cell, or None if it was not measured yet."""
        return next((cell for cell in self.sequences if cell.name == name), None)


def write_results(path: Path, results: Results) -> None:
    """Write `results.json` atomically."""
    write_json(path, {"schema": RESULTS_SCHEMA, **to_plain(results)})


def load_results(path: Path) -> Results:
    """Load `results.json`; a missing or damaged file, or one of another schema, is a `RunError`."""
    plain = load_json(path)
    schema = plain.pop("schema", None)
    if schema != RESULTS_SCHEMA:
        raise RunError(
            f"{path} must be a results file of schema {RESULTS_SCHEMA}, got {schema!r}; it was "
            "measured by another version of augmix: delete it and evaluate again"
        )
    results = load_record(path, Results, plain)
    keys = [cell.key for cell in results.measured]
    num_classes, names = map(results.source.get, ("num_classes", "class_names"))
    try:
        require(len(set(keys)) == len(keys), "a cell is in it twice")
        require(num_classes is None or num_classes >= 1, "source.num_classes must be at least 1")
        if results.frequencies:
            edges = [results.protocol.get("fourier_size"), results.source.get("size")]
            fits = all(isinstance(each, list) and len(each) == 2 for each in edges)
            fits = fits and all(1 <= num <= edge <= 2**16 for num, edge in zip(*edges, strict=True))
            require(fits, "protocol.fourier_size must be within source.size")
        if names:
            require(len(names) == num_classes, "source.class_names must name every class")
    except ValueError as error:
        raise RunError(f"{path}: {error}; delete it and evaluate again") from error
    return results


def find_temperature(folder: Path) -> float | None:
    """Return the temperature that was fitted for a run, or None."""
    path = folder / RESULTS_FILE
    found = load_results(path).temperature if path.is_file() else None
    return float(found["value"]) if found else None


def provenance() -> dict[str, Any]:
    """Return the versions of the packages and of the interpreter, the machine and the command."""
    versions = {}
    for package in ("augmix", "torch", "numpy", "numba", "pillow", "opencv-python-headless"):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _processor() -> str:
    """The CPU's name, as far as the system gives one."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
