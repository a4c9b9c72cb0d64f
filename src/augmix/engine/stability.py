"""Logits of frames -> how often and how far predictions move -> one perturbation of the results.

Only the five classes on top of every frame are kept, so a sequence of any number of classes takes
a few bytes a frame. The definitions are those of `metrics.stability` (perturbations.md 5).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from augmix.outcomes import SequenceOutcome, to_classes
from augmix.records import SequenceCell

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


def to_outcome(scores: FrameScores, *, num_pairs: int, num_classes: int) -> SequenceOutcome:
    """What the file of a perturbation keeps of every image."""
    return SequenceOutcome(
        prediction=to_classes(scores.prediction, num_classes),
        flips=scores.flips.astype(np.uint16),
        pairs=np.full(len(scores.flips), num_pairs, np.uint16),
    )
