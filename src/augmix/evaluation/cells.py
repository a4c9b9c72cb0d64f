"""Cells of an evaluation: which images are measured, and their scores gathered and summed up."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int64

from augmix import distributed, metrics
from augmix.errors import RunError
from augmix.metrics import ImageScores
from augmix.metrics.stability import TOP
from augmix.results import (
    Bins,
    Cell,
    CellKey,
    Predictions,
    Scaled,
    SequenceCell,
    SequencePredictions,
    to_classes,
)
from augmix.rng import Purpose, Stream

_MEASURED_PART = 2  # of Purpose.SPLIT; data.sources has 0 and 1

Ids = Int64[np.ndarray, " image"]


def choose_images(
    num_images: int, *, max_images: int | None = None, num_held: int = 0, seed: int
) -> tuple[Int64[np.ndarray, " image"], Int64[np.ndarray, " held"]]:
    """Choose the images that are measured, and those held out for the temperature.

    Both are fixed random subsets. Fewer measured images are a subset of more, and the same whether
    or not others are held out, as long as enough images are left.

    Args:
        num_images: Images of the source.
        max_images: Images measured at most; None takes all that are not held out.
        num_held: Images held out.
        seed: Seed of the choice.

    Returns:
        The ids of both, ascending.

    Raises:
        ValueError: If so many cannot be held out.
        RunError: If there is no image.
    """
    if num_images == 0:
        raise RunError("the source holds no image")
    if not 0 <= num_held < num_images:
        raise ValueError(
            f"temperature_images must be at least 0 and leave some of the source's {num_images} "
            f"images to measure, got {num_held}"
        )
    num_rest = num_images - num_held
    num_measured = min(max_images or num_rest, num_rest)
    if num_measured == num_images:
        return np.arange(num_images), np.empty(0, np.int64)
    order = Stream(seed=seed, purpose=Purpose.SPLIT, part=_MEASURED_PART).permutation(num_images)
    return np.sort(order[:num_measured]), np.sort(order[num_rest:])


Scores = TypeVar("Scores")


def gather(batches: Sequence[Scores], positions: Int64[np.ndarray, " image"]) -> Scores | None:
    """Gather the scores of all ranks in the order of the images, on rank 0; None on the others.

    Args:
        batches: This rank's, dataclasses of one array per image; at least one, which may be empty.
        positions: Position of each of their images among all that are measured.

    Raises:
        RunError: If another process has ended.
    """
    record: Any = batches[0]
    found = distributed.gather(positions)
    columns = {
        entry.name: distributed.gather(
            np.concatenate([getattr(batch, entry.name) for batch in batches])
        )
        for entry in fields(record)
    }
    if not found:
        return None
    order = np.argsort(np.concatenate(found), kind="stable")
    return type(record)(**{name: np.concatenate(pieces)[order] for name, pieces in columns.items()})


_NUM_BINS = 15  # of equal width, for reliability diagrams and ECE


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceScores:
    """Scores of every image of a perturbation.

    Attributes:
        prediction: Class of the largest logit of every frame.
        flips: Pairs of compared frames whose predictions differ.
        distance: Sum over the pairs of the distance of their top five; 0 below five classes.
    """

    prediction: Int64[np.ndarray, "image frame"]
    flips: Int64[np.ndarray, " image"]
    distance: Int64[np.ndarray, " image"]


def score_sequences(
    top: Int64[np.ndarray, "image frame rank"], *, is_noise: bool, difficulty: int
) -> SequenceScores:
    """Compare the frames of sequences.

    Args:
        top: `metrics.top_classes` of every frame, which is all that is kept of its logits.
        is_noise: Compare with the first frame; else with the one ``difficulty`` before.
        difficulty: 1, 2 or 3.
    """
    how = {"is_noise": is_noise, "difficulty": difficulty}
    flips = metrics.image_flips(top[..., 0], **how)
    has_distance = top.shape[2] == TOP
    return SequenceScores(
        prediction=top[..., 0],
        flips=flips,
        distance=metrics.image_top5_distance(top, **how) if has_distance else 0 * flips,
    )


def make_cell(
    key: CellKey,
    scores: ImageScores,
    *,
    bin_size: int,
    seconds: float,
    scaled: ImageScores | None = None,
) -> Cell:
    """Sum up the scores of all images of a cell.

    Args:
        key: The cell.
        scores: In the order of the images.
        bin_size: Predictions in an adaptive bin.
        seconds: Time the cell took.
        scaled: Scores of the same images at the temperature, if one was fitted.
    """
    return Cell(
        suite=key.suite,
        name=key.name,
        severity=key.severity,
        num_images=len(scores.correct),
        num_errors=int((~scores.correct).sum()),
        **_sums(scores, bin_size),
        seconds=seconds,
        scaled=None if scaled is None else Scaled(**_sums(scaled, bin_size)),
    )


def _sums(scores: ImageScores, bin_size: int) -> dict[str, Any]:
    answers = scores.confidence, scores.correct
    return {
        "nll_sum": float(scores.nll.sum()),
        "brier_sum": float(scores.brier.sum()),
        "adaptive": Bins.of(metrics.adaptive_bins(*answers, bin_size=bin_size)),
        "equal_width": Bins.of(metrics.equal_width_bins(*answers, num_bins=_NUM_BINS)),
    }


def make_sequence_cell(
    name: str, scores: SequenceScores, *, num_pairs: int, num_classes: int, seconds: float
) -> SequenceCell:
    """Sum up the scores of all sequences of a perturbation.

    Args:
        name: Perturbation.
        scores: Of all images.
        num_pairs: Pairs compared in each sequence.
        num_classes: Of the model; below five there is no top-5 distance.
        seconds: Time the cell took.
    """
    return SequenceCell(
        name=name,
        num_images=len(scores.flips),
        num_pairs=num_pairs * len(scores.flips),
        num_flips=int(scores.flips.sum()),
        top5_distance_sum=float(scores.distance.sum()) if num_classes >= TOP else None,
        seconds=seconds,
    )


def keep_predictions(scores: ImageScores, num_classes: int) -> Predictions:
    """Reduce the scores to what the file of a cell keeps of every image."""
    return Predictions(
        prediction=to_classes(scores.prediction, num_classes),
        confidence=scores.confidence.astype(np.float32),
    )


def keep_sequence_predictions(
    scores: SequenceScores, *, num_pairs: int, num_classes: int
) -> SequencePredictions:
    """Reduce the scores to what the file of a perturbation keeps of every image."""
    return SequencePredictions(
        prediction=to_classes(scores.prediction, num_classes),
        flips=scores.flips.astype(np.uint16),
        pairs=np.full(len(scores.flips), num_pairs, np.uint16),
    )
