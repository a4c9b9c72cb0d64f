"""The results store of an evaluation, written cell by cell.

A cell is done once both its outcome file and its row of `results.json` are there; the row is
written last. A killed evaluation therefore goes on with the cells that are not done, and its files
end up as if it had never been stopped. Another suite may be added to a folder later; whatever else
differs is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from augmix.data.sources import Source
from augmix.errors import ResumeError
from augmix.evaluation.cells import CLEAN, SUITES, Ids
from augmix.evaluation.images import Sets
from augmix.files import to_plain, write_npz
from augmix.results import (
    RESULTS_FILE,
    Cell,
    CellKey,
    MeasuredImages,
    Predictions,
    Results,
    SequenceCell,
    SequencePredictions,
    images_path,
    load_images,
    load_predictions,
    load_results,
    load_sequence_predictions,
    predictions_path,
    write_predictions,
    write_results,
)
from augmix.rng import Purpose, Stream

EXAMPLES_FILE = "examples.npz"
_NUM_EXAMPLES = 5
# Facts of the protocol that only measure one suite; the others hold for all.
_OF_SUITE = {
    "c": (
        *("names", "severities", "suite_version"),
        *("frost_textures", "jpeg_quality", "official_c"),
    ),
    "own": ("own_severities", "own_jpeg_quality"),
    "p": (
        "sequences",
        "own_sequences",
        "sequence_version",
        "difficulty",
        "official_p",
        "frames_of",
    ),
    "attack": (
        *("attack_norm", "attack_epsilon", "attack_steps"),
        *("attack_step_size", "attack_restarts"),
    ),
}
_GROWING = ("suite", "fingerprints", "own")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A cell and what the model said about every image of it.

    Attributes:
        cell: For the results.
        predictions: For its own file.
        wait_s: How long the model of rank 0 waited for images.
    """

    cell: Cell | SequenceCell
    predictions: Predictions | SequencePredictions
    wait_s: float

    @property
    def key(self) -> CellKey:
        """What was measured."""
        return self.cell.key


def resume(
    folder: Path, fresh: Results, keys: Sequence[CellKey], sets: Sets, images: MeasuredImages
) -> Results:
    """What a folder already holds of this measurement; with it, the files that come first.

    Args:
        folder: Of the results; it is there.
        fresh: This measurement, no cell measured.
        keys: What it measures.
        sets: Their images.
        images: Which are measured.

    Returns:
        The results in the folder, of which cells without their outcome are left out.

    Raises:
        ResumeError: If they are of another model, source or protocol.
        RunError: If a file cannot be read or written.
    """
    path = folder / RESULTS_FILE
    results = fresh
    if path.exists():
        found = load_results(path)
        found = replace(
            found,
            cells=tuple(cell for cell in found.cells if _has_predictions(folder, cell)),
            sequences=tuple(cell for cell in found.sequences if _has_predictions(folder, cell)),
        )
        _check_same(path, found, fresh, all(is_done(found, key) for key in keys))
        _check_files(path, found, sets)
        results = replace(found, protocol=_merge(found.protocol, fresh.protocol))
    if not images_path(folder).exists():
        write_predictions(images_path(folder), images)
    _write_examples(folder / EXAMPLES_FILE, sets, keys, images.ids)
    return results


def record(folder: Path, results: Results, measured: Measured, sets: Sets) -> Results:
    """Write a measured cell: its outcome first, then its row.

    Raises:
        RunError: If a file cannot be written.
    """
    write_predictions(predictions_path(folder, *measured.key), measured.predictions)
    results = add(results, measured, sets)
    write_results(folder / RESULTS_FILE, results)
    return results


def add(results: Results, measured: Measured, sets: Sets) -> Results:
    """The results with one more cell, in the order of the protocol."""
    suite, name, severity = measured.key
    if suite in sets.official:
        known = results.protocol.get("fingerprints", {})
        own = {_key(measured.key): sets.official[suite].fingerprint(name, severity)}
        results = replace(results, protocol={**results.protocol, "fingerprints": known | own})
    if isinstance(measured.cell, Cell):
        return replace(results, cells=_sorted((*results.cells, measured.cell), results.protocol))
    order = list(results.protocol["sequences"])
    sequences = (*results.sequences, measured.cell)
    return replace(
        results, sequences=tuple(sorted(sequences, key=lambda cell: order.index(cell.name)))
    )


def is_done(results: Results, key: CellKey) -> bool:
    """Whether a key was measured."""
    found = results.find_sequence(key[1]) if key[0] == "p" else results.find(*key)
    return found is not None


def _sorted(cells: Iterable[Cell], protocol: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Clean first, then corruptions and severities as asked for, the user's own, the attack."""
    asked = {
        "c": (list(protocol.get("names", ())), list(protocol.get("severities", ()))),
        "own": (list(protocol.get("own", ())), list(protocol.get("own_severities", ()))),
    }

    def place(cell: Cell) -> tuple[int, int, int]:
        names, severities = asked.get(cell.suite, ([cell.name], [cell.severity]))
        return (
            SUITES.index(cell.suite),
            names.index(cell.name),
            severities.index(cell.severity),
        )

    return tuple(sorted(cells, key=place))


def _has_predictions(folder: Path, cell: Cell | SequenceCell) -> bool:
    return predictions_path(folder, *cell.key).exists()


def _check_same(path: Path, found: Results, fresh: Results, is_complete: bool) -> None:
    """Refuse results of another measurement, naming the first difference."""
    both = set(found.protocol.get("suite", ())) & set(fresh.protocol["suite"])
    left_out = {
        *_GROWING,
        *(k for suite, keys in _OF_SUITE.items() if suite not in both for k in keys),
    }
    wanted = {
        "weights": (found.model.get("weights_sha256"), fresh.model["weights_sha256"]),
        "adaptation": (found.model.get("adaptation"), fresh.model["adaptation"]),
        "source": (found.source.get("fingerprint"), fresh.source["fingerprint"]),
        "split": (found.source.get("split"), fresh.source["split"]),
        **_pairs(found.protocol, to_plain(fresh.protocol)),
    }
    known, ours = (each.protocol.get("own", {}) for each in (found, fresh))
    for name in known.keys() & ours.keys():
        wanted[f"code of {name}"] = (known[name], ours[name])
    if not is_complete:  # what is missing must be measured with the same packages
        ours, theirs = (each.provenance.get("versions", {}) for each in (fresh, found))
        wanted |= {f"{name} version": pair for name, pair in _pairs(theirs, ours).items()}
    for name, (old, new) in wanted.items():
        if name not in left_out and old != new:
            raise ResumeError(
                f"{path} holds results with {name} = {old!r}, this evaluation has {new!r}; "
                f"evaluate into another --out, or delete {path} to measure anew"
            )


def _check_files(path: Path, found: Results, sets: Sets) -> None:
    """Refuse to go on with other official files; one cell of each suite is looked at."""
    known = found.protocol.get("fingerprints", {})
    for suite, files in sets.official.items():
        key = next((key for key in known if key.split()[0] == suite), "")
        if not key:
            continue
        _, name, severity = key.split()
        own = files.fingerprint(name, int(severity))
        if own != known[key]:
            raise ResumeError(
                f"{path} holds results of {name} from files with fingerprint {known[key]}, those "
                f"in {files.layout.root} have {own}; name the same files with --official, or "
                "evaluate into another --out"
            )


def _merge(found: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Both protocols as one, with the suites of both."""
    suites = [suite for suite in SUITES if suite in {*found.get("suite", ()), *fresh["suite"]}]
    merged = {**found, **to_plain(dict(fresh)), "suite": suites}
    if "own" in suites:
        merged["own"] = {**found.get("own", {}), **fresh.get("own", {})}
    return merged


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (old.get(name), new.get(name)) for name in {**old, **new}}


def _key(key: CellKey) -> str:
    return " ".join(map(str, key))


def _write_examples(path: Path, sets: Sets, keys: Sequence[CellKey], ids: Ids) -> None:
    """A handful of images, clean and under every corruption, for the report; written once."""
    corruptions = [key for key in keys if key.suite in ("c", "own")]
    names = dict.fromkeys(key.name for key in corruptions)
    if path.exists() and not (names and _lacks_corruptions(path)):
        return
    chosen = ids[Stream(seed=sets.seed, purpose=Purpose.EXAMPLES).permutation(len(ids))]
    chosen = np.sort(chosen[:_NUM_EXAMPLES])
    arrays: dict[str, Any] = {
        "clean": sets.images(CLEAN, chosen),
        "labels": sets.source.labels[chosen],
        "ids": chosen,
    }
    for name in names:
        rows = [key for key in corruptions if key.name == name]
        arrays[name] = np.stack([sets.images(key, chosen) for key in rows])
    write_npz(path, arrays)


def _lacks_corruptions(path: Path) -> bool:
    """Whether examples were written before the suite ``c`` was measured in this folder."""
    with np.load(path, allow_pickle=False) as file:
        return set(file.files) == {"clean", "labels", "ids"}


HARDEST_FILE = "hardest.npz"
_OVERALL = 12  # images most often wrong over all corruptions, and most often flipped
_EACH = 4  # the same under each corruption and perturbation
_MOST = 64  # images kept at all


def write_hardest(folder: Path, results: Results, source: Source) -> None:
    """Write `hardest.npz`: the images most often wrong and most often flipped.

    Its arrays: ``ids`` (ascending), ``labels``, ``images`` (uint8 `image height width channel`, not
    corrupted), ``errors`` (corrupted forms of the image that were misclassified).

    Args:
        folder: Holds the outcomes of all cells of ``results``.
        results: What was measured.
        source: Of the images.

    Raises:
        RunError: If an outcome cannot be read or the file not be written.
    """
    measured = load_images(folder)
    wrong = _count_errors(folder, results, measured.labels)
    flips = {
        cell.name: load_sequence_predictions(folder, cell.name).flips.astype(float)
        for cell in results.sequences
    }
    places: dict[int, None] = {}
    for scores in (wrong, flips):
        if scores:
            places |= dict.fromkeys(_highest(np.sum(list(scores.values()), axis=0), _OVERALL))
    for score in (*wrong.values(), *flips.values()):
        places |= dict.fromkeys(_highest(score, _EACH))
    chosen = np.sort(np.array(list(places)[:_MOST], np.int64))
    if not len(chosen):
        return
    errors = np.sum(list(wrong.values()), axis=0) if wrong else np.zeros(len(measured.ids))
    arrays = {
        "ids": measured.ids[chosen],
        "labels": measured.labels[chosen],
        "images": source.load(measured.ids[chosen]),
        "errors": errors[chosen].astype(np.int64),
    }
    write_npz(folder / HARDEST_FILE, arrays)


def _count_errors(
    folder: Path, results: Results, labels: np.ndarray
) -> dict[str, Float64[np.ndarray, " image"]]:
    """By corruption: at how many severities each image was misclassified."""
    counts: dict[str, Float64[np.ndarray, " image"]] = {}
    for cell in results.cells:
        if cell.suite == "c":
            said = load_predictions(folder, "c", cell.name, cell.severity).prediction
            wrong = (said != labels).astype(float)
            counts[cell.name] = counts.get(cell.name, 0.0) + wrong
    return counts


def _highest(score: Float64[np.ndarray, " image"], num: int) -> list[int]:
    """Places of the highest scores above 0, the first of equals first."""
    order = np.argsort(-score, kind="stable")[:num]
    return [int(place) for place in order if score[place] > 0]
