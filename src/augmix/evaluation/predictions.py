"""Results from predictions that another program made: files of rows, one an image of a cell.

| column | holds |
| --- | --- |
| ``id`` | the image, the same under every corruption |
| ``label`` | its class, 0 .. classes - 1 |
| ``suite`` | ``clean``, ``c``, ``c-bar``, ``own`` (corruptions outside them) or ``p`` (frames) |
| ``corruption``, ``severity`` | as in `results.CellKey`; not looked at for ``clean`` |
| ``frame`` | position in its sequence, from 0; only for ``p`` |
| the answer | ``logits``, ``probabilities``, or ``prediction`` and ``confidence`` |

Logits and probabilities are an array or list column of that name, or columns ``logit_0``,
``logit_1`` ... (``probability_0`` ...). Rows are in any order. A CSV or parquet file is read some
thousand rows at a time, and only the scores of each row are kept.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from augmix import metrics
from augmix.corruptions import registry
from augmix.corruptions.presets import describe_preset, open_preset
from augmix.corruptions.registry import AnyPreset
from augmix.data.sources import Source
from augmix.errors import ResumeError, RunError, did_you_mean, first_line, import_library
from augmix.evaluation.loop import (
    describe_source,
    keep_sequence_predictions,
    make_cell,
    make_sequence_cell,
    score_sequences,
)
from augmix.evaluation.store import AnyCell, Measured, check_folder, write_hardest
from augmix.evaluation.suites import CLEAN
from augmix.files import hash_file, hold_folder, load_npz, make_folder
from augmix.metrics import ImageScores, image_scores, top_classes
from augmix.metrics.scores import SUM_TOLERANCE, are_probabilities
from augmix.results import (
    HARDEST_FILE,
    RESULTS_FILE,
    Cell,
    CellKey,
    MeasuredImages,
    Predictions,
    Results,
    SequenceCell,
    images_path,
    load_results,
    predictions_path,
    provenance,
    to_classes,
    write_predictions,
    write_results,
)

FORMS = (".npz", ".parquet", ".csv")
_SUITES = ("clean", "c", "c-bar", "own", "p")
_KEYS = ("id", "label", "suite", "corruption", "severity", "frame")
_ANSWERS = {"logits": "logit", "probabilities": "probability"}  # and the names of single columns
_MAX_NAMED = 12  # columns in a message
_ROWS = 4096  # read at a time
_LEAST = float(np.finfo(np.float32).tiny)  # probabilities below count as it

Columns = Mapping[str, np.ndarray]


def evaluate_predictions(
    predictions: Path | str | Columns,
    source: Source | None = None,
    *,
    name: str | None = None,
    bin_size: int = 100,
    difficulty: int = 1,
    preset: AnyPreset | None = None,
    out: Path | str | None = None,
) -> Results:
    """Compute the results of a model from its predictions, wherever they were made.

    The numbers are those of `evaluate` for a model that gives the same logits. Without logits or
    probabilities there is no likelihood, Brier score or top-5 distance.

    Args:
        predictions: A ``.npz``, ``.parquet`` or ``.csv`` file, or its columns as arrays; see the
            table of this module. With a source they need no labels.
        source: The clean images, for the names of the classes and the pictures of a report; ids are
            positions in it.
        name: Name in tables and reports; by default the file's.
        bin_size: Predictions in a bin of the RMS calibration error.
        difficulty: How far apart compared frames of sequences are, 1..3, except for noise.
        preset: Severity table that the images were made with, for the record: runs of another one
            are then not compared with these. Of a file, name and checksum are kept.
        out: Folder of the results. One of other models is refused.

    Raises:
        RunError: If the file is missing or damaged, a row is missing, twice, or makes no sense, or
            ``out`` is a run folder.
        ResumeError: If ``out`` holds results that are not of this file.

    Example:
        >>> rows = {"id": np.arange(4), "label": np.array([0, 1, 1, 0]), "suite": ["clean"] * 4}
        >>> answer = {"prediction": np.array([0, 1, 0, 0]), "confidence": np.full(4, 0.8)}
        >>> results = evaluate_predictions({**rows, **answer}, bin_size=4)
        >>> results.cells[0].num_errors
        1
    """
    file = None if isinstance(predictions, Mapping) else Path(predictions).expanduser()
    where = "the predictions" if file is None else str(file)
    parts = [_score(chunk, where, source) for chunk in _read(predictions)]
    if not sum(len(part.id) for part in parts):
        raise RunError(f"{where} has no row")
    rows = _join(parts, where)
    images = _find_images(rows, where)
    num_classes = _count_classes(rows, source, where)
    measured = [
        _measure(
            key,
            rows.take(index),
            images,
            where=where,
            num_classes=num_classes,
            bin_size=bin_size,
            difficulty=difficulty,
        )
        for key, index in rows.by_cell().items()
    ]
    measured.sort(key=lambda each: _SUITES.index(each.cell.key.suite))  # keeps the file's order
    cells: list[AnyCell] = [each.cell for each in measured]
    protocol = _describe_protocol(cells, rows, bin_size=bin_size, difficulty=difficulty)
    title = file.name if file else "predictions"
    results = Results(
        model={
            "name": title,
            "num_classes": num_classes,
            "weights_sha256": hash_file(file) if file else _hash(rows),
            "preprocessing": None,
            "adaptation": "",
            "method": "",
            "seed": None,
            "label": name or (file.stem if file else title),
        },
        source=_describe_source(source, images, num_classes, title),
        protocol=protocol | (describe_preset(open_preset(preset)) if preset else {}),
        provenance=provenance(),
        cells=tuple(cell for cell in cells if isinstance(cell, Cell)),
        sequences=tuple(cell for cell in cells if isinstance(cell, SequenceCell)),
    )
    if out is not None:
        _write(Path(out), results, measured, images, source)
    return results


# --- reading


def _read(predictions: Path | str | Columns) -> Iterator[dict[str, np.ndarray]]:
    """Read the columns of some rows at a time."""
    if isinstance(predictions, Mapping):
        yield _check_lengths({name: np.asarray(each) for name, each in predictions.items()})
        return
    path = Path(predictions).expanduser()
    if path.suffix.lower() not in FORMS:
        raise RunError(f"predictions must be a file {', '.join(FORMS)}, got {path}")
    if not path.is_file():
        raise RunError(f"{path} does not exist; expected a file of predictions")
    if path.suffix.lower() == ".npz":
        yield _check_lengths(load_npz(path), f"{path}: ")
    elif path.suffix.lower() == ".csv":
        yield from _read_csv(path)
    else:
        yield from _read_parquet(path)


def _check_lengths(columns: dict[str, np.ndarray], where: str = "") -> dict[str, np.ndarray]:
    counts = {name: len(each) if each.ndim else 0 for name, each in columns.items()}
    if len(set(counts.values())) > 1:
        raise RunError(f"{where}expected columns of equal length, got {counts}")
    return columns


def _read_csv(path: Path) -> Iterator[dict[str, np.ndarray]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            names = [name.strip() for name in next(lines, [])]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise RunError(f"{path} has the column {twice!r} twice")
            rows: list[list[str]] = []
            for row in lines:
                if not row:
                    continue
                if len(row) != len(names):
                    raise RunError(
                        f"{path}, line {lines.line_num}: expected {len(names)} cells as in the "
                        f"first line, got {len(row)}"
                    )
                rows.append(row)
                if len(rows) == _ROWS:
                    yield _text_columns(names, rows)
                    rows = []
            yield _text_columns(names, rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {first_line(error)}; expected CSV in UTF-8") from error


def _text_columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    cells = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: np.array(column, np.str_) for name, column in zip(names, cells, strict=True)}


def _read_parquet(path: Path) -> Iterator[dict[str, np.ndarray]]:
    pyarrow = import_library("pyarrow", "reading parquet", "augmix[parquet]")
    parquet = import_library("pyarrow.parquet", "reading parquet", "augmix[parquet]")
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield {
                    name: _from_arrow(column, f"{path}: column {name!r}")
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }
    except (pyarrow.ArrowException, OSError) as error:
        raise RunError(f"cannot read {path}: {first_line(error)}") from error


def _from_arrow(column: Any, where: str) -> np.ndarray:
    if column.null_count:
        if column.null_count < len(column):
            raise RunError(f"{where} has empty cells; fill in every row")
        return np.full(len(column), "")
    if not hasattr(column, "flatten") or not hasattr(column.type, "value_type"):
        return column.to_numpy(zero_copy_only=False)
    lengths = set(column.value_lengths().to_pylist())
    if len(lengths) > 1:
        raise RunError(f"{where} must have as many numbers in every row, got {sorted(lengths)}")
    values = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1) if len(column) else values.reshape(0, 0)


# --- checking and scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """What is kept of rows: where each belongs, and its scores."""

    id: Int64[np.ndarray, " row"]
    label: Int64[np.ndarray, " row"]
    cell: Int64[np.ndarray, " row"]  # position in keys
    frame: Int64[np.ndarray, " row"]
    top: Int64[np.ndarray, "row rank"]  # the most probable classes, or only the first
    scores: ImageScores
    keys: tuple[CellKey, ...]
    num_classes: int  # of logits or probabilities; 0 if there are none

    def take(self, index: np.ndarray) -> "_Rows":
        """Select rows."""
        names = ("id", "label", "cell", "frame", "top")
        chosen: dict[str, Any] = {name: getattr(self, name)[index] for name in names}
        return replace(self, **chosen, scores=_map_scores(self.scores, lambda each: each[index]))

    def by_cell(self) -> dict[CellKey, Int64[np.ndarray, " row"]]:
        """The rows of every cell, by image and frame."""
        order = np.lexsort((self.frame, self.id, self.cell))
        ends = np.searchsorted(self.cell[order], np.arange(1, len(self.keys)))
        return dict(zip(self.keys, np.split(order, ends), strict=True))


def _map_scores(scores: ImageScores, change: Callable[[np.ndarray], np.ndarray]) -> ImageScores:
    return ImageScores(**{e.name: change(getattr(scores, e.name)) for e in fields(scores)})


def _score(columns: Columns, where: str, source: Source | None) -> _Rows:
    """Check some rows and reduce them to their scores."""
    missing = [name for name in ("id", "suite") if name not in columns]
    missing += ["label"] if "label" not in columns and source is None else []
    if missing:
        near = did_you_mean(missing[0], columns)
        raise RunError(
            f"{where} has no column {missing[0]!r}{near}; expected {', '.join(_KEYS)} and logits, "
            f"probabilities, or prediction and confidence; got {_some(columns)}"
        )
    ids = _integers(columns, "id", where)
    keys, cells = _cell_keys(columns, where)
    is_sequence = np.array([key.suite == "p" for key in keys], bool)[cells]
    frames = np.zeros(len(ids), np.int64)
    if is_sequence.any():
        if "frame" not in columns:
            raise RunError(f"{where} has rows of suite 'p' but no column 'frame'")
        chosen = {"frame": np.asarray(columns["frame"])[is_sequence]}
        frames[is_sequence] = _integers(chosen, "frame", where)
    if source is not None and len(ids) and ids.max() >= len(source):
        raise RunError(f"{where} has id {ids.max()}, but {source.name} has {len(source)} images")
    if "label" in columns:
        labels = _integers(columns, "label", where)
        if source is not None and (labels != source.labels[ids]).any():
            row = int((labels != source.labels[ids]).argmax())
            raise RunError(
                f"{where}: image {ids[row]} has label {labels[row]}, in {source.name} it is "
                f"{source.labels[ids[row]]}; are the ids positions in those images?"
            )
    else:
        assert source is not None  # checked above
        labels = source.labels[ids]
    logits = _find_logits(columns, where)
    if logits is None:
        scores, top, num_classes = _score_answers(columns, labels, where)
    else:
        num_classes = logits.shape[1]
        if len(labels) and labels.max() >= num_classes:
            raise RunError(f"{where} has label {labels.max()}, but {num_classes} logits a row")
        scores = image_scores(logits, labels)
        top = top_classes(logits) if is_sequence.any() else scores.prediction[:, None]
    return _Rows(
        id=ids,
        label=labels,
        cell=cells,
        frame=frames,
        top=top,
        scores=scores,
        keys=tuple(keys),
        num_classes=num_classes,
    )


def _some(names: Iterable[str]) -> str:
    """The first of many names."""
    found = [*names]
    more = len(found) - _MAX_NAMED
    return ", ".join(found[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _integers(columns: Columns, name: str, where: str) -> Int64[np.ndarray, " row"]:
    """A column of whole numbers of at least 0."""
    values = _numbers(columns, name, where)
    is_wrong = (values != np.floor(values)) | (values < 0) | (values > 2**53)
    if is_wrong.any():
        got = values[is_wrong.argmax()]
        raise RunError(f"{where}: {name} must be whole numbers of at least 0, got {got:g}")
    return values.astype(np.int64)


def _numbers(columns: Columns, name: str, where: str) -> Float64[np.ndarray, " row"]:
    values = np.asarray(columns[name])
    if values.ndim != 1:
        raise RunError(f"{where}: {name} must be one number a row, got shape {values.shape}")
    try:
        wide = values.astype(np.float64)
    except (ValueError, TypeError):
        text = next(each for each in values.astype(str).tolist() if not _is_number(each))
        way_out = "; fill in every row" if not text.strip() else ""
        raise RunError(f"{where}: {name} must be numbers, got {text!r}{way_out}") from None
    if not np.isfinite(wide).all():
        got = wide[~np.isfinite(wide)][0]
        raise RunError(f"{where}: {name} must be finite numbers, got {got}; fill in every row")
    return wide


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cell_keys(columns: Columns, where: str) -> tuple[list[CellKey], Int64[np.ndarray, " row"]]:
    """The cells of some rows in their order, and the position in them of every row's."""
    suites = np.asarray(columns["suite"]).astype(str)
    names = np.asarray(columns.get("corruption", np.full(len(suites), ""))).astype(str)
    levels = np.asarray(columns.get("severity", np.full(len(suites), ""))).astype(str)
    found: dict[tuple[str, str, str], int] = {}
    texts = zip(suites.tolist(), names.tolist(), levels.tolist(), strict=True)
    positions = np.array([found.setdefault(text, len(found)) for text in texts], np.int64)
    keys = [_cell_key(*text, where) for text in found]
    unique = list(dict.fromkeys(keys))
    again = np.array([unique.index(key) for key in keys], np.int64)
    return unique, again[positions] if len(positions) else positions


def _cell_key(suite: str, name: str, severity: str, where: str) -> CellKey:
    suite, name, severity = suite.strip(), name.strip(), severity.strip()
    if suite not in _SUITES:
        near = did_you_mean(suite, _SUITES)
        raise RunError(f"{where}: suite must be of {', '.join(_SUITES)}, got {suite!r}{near}")
    if suite == "clean":
        return CLEAN
    of_suite = {key for key, each in registry.CORRUPTIONS.items() if each.suite == suite}
    known = {"own": {name}, "p": registry.SEQUENCES}.get(suite, of_suite)
    if name not in known:
        what = registry.SEQUENCES.what if suite == "p" else registry.CORRUPTIONS.what
        other = "" if suite == "p" else "; corruptions outside the benchmarks are of suite 'own'"
        near = did_you_mean(name, known)
        raise RunError(f"{where}: unknown {what} {name!r} of suite {suite!r}{near}{other}")
    if suite == "p":
        return CellKey(suite, name, 0)
    if not name or set(name) & set("/\\\0"):
        raise RunError(f"{where}: {name!r} cannot be the name of a corruption")
    if not (_is_number(severity) and 1 <= float(severity) <= registry.SEVERITIES[-1]):
        raise RunError(f"{where}: severity of {name} must be 1..5, got {severity!r}")
    return CellKey(suite, name, registry.check_severity(float(severity)))


def _find_logits(columns: Columns, where: str) -> Float64[np.ndarray, "row class"] | None:
    """The logits, or the logarithms of the probabilities; None if there are neither."""
    found = {kind: _answer(columns, kind, one, where) for kind, one in _ANSWERS.items()}
    given = {kind: values for kind, values in found.items() if values is not None}
    if not given:
        return None
    if len(given) > 1:
        raise RunError(f"{where} has both logits and probabilities; expected one of them")
    ((kind, values),) = given.items()
    if values.shape[1] < 2:
        raise RunError(f"{where}: {kind} must have a column for every class, got {values.shape[1]}")
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values).all(axis=1)).argmax())
        image = np.asarray(columns["id"])[row]
        raise RunError(f"{where}: {kind} must be finite, got another number for image {image}")
    if kind == "logits":
        return values
    is_wrong = ~are_probabilities(values, tolerance=SUM_TOLERANCE[1])
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise RunError(
            f"{where}: probabilities must be in [0, 1] and sum to 1, got values from "
            f"{values[row].min():.4g} to {values[row].max():.4g} with sum {values[row].sum():.4g}; "
            "name logits 'logits'"
        )
    return np.log(np.maximum(values, _LEAST))


def _answer(columns: Columns, kind: str, one: str, where: str) -> np.ndarray | None:
    """Logits or probabilities of a column of rows, or of one column for each class."""
    if kind in columns:
        values = np.asarray(columns[kind])
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise RunError(
                f"{where}: {kind} must be numbers [row class], got {values.dtype} of shape "
                f"{values.shape}; a CSV file has columns {one}_0, {one}_1, ..."
            )
        return values.astype(np.float64)
    numbers = [int(m[1]) for name in columns if (m := re.fullmatch(rf"{one}_(\d+)", name))]
    if not numbers:
        return None
    absent = sorted({*range(max(numbers) + 1)} - {*numbers})
    if absent:
        raise RunError(f"{where} has {one}_{max(numbers)}, but no column {one}_{absent[0]}")
    names = [f"{one}_{number}" for number in range(max(numbers) + 1)]
    return np.stack([_numbers(columns, name, where) for name in names], axis=1)


def _score_answers(
    columns: Columns, labels: Int64[np.ndarray, " row"], where: str
) -> tuple[ImageScores, Int64[np.ndarray, "row rank"], int]:
    """Scores of predictions and confidences alone; likelihoods and Brier scores are NaN."""
    missing = [name for name in ("prediction", "confidence") if name not in columns]
    if missing:
        raise RunError(
            f"{where} has no answers: expected logits, probabilities, or prediction and "
            f"confidence; got {_some(columns)}"
        )
    prediction = _integers(columns, "prediction", where)
    confidence = _numbers(columns, "confidence", where)
    is_wrong = (confidence < 0) | (confidence > 1 + 1e-5)
    if is_wrong.any():
        got = confidence[is_wrong.argmax()]
        raise RunError(f"{where}: confidence must be in [0, 1], got {got:g}")
    unknown = np.full(len(labels), np.nan)
    scores = ImageScores(
        prediction=prediction,
        confidence=np.minimum(confidence, 1.0),
        correct=prediction == labels,
        nll=unknown,
        brier=unknown,
    )
    return scores, prediction[:, None], 0


def _join(parts: Sequence[_Rows], where: str) -> _Rows:
    """Join the rows that were read one after the other."""
    parts = [part for part in parts if len(part.id)]
    keys = list(dict.fromkeys(key for part in parts for key in part.keys))
    cells = [np.array([keys.index(key) for key in p.keys], np.int64)[p.cell] for p in parts]
    widths = {part.num_classes for part in parts}
    if len(widths) > 1:
        raise RunError(f"{where} has rows of {sorted(widths)} classes; expected one number")
    num_ranks = max(part.top.shape[1] for part in parts)  # rows without sequences have only one
    tops = [np.pad(p.top, ((0, 0), (0, num_ranks - p.top.shape[1]))) for p in parts]
    columns = {
        entry.name: np.concatenate([getattr(part.scores, entry.name) for part in parts])
        for entry in fields(ImageScores)
    }
    return _Rows(
        id=np.concatenate([part.id for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        cell=np.concatenate(cells),
        frame=np.concatenate([part.frame for part in parts]),
        top=np.concatenate(tops),
        scores=ImageScores(**columns),
        keys=tuple(keys),
        num_classes=widths.pop(),
    )


def _find_images(rows: _Rows, where: str) -> MeasuredImages:
    """The images of all rows, by id; one with two labels is refused."""
    ids, first = np.unique(rows.id, return_index=True)
    labels = rows.label[first]
    own = labels[np.searchsorted(ids, rows.id)]
    if (own != rows.label).any():
        row = int((own != rows.label).argmax())
        both = f"{own[row]} and {rows.label[row]}"
        raise RunError(f"{where}: image {rows.id[row]} has the labels {both}; expected one")
    return MeasuredImages(ids=ids, labels=labels)


def _count_classes(rows: _Rows, source: Source | None, where: str) -> int:
    num_classes = rows.num_classes or (source.num_classes if source is not None else 0)
    if source is not None and num_classes != source.num_classes:
        raise RunError(
            f"{where} has {num_classes} classes, {source.name} has {source.num_classes}; give the "
            "answers of the classes of the images, in their order"
        )
    largest = int(max(rows.label.max(), rows.scores.prediction.max()))
    if num_classes and largest >= num_classes:
        raise RunError(f"{where} has class {largest}, expected 0..{num_classes - 1}")
    return num_classes or largest + 1


# --- results


def _measure(
    key: CellKey,
    rows: _Rows,
    images: MeasuredImages,
    *,
    where: str,
    num_classes: int,
    bin_size: int,
    difficulty: int,
) -> Measured:
    """Make a cell from its rows, which are in the order of images and frames."""
    title = f"{key.name} {key.severity}" if key.severity else key.name
    num_frames = int(rows.frame.max()) + 1
    expected = np.repeat(images.ids, num_frames)
    frames = np.tile(np.arange(num_frames), len(images.ids))
    if len(rows.id) != len(expected) or (rows.id != expected).any() or (rows.frame != frames).any():
        _refuse_gaps(rows, expected, frames, f"{where}, {title}", has_frames=key.suite == "p")
    if key.suite != "p":
        cell = make_cell(key, rows.scores, bin_size=bin_size, seconds=0.0)
        kept = Predictions(
            prediction=to_classes(rows.scores.prediction, num_classes),
            confidence=rows.scores.confidence.astype(np.float32),
        )
        return Measured(cell=cell, predictions=kept, wait_s=0.0)
    how = {"is_noise": registry.SEQUENCES[key.name].is_noise, "difficulty": difficulty}
    if num_frames < 2 or metrics.num_pairs(num_frames, **how) < 1:
        raise RunError(f"{where}, {title}: sequences must have more frames, got {num_frames}")
    top = rows.top.reshape(len(images.ids), num_frames, -1)
    scores = score_sequences(top, **how)
    sizes = {"num_pairs": metrics.num_pairs(num_frames, **how), "num_classes": num_classes}
    cell = make_sequence_cell(key.name, scores, **sizes, seconds=0.0)
    if not rows.num_classes:  # no second to fifth class
        cell = replace(cell, top5_distance_sum=None)
    return Measured(cell=cell, predictions=keep_sequence_predictions(scores, **sizes), wait_s=0.0)


def _refuse_gaps(
    rows: _Rows, ids: np.ndarray, frames: np.ndarray, where: str, *, has_frames: bool
) -> None:
    found = list(zip(rows.id.tolist(), rows.frame.tolist(), strict=True))
    wanted = list(zip(ids.tolist(), frames.tolist(), strict=True))
    missing = sorted({*wanted} - {*found})
    if missing:
        image, frame = missing[0]
        which = f"frame {frame} of image {image}" if has_frames else f"image {image}"
        raise RunError(
            f"{where}: {len(missing)} of {len(wanted)} rows are missing, first that of {which}; "
            "every cell must have all images"
        )
    image, frame = next(a for a, b in pairwise(found) if a == b)
    which = f"frame {frame} of image {image}" if has_frames else f"image {image}"
    raise RunError(f"{where}: {which} has more than one row")


def _describe_source(
    source: Source | None, images: MeasuredImages, num_classes: int, title: str
) -> dict[str, Any]:
    if source is not None:
        return describe_source(source, len(images.ids))
    content = images.ids.astype("<i8").tobytes() + images.labels.astype("<i8").tobytes()
    return {
        "name": title,
        "split": "",
        "num_images": len(images.ids),
        "num_classes": num_classes,
        "fingerprint": hashlib.sha256(content).hexdigest(),
    }


def _describe_protocol(
    cells: Iterable[AnyCell], rows: _Rows, *, bin_size: int, difficulty: int
) -> dict[str, Any]:
    keys = [cell.key for cell in cells]
    found: dict[str, Any] = {"suite": list(dict.fromkeys(key.suite for key in keys))}
    for suite, prefix in (("c", ""), ("c-bar", "bar_")):
        if suite in found["suite"]:
            of_suite = [key for key in keys if key.suite == suite]
            found[f"{prefix}names"] = list(dict.fromkeys(key.name for key in of_suite))
            found[f"{prefix}severities"] = sorted({key.severity for key in of_suite})
    if "own" in found["suite"]:
        found["own"] = {key.name: "" for key in keys if key.suite == "own"}
        found["own_severities"] = sorted({key.severity for key in keys if key.suite == "own"})
    if "p" in found["suite"]:
        found["sequences"] = [key.name for key in keys if key.suite == "p"]
        found["difficulty"] = difficulty
    answers = "logits or probabilities" if rows.num_classes else "predictions and confidences"
    return {**found, "bin_size": bin_size, "predictions": f"from a file, {answers}"}


def _hash(rows: _Rows) -> str:
    digest = hashlib.sha256(repr(rows.keys).encode())
    for values in (rows.id, rows.cell, rows.scores.prediction, rows.scores.confidence):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _write(
    folder: Path,
    results: Results,
    measured: Sequence[Measured],
    images: MeasuredImages,
    source: Source | None,
) -> None:
    check_folder(folder)
    make_folder(folder)
    with hold_folder(folder):
        path = folder / RESULTS_FILE
        if path.exists():
            found = load_results(path)
            is_ours = "predictions" in found.protocol
            if not is_ours or found.model.get("name") != results.model["name"]:
                raise ResumeError(
                    f"{path} holds results of {found.model.get('name')!r}, these are of "
                    f"{results.model['name']!r}; evaluate into another --out"
                )
            path.unlink()  # what follows belongs to the new results
        write_predictions(images_path(folder), images)
        for each in measured:
            write_predictions(predictions_path(folder, *each.cell.key), each.predictions)
        write_results(path, results)
        (folder / HARDEST_FILE).unlink(missing_ok=True)
        if source is not None:
            write_hardest(folder, results, source)
