"""What a run leaves behind: frozen records, JSON, atomic writes, provenance.

A run folder holds `config.json`, `model.json` and `weights.safetensors`, `state.pt`, `log.jsonl`,
`tensorboard/` where that package is installed, `results.json`, `outcomes/` (see `outcomes`) and
`report.html`. Every file but the logs is written under a temporary name, flushed to the disk and
then renamed, so a killed process leaves either the old file or the new one.
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

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


class RunError(Exception):
    """What a user can mend: the message says what was expected, what came, and the way out."""


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
        suite: ``clean``, ``c`` or ``attack``.
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
        protocol: How: ``suite`` (list), ``names`` (corruptions), ``severities``, ``sequences``
            (perturbations), ``difficulty``, ``preset``, ``seed``, ``bin_size``,
            ``suite_version``, ``sequence_version``, ``frost_textures``, ``jpeg_quality``,
            ``frames_of``; ``official_c`` and ``official_p`` (sets read from files, else empty)
            with ``fingerprints`` of every cell's files; ``attack_norm``, ``attack_epsilon``,
            ``attack_steps``, ``attack_step_size``, ``attack_restarts``.
        provenance: With what; see `provenance`.
        temperature: None, or ``value``, ``num_images`` it was fitted on, and the mean negative
            log-likelihood of those, ``nll_before`` and ``nll_after``.
        cells: Of ``clean``, ``c`` and ``attack``, in that order.
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


def to_plain(value: Any) -> Any:
    """Dataclasses, paths, tuples and NumPy scalars as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)  # NumPy scalars
    return value if item is None else item()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused, since JSON has none."""
    text = json.dumps(to_plain(value), indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: If the file is missing or is no JSON object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; is {Path(path).parent} a finished run?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not valid JSON ({error}); delete it and run again") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with open_atomic(path) as file:
        file.write(content)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` once the block ends without an error.

    Raises:
        RunError: If the folder is missing, read-only, or the disk is full; the old file stays.
    """
    path = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; the earlier file, if any, is unharmed"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line to a log."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(to_plain(record), allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def load_lines(path: Path) -> list[dict[str, Any]]:
    """Read a log of JSON lines; a last line cut short by a killed process is left out."""
    if not Path(path).exists():
        return []
    records = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
