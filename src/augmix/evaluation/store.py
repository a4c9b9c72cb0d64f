"""The results store of an evaluation, written cell by cell.

A cell is done once both its predictions and, written last, its record in `results.json` exist; a
killed evaluation continues with the others, and its files end up as if it had never been stopped.
Another suite may be added to a folder later; any other difference is refused.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from augmix.data.sources import Source
from augmix.errors import ResumeError, RunError
from augmix.evaluation.outliers import Outliers
from augmix.evaluation.predictor import check_outputs
from augmix.evaluation.suites import SUITES, Suite
from augmix.files import to_plain, write_npz
from augmix.models.weights import load_tensors
from augmix.models.wrapper import members_of
from augmix.per_image import (
    EXAMPLES_FILE,
    HARDEST_FILE,
    MISTAKES_FILE,
    FrequencyPredictions,
    MeasuredImages,
    OutlierPredictions,
    Predictions,
    SequencePredictions,
    images_path,
    load_examples,
    load_frequency_predictions,
    load_images,
    load_mistakes,
    load_outlier_predictions,
    load_predictions,
    load_sequence_predictions,
    predictions_path,
    to_classes,
    write_predictions,
)
from augmix.results import (
    RESULTS_FILE,
    Cell,
    CellKey,
    FrequencyCell,
    OutlierCell,
    Results,
    SequenceCell,
    load_results,
    write_results,
)
from augmix.rng import Purpose, Stream
from augmix.run_folder import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE

_FIELDS = {  # of `Results`
    Cell: "cells",
    SequenceCell: "sequences",
    FrequencyCell: "frequencies",
    OutlierCell: "outliers",
}
_NUM_EXAMPLES = 5
_OVERALL = 12  # hardest images over all corruptions, and over all perturbations
_EACH = 4  # the same under each corruption and perturbation
_MOST = 64  # hardest images kept at all
_MISTAKES = 12  # most confident ones, on clean and on corrupted images
_NONE = torch.empty(0)
# Of a file of arrays beside them; of a cell in `results.json` beside its bins; of a bin, twice
_FILE_BYTES, _RECORD_BYTES, _BIN_BYTES = 1000, 4000, 160


AnyCell = Cell | SequenceCell | FrequencyCell | OutlierCell


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measured cell with the predictions of every image."""

    cell: AnyCell
    predictions: Predictions | SequencePredictions | FrequencyPredictions | OutlierPredictions
    wait_s: float  # how long the model of rank 0 waited for images


def check_folder(folder: Path, model: nn.Module | None = None) -> None:
    """Refuse to write results into the run folder of another model, with a `RunError`.

    Args:
        folder: Folder of the results.
        model: The model that they are of; None for predictions, which are of no run's model.
    """
    is_run = any((folder / name).exists() for name in (CONFIG_FILE, MODEL_FILE))
    if is_run and not (model is not None and _has_weights_of(model, folder / WEIGHTS_FILE)):
        raise RunError(
            f"{folder} is the run folder of another model, whose report would show these results; "
            f"choose another --out, e.g. {folder / 'other'}"
        )


def _has_weights_of(model: nn.Module, path: Path) -> bool:
    """Whether a model, or the one that it wraps, has exactly the weights of a file."""
    state = model.state_dict()
    if len(members_of(model)) > 1 or not path.exists():
        return False
    weights = load_tensors(path)
    first = next(iter(weights), "")
    prefixes = (key.removesuffix(first) for key in state if f".{key}".endswith(f".{first}"))
    return any(
        all(
            torch.equal(state.get(f"{prefix}{name}", _NONE).cpu(), weights[name])
            for name in weights
        )
        for prefix in prefixes
    )


def resume(
    folder: Path,
    fresh: Results,
    keys: Sequence[CellKey],
    suites: Mapping[str, Suite],
    images: MeasuredImages,
    source: Source,
) -> Results:
    """Load what a folder holds of an evaluation, and write the files that come first.

    Cells whose predictions are missing or damaged are left out; ``fresh`` has none yet.

    Raises:
        ResumeError: If they are of another model, source or protocol.
        RunError: If a file cannot be read or written.
    """
    results = find_measured(folder, fresh, keys, suites)
    write_predictions(images_path(folder), images)
    _write_examples(folder / EXAMPLES_FILE, keys, suites, source, images.ids)
    return results


def find_measured(
    folder: Path, fresh: Results, keys: Sequence[CellKey], suites: Mapping[str, Suite]
) -> Results:
    """Load what a folder holds of an evaluation as `resume` does; nothing is written."""
    path = folder / RESULTS_FILE
    if not path.exists():
        return fresh
    found = load_results(path)
    if found.decision is not None:
        raise ResumeError(
            f"{path} holds a measurement of a part of the images, to a margin of error; "
            "evaluate into another --out"
        )
    kept = {
        name: tuple(cell for cell in getattr(found, name) if _is_kept(folder, cell))
        for name in _FIELDS.values()
    }
    found = replace(found, **kept)
    _check_same(path, found, fresh, suites, all(is_done(found, key) for key in keys))
    _check_files(path, found, suites)
    return replace(found, protocol=_merge(found.protocol, to_plain(fresh.protocol)))


def _is_kept(folder: Path, cell: AnyCell) -> bool:
    """Whether the predictions of a cell can be read."""
    try:
        if isinstance(cell, OutlierCell):
            scores = load_outlier_predictions(folder, cell.name)
            return int(scores.is_outside.sum()) == cell.num_images
        if isinstance(cell, Cell):
            kept = load_predictions(folder, *cell.key)
        elif isinstance(cell, FrequencyCell):
            kept = load_frequency_predictions(folder, cell.name)
        else:
            kept = load_sequence_predictions(folder, cell.name)
    except RunError:
        return False
    return len(kept.prediction) == cell.num_images


def add(
    results: Results, measured: Measured, keys: Sequence[CellKey], suites: Mapping[str, Suite]
) -> Results:
    """Add a measured cell to the results, in the order of suites and keys."""
    key = measured.cell.key
    official = suites[key.suite].official
    if official is not None:
        known = results.protocol.get("fingerprints", {})
        own = {" ".join(map(str, key)): official.open(key).fingerprint}
        results = replace(results, protocol={**results.protocol, "fingerprints": known | own})
    suite_order, order = list(SUITES), list(keys)

    def position(cell: AnyCell) -> tuple[int, int]:
        is_known = cell.key in order  # else of an earlier evaluation into this folder
        return suite_order.index(cell.key.suite), order.index(cell.key) if is_known else -1

    name = _FIELDS[type(measured.cell)]
    cells = sorted((*getattr(results, name), measured.cell), key=position)
    return replace(results, **{name: tuple(cells)})


def write(folder: Path, results: Results, measured: Measured) -> None:
    """Write a measured cell: its predictions first, then the results that hold it."""
    write_predictions(predictions_path(folder, *measured.cell.key), measured.predictions)
    write_results(folder / RESULTS_FILE, results)


def count_bytes(
    keys: Sequence[CellKey],
    suites: Mapping[str, Suite],
    source: Source,
    ids: np.ndarray,
    *,
    num_measures: int,
    bin_size: int,
) -> int:
    """Count the bytes of all files of an evaluation, at most: arrays are written compressed.

    Args:
        keys: All cells.
        suites: Their suites.
        source: The clean images.
        ids: Those that are measured.
        num_measures: Arrays of `Predictions.measures`.
        bin_size: Of the RMS calibration error, whose bins `results.json` has.
    """
    class_bytes = to_classes(np.empty(0, np.int64), source.num_classes).itemsize
    total = _RECORD_BYTES + _FILE_BYTES + len(ids) * 2 * np.int64().nbytes
    for key in keys:
        suite = suites[key.suite]
        num_images, num_frames = len(suite.ids(key, ids)), suite.num_frames(key)
        num_numbers, num_bins = 1 + num_measures, 15 + -(-num_images // bin_size)
        if num_frames:
            num_numbers, num_bins = 1, num_frames
        elif isinstance(suite, Outliers):
            num_numbers, num_bins = 7, 0
        each = class_bytes * max(num_frames, 1) + np.float32().nbytes * num_numbers
        total += num_images * each + _FILE_BYTES + _RECORD_BYTES + num_bins * _BIN_BYTES
    num_pictures = _NUM_EXAMPLES * (1 + sum(key.severity > 0 for key in keys))
    num_pictures += min(_MOST, len(ids)) + 2 * _MISTAKES
    return total + num_pictures * math.prod((*source.size, source.channels))


def is_done(results: Results, key: CellKey) -> bool:
    """Return whether a cell was measured."""
    return any(cell.key == key for cell in results.measured)


def _check_same(
    path: Path, found: Results, fresh: Results, suites: Mapping[str, Suite], is_complete: bool
) -> None:
    """Refuse results of another evaluation, naming the first difference."""
    known = found.protocol.get("suite", ())
    new = [suite for suite in suites.values() if suite.name not in known]
    added = {name for suite in new for name in suite.describe()}
    wanted = {
        "weights": (found.model.get("weights_sha256"), fresh.model["weights_sha256"]),
        **_compare("preprocessing", found.model, fresh.model),
        "adaptation": (found.model.get("adaptation"), fresh.model["adaptation"]),
        "source": (found.source.get("fingerprint"), fresh.source["fingerprint"]),
        "split": (found.source.get("split"), fresh.source["split"]),
        "size": (found.source.get("size"), fresh.source["size"]),
        **_compare("geometry", found.source, fresh.source),
        "metrics": tuple(each.protocol.get("metrics", []) for each in (found, fresh)),
    }
    for name, value in to_plain(fresh.protocol).items():
        before = found.protocol.get(name)
        if isinstance(value, dict):  # by corruption or file; more of them may be added
            before = before or {}
            both = before.keys() & value.keys()
            wanted |= {f"{name} {each}": (before[each], value[each]) for each in sorted(both)}
        elif name != "suite" and name not in added:
            wanted[name] = (before, value)
    if not is_complete:  # what is missing must be measured with the same packages
        ours, theirs = (each.provenance.get("versions", {}) for each in (fresh, found))
        names = {**theirs, **ours}
        wanted |= {f"{name} version": (theirs.get(name), ours.get(name)) for name in names}
    for name, (old, new) in wanted.items():
        if old != new:
            what = "of other images, with" if name == "source" else "with"
            raise ResumeError(
                f"{path} holds results {what} {name} = {old!r}, this evaluation has {new!r}; "
                f"evaluate into another --out, or delete {path} to measure again"
            )
    check_outputs(
        path, found.model.get("outputs"), fresh.model["outputs"], fresh.protocol["precision"]
    )


def _compare(
    name: str, found: Mapping[str, Any], fresh: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Pair what was found and what is wanted under a name; of two records, by field."""
    old, new = found.get(name), to_plain(fresh[name])
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {name: (old, new)}
    return {f"{name} {each}": (old.get(each), new.get(each)) for each in {**old, **new}}


def _check_files(path: Path, found: Results, suites: Mapping[str, Suite]) -> None:
    """Refuse to continue with other official files, judged by one cell of each suite."""
    known = found.protocol.get("fingerprints", {})
    for suite in suites.values():
        text = next((text for text in known if text.split()[0] == suite.name), "")
        if suite.official is None or not text:
            continue
        _, name, severity = text.split()
        own = suite.official.open(CellKey(suite.name, name, int(severity))).fingerprint
        if own != known[text]:
            raise ResumeError(
                f"{path} holds results of {name} from files with fingerprint {known[text]}, those "
                f"in {suite.official.layout.root} have {own}; name the same files with --official, "
                "or evaluate into another --out"
            )


def _merge(found: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Combine two protocols into one with the suites of both."""
    merged = {**found, **fresh}
    for name, value in fresh.items():
        if isinstance(value, dict):
            merged[name] = {**found.get(name, {}), **value}
    both = {*found.get("suite", ()), *fresh["suite"]}
    merged["suite"] = [name for name in SUITES if name in both]
    return merged


def _write_examples(
    path: Path,
    keys: Sequence[CellKey],
    suites: Mapping[str, Suite],
    source: Source,
    ids: np.ndarray,
) -> None:
    """Write a few images for the report, clean and under every corruption; once."""
    by_name: dict[str, list[CellKey]] = {}
    for key in keys:
        if key.severity:
            by_name.setdefault(key.name, []).append(key)
    try:
        found = set(load_examples(path.parent))
    except RunError:  # damaged: written again
        found = set()
    if found and not (by_name and found == {"clean", "labels", "ids"}):
        return
    seed = next(iter(suites.values())).config.seed
    chosen = ids[Stream(seed=seed, purpose=Purpose.EXAMPLES).permutation(len(ids))]
    chosen = np.sort(chosen[:_NUM_EXAMPLES])
    arrays: dict[str, Any] = {
        "clean": source.load(chosen),
        "labels": source.labels[chosen],
        "ids": chosen,
    }
    for name, cells in by_name.items():
        arrays[name] = np.stack([suites[key.suite].images(key, chosen) for key in cells])
    write_npz(path, arrays)


def write_hardest(folder: Path, results: Results, source: Source) -> None:
    """Write `hardest.npz`: the images most often misclassified and most often flipped.

    Its arrays: ``ids`` (ascending), ``labels``, ``images`` (uint8 `image height width channel`, not
    corrupted), ``errors`` (corrupted forms of the image that were misclassified). The folder holds
    the predictions of all cells of ``results``.
    """
    measured = load_images(folder)
    none = np.zeros(len(measured.ids), np.int64)
    wrong: dict[str, Int64[np.ndarray, " image"]] = {}  # by corruption of the benchmark
    for cell in results.cells:
        if cell.suite == "c":
            errors = load_predictions(folder, *cell.key).prediction != measured.labels
            wrong[cell.name] = wrong.get(cell.name, none) + errors
    flips = [
        none + load_sequence_predictions(folder, cell.name).flips for cell in results.sequences
    ]
    errors = np.sum([none, *wrong.values()], axis=0)
    counts = [(errors, _OVERALL), (np.sum([none, *flips], axis=0), _OVERALL)]
    counts += [(count, _EACH) for count in (*wrong.values(), *flips)]
    found = dict.fromkeys(image for count, num in counts for image in _highest(count, num))
    chosen = np.sort(np.array(list(found)[:_MOST], np.int64))
    if not len(chosen):
        return
    arrays = {
        "ids": measured.ids[chosen],
        "labels": measured.labels[chosen],
        "images": source.load(measured.ids[chosen]),
        "errors": errors[chosen],
    }
    write_npz(folder / HARDEST_FILE, arrays)


def write_mistakes(
    folder: Path, keys: Sequence[CellKey], suites: Mapping[str, Suite], source: Source
) -> None:
    """Write `mistakes.npz`, see `per_image.load_mistakes`.

    Of an image under many corruptions, the mistake of highest confidence counts. The folder holds
    the predictions of all cells.
    """
    measured = load_images(folder)
    clean = [key for key in keys if key.suite == "clean"]
    corrupted = [key for key in keys if key.suite in ("c", "own")]
    try:
        before = load_mistakes(folder)
    except RunError:  # damaged: written again
        before = {}
    found: dict[str, list[Any]] = {}
    for cells, is_corrupted in ((clean, False), (corrupted, True)):
        if before and not cells:  # of an earlier call
            for name, values in before.items():
                found.setdefault(name, []).extend(
                    values[(before["severities"] > 0) == is_corrupted]
                )
        best = np.zeros(len(measured.ids), np.float32)
        cell, predicted = (np.zeros(len(measured.ids), np.int64) for _ in range(2))
        for number, key in enumerate(cells):
            kept = load_predictions(folder, *key)
            is_surer = (kept.prediction != measured.labels) & (kept.confidence > best)
            best[is_surer], cell[is_surer] = kept.confidence[is_surer], number
            predicted[is_surer] = kept.prediction[is_surer]
        for index in np.argsort(-best, kind="stable")[:_MISTAKES].tolist():
            if best[index] == 0:
                break
            key, chosen = cells[cell[index]], measured.ids[index : index + 1]
            values = {
                "images": suites[key.suite].images(key, chosen)[0],
                "ids": measured.ids[index],
                "labels": measured.labels[index],
                "predictions": predicted[index],
                "confidence": best[index],
                "names": key.name,
                "severities": key.severity,
            }
            for name, value in values.items():
                found.setdefault(name, []).append(value)
    if found:
        write_npz(folder / MISTAKES_FILE, {name: np.array(each) for name, each in found.items()})


def _highest(count: Int64[np.ndarray, " image"], num: int) -> list[int]:
    """Positions of the highest counts above 0, the first of equals first."""
    order = np.argsort(-count, kind="stable")[:num]
    return [int(position) for position in order if count[position] > 0]
