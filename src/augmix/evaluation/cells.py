"""Cells of an evaluation and the metrics gathered in each.

Only the five classes on top of every frame are kept, so a sequence of any number of classes takes
a few bytes a frame. The definitions are those of `metrics.stability` (perturbations.md 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int64

from augmix import distributed, metrics
from augmix.corruptions import registry
from augmix.errors import RunError
from augmix.results import Bins, Cell, Outcome, Scaled, SequenceCell, SequenceOutcome, to_classes
from augmix.rng import Purpose, Stream

SUITES = ("clean", "c", "own", "p", "attack")
CLEAN = ("clean", "clean", 0)
_MEASURED_PART = 2  # of Purpose.SPLIT; data.sources has 0 and 1

Spot = tuple[str, str, int]  # suite, name, severity; 0 but for corruptions
Ids = Int64[np.ndarray, " image"]


def list_spots(
    suite: Sequence[str],
    names: Sequence[str],
    severities: Sequence[int],
    sequences: Sequence[str] = (),
    attack_norm: str = "linf",
) -> tuple[Spot, ...]:
    """What is measured, in order: (suite, name, severity).

    Args:
        suite: Of `SUITES`.
        names: Corruptions of ``c``, lists of them such as ``paper-15``, or the user's own as
            ``python:FILE:FUNCTION``, which are cells of the suite ``own``.
        severities: Of the corruptions, 1..5.
        sequences: Perturbations of ``p``, or lists of them such as ``standard-10``.
        attack_norm: Of ``attack``; the attack's name.

    Raises:
        ValueError: If a suite, a name or a severity is unknown, or nothing is asked for.
    """
    for part in suite:
        if part not in SUITES:
            raise ValueError(f"suite must be of {SUITES}, got {part!r}")
    spots: list[Spot] = [CLEAN] if "clean" in suite else []
    if "c" in suite:
        for severity in severities:
            if severity not in registry.SEVERITIES:
                raise ValueError(f"severity must be 1..5, got {severity}")
        for name in registry.CORRUPTIONS.resolve(names):
            of_suite = registry.CORRUPTIONS[name].suite  # "own" for the user's
            spots += [(of_suite, name, severity) for severity in severities]
    if "p" in suite:
        spots += [("p", name, 0) for name in registry.SEQUENCES.resolve(sequences)]
    if "attack" in suite:
        spots.append(("attack", attack_norm, 0))
    if not spots:
        raise ValueError("nothing to measure: name a suite, and for 'c' at least one severity")
    return tuple(dict.fromkeys(spots))


def choose_images(
    num_images: int, *, max_images: int = 0, num_held: int = 0, seed: int
) -> tuple[Int64[np.ndarray, " image"], Int64[np.ndarray, " held"]]:
    """Ids of the images that are measured, and of those held out for the temperature, in order.

    Both are fixed random parts. Fewer measured images are a part of more, and the same whether or
    not others are held out, as long as they need not be.

    Args:
        num_images: Of the source.
        max_images: Measured at most; 0 takes all that are not held out.
        num_held: Held out.
        seed: Of the choice.

    Raises:
        ValueError: If a number is negative, or more are held out than can be.
        RunError: If there is no image.
    """
    if num_images == 0:
        raise RunError("the source holds no image")
    if max_images < 0:
        raise ValueError(f"max_images must be at least 0, got {max_images}")
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


Rows = TypeVar("Rows")


def join(batches: Sequence[Rows]) -> Rows:
    """One record of several of the same dataclass, row after row."""
    record: Any = batches[0]
    columns = {
        entry.name: np.concatenate([getattr(batch, entry.name) for batch in batches])
        for entry in fields(record)
    }
    return type(record)(**columns)


def collect(rows: Rows, places: Int64[np.ndarray, " image"]) -> Rows | None:
    """The rows of all ranks by their places, on rank 0; None on the others.

    Args:
        rows: This rank's.
        places: Where each of them belongs, 0 .. all ranks' rows - 1.

    Raises:
        RunError: If another process has ended.
    """
    record: Any = rows
    found = distributed.gather(places)
    columns = {
        entry.name: distributed.gather(getattr(record, entry.name)) for entry in fields(record)
    }
    if not found:
        return None
    order = np.argsort(np.concatenate(found), kind="stable")
    return type(record)(**{name: np.concatenate(pieces)[order] for name, pieces in columns.items()})


_NUM_BINS = 15  # of equal width, for reliability diagrams and ECE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What is kept of every image of a cell.

    Attributes:
        prediction: Class of the largest logit, the first of equals.
        confidence: Largest softmax probability.
        correct: Whether the prediction is the label.
        nll: Negative log-likelihood, natural logarithm.
        brier: Squared distance of the probabilities to the one-hot label, 0..2.
    """

    prediction: Int64[np.ndarray, " image"]
    confidence: Float64[np.ndarray, " image"]
    correct: Bool[np.ndarray, " image"]
    nll: Float64[np.ndarray, " image"]
    brier: Float64[np.ndarray, " image"]


def score(
    logits: Float64[np.ndarray, "batch label"],
    labels: Int64[np.ndarray, " batch"],
    *,
    temperature: float = 1.0,
) -> Scores:
    """Per-image scores of a batch of logits, in float64; the batch may be empty.

    Args:
        logits: Of any finite size.
        labels: Classes.
        temperature: What logits are divided by first; it changes no prediction.
    """
    rows = np.arange(len(labels))
    prediction = logits.argmax(axis=1)
    scaled = logits / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    confidence = probabilities.max(axis=1)
    probabilities[rows, labels] -= 1
    return Scores(
        prediction=prediction,
        confidence=confidence,
        correct=prediction == labels,
        nll=-log_probabilities[rows, labels],
        brier=(probabilities**2).sum(axis=1),
    )


def gather(
    spot: tuple[str, str, int],
    batches: Sequence[Scores],
    *,
    bin_size: int,
    seconds: float,
    scaled: Sequence[Scores] = (),
) -> Cell:
    """The cell of all scored batches of a spot.

    Args:
        spot: Suite, name, severity.
        batches: In the order of the images.
        bin_size: Predictions in an adaptive bin.
        seconds: Time the cell took.
        scaled: The same batches at a temperature; none if there is none.
    """
    scores = join(batches)
    return Cell(
        suite=spot[0],
        name=spot[1],
        severity=spot[2],
        num_images=len(scores.correct),
        num_errors=int((~scores.correct).sum()),
        nll_sum=float(scores.nll.sum()),
        brier_sum=float(scores.brier.sum()),
        adaptive=_adaptive(scores, bin_size),
        equal_width=_equal_width(scores),
        seconds=seconds,
        scaled=_gather_scaled(join(scaled), bin_size) if scaled else None,
    )


def to_outcome(scores: Scores, num_classes: int) -> Outcome:
    """What the file of a cell keeps of every image."""
    return Outcome(
        prediction=to_classes(scores.prediction, num_classes),
        confidence=scores.confidence.astype(np.float32),
    )


def _gather_scaled(scores: Scores, bin_size: int) -> Scaled:
    return Scaled(
        nll_sum=float(scores.nll.sum()),
        brier_sum=float(scores.brier.sum()),
        adaptive=_adaptive(scores, bin_size),
        equal_width=_equal_width(scores),
    )


def _adaptive(scores: Scores, bin_size: int) -> Bins:
    return _to_bins(metrics.adaptive_bins(scores.confidence, scores.correct, bin_size=bin_size))


def _equal_width(scores: Scores) -> Bins:
    return _to_bins(metrics.equal_width_bins(scores.confidence, scores.correct, num_bins=_NUM_BINS))


def _to_bins(bins: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Bins:
    count, confidence_sum, correct_sum = bins
    return Bins(
        count=[int(value) for value in count],
        confidence_sum=[float(value) for value in confidence_sum],
        correct_sum=[int(value) for value in correct_sum],
    )


TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScores:
    """What is kept of every image of a perturbation.

    Attributes:
        prediction: Class of the largest logit of every frame.
        flips: Pairs of compared frames whose predictions differ.
        distance: Sum over the pairs of the distance of their top five; 0 below five classes.
    """

    prediction: Int64[np.ndarray, "image frame"]
    flips: Int64[np.ndarray, " image"]
    distance: Int64[np.ndarray, " image"]


def top_classes(
    logits: Float64[np.ndarray, "image label"], count: int = TOP
) -> Int64[np.ndarray, "image rank"]:
    """The classes of the largest logits, largest first, equal ones by class; at most all."""
    left = logits.copy()
    rows = np.arange(len(left))
    found = np.empty((len(left), min(count, left.shape[1])), np.int64)
    for rank in range(found.shape[1]):
        found[:, rank] = left.argmax(axis=1)
        left[rows, found[:, rank]] = -np.inf
    return found


def score_frames(
    top: Int64[np.ndarray, "image frame rank"], *, is_noise: bool, difficulty: int = 1
) -> FrameScores:
    """Compare the frames of sequences.

    Args:
        top: `top_classes` of every frame.
        is_noise: Compare with the first frame; else with the one ``difficulty`` before.
        difficulty: 1, 2 or 3. How strong noise is was decided when the frames were made.
    """
    stride = 1 if is_noise else difficulty
    later = top[:, stride:]
    reference = np.broadcast_to(top[:, :1], later.shape) if is_noise else top[:, :-stride]
    flips = (later[..., 0] != reference[..., 0]).sum(axis=1)
    distance = top5_distances(reference, later).sum(axis=1) if top.shape[2] == TOP else 0 * flips
    return FrameScores(prediction=top[..., 0], flips=flips, distance=distance)


def top5_distances(
    reference: Int64[np.ndarray, "image pair rank"], other: Int64[np.ndarray, "image pair rank"]
) -> Int64[np.ndarray, "image pair"]:
    """How far the top five classes of one frame have moved in another, 0..15.

    A class that is no longer among the five counts as the sixth.
    """
    is_same = reference[..., :, None] == other[..., None, :]  # image pair rank rank
    moved = np.where(is_same.any(axis=-1), is_same.argmax(axis=-1), TOP)
    return np.abs(moved - np.arange(TOP)).sum(axis=-1)


def count_pairs(num_frames: int, *, is_noise: bool, difficulty: int = 1) -> int:
    """Pairs of frames compared in a sequence."""
    return num_frames - (1 if is_noise else difficulty)


def gather_sequence(
    name: str, scores: FrameScores, *, num_pairs: int, num_classes: int, seconds: float
) -> SequenceCell:
    """The cell of a perturbation.

    Args:
        name: Perturbation.
        scores: Of all images.
        num_pairs: Pairs compared in each sequence.
        num_classes: Of the model; below five there is no top-5 distance.
        seconds: Time the cell took.
    """
    has_distance = num_classes >= TOP
    return SequenceCell(
        name=name,
        num_images=len(scores.flips),
        num_pairs=num_pairs * len(scores.flips),
        num_flips=int(scores.flips.sum()),
        top5_distance_sum=float(scores.distance.sum()) if has_distance else None,
        seconds=seconds,
    )


def to_outcome_stability(
    scores: FrameScores, *, num_pairs: int, num_classes: int
) -> SequenceOutcome:
    """What the file of a perturbation keeps of every image."""
    return SequenceOutcome(
        prediction=to_classes(scores.prediction, num_classes),
        flips=scores.flips.astype(np.uint16),
        pairs=np.full(len(scores.flips), num_pairs, np.uint16),
    )
