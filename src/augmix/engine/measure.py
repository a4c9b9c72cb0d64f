"""The walk of an evaluation: images of every spot through the model into cells.

Images are made ahead on threads while the model computes. Whole batches are dealt to the ranks in
turn, so a batch holds the same images however many processes there are; what is kept of every image
is brought together on rank 0 at the end of a cell, where one process and eight give the same sums.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Float32, Float64, Int64

from augmix import ranks
from augmix.corrupt import sequence_rows
from augmix.engine import scores, stability
from augmix.engine.adversary import Adversary, check_gradient
from augmix.engine.inference import Subject
from augmix.engine.ledger import Measured
from augmix.engine.progress import OnProgress, run_ahead
from augmix.engine.rows import collect, join
from augmix.engine.scores import Scores, score
from augmix.engine.sets import Sets
from augmix.engine.spots import CLEAN, Ids, Spot
from augmix.engine.stability import FrameScores
from augmix.images import to_float

_TRIED_IMAGES = 8  # before an attack: one image alone may have no gradient by chance

Piece = tuple[
    int, Int64[np.ndarray, "_"]
]  # where a batch begins, its ids; batches differ in length


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """A model, the images it is measured on, and how.

    Attributes:
        subject: The model.
        sets: The images of every spot.
        ids: Which of them are measured.
        adversary: Who attacks images of the suite ``attack``; None where it is not measured.
        batch_size: Images, or frames of whole sequences, in a forward pass.
        num_threads: Threads that make images while the model computes.
        bin_size: Predictions in an adaptive bin.
        temperature: What logits are divided by for the scaled scores; None measures none.
        emit: Told of every batch.
    """

    subject: Subject
    sets: Sets
    ids: Ids
    adversary: Adversary | None
    batch_size: int
    num_threads: int
    bin_size: int
    temperature: float | None
    emit: OnProgress

    def pieces(self, spot: Spot) -> list[Piece]:
        """This rank's batches of a spot: where each begins among the measured images, its ids."""
        step = self.batch_size
        if spot[0] == "p":
            step = max(1, step // self.sets.num_frames(spot[1]))
        starts = range(step * ranks.rank(), len(self.ids), step * ranks.world_size())
        return [(start, self.ids[start : start + step]) for start in starts]

    def count_images(self, spots: Sequence[Spot]) -> int:
        """Images and frames that this rank shows to the model for these spots."""
        return sum(
            self.num_passes(spot) * sum(len(ids) for _, ids in self.pieces(spot)) for spot in spots
        )

    def num_passes(self, spot: Spot) -> int:
        """How many images or frames the model is shown for each image of a spot, at most."""
        if spot[0] == "p":
            return self.sets.num_frames(spot[1])
        return self.adversary.num_passes if spot[0] == "attack" and self.adversary else 1

    def answers(
        self, spot: Spot, ids: Ids, images: Float32[np.ndarray, "batch channel height width"]
    ) -> Float64[np.ndarray, "batch label"]:
        """The logits of some images of a spot of ``clean``, ``c`` or ``attack``.

        Raises:
            RunError: If the model's logits are none, or the device cannot do it.
        """
        if spot[0] != "attack":
            return self.subject.logits(images, spot, ids)
        assert self.adversary is not None
        labels = self.sets.source.labels[ids]
        return self.adversary.worst_logits(self.subject, images, labels, spot, ids)


def check_attack(exam: Exam, spots: Sequence[Spot]) -> None:
    """Refuse a model that cannot be attacked before anything is measured.

    Raises:
        RunError: As `adversary.check_gradient`.
    """
    for spot in spots:
        if spot[0] == "attack":
            ids = exam.ids[: min(exam.batch_size, _TRIED_IMAGES)]
            check_gradient(exam.subject, _show(exam.sets, spot, ids), spot, ids)


def measure(exam: Exam, spots: Sequence[Spot]) -> Generator[Measured | None]:
    """The cells one after another on rank 0; None for each on the others.

    Raises:
        RunError: If an image cannot be made, the model's logits are none, or a process has ended.
    """
    tasks = [(spot, ids) for spot in spots for _, ids in exam.pieces(spot)]

    def make(index: int) -> Float32[np.ndarray, "batch channel height width"]:
        return _show(exam.sets, *tasks[index])

    with closing(run_ahead(make, range(len(tasks)), num_threads=exam.num_threads)) as ahead:
        for spot in spots:
            batches = _Batches(ahead)
            pieces = exam.pieces(spot)
            if spot[0] == "p":
                yield _measure_sequences(exam, spot, pieces, batches)
            else:
                yield _measure_images(exam, spot, pieces, batches)


def measure_logits(exam: Exam) -> Float64[np.ndarray, "image label"] | None:
    """The logits of the exam's clean images, on rank 0; None on the others.

    Raises:
        RunError: As `measure`.
    """
    pieces = exam.pieces(CLEAN)
    own = [np.empty((0, exam.subject.num_classes))]
    own += [exam.subject.logits(_show(exam.sets, CLEAN, ids), CLEAN, ids) for _, ids in pieces]
    found = collect(_Logits(logits=np.concatenate(own)), _places(pieces))
    return None if found is None else found.logits


class _Batches:
    """The batches of a cell as they get ready, and how long the model had to wait for them."""

    def __init__(self, ahead: Iterator[Float32[np.ndarray, "batch channel height width"]]) -> None:
        self.ahead = ahead
        self.wait_s = 0.0

    def next(self) -> Float32[np.ndarray, "batch channel height width"]:
        began = perf_counter()
        images = next(self.ahead)
        self.wait_s += perf_counter() - began
        return images


@dataclass(frozen=True, slots=True, kw_only=True)
class _Logits:
    """Of every image."""

    logits: Float64[np.ndarray, "image label"]


def _show(sets: Sets, spot: Spot, ids: Ids) -> Float32[np.ndarray, "batch channel height width"]:
    """What the model sees of some images at a spot; the frames of a sequence one after another."""
    if spot[0] != "p":
        return to_float(sets.images(spot, ids))
    frames = sets.frames(spot[1], ids)
    return to_float(frames.reshape(-1, *frames.shape[2:]))


def _measure_images(
    exam: Exam,
    spot: Spot,
    pieces: Sequence[Piece],
    batches: _Batches,
) -> Measured | None:
    began = perf_counter()
    labels = exam.sets.source.labels
    num_classes = exam.subject.num_classes
    plain, scaled = [_no_scores(num_classes)], [_no_scores(num_classes)]
    for _, ids in pieces:
        logits = exam.answers(spot, ids, batches.next())
        plain.append(score(logits, labels[ids]))
        if exam.temperature is not None:
            scaled.append(score(logits, labels[ids], temperature=exam.temperature))
        exam.emit(_batch_event(spot, len(ids) * exam.num_passes(spot)))
    places = _places(pieces)
    found = collect(join(plain), places)
    rescaled = None if exam.temperature is None else collect(join(scaled), places)
    if found is None:
        return None
    cell = scores.gather(
        spot,
        [found],
        bin_size=exam.bin_size,
        seconds=perf_counter() - began,
        scaled=[] if rescaled is None else [rescaled],
    )
    outcome = scores.to_outcome(found, num_classes)
    return Measured(cell=cell, outcome=outcome, wait_s=batches.wait_s)


def _measure_sequences(
    exam: Exam,
    spot: Spot,
    pieces: Sequence[Piece],
    batches: _Batches,
) -> Measured | None:
    began = perf_counter()
    name, num_classes = spot[1], exam.subject.num_classes
    num_frames = exam.sets.num_frames(name)
    is_noise = sequence_rows.find(name).kind == "noise"
    how = {"is_noise": is_noise, "difficulty": exam.sets.difficulty}
    parts = [_no_frames(num_frames, num_classes)]
    for _, ids in pieces:
        top = _top_of_frames(exam, spot, ids, batches.next())
        parts.append(stability.score_frames(top, **how))
        exam.emit(_batch_event(spot, len(ids) * num_frames))
    found = collect(join(parts), _places(pieces))
    if found is None:
        return None
    num_pairs = stability.count_pairs(num_frames, **how)
    return Measured(
        cell=stability.gather_sequence(
            name,
            found,
            num_pairs=num_pairs,
            num_classes=num_classes,
            seconds=perf_counter() - began,
        ),
        outcome=stability.to_outcome(found, num_pairs=num_pairs, num_classes=num_classes),
        wait_s=batches.wait_s,
    )


def _top_of_frames(
    exam: Exam, spot: Spot, ids: Ids, frames: Float32[np.ndarray, "batch channel height width"]
) -> Int64[np.ndarray, "image frame rank"]:
    """The classes on top of every frame."""
    owners = np.repeat(ids, len(frames) // len(ids))
    parts = []
    for start in range(0, len(frames), exam.batch_size):
        part = slice(start, start + exam.batch_size)
        logits = exam.subject.logits(frames[part], spot, owners[part])
        parts.append(stability.top_classes(logits))
    return np.concatenate(parts).reshape(len(ids), -1, parts[0].shape[1])


def _places(pieces: Sequence[Piece]) -> Ids:
    """Where every image of some batches belongs among the measured ones."""
    ranges = [np.arange(start, start + len(ids)) for start, ids in pieces]
    return np.concatenate([np.empty(0, np.int64), *ranges])


def _no_scores(num_classes: int) -> Scores:
    return score(np.empty((0, num_classes)), np.empty(0, np.int64))


def _no_frames(num_frames: int, num_classes: int) -> FrameScores:
    top = np.empty((0, num_frames, min(stability.TOP, num_classes)), np.int64)
    return stability.score_frames(top, is_noise=True)


def _batch_event(spot: Spot, num_images: int) -> dict[str, object]:
    suite, name, severity = spot
    return {
        "event": "batch",
        "suite": suite,
        "name": name,
        "severity": severity,
        "images": num_images,
    }
