"""Results from predictions that another program made: files of rows, one an image of a cell.

| column | holds |
| --- | --- |
| ``id`` | the image, the same under every corruption |
| ``label`` | its class, 0 .. classes - 1 |
| ``suite`` | ``clean``, ``c``, ``c-bar``, ``own``, ``p`` (frames), ``ood`` (images of no class) |
| ``corruption``, ``severity`` | as in `results.CellKey`; not looked at for ``clean`` |
| ``frame`` | position in its sequence, from 0; only for ``p`` |
| the answer | ``logits``, ``probabilities``, or ``prediction`` and ``confidence`` |

Logits and probabilities are an array or list column of that name, or columns ``logit_0``,
``logit_1`` ... (``probability_0`` ...). Rows are in any order. A CSV or parquet file is read some
thousand rows at a time, and only the scores of each row are kept.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from augmix.corruptions import registry
from augmix.corruptions.presets import describe_preset, open_preset
from augmix.corruptions.registry import AnyPreset
from augmix.data.sources import Source
from augmix.errors import ResumeError, RunError, did_you_mean
from augmix.evaluation.columns import (
    KEYS,
    SUITES,
    Columns,
    find_logits,
    list_columns,
    read_cell_keys,
    read_columns,
    read_integers,
    read_numbers,
)
from augmix.evaluation.config import EvaluateConfig, Group
from augmix.evaluation.images import choose_images, describe_source
from augmix.evaluation.loop import (
    keep_sequence_predictions,
    make_cell,
    make_sequence_cell,
    score_sequences,
)
from augmix.evaluation.measures import (
    Measures,
    describe_metrics,
    fit_measures,
    require_logits,
)
from augmix.evaluation.outliers import make_outlier_cell
from augmix.evaluation.store import AnyCell, Measured, check_folder, write_hardest
from augmix.evaluation.suites import CLEAN
from augmix.files import hash_file, hold_folder, make_folder
from augmix.metrics import (
    ImageScores,
    classwise_sums,
    energy_score,
    image_scores,
    log_softmax,
    max_logit,
    num_pairs,
    top_classes,
)
from augmix.models.calibration import Temperature, measure_temperature
from augmix.per_image import (
    HARDEST_FILE,
    MeasuredImages,
    OutlierPredictions,
    Predictions,
    images_path,
    predictions_path,
    to_classes,
    write_predictions,
)
from augmix.results import (
    RESULTS_FILE,
    Cell,
    CellKey,
    OutlierCell,
    Results,
    SequenceCell,
    load_results,
    provenance,
    write_results,
)


def evaluate_predictions(
    predictions: Path | str | Columns,
    source: Source | None = None,
    *,
    name: str | None = None,
    bin_size: int = 100,
    difficulty: int = 1,
    preset: AnyPreset | None = None,
    temperature_images: int = 0,
    metrics: Sequence[Group] = (),
    conformal_coverage: float = 0.9,
    seed: int = 0,
    out: Path | str | None = None,
) -> Results:
    """Compute the results of a model from its predictions, wherever they were made.

    The numbers are those of `evaluate` for a model that gives the same logits. Without logits or
    probabilities there is no likelihood, Brier score or top-5 distance.

    Args:
        predictions: A ``.npz``, ``.parquet`` or ``.csv`` file, or its columns as arrays; see the
            table of this module. With a source they need no labels.
        source: The clean images, for the names of the classes and the pictures of a report; ids are
            positions in it.
        name: Name in tables and reports; by default the file's.
        bin_size: Predictions in a bin of the RMS calibration error.
        difficulty: How far apart compared frames of sequences are, 1..3, except for noise.
        preset: Severity table that the images were made with, for the record: runs of another one
            are then not compared with these. Of a file, name and checksum are kept.
        temperature_images: Clean images that are held out of everything measured, as by `evaluate`:
            the same ones if the file has all images of a source and ``seed`` is the same.
        metrics: Groups of more measures, see `EvaluateConfig`. Predictions and confidences alone
            give the calibrators ``isotonic`` and ``histogram`` only.
        conformal_coverage: Probability with which prediction sets hold the right class.
        seed: Of the choice of the held-out images, and of the prediction sets.
        out: Folder of the results. One of other models is refused.

    Raises:
        RunError: If the file is missing or damaged, a row is missing, twice, or makes no sense, or
            ``out`` is a run folder.
        ResumeError: If ``out`` holds results that are not of this file.

    Example:
        >>> rows = {"id": np.arange(4), "label": np.array([0, 1, 1, 0]), "suite": ["clean"] * 4}
        >>> answer = {"prediction": np.array([0, 1, 0, 0]), "confidence": np.full(4, 0.8)}
        >>> results = evaluate_predictions({**rows, **answer}, bin_size=4)
        >>> results.cells[0].num_errors
        1
    """
    file = None if isinstance(predictions, Mapping) else Path(predictions).expanduser()
    where = "the predictions" if file is None else str(file)
    config = EvaluateConfig(
        temperature_images=temperature_images,
        metrics=tuple(metrics),
        conformal_coverage=conformal_coverage,
        seed=seed,
    )
    held = _hold_out(predictions, where, source, config) if temperature_images else _Held()
    if "classwise" in config.metrics:
        sums = _sum_classwise(predictions, where, source, held)
        held = replace(held, classwise_sums=sums)
    measures = None
    if config.metrics:
        measures = Measures(
            groups=config.metrics,
            fitted=held.fitted or {},
            temperature=held.temperature and held.temperature.value,
            seed=seed,
        )
    parts = [_score(chunk, where, source, held, measures) for chunk in read_columns(predictions)]
    if not sum(len(part.id) for part in parts):
        raise RunError(f"{where} has no row")
    rows = _join(parts, where)
    images = _find_images(rows, where)
    num_classes = _count_classes(rows, source, where)
    by_cell = rows.by_cell()
    measured = [
        _measure_outliers(key.name, rows.take(index), rows, by_cell, where)
        if key.suite == "ood"
        else _measure(
            key,
            rows.take(index),
            images,
            where=where,
            num_classes=num_classes,
            bin_size=bin_size,
            difficulty=difficulty,
            measures=measures,
        )
        for key, index in by_cell.items()
    ]
    measured.sort(key=lambda each: SUITES.index(each.cell.key.suite))  # keeps the file's order
    cells: list[AnyCell] = [each.cell for each in measured]
    protocol = _describe_protocol(cells, rows, bin_size=bin_size, difficulty=difficulty)
    title = file.name if file else "predictions"
    results = Results(
        model={
            "name": title,
            "num_classes": num_classes,
            "weights_sha256": hash_file(file) if file else _hash(rows),
            "preprocessing": None,
            "adaptation": "",
            "method": "",
            "seed": None,
            "label": name or (file.stem if file else title),
        },
        source=_describe_source(source, images, num_classes, title),
        protocol=protocol
        | (describe_preset(open_preset(preset)) if preset else {})
        | _describe_held(config),
        provenance=provenance(),
        temperature=asdict(held.temperature) if held.temperature else None,
        fitted=held.fitted,
        cells=tuple(cell for cell in cells if isinstance(cell, Cell)),
        sequences=tuple(cell for cell in cells if isinstance(cell, SequenceCell)),
        outliers=tuple(cell for cell in cells if isinstance(cell, OutlierCell)),
    )
    if out is not None:
        _write(Path(out), results, measured, images, source)
    return results


# --- checking and scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """What is kept of rows: where each belongs, and its scores."""

    id: Int64[np.ndarray, " row"]
    label: Int64[np.ndarray, " row"]
    cell: Int64[np.ndarray, " row"]  # position in keys
    frame: Int64[np.ndarray, " row"]
    top: Int64[np.ndarray, "row rank"]  # the most probable classes, or only the first
    max_logit: Float64[np.ndarray, " row"]  # 0 if logits are not known
    energy: Float64[np.ndarray, " row"]  # 0 if logits are not known
    scores: ImageScores
    keys: tuple[CellKey, ...]
    num_classes: int  # of logits or probabilities; 0 if there are none
    scaled: ImageScores | None = None  # at the temperature
    arrays: dict[str, np.ndarray] = field(default_factory=dict)  # of `Measures.of_images`

    def take(self, index: np.ndarray) -> "_Rows":
        """Select rows."""
        names = ("id", "label", "cell", "frame", "top", "max_logit", "energy")
        chosen: dict[str, Any] = {name: getattr(self, name)[index] for name in names}
        chosen["scores"] = _map_scores(self.scores, lambda each: each[index])
        if self.scaled is not None:
            chosen["scaled"] = _map_scores(self.scaled, lambda each: each[index])
        arrays = {name: each[index] for name, each in self.arrays.items()}
        return replace(self, **chosen, arrays=arrays)

    def by_cell(self) -> dict[CellKey, Int64[np.ndarray, " row"]]:
        """The rows of every cell, by image and frame."""
        order = np.lexsort((self.frame, self.id, self.cell))
        ends = np.searchsorted(self.cell[order], np.arange(1, len(self.keys)))
        return dict(zip(self.keys, np.split(order, ends), strict=True))


def _map_scores(scores: ImageScores, change: Callable[[np.ndarray], np.ndarray]) -> ImageScores:
    return ImageScores(**{e.name: change(getattr(scores, e.name)) for e in fields(scores)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What was fitted on held-out images, and sums over the cells of all others."""

    ids: Int64[np.ndarray, " held"] = field(default_factory=lambda: np.empty(0, np.int64))
    temperature: Temperature | None = None
    fitted: dict[str, Any] | None = None
    classwise_sums: dict[CellKey, np.ndarray] = field(default_factory=dict)


def _hold_out(
    predictions: Path | str | Columns, where: str, source: Source | None, config: EvaluateConfig
) -> _Held:
    """Choose the held-out images among the clean ones, and fit on them what is asked for."""
    parts, answers = [], []
    for chunk in read_columns(predictions):
        suites = np.array([text.strip() for text in np.asarray(chunk.get("suite", ())).astype(str)])
        clean = {name: np.asarray(each)[suites == "clean"] for name, each in chunk.items()}
        if not (suites == "clean").any():
            continue
        parts.append(_score(clean, where, source))
        answers.append(find_logits(clean, where))
    if not parts:
        raise RunError(f"{where} has no row of suite 'clean', of which images could be held out")
    rows = _join(parts, where)
    order = np.argsort(rows.id, kind="stable")
    num_held = config.temperature_images
    held = order[choose_images(len(order), num_held=num_held, seed=config.seed)[1]]
    labels, scores = rows.label[held], rows.take(held).scores
    if answers[0] is None:
        require_logits(config.metrics, where)
        if "calibrators" not in config.metrics:
            raise RunError(
                f"{where} has predictions and confidences only, a temperature needs the logits or "
                "probabilities of every class"
            )
        logits, temperature = None, None
    else:
        logits = np.concatenate([each for each in answers if each is not None])[held]
        temperature = measure_temperature(logits, labels)
    ids, fitted = rows.id[held], None
    if config.metrics:
        how = {"coverage": config.conformal_coverage, "seed": config.seed}
        fitted = fit_measures(config.metrics, scores, logits, labels, ids, **how)
    return _Held(ids=ids, temperature=temperature, fitted=fitted)


def _sum_classwise(
    predictions: Path | str | Columns, where: str, source: Source | None, held: _Held
) -> dict[CellKey, np.ndarray]:
    """Sum the gaps of the images in the bins of every class, cell by cell."""
    found: dict[CellKey, np.ndarray] = {}
    for chunk in read_columns(predictions):
        rows, logits = _score(chunk, where, source), find_logits(chunk, where)
        if logits is None:
            require_logits(("classwise",), where)
            continue
        is_measured = ~np.isin(rows.id, held.ids)
        for number, key in enumerate(rows.keys):
            if key.suite == "ood":
                continue
            own = is_measured & (rows.cell == number)
            probabilities = np.exp(log_softmax(logits[own]))
            found[key] = found.get(key, 0) + classwise_sums(probabilities, rows.label[own])
    return found


def _measure_rows(
    rows: _Rows, logits: Float64[np.ndarray, "row class"] | None, held: _Held, measures: Measures
) -> dict[str, np.ndarray]:
    """The arrays of `Measures` of some rows, cell by cell."""
    found: dict[str, np.ndarray] = {}
    for number, key in enumerate(rows.keys):
        if key.suite == "ood":
            continue
        own = np.flatnonzero(rows.cell == number)
        some = rows.take(own)
        arrays = measures.of_images(
            some.scores,
            None if logits is None else logits[own],
            some.label,
            some.id,
            classwise_sums=held.classwise_sums.get(key),
        )
        for name, values in arrays.items():
            found.setdefault(name, np.zeros(len(rows.id), values.dtype))[own] = values
    return found


def _score(
    columns: Columns,
    where: str,
    source: Source | None,
    held: _Held | None = None,
    measures: Measures | None = None,
) -> _Rows:
    """Check some rows and reduce them to their scores; those of held-out images are left out."""
    missing = [name for name in ("id", "suite") if name not in columns]
    missing += ["label"] if "label" not in columns and source is None else []
    if missing:
        near = did_you_mean(missing[0], columns)
        raise RunError(
            f"{where} has no column {missing[0]!r}{near}; expected {', '.join(KEYS)} and logits, "
            f"probabilities, or prediction and confidence; got {list_columns(columns)}"
        )
    ids = read_integers(columns, "id", where)
    keys, cells = read_cell_keys(columns, where)
    is_sequence = np.array([key.suite == "p" for key in keys], bool)[cells]
    frames = np.zeros(len(ids), np.int64)
    if is_sequence.any():
        if "frame" not in columns:
            raise RunError(f"{where} has rows of suite 'p' but no column 'frame'")
        chosen = {"frame": np.asarray(columns["frame"])[is_sequence]}
        frames[is_sequence] = read_integers(chosen, "frame", where)
    is_outside = np.array([key.suite == "ood" for key in keys], bool)[cells]
    labels = np.zeros(len(ids), np.int64)  # of no class: not looked at
    labels[~is_outside] = _find_labels(columns, ids[~is_outside], ~is_outside, where, source)
    logits = find_logits(columns, where)
    if logits is None:
        scores, top, num_classes = _score_answers(columns, labels, where)
        max_logits, energies = np.zeros(len(ids)), np.zeros(len(ids))
    else:
        num_classes = logits.shape[1]
        if len(labels) and labels.max() >= num_classes:
            raise RunError(f"{where} has label {labels.max()}, but {num_classes} logits a row")
        scores = image_scores(logits, labels)
        max_logits, energies = max_logit(logits), energy_score(logits)
        top = top_classes(logits) if is_sequence.any() else scores.prediction[:, None]
    scaled = None
    if held is not None and held.temperature is not None and logits is not None:
        scaled = image_scores(logits, labels, temperature=held.temperature.value)
    rows = _Rows(
        id=ids,
        label=labels,
        cell=cells,
        frame=frames,
        top=top,
        max_logit=max_logits,
        energy=energies,
        scores=scores,
        keys=tuple(keys),
        num_classes=num_classes,
        scaled=scaled,
    )
    if held is None:
        return rows
    if measures is not None:
        rows = replace(rows, arrays=_measure_rows(rows, logits, held, measures))
    return rows.take(np.flatnonzero(~np.isin(ids, held.ids) | is_outside))


def _find_labels(
    columns: Columns,
    ids: Int64[np.ndarray, " row"],
    chosen: np.ndarray,
    where: str,
    source: Source | None,
) -> Int64[np.ndarray, " row"]:
    """The labels of chosen rows, which have these ids, from the file or the source."""
    if source is not None and len(ids) and ids.max() >= len(source):
        raise RunError(f"{where} has id {ids.max()}, but {source.name} has {len(source)} images")
    if "label" not in columns:
        assert source is not None  # checked by the caller
        return source.labels[ids]
    labels = read_integers({"label": np.asarray(columns["label"])[chosen]}, "label", where)
    if source is not None and (labels != source.labels[ids]).any():
        row = int((labels != source.labels[ids]).argmax())
        raise RunError(
            f"{where}: image {ids[row]} has label {labels[row]}, in {source.name} it is "
            f"{source.labels[ids[row]]}; are the ids positions in those images?"
        )
    return labels


def _score_answers(
    columns: Columns, labels: Int64[np.ndarray, " row"], where: str
) -> tuple[ImageScores, Int64[np.ndarray, "row rank"], int]:
    """Scores of predictions and confidences alone; likelihoods and Brier scores are NaN."""
    missing = [name for name in ("prediction", "confidence") if name not in columns]
    if missing:
        raise RunError(
            f"{where} has no answers: expected logits, probabilities, or prediction and "
            f"confidence; got {list_columns(columns)}"
        )
    prediction = read_integers(columns, "prediction", where)
    confidence = read_numbers(columns, "confidence", where)
    is_wrong = (confidence < 0) | (confidence > 1 + 1e-5)
    if is_wrong.any():
        got = confidence[is_wrong.argmax()]
        raise RunError(f"{where}: confidence must be in [0, 1], got {got:g}")
    unknown = np.full(len(labels), np.nan)
    scores = ImageScores(
        prediction=prediction,
        confidence=np.minimum(confidence, 1.0),
        correct=prediction == labels,
        nll=unknown,
        brier=unknown,
    )
    return scores, prediction[:, None], 0


def _join(parts: Sequence[_Rows], where: str) -> _Rows:
    """Join the rows that were read one after the other."""
    parts = [part for part in parts if len(part.id)]
    keys = list(dict.fromkeys(key for part in parts for key in part.keys))
    cells = [np.array([keys.index(key) for key in p.keys], np.int64)[p.cell] for p in parts]
    widths = {part.num_classes for part in parts}
    if len(widths) > 1:
        raise RunError(f"{where} has rows of {sorted(widths)} classes; expected one number")
    num_ranks = max(part.top.shape[1] for part in parts)  # rows without sequences have only one
    tops = [np.pad(p.top, ((0, 0), (0, num_ranks - p.top.shape[1]))) for p in parts]
    scaled = [part.scaled for part in parts if part.scaled is not None]
    measures = dict.fromkeys(name for part in parts for name in part.arrays)
    return _Rows(
        id=np.concatenate([part.id for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        cell=np.concatenate(cells),
        frame=np.concatenate([part.frame for part in parts]),
        top=np.concatenate(tops),
        max_logit=np.concatenate([part.max_logit for part in parts]),
        energy=np.concatenate([part.energy for part in parts]),
        scores=_join_scores([part.scores for part in parts]),
        keys=tuple(keys),
        num_classes=widths.pop(),
        scaled=_join_scores(scaled) if scaled else None,
        arrays={name: _join_measure(parts, name) for name in measures},
    )


def _join_measure(parts: Sequence[_Rows], name: str) -> np.ndarray:
    """Join an array of measures; parts with images of no class only have none, and get 0."""
    absent = (np.zeros(len(part.id), bool) for part in parts)
    return np.concatenate([p.arrays.get(name, zero) for p, zero in zip(parts, absent, strict=True)])


def _join_scores(parts: Sequence[ImageScores]) -> ImageScores:
    columns = {
        entry.name: np.concatenate([getattr(part, entry.name) for part in parts])
        for entry in fields(ImageScores)
    }
    return ImageScores(**columns)


def _find_images(rows: _Rows, where: str) -> MeasuredImages:
    """The images of all rows, by id; one with two labels is refused."""
    outside = [number for number, key in enumerate(rows.keys) if key.suite == "ood"]
    rows = rows.take(np.flatnonzero(~np.isin(rows.cell, outside)))
    if not len(rows.id):
        raise RunError(f"{where} has rows of suite 'ood' only; add those of the clean images")
    ids, first = np.unique(rows.id, return_index=True)
    labels = rows.label[first]
    own = labels[np.searchsorted(ids, rows.id)]
    if (own != rows.label).any():
        row = int((own != rows.label).argmax())
        both = f"{own[row]} and {rows.label[row]}"
        raise RunError(f"{where}: image {rows.id[row]} has the labels {both}; expected one")
    return MeasuredImages(ids=ids, labels=labels)


def _count_classes(rows: _Rows, source: Source | None, where: str) -> int:
    num_classes = rows.num_classes or (source.num_classes if source is not None else 0)
    if source is not None and num_classes != source.num_classes:
        raise RunError(
            f"{where} has {num_classes} classes, {source.name} has {source.num_classes}; give the "
            "answers of the classes of the images, in their order"
        )
    largest = int(max(rows.label.max(), rows.scores.prediction.max()))
    if num_classes and largest >= num_classes:
        raise RunError(f"{where} has class {largest}, expected 0..{num_classes - 1}")
    return num_classes or largest + 1


# --- results


def _measure(
    key: CellKey,
    rows: _Rows,
    images: MeasuredImages,
    *,
    where: str,
    num_classes: int,
    bin_size: int,
    difficulty: int,
    measures: Measures | None,
) -> Measured:
    """Make a cell from its rows, which are in the order of images and frames."""
    title = f"{key.name} {key.severity}" if key.severity else key.name
    num_frames = int(rows.frame.max()) + 1
    expected = np.repeat(images.ids, num_frames)
    frames = np.tile(np.arange(num_frames), len(images.ids))
    if len(rows.id) != len(expected) or (rows.id != expected).any() or (rows.frame != frames).any():
        _refuse_gaps(rows, expected, frames, f"{where}, {title}", has_frames=key.suite == "p")
    if key.suite != "p":
        values, arrays = {}, {}
        if measures is not None:
            arrays = rows.arrays
            values, arrays = measures.of_cell(arrays, rows.scores, rows.label, bin_size=bin_size)
        cell = make_cell(
            key, rows.scores, rows.scaled, bin_size=bin_size, seconds=0.0, measures=values
        )
        kept = Predictions(
            prediction=to_classes(rows.scores.prediction, num_classes),
            confidence=rows.scores.confidence.astype(np.float32),
            measures=arrays,
        )
        return Measured(cell=cell, predictions=kept, wait_s=0.0)
    how = {"is_noise": registry.SEQUENCES[key.name].is_noise, "difficulty": difficulty}
    if num_frames < 2 or num_pairs(num_frames, **how) < 1:
        raise RunError(f"{where}, {title}: sequences must have more frames, got {num_frames}")
    top = rows.top.reshape(len(images.ids), num_frames, -1)
    scores = score_sequences(top, **how)
    sizes = {"num_pairs": num_pairs(num_frames, **how), "num_classes": num_classes}
    cell = make_sequence_cell(key.name, scores, **sizes, seconds=0.0)
    if not rows.num_classes:  # no second to fifth class
        cell = replace(cell, top5_distance_sum=None)
    return Measured(cell=cell, predictions=keep_sequence_predictions(scores, **sizes), wait_s=0.0)


def _measure_outliers(
    name: str, rows: _Rows, every: _Rows, by_cell: Mapping[CellKey, np.ndarray], where: str
) -> Measured:
    """Make the cell of some images of no class, against the clean ones."""
    if CLEAN not in by_cell:
        raise RunError(f"{where} has rows of suite 'ood' and none of suite 'clean' beside them")
    if len(np.unique(rows.id)) < len(rows.id):
        raise RunError(f"{where}, {name}: an image has more than one row")
    clean = every.take(by_cell[CLEAN])
    pair = (clean, rows)
    kept = OutlierPredictions(
        is_outside=np.repeat([False, True], [len(each.id) for each in pair]),
        confidence=np.concatenate([each.scores.confidence for each in pair]),
        max_logit=np.concatenate([each.max_logit for each in pair]),
        energy=np.concatenate([each.energy for each in pair]),
    )
    cell = make_outlier_cell(name, kept, seconds=0.0)
    return Measured(cell=cell, predictions=kept, wait_s=0.0)


def _refuse_gaps(
    rows: _Rows, ids: np.ndarray, frames: np.ndarray, where: str, *, has_frames: bool
) -> None:
    found = list(zip(rows.id.tolist(), rows.frame.tolist(), strict=True))
    wanted = list(zip(ids.tolist(), frames.tolist(), strict=True))
    missing = sorted({*wanted} - {*found})
    if missing:
        image, frame = missing[0]
        which = f"frame {frame} of image {image}" if has_frames else f"image {image}"
        raise RunError(
            f"{where}: {len(missing)} of {len(wanted)} rows are missing, first that of {which}; "
            "every cell must have all images"
        )
    image, frame = next(a for a, b in pairwise(found) if a == b)
    which = f"frame {frame} of image {image}" if has_frames else f"image {image}"
    raise RunError(f"{where}: {which} has more than one row")


def _describe_source(
    source: Source | None, images: MeasuredImages, num_classes: int, title: str
) -> dict[str, Any]:
    if source is not None:
        return describe_source(source, len(images.ids))
    content = images.ids.astype("<i8").tobytes() + images.labels.astype("<i8").tobytes()
    return {
        "name": title,
        "split": "",
        "num_images": len(images.ids),
        "num_classes": num_classes,
        "fingerprint": hashlib.sha256(content).hexdigest(),
    }


def _describe_protocol(
    cells: Iterable[AnyCell], rows: _Rows, *, bin_size: int, difficulty: int
) -> dict[str, Any]:
    keys = [cell.key for cell in cells]
    found: dict[str, Any] = {"suite": list(dict.fromkeys(key.suite for key in keys))}
    for suite, prefix in (("c", ""), ("c-bar", "bar_")):
        if suite in found["suite"]:
            of_suite = [key for key in keys if key.suite == suite]
            found[f"{prefix}names"] = list(dict.fromkeys(key.name for key in of_suite))
            found[f"{prefix}severities"] = sorted({key.severity for key in of_suite})
    if "own" in found["suite"]:
        found["own"] = {key.name: "" for key in keys if key.suite == "own"}
        found["own_severities"] = sorted({key.severity for key in keys if key.suite == "own"})
    if "ood" in found["suite"]:
        found["ood"] = {key.name: "" for key in keys if key.suite == "ood"}
    if "p" in found["suite"]:
        found["sequences"] = [key.name for key in keys if key.suite == "p"]
        found["difficulty"] = difficulty
    answers = "logits or probabilities" if rows.num_classes else "predictions and confidences"
    return {**found, "bin_size": bin_size, "predictions": f"from a file, {answers}"}


def _describe_held(config: EvaluateConfig) -> dict[str, Any]:
    if not config.temperature_images:
        return describe_metrics(config)
    facts = {"temperature_images": config.temperature_images, "seed": config.seed}
    return facts | describe_metrics(config)


def _hash(rows: _Rows) -> str:
    digest = hashlib.sha256(repr(rows.keys).encode())
    for values in (rows.id, rows.cell, rows.scores.prediction, rows.scores.confidence):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _write(
    folder: Path,
    results: Results,
    measured: Sequence[Measured],
    images: MeasuredImages,
    source: Source | None,
) -> None:
    check_folder(folder)
    make_folder(folder)
    with hold_folder(folder):
        path = folder / RESULTS_FILE
        if path.exists():
            found = load_results(path)
            is_ours = "predictions" in found.protocol
            if not is_ours or found.model.get("name") != results.model["name"]:
                raise ResumeError(
                    f"{path} holds results of {found.model.get('name')!r}, these are of "
                    f"{results.model['name']!r}; evaluate into another --out"
                )
            path.unlink()  # what follows belongs to the new results
        write_predictions(images_path(folder), images)
        for each in measured:
            write_predictions(predictions_path(folder, *each.cell.key), each.predictions)
        write_results(path, results)
        (folder / HARDEST_FILE).unlink(missing_ok=True)
        if source is not None:
            write_hardest(folder, results, source)
