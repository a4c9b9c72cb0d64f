"""The images a model finds hardest, kept beside its results so that a report can show them."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from augmix import outcomes, records
from augmix.data.sources import Source
from augmix.records import Results

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
    measured = outcomes.load_images(folder)
    wrong = _count_errors(folder, results, measured.labels)
    flips = {
        cell.name: outcomes.load_sequence_outcome(folder, cell.name).flips.astype(float)
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
    content = io.BytesIO()
    np.savez_compressed(
        content,
        allow_pickle=False,
        ids=measured.ids[chosen],
        labels=measured.labels[chosen],
        images=source.load(measured.ids[chosen]),
        errors=errors[chosen].astype(np.int64),
    )
    records.write_bytes(folder / HARDEST_FILE, content.getvalue())


def _count_errors(
    folder: Path, results: Results, labels: np.ndarray
) -> dict[str, Float64[np.ndarray, " image"]]:
    """By corruption: at how many severities each image was misclassified."""
    counts: dict[str, Float64[np.ndarray, " image"]] = {}
    for cell in results.cells:
        if cell.suite == "c":
            said = outcomes.load_outcome(folder, "c", cell.name, cell.severity).prediction
            wrong = (said != labels).astype(float)
            counts[cell.name] = counts.get(cell.name, 0.0) + wrong
    return counts


def _highest(score: Float64[np.ndarray, " image"], num: int) -> list[int]:
    """Places of the highest scores above 0, the first of equals first."""
    order = np.argsort(-score, kind="stable")[:num]
    return [int(place) for place in order if score[place] > 0]
