"""The evaluation loop: images -> logits -> scores of every image -> sums of a cell.

Images are made ahead on threads while the model computes. Whole batches are distributed over the
ranks in turn, and the scores of every image are gathered on rank 0 at the end of a cell, so one
process and eight see the same batches and compute the same sums.
"""

import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import nn

from augmix import distributed, metrics
from augmix.arrays import to_float
from augmix.corruptions.presets import describe_preset
from augmix.data.batches import run_ahead
from augmix.data.sources import Source
from augmix.data.stores import default_threads
from augmix.devices import resolve_device
from augmix.errors import Interrupted
from augmix.evaluation import store
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.images import choose_images, describe_source, open_data
from augmix.evaluation.measures import (
    Measures,
    cell_measures,
    describe_metrics,
    fit_measures,
)
from augmix.evaluation.outliers import Outliers, make_outlier_cell, outlier_arrays
from augmix.evaluation.predictor import Predictor, describe_model, ready
from augmix.evaluation.store import Measured
from augmix.evaluation.suites import CLEAN, Clean, Fourier, Suite, list_cells, open_suites
from augmix.files import to_plain
from augmix.metrics import ImageScores, image_scores, top_classes
from augmix.metrics.stability import TOP
from augmix.models.batch_norm import adapt_batch_norm
from augmix.models.calibration import bound_note, measure_temperature
from augmix.per_image import (
    HARDEST_FILE,
    MISTAKES_FILE,
    FrequencyPredictions,
    MeasuredImages,
    OutlierPredictions,
    Predictions,
    SequencePredictions,
    to_classes,
)
from augmix.progress import (
    BatchFinished,
    CellFinished,
    EvaluationStarted,
    Note,
    OnProgress,
    ignore,
)
from augmix.results import (
    RESULTS_FILE,
    Bins,
    Cell,
    CellKey,
    FrequencyCell,
    OutlierCell,
    Results,
    Scaled,
    SequenceCell,
    load_results,
    provenance,
    write_results,
)
from augmix.shards import WAIT_S, Pieces, SharedFolder, find_shard, share_folder

_MOST_THREADS = 8  # beyond that they wait for each other: part of a corruption holds Python's lock
_SHARDS_FOLDER = ".shards"  # of the claims of several jobs
_NUM_BINS = 15  # of equal width, for reliability diagrams and ECE

Ids = Int64[np.ndarray, " image"]
Pixels = Float32[np.ndarray, "batch channel height width"]
Logits = Float64[np.ndarray, "shown class"]  # of images, or of the frames of sequences
Batch = tuple[int, Int64[np.ndarray, "_"]]  # position of its first image; its ids
Scores = TypeVar("Scores")


def evaluate(
    model: nn.Module,
    data: Any,
    config: EvaluateConfig | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    **options: Any,
) -> Results:
    """Measure a model on clean, corrupted, perturbed and attacked images, and by frequency.

    Called by every process of a torch process group (see `distributed.joined`), the processes share
    the work; rank 0 writes and returns the same results as one process would, the others return no
    cell.

    Args:
        model: Takes `batch channel height width` in [0, 1] and returns logits `batch class`.
        data: The images and their labels: a source of `open_source`; a path, whose split ``test``
            is opened, or ``"digits"``; a pair of images (uint8 `image height width channel`, or a
            tensor `image channel height width`) and class ids; a torch `Dataset` of (image, label)
            or a `DataLoader`, whose data set is read. Float images must be in [0, 1], as ToTensor
            makes them: normalisation belongs into the model.
        config: How the model is measured; the default configuration if not given.
        about: More facts about the model for the results, e.g. method, seed and label of its run.
        on_progress: Called with `EvaluationStarted`, then with `BatchFinished` and `CellFinished`.
        **options: Fields of `EvaluateConfig`, instead of ``config``.

    Raises:
        TypeError: If both ``config`` and ``options`` are given, or the data has another form.
        ValueError: If a setting is out of range.
        ResumeError: If ``out`` holds results of another model, source or protocol.
        RunError: If the model returns the wrong shape or NaN, or has no gradient for an attack, an
            official file does not fit, ``out`` is the run folder of another model, or a file cannot
            be written.
        Interrupted: If the work was stopped; with ``out`` the same call continues it.

    Example:
        >>> results = evaluate(model, "photos", suite=("clean",), max_images=100)  # doctest: +SKIP
    """
    if config is not None and options:
        raise TypeError(f"give config or its fields, not both; got config and {sorted(options)}")
    config = EvaluateConfig(**options) if config is None else config
    shard = find_shard(config.shard) if config.shard else None
    if shard and not config.out:
        raise ValueError(f"shard {config.shard!r} needs the folder that all shards share: out")
    evaluator, keys, held, fresh = open_evaluation(model, data, config, about, on_progress)
    source, suites, ids = evaluator.source, evaluator.suites, evaluator.ids
    device = evaluator.predictor.device
    for note in filter(None, (suite.note() for suite in suites.values())):
        evaluator.emit(Note(text=note))
    plain = to_plain([fresh.model, fresh.source, fresh.protocol])
    distributed.agree(json.dumps(plain, sort_keys=True), "model, source or protocol")
    with ExitStack() as stack:
        folder = Path(config.out) if config.out and distributed.rank() == 0 else None
        shared = None
        if folder:
            store.check_folder(folder, model)
            held_folder = share_folder(
                folder / _SHARDS_FOLDER,
                shard,
                what=f"run folder {folder}",
                way_out="choose another --out",
                locked=folder,
            )
            shared = stack.enter_context(held_folder)
        stack.enter_context(ready(model, device))
        if config.adapt_batch_norm:
            stack.enter_context(adapt_batch_norm(model, config.adapt_prior))
        results = fresh
        if folder:
            fresh = evaluator.with_outputs(fresh)
            images = MeasuredImages(ids=ids, labels=source.labels[ids])
            with shared.alone() if shared else nullcontext():
                results = store.resume(folder, fresh, keys, suites, images, source)
                if shared and shard:
                    evaluator, results = _begin_shards(evaluator, keys, held, results, folder)
        if folder and shared and shard:
            return _measure_in_shards(evaluator, keys, results, folder, shared)
        return _measure_missing(evaluator, keys, held, results, folder)


class Opened(NamedTuple):
    """An evaluation before anything of it is measured."""

    evaluator: "Evaluator"
    keys: list[CellKey]
    held: Ids  # images on which the temperature is fitted
    fresh: Results  # without any cell


def open_evaluation(
    model: nn.Module,
    data: Any,
    config: EvaluateConfig,
    about: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Opened:
    """Open the images and suites of an evaluation, and list its cells; see `evaluate`."""
    list_cells(config)  # an unknown name is found before anything is computed
    source = open_data(data, model)
    device = resolve_device(config.device)
    ids, held = choose_images(
        len(source),
        max_images=config.max_images,
        num_held=config.temperature_images,
        seed=config.seed,
    )
    suites = open_suites(config, source)
    keys = list(dict.fromkeys(key for suite in suites.values() for key in suite.cells()))
    adapted = f"batch norm, prior {config.adapt_prior}" if config.adapt_batch_norm else ""
    fresh = Results(
        model={**describe_model(model), "adaptation": adapted, **(about or {})},
        source=describe_source(source, len(ids)),
        protocol=describe_protocol(config, suites, device),
        provenance=provenance(),
    )
    evaluator = Evaluator(
        predictor=Predictor(
            model=model, device=device, precision=config.precision, num_classes=source.num_classes
        ),
        suites=suites,
        source=source,
        config=config,
        ids=ids,
        num_threads=config.num_threads or useful_threads(device),
        emit=on_progress or ignore,
    )
    return Opened(evaluator, keys, held, fresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """A model, the suites and images it is measured on, and how."""

    predictor: Predictor
    suites: Mapping[str, Suite]
    source: Source  # the clean images and their labels
    config: EvaluateConfig
    ids: Ids  # of the images that are measured
    num_threads: int  # that make images while the model computes
    temperature: float | None = None  # divides the logits of the scaled scores, if there are any
    measures: Measures | None = None  # those of `EvaluateConfig.metrics`
    emit: OnProgress = ignore

    def with_outputs(self, results: Results) -> Results:
        """Add to results what the model says to a few images, by which models are distinguished."""
        outputs = self.predictor.probe_source(
            self.source, self.ids, batch_size=self.config.batch_size
        )
        return replace(results, model={**results.model, "outputs": outputs})

    def batches(self, key: CellKey) -> list[Batch]:
        """List this rank's batches of a cell."""
        suite = self.suites[key.suite]
        ids, step = suite.ids(key, self.ids), self.config.batch_size
        step = max(1, step // (suite.num_frames(key) or 1))
        starts = range(step * distributed.rank(), len(ids), step * distributed.world_size())
        return [(start, ids[start : start + step]) for start in starts]

    def load(self, key: CellKey, ids: Ids) -> Pixels:
        """Load the model's input for some images; the frames of a sequence follow each other."""
        images = self.suites[key.suite].images(key, ids)
        return to_float(images.reshape(-1, *images.shape[-3:]))

    def load_ahead(self, keys: Sequence[CellKey]) -> Generator[Pixels]:
        """Load the images of all batches of the cells on threads."""
        tasks = [(key, ids) for key in keys for _, ids in self.batches(key)]

        def make(index: int) -> Pixels:
            return self.load(*tasks[index])

        return run_ahead(make, range(len(tasks)), num_threads=self.num_threads)

    def measure(self, key: CellKey, ahead: Iterator[Pixels]) -> Measured | None:
        """Measure a cell on rank 0, from its batches of images; it is None on the others.

        A `RunError` tells that an image cannot be made, logits are not finite, or a process ended.
        """
        began, wait_s = perf_counter(), 0.0
        suite, num_classes = self.suites[key.suite], self.predictor.num_classes
        num_frames = suite.num_frames(key)
        how = {"is_noise": suite.is_noise(key), "difficulty": self.config.difficulty}
        temperatures = [1.0] if self.temperature is None else [1.0, self.temperature]
        outputs = suite.outputs(key)
        # Nothing was fitted for some of the classes alone
        measures = self.measures if len(outputs) == num_classes else None

        def score(logits: Logits, ids: Ids) -> Sequence[Any]:
            if isinstance(suite, Fourier):
                classes = logits.argmax(axis=1).reshape(len(ids), num_frames)
                return [FrequencyPredictions(prediction=to_classes(classes, num_classes))]
            if num_frames:
                top = top_classes(logits)
                return [score_sequences(top.reshape(len(ids), num_frames, top.shape[1]), **how)]
            if isinstance(suite, Outliers):
                return [outlier_arrays(logits, suite.is_outside(ids))]
            labels = suite.labels(key, ids, logits)
            scores = [image_scores(logits, labels, temperature=value) for value in temperatures]
            if measures is None:
                return scores
            arrays = measures.of_images(scores[0], logits, labels, ids)
            return [*scores, {**arrays, "labels": labels}]

        batches = self.batches(key)
        scores = [score(np.empty((0, len(outputs))), np.empty(0, np.int64))]
        for _, ids in batches:
            asked = perf_counter()
            images = next(ahead)
            wait_s += perf_counter() - asked
            scores.append(score(self.logits(key, ids, images), ids))
            num_images = len(ids) * suite.num_passes(key)
            self.emit(BatchFinished(**key._asdict(), num_images=num_images))
        found: list[Any] = [gather(parts, batches) for parts in zip(*scores, strict=True)]
        if found[0] is None:
            return None
        seconds = perf_counter() - began
        if isinstance(suite, Fourier):
            predictions = found[0]
            is_wrong = predictions.prediction != self.source.labels[self.ids, None]
            vertical, horizontal = suite.frequencies(key)
            cell = FrequencyCell(
                name=key.name,
                vertical=vertical,
                horizontal=list(horizontal),
                num_images=len(is_wrong),
                num_errors=is_wrong.sum(axis=0).tolist(),
                seconds=seconds,
            )
        elif isinstance(suite, Outliers):
            predictions = OutlierPredictions(**found[0])
            cell = make_outlier_cell(key.name, predictions, seconds=seconds)
        elif num_frames:
            sizes = {"num_pairs": metrics.num_pairs(num_frames, **how), "num_classes": num_classes}
            cell = make_sequence_cell(key.name, found[0], **sizes, seconds=seconds)
            predictions = keep_sequence_predictions(found[0], **sizes)
        else:
            bin_size, values, kept = self.config.bin_size, {}, {}
            if measures is not None:
                *found, arrays = found
                labels = arrays.pop("labels")
                values, kept = measures.of_cell(arrays, found[0], labels, bin_size=bin_size)
            cell = make_cell(key, *found, bin_size=bin_size, seconds=seconds, measures=values)
            predictions = Predictions(
                prediction=to_classes(outputs[found[0].prediction], num_classes),
                confidence=found[0].confidence.astype(np.float32),
                measures=kept,
            )
        return Measured(cell=cell, predictions=predictions, wait_s=wait_s)

    def logits(self, key: CellKey, ids: Ids, images: Pixels) -> Logits:
        """The logits of a batch; the frames of a long sequence are shown in several parts."""
        suite, step = self.suites[key.suite], self.config.batch_size
        owners = np.repeat(ids, len(images) // len(ids))
        parts = [slice(start, start + step) for start in range(0, len(images), step)]
        return np.concatenate(
            [suite.logits(self.predictor, images[part], key, owners[part]) for part in parts]
        )


def gather(scores: Sequence[Scores], batches: Sequence[Batch]) -> Scores | None:
    """Gather the scores of all ranks in the order of the images, on rank 0; None on the others.

    This rank's are one or more dataclasses, or dicts, of one array per image, of the images of its
    batches.
    """
    record: Any = scores[0]
    ranges = [np.arange(start, start + len(ids)) for start, ids in batches]
    found = distributed.gather(np.concatenate([np.empty(0, np.int64), *ranges]))
    parts = [each if isinstance(each, dict) else _columns(each) for each in scores]
    columns = {
        name: distributed.gather(np.concatenate([part[name] for part in parts]))
        for name in parts[0]
    }
    if not found:
        return None
    order = np.argsort(np.concatenate(found), kind="stable")
    return type(record)(**{name: np.concatenate(pieces)[order] for name, pieces in columns.items()})


def _columns(record: Any) -> dict[str, np.ndarray]:
    return {entry.name: getattr(record, entry.name) for entry in fields(record)}


def make_cell(
    key: CellKey,
    scores: ImageScores,
    scaled: ImageScores | None = None,
    *,
    bin_size: int,
    seconds: float,
    measures: Mapping[str, float] | None = None,
) -> Cell:
    """Sum up the scores of all images of a cell, in their order; ``scaled`` at the temperature.

    More ``measures`` are kept beside those of `cell_measures`.
    """
    return Cell(
        **key._asdict(),
        num_images=len(scores.correct),
        num_errors=int((~scores.correct).sum()),
        **_sums(scores, bin_size),
        seconds=seconds,
        scaled=None if scaled is None else Scaled(**_sums(scaled, bin_size)),
        measures=cell_measures(scores) | dict(measures or {}),
    )


def _sums(scores: ImageScores, bin_size: int) -> dict[str, Any]:
    answers = scores.confidence, scores.correct
    return {
        "nll_sum": _known(scores.nll.sum()),
        "brier_sum": _known(scores.brier.sum()),
        "adaptive": Bins.of(metrics.adaptive_bins(*answers, bin_size=bin_size)),
        "equal_width": Bins.of(metrics.equal_width_bins(*answers, num_bins=_NUM_BINS)),
    }


def _known(total: np.floating[Any]) -> float | None:
    """A sum; None for NaN, of scores that are not known."""
    return None if np.isnan(total) else float(total)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceScores:
    """Scores of every image of a perturbation."""

    prediction: Int64[np.ndarray, "image frame"]  # class of the largest logit
    flips: Int64[np.ndarray, " image"]  # pairs of compared frames whose predictions differ
    distance: Int64[np.ndarray, " image"]  # of the pairs' top five, summed; 0 below five classes


def score_sequences(
    top: Int64[np.ndarray, "image frame rank"], *, is_noise: bool, difficulty: int
) -> SequenceScores:
    """Compare the frames of sequences by their `metrics.top_classes`.

    Noise is compared with the first frame, else frames with the one ``difficulty`` (1..3) before.
    """
    how = {"is_noise": is_noise, "difficulty": difficulty}
    flips = metrics.image_flips(top[..., 0], **how)
    has_distance = top.shape[2] == TOP
    return SequenceScores(
        prediction=top[..., 0],
        flips=flips,
        distance=metrics.image_top5_distance(top, **how) if has_distance else 0 * flips,
    )


def make_sequence_cell(
    name: str, scores: SequenceScores, *, num_pairs: int, num_classes: int, seconds: float
) -> SequenceCell:
    """Sum up the scores of all sequences of a perturbation, of so many pairs each."""
    return SequenceCell(
        name=name,
        num_images=len(scores.flips),
        num_pairs=num_pairs * len(scores.flips),
        num_flips=int(scores.flips.sum()),
        top5_distance_sum=float(scores.distance.sum()) if num_classes >= TOP else None,
        seconds=seconds,
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


def _measure_missing(
    evaluator: Evaluator, keys: Sequence[CellKey], held: Ids, results: Results, folder: Path | None
) -> Results:
    """Measure the cells that are missing, each written as soon as it is complete."""
    is_missing = distributed.broadcast(np.array([not store.is_done(results, key) for key in keys]))
    missing = [key for key, is_it in zip(keys, is_missing, strict=True) if is_it]
    done = len(keys) - len(missing)
    for suite in evaluator.suites.values():
        if any(key.suite == suite.name for key in missing):
            suite.check_model(evaluator.predictor, evaluator.ids)
    try:
        if len(held) and missing:
            evaluator, results = _with_fitted(evaluator, held, results)
        evaluator = _with_measures(evaluator, results)
        num_images = sum(  # with frames, of this rank
            evaluator.suites[key.suite].num_passes(key) * len(ids)
            for key in missing
            for _, ids in evaluator.batches(key)
        )
        evaluator.emit(EvaluationStarted(done=done, num_cells=len(keys), num_images=num_images))
        with closing(evaluator.load_ahead(missing)) as ahead:
            for key in missing:
                measured = evaluator.measure(key, ahead)
                if measured is None:  # rank 0 has it
                    continue
                results = store.add(results, measured, keys, evaluator.suites)
                if folder:
                    store.write(folder, results, measured)
                done += 1
                evaluator.emit(_cell_event(measured, done, len(keys)))
    except KeyboardInterrupt:
        kept = f"; start the same command again to continue in {folder}" if folder else ""
        raise Interrupted(f"stopped after {done} of {len(keys)} measurements{kept}") from None
    if folder and (missing or not (folder / HARDEST_FILE).exists()):
        store.write_hardest(folder, results, evaluator.source)
    if folder and (missing or not (folder / MISTAKES_FILE).exists()):
        store.write_mistakes(folder, keys, evaluator.suites, evaluator.source)
    return results


def _begin_shards(
    evaluator: Evaluator, keys: Sequence[CellKey], held: Ids, results: Results, folder: Path
) -> tuple[Evaluator, Results]:
    """Write the results that all shards add to, with the temperature that they all take."""
    if all(store.is_done(results, key) for key in keys):
        return evaluator, results
    if len(held):
        evaluator, results = _with_fitted(evaluator, held, results)
    write_results(folder / RESULTS_FILE, results)
    return _with_measures(evaluator, results), results


def _measure_in_shards(
    evaluator: Evaluator,
    keys: Sequence[CellKey],
    results: Results,
    folder: Path,
    shared: SharedFolder,
) -> Results:
    """Measure the cells that no shard has measured, until there is none left."""
    path, suites = folder / RESULTS_FILE, evaluator.suites
    missing = [key for key in keys if not store.is_done(results, key)]
    for suite in suites.values():
        if any(key.suite == suite.name for key in missing):
            suite.check_model(evaluator.predictor, evaluator.ids)
    sizes = {
        key: suites[key.suite].num_passes(key) * len(suites[key.suite].ids(key, evaluator.ids))
        for key in missing
    }
    done = len(keys) - len(missing)
    queue = Pieces(
        shared,
        missing,
        name=lambda key: "-".join(map(str, key)).replace(os.sep, "_"),
        is_done=lambda key: store.is_done(load_results(path), key),
    )
    num_images = sum(sizes.values())
    evaluator.emit(EvaluationStarted(done=done, num_cells=len(keys), num_images=num_images))
    try:
        with closing(queue):
            while queue.num_left:
                key = queue.take()
                if key is not None:
                    with closing(evaluator.load_ahead([key])) as ahead:
                        measured = evaluator.measure(key, ahead)
                    assert measured is not None  # shards are no ranks
                    with shared.alone():
                        results = store.add(load_results(path), measured, keys, suites)
                        store.write(folder, results, measured)
                    queue.finish(key)
                    done += 1
                    evaluator.emit(_cell_event(measured, done, len(keys)))
                elif queue.num_left:
                    sleep(WAIT_S)
                for other in queue.finished_by_others():
                    done += 1
                    evaluator.emit(BatchFinished(**other._asdict(), num_images=sizes[other]))
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped after {done} of {len(keys)} measurements; start the same command again to "
            f"continue in {folder}"
        ) from None
    with shared.alone():
        results = load_results(path)
        store.write_hardest(folder, results, evaluator.source)
        store.write_mistakes(folder, keys, suites, evaluator.source)
    return results


def _with_measures(evaluator: Evaluator, results: Results) -> Evaluator:
    """Set the measures that the configuration asks for, at what the results have fitted."""
    config = evaluator.config
    if not config.metrics:
        return evaluator
    measures = Measures(
        groups=config.metrics,
        fitted=distributed.broadcast(results.fitted or {}),
        temperature=evaluator.temperature,
        seed=config.seed,
    )
    return replace(evaluator, measures=measures)


def _with_fitted(evaluator: Evaluator, held: Ids, results: Results) -> tuple[Evaluator, Results]:
    """Set what is fitted on held-out clean images, if the results have none of it yet."""
    found, fitted = results.temperature, results.fitted
    config = evaluator.config
    if not distributed.broadcast(found is not None):
        clean = {"clean": Clean(config=config, source=evaluator.source)}
        on_held = replace(evaluator, ids=held, suites=clean)
        batches, parts = on_held.batches(CLEAN), [np.empty((0, evaluator.predictor.num_classes))]
        for _, ids in batches:
            parts.append(evaluator.predictor.logits(on_held.load(CLEAN, ids), CLEAN, ids))
        gathered = gather([{"logits": part} for part in parts], batches)
        if gathered:  # rank 0
            logits, labels = gathered["logits"], evaluator.source.labels[held]
            found = asdict(measure_temperature(logits, labels))
            if config.metrics:
                fitted = fit_measures(
                    config.metrics,
                    image_scores(logits, labels),
                    logits,
                    labels,
                    held,
                    coverage=config.conformal_coverage,
                    seed=config.seed,
                )
    value = distributed.broadcast(found["value"] if found else 0.0)
    for words in filter(None, (bound_note(value), (fitted or {}).get("note"))):
        evaluator.emit(Note(text=words))
    evaluator = replace(evaluator, temperature=value)
    return evaluator, replace(results, temperature=found, fitted=fitted)


def describe_protocol(
    config: EvaluateConfig, suites: Mapping[str, Suite], device: torch.device
) -> dict[str, Any]:
    """Return the settings that decide the numbers, for the results."""
    facts: dict[str, Any] = {"suite": list(suites)}
    for suite in suites.values():
        facts |= {**describe_preset(suite.preset), **suite.describe()}
    return facts | {
        "seed": config.seed,
        "bin_size": config.bin_size,
        "max_images": config.max_images,
        "temperature_images": config.temperature_images,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "device": device.type,
        **describe_metrics(config),
    }


def useful_threads(device: torch.device) -> int:
    """Count the threads that make images: several only where the model leaves processors idle."""
    if device.type == "cpu":
        return 1
    return max(1, min(_MOST_THREADS, default_threads() // distributed.world_size()))


def _cell_event(measured: Measured, done: int, num_cells: int) -> CellFinished:
    cell = measured.cell
    metric, value = "error", 0.0
    if isinstance(cell, SequenceCell):
        metric, value = "flip probability", cell.flip_probability
    elif isinstance(cell, OutlierCell):
        metric, value = "AUROC", cell.auroc["confidence"]
    else:
        value = cell.error
    return CellFinished(
        **cell.key._asdict(),
        metric=metric,
        value=value,
        wait_fraction=measured.wait_s / cell.seconds,
        done=done,
        num_cells=num_cells,
    )
