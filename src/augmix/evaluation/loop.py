"""The evaluation loop.

Images are made ahead on threads while the model computes. Whole batches are dealt to the ranks in
turn, so a batch holds the same images however many processes there are; what is kept of every image
is brought together on rank 0 at the end of a cell, where one process and eight give the same sums.

A cell is one corruption at one severity, the clean images, one perturbation or the attack. What is
kept of it is a row of `results.json` and a file of every image's outcome, written as soon as it is
complete, so an interrupted evaluation goes on with the missing cells.
"""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import nn

from augmix import distributed, metrics
from augmix.arrays import to_float
from augmix.corruptions import registry
from augmix.corruptions.registry import check_size
from augmix.data.batches import run_ahead
from augmix.data.folders import Photographs
from augmix.data.sources import Source
from augmix.data.stores import default_threads
from augmix.devices import resolve_device
from augmix.errors import Interrupted
from augmix.evaluation import cells, predictor, store
from augmix.evaluation.cells import (
    CLEAN,
    Ids,
    choose_images,
    gather,
    list_keys,
    make_cell,
    make_sequence_cell,
)
from augmix.evaluation.images import Sets, find_official
from augmix.evaluation.predictor import Adversary, Subject, check_gradient
from augmix.evaluation.store import HARDEST_FILE, Measured, write_hardest
from augmix.files import to_plain
from augmix.methods.attacks import Norm
from augmix.metrics import image_scores
from augmix.metrics.stability import TOP, num_pairs
from augmix.models import adaptation
from augmix.models.calibration import measure_temperature
from augmix.progress import BatchFinished, CellFinished, EvaluationStarted, OnProgress, ignore
from augmix.results import Cell, CellKey, MeasuredImages, Results, provenance
from augmix.training import checkpoint

_TRIED_IMAGES = 8  # before an attack: one image alone may have no gradient by chance

Piece = tuple[
    int, Int64[np.ndarray, "_"]
]  # where a batch begins, its ids; batches differ in length


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """A model, the images it is measured on, and how.

    Attributes:
        subject: The model.
        sets: The images of every key.
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

    def pieces(self, key: CellKey) -> list[Piece]:
        """This rank's batches of a key: where each begins among the measured images, its ids."""
        step = self.batch_size
        if key[0] == "p":
            step = max(1, step // self.sets.num_frames(key[1]))
        starts = range(step * distributed.rank(), len(self.ids), step * distributed.world_size())
        return [(start, self.ids[start : start + step]) for start in starts]

    def count_images(self, keys: Sequence[CellKey]) -> int:
        """Images and frames that this rank shows to the model for these keys."""
        return sum(
            self.num_passes(key) * sum(len(ids) for _, ids in self.pieces(key)) for key in keys
        )

    def num_passes(self, key: CellKey) -> int:
        """How many images or frames the model is shown for each image of a key, at most."""
        if key[0] == "p":
            return self.sets.num_frames(key[1])
        return self.adversary.num_passes if key[0] == "attack" and self.adversary else 1

    def answers(
        self, key: CellKey, ids: Ids, images: Float32[np.ndarray, "batch channel height width"]
    ) -> Float64[np.ndarray, "batch class"]:
        """The logits of some images of a key of ``clean``, ``c`` or ``attack``.

        Raises:
            RunError: If the model's logits are none, or the device cannot do it.
        """
        if key[0] != "attack":
            return self.subject.logits(images, key, ids)
        assert self.adversary is not None
        labels = self.sets.source.labels[ids]
        return self.adversary.worst_logits(self.subject, images, labels, key, ids)


def check_attack(exam: Exam, keys: Sequence[CellKey]) -> None:
    """Refuse a model that cannot be attacked before anything is measured.

    Raises:
        RunError: As `adversary.check_gradient`.
    """
    for key in keys:
        if key[0] == "attack":
            ids = exam.ids[: min(exam.batch_size, _TRIED_IMAGES)]
            check_gradient(exam.subject, _show(exam.sets, key, ids), key, ids)


def measure(exam: Exam, keys: Sequence[CellKey]) -> Generator[Measured | None]:
    """The cells one after another on rank 0; None for each on the others.

    Raises:
        RunError: If an image cannot be made, the model's logits are none, or a process has ended.
    """
    tasks = [(key, ids) for key in keys for _, ids in exam.pieces(key)]

    def make(index: int) -> Float32[np.ndarray, "batch channel height width"]:
        return _show(exam.sets, *tasks[index])

    with closing(run_ahead(make, range(len(tasks)), num_threads=exam.num_threads)) as ahead:
        for key in keys:
            batches = _Batches(ahead)
            pieces = exam.pieces(key)
            if key[0] == "p":
                yield _measure_sequences(exam, key, pieces, batches)
            else:
                yield _measure_images(exam, key, pieces, batches)


def measure_logits(exam: Exam) -> Float64[np.ndarray, "image class"] | None:
    """The logits of the exam's clean images, on rank 0; None on the others.

    Raises:
        RunError: As `measure`.
    """
    pieces = exam.pieces(CLEAN)
    own = [_Logits(logits=np.empty((0, exam.subject.num_classes)))]
    for _, ids in pieces:
        images = _show(exam.sets, CLEAN, ids)
        own.append(_Logits(logits=exam.subject.logits(images, CLEAN, ids)))
    found = gather(own, _positions(pieces))
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

    logits: Float64[np.ndarray, "image class"]


def _show(sets: Sets, key: CellKey, ids: Ids) -> Float32[np.ndarray, "batch channel height width"]:
    """What the model sees of some images at a key; the frames of a sequence one after another."""
    if key[0] != "p":
        return to_float(sets.images(key, ids))
    frames = sets.frames(key[1], ids)
    return to_float(frames.reshape(-1, *frames.shape[2:]))


def _measure_images(
    exam: Exam,
    key: CellKey,
    pieces: Sequence[Piece],
    batches: _Batches,
) -> Measured | None:
    began = perf_counter()
    labels = exam.sets.source.labels
    num_classes = exam.subject.num_classes
    empty = image_scores(np.empty((0, num_classes)), np.empty(0, np.int64))
    plain, scaled = [empty], [empty]
    for _, ids in pieces:
        logits = exam.answers(key, ids, batches.next())
        plain.append(image_scores(logits, labels[ids]))
        if exam.temperature is not None:
            scaled.append(image_scores(logits, labels[ids], temperature=exam.temperature))
        exam.emit(_batch_event(key, len(ids) * exam.num_passes(key)))
    positions = _positions(pieces)
    found = gather(plain, positions)
    rescaled = None if exam.temperature is None else gather(scaled, positions)
    if found is None:
        return None
    seconds = perf_counter() - began
    cell = make_cell(key, found, bin_size=exam.bin_size, seconds=seconds, scaled=rescaled)
    kept = cells.keep_predictions(found, num_classes)
    return Measured(cell=cell, predictions=kept, wait_s=batches.wait_s)


def _measure_sequences(
    exam: Exam,
    key: CellKey,
    pieces: Sequence[Piece],
    batches: _Batches,
) -> Measured | None:
    began = perf_counter()
    name, num_classes = key.name, exam.subject.num_classes
    num_frames = exam.sets.num_frames(name)
    is_noise = registry.SEQUENCES.find(name).is_noise
    how = {"is_noise": is_noise, "difficulty": exam.sets.difficulty}
    no_frames = np.empty((0, num_frames, min(TOP, num_classes)), np.int64)
    scores = [cells.score_sequences(no_frames, **how)]
    for _, ids in pieces:
        scores.append(cells.score_sequences(_top_of_frames(exam, key, ids, batches.next()), **how))
        exam.emit(_batch_event(key, len(ids) * num_frames))
    found = gather(scores, _positions(pieces))
    if found is None:
        return None
    pairs = num_pairs(num_frames, **how)
    seconds = perf_counter() - began
    sizes = {"num_pairs": pairs, "num_classes": num_classes}
    return Measured(
        cell=make_sequence_cell(name, found, **sizes, seconds=seconds),
        predictions=cells.keep_sequence_predictions(found, **sizes),
        wait_s=batches.wait_s,
    )


def _top_of_frames(
    exam: Exam, key: CellKey, ids: Ids, frames: Float32[np.ndarray, "batch channel height width"]
) -> Int64[np.ndarray, "image frame rank"]:
    """The classes on top of every frame."""
    owners = np.repeat(ids, len(frames) // len(ids))
    parts = []
    for start in range(0, len(frames), exam.batch_size):
        part = slice(start, start + exam.batch_size)
        logits = exam.subject.logits(frames[part], key, owners[part])
        parts.append(metrics.top_classes(logits))
    return np.concatenate(parts).reshape(len(ids), -1, parts[0].shape[1])


def _positions(pieces: Sequence[Piece]) -> Ids:
    """Position of every image of some batches among the measured ones."""
    ranges = [np.arange(start, start + len(ids)) for start, ids in pieces]
    return np.concatenate([np.empty(0, np.int64), *ranges])


def _batch_event(key: CellKey, num_images: int) -> BatchFinished:
    suite, name, severity = key
    return BatchFinished(suite=suite, name=name, severity=severity, num_images=num_images)


_MOST_THREADS = 8  # beyond that they wait for each other: part of a corruption holds Python's lock


def evaluate(
    model: nn.Module,
    source: Source,
    *,
    suite: Sequence[str] = ("clean", "c"),
    names: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    sequences: Sequence[str] = (),
    difficulty: int = 1,
    preset: str = "auto",
    seed: int = 0,
    official: Sequence[Path | str] = (),
    frost_textures: Path | str | None = None,
    jpeg_quality: int | None = None,
    photographs: Photographs | None = None,
    attack_norm: Norm = "linf",
    attack_epsilon: float = 0.0,
    attack_steps: int = predictor.STEPS,
    attack_step_size: float = 0.0,
    attack_restarts: int = 1,
    adapt_batch_norm: bool = False,
    adapt_prior: int = 16,
    temperature_images: int = 0,
    batch_size: int = 256,
    num_threads: int = 0,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    bin_size: int = 100,
    out: Path | str | None = None,
    max_images: int = 0,
    about: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Results:
    """Measure a model on clean, corrupted, perturbed and attacked images.

    Called by every process of a torch process group (see `ranks.joined`), the processes share the
    work; rank 0 writes and gives the same results as one process would, the others give no cell.

    Args:
        model: Takes `batch channel height width` in [0, 1] and gives logits `batch label`.
        source: The images and their labels.
        suite: ``clean``, ``c`` (the corruptions), ``p`` (the perturbation sequences) and/or
            ``attack`` (projected gradient descent; an image is an error if the model is wrong
            about it or about an attacked form of it).
        names: Corruptions, lists of them (``paper-15``, ``extra-4``), or your own as
            ``python:FILE:FUNCTION``; none means the paper's.
        severities: 1..5.
        sequences: Perturbations, lists of them (``standard-10``, ``cifar-script-10``,
            ``extra-4``), or your own; none means the standard ten.
        difficulty: 1..3: how strong noise sequences are, how far apart the compared frames of the
            others lie.
        preset: Strength table: ``cifar``, ``tiny`` or ``imagenet``; ``auto`` goes by image size.
        seed: Of the corruptions, perturbations and starts of attacks; same seed, same draws.
        official: Folders of official -C and -P files, which are read instead of damaging images on
            the fly; a suite without such a folder is made on the fly.
        frost_textures: Folder of the published photographs for frost; the textures that the package
            draws if not given.
        jpeg_quality: 1..100: corrupted images are coded as JPEG and decoded, as those of the
            published ImageNet-C and Tiny-ImageNet-C are by 85. Not done if not given.
        photographs: The source's images at their own size, from which sequences are made as the
            published scripts do; without them the source's images are moved themselves.
        attack_norm: What bounds an attack, ``linf`` or ``l2``.
        attack_epsilon: Radius of the ball, in [0, 1] units; 0 takes 8/255 for linf, 0.5 for l2.
        attack_steps: Gradient steps.
        attack_step_size: Length of a step; 0 takes a quarter of the radius.
        attack_restarts: Attacks on each image, from different starts; one that succeeds counts.
        adapt_batch_norm: Batch-norm layers adapt to the statistics of every batch; not with
            ``attack``.
        adapt_prior: How many images their stored statistics are worth.
        temperature_images: Clean images held out of everything measured, on which a temperature is
            fitted; every cell then keeps its calibration at that temperature too.
        batch_size: Images a forward pass takes; a batch of ``p`` holds whole sequences.
        num_threads: Threads that damage images while the model computes; 0 takes one beside a CPU,
            and beside a GPU this process's share of the processors, 8 at most.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32``, or ``bf16`` by autocast; logits are scored in float64.
        bin_size: Predictions in an adaptive bin of the RMS calibration error.
        out: Folder for `results.json`, `examples.npz` and `predictions/`; cells that are there
            are not measured again. None keeps nothing.
        max_images: Measure a fixed random part of the images; 0 takes all.
        about: More facts about the model for the results, e.g. method, seed and label of its run.
        on_progress: Called with `EvaluationStarted`, then with `BatchFinished` and `CellFinished`.

    Raises:
        ValueError: If an argument is out of range.
        ResumeError: If ``out`` holds results of another model, source or protocol.
        RunError: If the model gives the wrong shape or NaN, or to an attack no gradient, an
            official file does not fit, or a file cannot be written.
        Interrupted: If the work was stopped; with ``out`` it goes on when started again.
    """
    keys = list_keys(
        suite,
        names or ("paper-15",),
        severities,
        sequences or ("standard-10",),
        attack_norm,
    )
    attacker = predictor.choose_adversary(
        suite,
        norm=attack_norm,
        epsilon=attack_epsilon,
        num_steps=attack_steps,
        step_size=attack_step_size,
        num_restarts=attack_restarts,
        seed=seed,
        is_adapted=adapt_batch_norm,
    )
    _check_counts(batch_size=batch_size, bin_size=bin_size)
    if num_threads < 0:
        raise ValueError(f"num_threads must be at least 0, got {num_threads}")
    if difficulty not in registry.DIFFICULTIES:
        raise ValueError(f"difficulty must be 1, 2 or 3, got {difficulty}")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise ValueError(f"jpeg_quality must be 1..100, got {jpeg_quality}")
    target = resolve_device(device)
    ids, held = choose_images(
        len(source), max_images=max_images, num_held=temperature_images, seed=seed
    )
    sets = Sets(
        source=source,
        preset=registry.resolve_preset(preset, source.size),
        seed=seed,
        difficulty=difficulty,
        frost_textures=None if frost_textures is None else Path(frost_textures),
        jpeg_quality=jpeg_quality,
        official=find_official(official, source, difficulty=difficulty),
        photographs=photographs,
    )
    _check_sets(sets, keys)
    fresh = Results(
        model={
            **predictor.describe_model(model),
            "adaptation": f"batch norm, prior {adapt_prior}" if adapt_batch_norm else "",
            **(about or {}),
        },
        source=_describe_source(source, len(ids)),
        protocol={
            **_describe_keys(keys),
            **sets.describe(keys),
            **(attacker.describe() if attacker else {}),
            "bin_size": bin_size,
            "max_images": max_images,
            "temperature_images": temperature_images,
            "batch_size": batch_size,
            "precision": precision,
            "device": target.type,
        },
        provenance=provenance(),
    )
    exam = Exam(
        subject=Subject(
            model=model, device=target, precision=precision, num_classes=source.num_classes
        ),
        sets=sets,
        ids=ids,
        adversary=attacker,
        batch_size=batch_size,
        num_threads=num_threads or _useful_threads(target),
        bin_size=bin_size,
        temperature=None,
        emit=on_progress or ignore,
    )
    plain = to_plain([fresh.model, fresh.source, fresh.protocol])
    distributed.agree(json.dumps(plain, sort_keys=True), "model, source or protocol")
    with ExitStack() as stack:
        folder = Path(out) if out and distributed.rank() == 0 else None
        results = fresh
        if folder:
            stack.enter_context(checkpoint.lock(folder))
            images = MeasuredImages(ids=ids, labels=source.labels[ids])
            results = store.resume(folder, fresh, keys, sets, images)
        stack.enter_context(predictor.ready(model, target))
        if adapt_batch_norm:
            stack.enter_context(adaptation.adapt_batch_norm(model, adapt_prior))
        return _examine(exam, keys, held, results, folder)


def _examine(
    exam: Exam, keys: Sequence[CellKey], held: Ids, results: Results, folder: Path | None
) -> Results:
    """Measure the keys that are missing, each written down as soon as it is whole."""
    missing = _agree_on_missing(results, keys)
    done = len(keys) - len(missing)
    check_attack(exam, missing)
    try:
        if len(held) and missing:
            exam, results = _at_temperature(exam, held, results)
        exam.emit(
            EvaluationStarted(done=done, num_cells=len(keys), num_images=exam.count_images(missing))
        )
        with closing(measure(exam, missing)) as cells:
            for measured in cells:
                if measured is None:  # rank 0 has it
                    continue
                if folder:
                    results = store.record(folder, results, measured, exam.sets)
                else:
                    results = store.add(results, measured, exam.sets)
                done += 1
                exam.emit(_cell_event(measured, done, len(keys)))
    except KeyboardInterrupt:
        kept = f"; start the same command again to go on in {folder}" if folder else ""
        raise Interrupted(f"stopped after {done} of {len(keys)} measurements{kept}") from None
    if folder and (missing or not (folder / HARDEST_FILE).exists()):
        write_hardest(folder, results, exam.sets.source)
    return results


def _agree_on_missing(results: Results, keys: Sequence[CellKey]) -> list[CellKey]:
    """What rank 0 lacks."""
    is_missing = distributed.share(np.array([not store.is_done(results, key) for key in keys]))
    return [key for key, missing in zip(keys, is_missing, strict=True) if missing]


def _at_temperature(exam: Exam, held: Ids, results: Results) -> tuple[Exam, Results]:
    """The exam at the temperature of its results, fitted on held-out clean images if need be."""
    found = results.temperature
    if not distributed.share(np.array([found is not None]))[0]:
        logits = measure_logits(replace(exam, ids=held))
        if logits is not None:  # rank 0
            found = asdict(measure_temperature(logits, exam.sets.source.labels[held]))
    value = distributed.share(np.array([found["value"] if found else 0.0]))
    return replace(exam, temperature=float(value[0])), replace(results, temperature=found)


def _check_sets(sets: Sets, keys: Sequence[CellKey]) -> None:
    """Refuse at once what would only be found when its turn comes."""
    suites = {key[0] for key in keys}
    for suite, files in sets.official.items():
        if suite not in suites:
            raise ValueError(
                f"{files.layout.root} holds official files of suite {suite!r}, which is not "
                f"measured; suites asked for: {', '.join(sorted(suites))}"
            )
    for suite in suites & {"c", "own", "p"} - set(sets.official):
        check_size(sets.source.size, "perturb" if suite == "p" else "corrupt")
    if sets.photographs is not None and len(sets.photographs) != len(sets.source):
        raise ValueError(
            f"photographs must be the {len(sets.source)} images of the source, "
            f"got {len(sets.photographs)}"
        )


def _describe_source(source: Source, num_images: int) -> dict[str, Any]:
    return {
        "name": source.name,
        "split": source.split,
        "num_images": num_images,
        "num_classes": source.num_classes,
        "class_names": list(source.class_names),
        "fingerprint": source.fingerprint,
        "size": list(source.size),
    }


def _describe_keys(keys: Sequence[CellKey]) -> dict[str, Any]:
    """What is measured, each name once, of the suites that are."""
    facts: dict[str, Any] = {"suite": list(dict.fromkeys(key[0] for key in keys))}
    if "c" in facts["suite"]:
        facts["names"] = list(dict.fromkeys(key[1] for key in keys if key[0] == "c"))
        facts["severities"] = list(dict.fromkeys(key[2] for key in keys if key[0] == "c"))
    if "p" in facts["suite"]:
        facts["sequences"] = [key[1] for key in keys if key[0] == "p"]
    return facts


def _useful_threads(device: torch.device) -> int:
    """More than one only where the model leaves the processors idle."""
    if device.type == "cpu":
        return 1
    return max(1, min(_MOST_THREADS, default_threads() // distributed.world_size()))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def _cell_event(measured: Measured, done: int, num_cells: int) -> CellFinished:
    suite, name, severity = measured.key
    cell = measured.cell
    return CellFinished(
        suite=suite,
        name=name,
        severity=severity,
        metric="error" if isinstance(cell, Cell) else "flip probability",
        value=cell.error if isinstance(cell, Cell) else cell.flip_probability,
        wait_fraction=measured.wait_s / cell.seconds,
        done=done,
        num_cells=num_cells,
    )
