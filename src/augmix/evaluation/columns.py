"""Columns of predictions that another program made: files of them, and what each may hold.

The columns are those of `evaluation.predictions`. A CSV or parquet file is read some thousand rows
at a time.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from augmix.corruptions import registry
from augmix.errors import RunError, did_you_mean, first_line, import_library
from augmix.evaluation.suites import CLEAN
from augmix.files import load_npz
from augmix.metrics.scores import SUM_TOLERANCE, are_probabilities
from augmix.results import CellKey

FORMS = (".npz", ".parquet", ".csv")
SUITES = ("clean", "c", "c-bar", "own", "p", "ood")
KEYS = ("id", "label", "suite", "corruption", "severity", "frame")
_ANSWERS = {"logits": "logit", "probabilities": "probability"}  # and the names of single columns
_MAX_NAMED = 12  # columns in a message
_ROWS = 4096  # read at a time
_LEAST = float(np.finfo(np.float32).tiny)  # probabilities below count as it

Columns = Mapping[str, np.ndarray]


def read_columns(predictions: Path | str | Columns) -> Iterator[dict[str, np.ndarray]]:
    """Read the columns of some rows at a time; a file that cannot be read is a `RunError`."""
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


def list_columns(names: Iterable[str]) -> str:
    """List names, of many the first."""
    found = [*names]
    more = len(found) - _MAX_NAMED
    return ", ".join(found[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def read_integers(columns: Columns, name: str, where: str) -> Int64[np.ndarray, " row"]:
    """Return a column of whole numbers of at least 0, or refuse it with a `RunError`."""
    values = read_numbers(columns, name, where)
    is_wrong = (values != np.floor(values)) | (values < 0) | (values > 2**53)
    if is_wrong.any():
        got = values[is_wrong.argmax()]
        raise RunError(f"{where}: {name} must be whole numbers of at least 0, got {got:g}")
    return values.astype(np.int64)


def read_numbers(columns: Columns, name: str, where: str) -> Float64[np.ndarray, " row"]:
    """Return a column of finite numbers, or refuse it with a `RunError`."""
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


def read_cell_keys(columns: Columns, where: str) -> tuple[list[CellKey], Int64[np.ndarray, " row"]]:
    """Return the cells of some rows in their order, and the position in them of every row's."""
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
    if suite not in SUITES:
        near = did_you_mean(suite, SUITES)
        raise RunError(f"{where}: suite must be of {', '.join(SUITES)}, got {suite!r}{near}")
    if suite == "clean":
        return CLEAN
    of_suite = {key for key, each in registry.CORRUPTIONS.items() if each.suite == suite}
    known = {"own": {name}, "ood": {name}, "p": registry.SEQUENCES}.get(suite, of_suite)
    if name not in known:
        what = registry.SEQUENCES.what if suite == "p" else registry.CORRUPTIONS.what
        other = "" if suite == "p" else "; corruptions outside the benchmarks are of suite 'own'"
        near = did_you_mean(name, known)
        raise RunError(f"{where}: unknown {what} {name!r} of suite {suite!r}{near}{other}")
    if suite == "p":
        return CellKey(suite, name, 0)
    if not name or set(name) & set("/\\\0"):
        what = "images of no class" if suite == "ood" else "a corruption"
        raise RunError(f"{where}: {name!r} cannot be the name of {what}")
    if suite == "ood":
        return CellKey(suite, name, 0)
    if not (_is_number(severity) and 1 <= float(severity) <= registry.SEVERITIES[-1]):
        raise RunError(f"{where}: severity of {name} must be 1..5, got {severity!r}")
    return CellKey(suite, name, registry.check_severity(float(severity)))


def find_logits(columns: Columns, where: str) -> Float64[np.ndarray, "row class"] | None:
    """Return the logits, or the logarithms of the probabilities; None if there are neither."""
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
    return np.stack([read_numbers(columns, name, where) for name in names], axis=1)
