"""Run folders as training and evaluation leave them, with made-up but plausible numbers."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from augmix import files, published
from augmix.per_image import (
    FrequencyPredictions,
    MeasuredImages,
    Predictions,
    SequencePredictions,
    images_path,
    load_images,
    predictions_path,
    to_classes,
    write_predictions,
)
from augmix.results import (
    RESULTS_FILE,
    Bins,
    Cell,
    FrequencyCell,
    Results,
    Scaled,
    SequenceCell,
    load_results,
    provenance,
    write_results,
)
from augmix.run_folder import CONFIG_FILE, LOG_FILE

NAMES = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
)
HARDNESS = (1.2, 1.0, 1.3, 0.7, 0.15, 0.8, 0.45, 0.3)
SEVERITIES = (1, 2, 3, 4, 5)
BAR = {name for names in published.BAR_NAMES.values() for name in names}


def make_run(
    folder: Path,
    *,
    label: str = "Standard",
    weakness: float = 1.0,
    names: tuple[str, ...] = NAMES,
    sequences: tuple[str, ...] = (),
    num_images: int = 400,
    num_classes: int = 10,
    seed: int = 0,
    method: str = "",
    model: str = "small",
    source: str = "digits",
    adaptation: str = "",
    temperature: float | None = None,
    clean_error: float = 0.02,
    robust_error: float | None = None,
    has_log: bool = True,
    has_examples: bool = True,
    has_predictions: bool = True,
    class_names: tuple[str, ...] = (),
    side: int = 32,
    **protocol: object,
) -> Results:
    """Write a run folder; the greater the weakness, the more it errs under corruption.

    Images have the same classes and hardness in all runs, so runs are correlated as real ones are.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    method = method or ("augmix" if "ug" in label else "standard")
    test = _Test(num_images, num_classes)
    said: dict[tuple[str, str, int], tuple[np.ndarray, np.ndarray]] = {}
    cells = [_measure(test, rng, said, "clean", "clean", 0, clean_error, 0.01, temperature)]
    for name in names:
        hardness = HARDNESS[NAMES.index(name)] if name in NAMES else 0.6
        for severity in SEVERITIES:
            error = 0.02 + 0.9 * (1 - np.exp(-weakness * hardness * severity / 8))
            gap = 0.4 * error * weakness
            suite = "c-bar" if name in BAR else "c"
            cells.append(_measure(test, rng, said, suite, name, severity, error, gap, temperature))
    attack: dict[str, object] = {}
    if robust_error is not None:
        cells.append(_measure(test, rng, said, "attack", "linf", 0, robust_error, 0.1, temperature))
        attack = {"attack_norm": "linf", "attack_epsilon": 8 / 255, "attack_steps": 20}
        attack |= {"attack_step_size": 2 / 255, "attack_restarts": 1}
    frames = {
        name: _flip(test, rng, weakness * (0.5 + place / 10))
        for place, name in enumerate(sequences)
    }
    results = Results(
        model={
            "name": model,
            "num_classes": num_classes,
            "num_parameters": 279_466,
            "weights_sha256": f"{seed:032x}" + hashlib.md5(method.encode()).hexdigest(),
            "method": method,
            "label": label,
            "seed": seed,
            "adaptation": adaptation,
        },
        source={
            "name": source,
            "split": "test",
            "num_images": num_images,
            "num_classes": num_classes,
            "class_names": list(class_names) or [str(digit) for digit in range(num_classes)],
            "fingerprint": "0f" * 32,
            "size": [side, side],
        },
        protocol={
            "suite": ["clean", "c", *(["p"] if sequences else []), *(["attack"] if attack else [])],
            "names": [name for name in names if name not in BAR],
            "severities": list(SEVERITIES),
            **({"sequences": list(sequences), "difficulty": 1} if sequences else {}),
            "preset": "imagenet",
            "seed": 0,
            "bin_size": 100,
            "suite_version": "1",
            **attack,
            **protocol,
        },
        provenance=provenance(),
        temperature=None
        if temperature is None
        else {"value": temperature, "num_images": 100, "nll_before": 0.3, "nll_after": 0.2},
        cells=tuple(cells),
        sequences=tuple(
            SequenceCell(
                name=name,
                num_images=num_images,
                num_pairs=int(outcome.pairs.sum()),
                num_flips=int(outcome.flips.sum()),
                top5_distance_sum=3.0 * float(outcome.flips.sum()),
                seconds=0.5,
            )
            for name, outcome in frames.items()
        ),
    )
    write_results(folder / RESULTS_FILE, results)
    config = {
        "schema": 1,
        "method": method,
        "epochs": 20,
        "batch_size": 100,
        "learning_rate": 0.1,
        "seed": seed,
        "augmix": {"severity": 3, "width": 3, "alpha": 1.0},
    }
    files.write_json(folder / CONFIG_FILE, config)
    if has_predictions:
        _write_predictions(folder, test, said, frames)
        wrong = sum(prediction != test.labels for prediction, _ in said.values())
        _write_hardest(folder / "hardest.npz", test, np.asarray(wrong), side)
        _write_mistakes(folder / "mistakes.npz", test, said, side)
    if has_log:
        _write_log(folder / LOG_FILE, rng, loss=2.3 if method == "standard" else 3.1)
    if has_examples:
        write_examples(folder / "examples.npz", names, side=side)
    return results


class _Test:
    """Images of a test set: their classes, and how hard each is."""

    def __init__(self, num_images: int, num_classes: int) -> None:
        rng = np.random.default_rng(99)
        self.num_classes = num_classes
        self.ids = np.arange(num_images) * 3
        self.labels = rng.integers(0, num_classes, num_images)
        self.hardness = rng.random(num_images)


def _measure(
    test: _Test,
    rng: np.random.Generator,
    said: dict,
    suite: str,
    name: str,
    severity: int,
    error: float,
    gap: float,
    temperature: float | None,
) -> Cell:
    """A cell of about the given error whose confidence is too high by the gap."""
    num_images = len(test.labels)
    luck = 0.6 * test.hardness + 0.4 * rng.random(num_images)
    wrong = luck > np.quantile(luck, 1 - error) if error > 0.01 else np.zeros(num_images, bool)
    chance = np.clip(rng.beta(4 * (1 - error) + 0.2, 4 * error + 0.2, num_images), 0.1, 1)
    chance = np.where(wrong, chance * 0.7, chance)
    confidence = np.clip(chance + gap * rng.random(num_images) * 2 * (1 - chance), 0.1, 0.9999)
    confidence = confidence.astype(np.float32).astype(float)
    shift = 1 + rng.integers(0, 2, num_images) * rng.integers(0, test.num_classes - 2, num_images)
    prediction = np.where(wrong, (test.labels + shift) % test.num_classes, test.labels)
    said[suite, name, severity] = prediction, confidence
    parts = _parts(confidence, ~wrong)
    scaled = None
    if temperature is not None:
        scaled = Scaled(**_parts(0.5 + (confidence - 0.5) / temperature, ~wrong))
    return Cell(
        suite=suite,
        name=name,
        severity=severity,
        num_images=num_images,
        num_errors=int(wrong.sum()),
        seconds=0.4,
        scaled=scaled,
        **parts,
    )


def _parts(confidence: np.ndarray, correct: np.ndarray) -> dict:
    """Sums and bins of a cell."""
    num_images = len(confidence)
    order = np.argsort(confidence, kind="stable")
    starts = np.arange(max(num_images // 100, 1)) * 100
    edges = np.minimum(np.ceil(confidence * 15).astype(int) - 1, 14)
    return {
        "nll_sum": float(-np.log(np.where(correct, confidence, (1 - confidence) / 9)).sum()),
        "brier_sum": float(((confidence - correct) ** 2 * 1.1).sum()),
        "adaptive": _bins(confidence, correct, np.split(order, starts[1:])),
        "equal_width": _bins(confidence, correct, [np.flatnonzero(edges == k) for k in range(15)]),
    }


def _flip(test: _Test, rng: np.random.Generator, rate: float) -> SequencePredictions:
    """31 frames of every image, each given another class now and then."""
    chance = 0.1 * rate * test.hardness[:, None]
    other = rng.random((len(test.labels), 31)) < chance
    prediction = np.where(
        other, (test.labels[:, None] + 1) % test.num_classes, test.labels[:, None]
    )
    flips = (prediction[:, 1:] != prediction[:, :-1]).sum(axis=1)
    return SequencePredictions(
        prediction=prediction.astype(np.uint8),
        flips=flips.astype(np.uint16),
        pairs=np.full(len(flips), 30, np.uint16),
    )


def _write_predictions(folder: Path, test: _Test, said: dict, frames: dict) -> None:
    (folder / "predictions").mkdir()
    images = MeasuredImages(ids=test.ids.astype(np.int64), labels=test.labels.astype(np.int64))
    write_predictions(images_path(folder), images)
    for spot, (prediction, confidence) in said.items():
        outcome = Predictions(
            prediction=to_classes(prediction, test.num_classes),
            confidence=confidence.astype(np.float32),
        )
        write_predictions(predictions_path(folder, *spot), outcome)
    for name, outcome in frames.items():
        write_predictions(predictions_path(folder, "p", name), outcome)


def _write_hardest(path: Path, test: _Test, wrong: np.ndarray, side: int) -> None:
    """The twelve images most often wrong, each a grey square with a light bar at its class."""
    worst = np.argsort(-wrong, kind="stable")[:12]
    images = np.full((len(worst), side, side, 3), 60, np.uint8)
    for place, image in enumerate(worst):
        left = int(test.labels[image] * side / test.num_classes)
        images[place, :, left : left + max(side // 8, 2)] = (230, 200, 90)
    np.savez(
        path, ids=test.ids[worst], labels=test.labels[worst], images=images, errors=wrong[worst]
    )


def _write_mistakes(path: Path, test: _Test, said: dict, side: int) -> None:
    """The surest mistakes on clean images, and under the first corruption at severity 5."""
    name = next(name for suite, name, severity in said if severity == 5 or len(said) == 1)
    found = []
    for spot in (("clean", "clean", 0), ("c", name, 5)):
        prediction, confidence = said.get(spot, (test.labels, test.hardness))
        order = np.argsort(-np.where(prediction != test.labels, confidence, 0))[:12]
        found += [(i, *spot[1:], prediction[i], confidence[i]) for i in order]
    found = [each for each in found if each[3] != test.labels[each[0]]]
    if not found:
        return
    index, names, severities, predictions, confidence = map(np.array, zip(*found, strict=True))
    rng = np.random.default_rng(3)
    np.savez(
        path,
        images=rng.integers(0, 256, (len(index), side, side, 3), np.uint8),
        ids=test.ids[index],
        labels=test.labels[index],
        predictions=predictions,
        confidence=confidence.astype(np.float32),
        names=names,
        severities=severities,
    )


def keep_cells(folder: Path, keep) -> None:
    """Drop the cells for which ``keep(cell)`` is false, as if the evaluation had been stopped."""
    path = folder / RESULTS_FILE
    results = load_results(path)
    write_results(path, replace(results, cells=tuple(cell for cell in results.cells if keep(cell))))


def write_examples(
    path: Path, names: tuple[str, ...], *, side: int = 32, channels: int = 3
) -> None:
    """Five drawn shapes, clean and more or less noisy."""
    rng = np.random.default_rng(5)
    row, column = np.mgrid[0:side, 0:side] / side
    shapes = [np.hypot(row - 0.5, column - 0.5) < 0.15 + 0.05 * index for index in range(5)]
    clean = np.stack([np.where(shape, 0.85, 0.2) for shape in shapes])[..., None]
    clean = np.repeat(clean * (1 - 0.3 * row[None, :, :, None]), channels, axis=3)
    arrays = {
        "clean": (clean * 255).astype(np.uint8),
        "labels": np.arange(5),
        "ids": 3 * np.arange(5),
    }
    levels = [clean + rng.normal(0, 0.05 * severity, clean.shape) for severity in SEVERITIES]
    noisy = (np.clip(levels, 0, 1) * 255).astype(np.uint8)
    arrays.update(dict.fromkeys(names, noisy))
    np.savez(path, **arrays)


def _bins(confidence: np.ndarray, correct: np.ndarray, groups: list[np.ndarray]) -> Bins:
    return Bins(
        count=[len(group) for group in groups],
        confidence_sum=[float(confidence[group].sum()) for group in groups],
        correct_sum=[int(correct[group].sum()) for group in groups],
    )


def _write_log(path: Path, rng: np.random.Generator, *, loss: float) -> None:
    lines = []
    for step in range(0, 281, 4):
        done = step / 280
        lines.append(
            {
                "step": step,
                "epoch": step / 14,
                "loss": float(loss * np.exp(-4 * done) + 0.02 + 0.05 * rng.random() * (1 - done)),
                "terms": {"cross_entropy": 0.5},
                "learning_rate": float(0.05 * (1 + np.cos(np.pi * done))),
                "train_error": float(0.9 * np.exp(-5 * done) + 0.01 * rng.random()),
                "images_per_second": 3000.0,
                "wait_fraction": 0.01,
                "seconds": 60 * done,
                "flop": 2.5e13 * done,
            }
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_bins(gap: float, num: int) -> Bins:
    """One bin whose accuracy is .5 and whose confidence is .5 + gap."""
    return Bins(count=[num], confidence_sum=[(0.5 + gap) * num], correct_sum=[num // 2])


def make_cell(suite: str, name: str, severity: int, error: float, gap: float = 0.1) -> Cell:
    """A cell of 1,000 images with an error, all in one bin; see `make_bins`."""
    bins = make_bins(gap, 1000)
    return Cell(
        suite=suite,
        name=name,
        severity=severity,
        num_images=1000,
        num_errors=round(1000 * error),
        nll_sum=1.0,
        brier_sum=1.0,
        adaptive=bins,
        equal_width=bins,
        seconds=0.0,
    )


def add_frequencies(
    folder: Path, *, size: int = 9, weakness: float = 1.0, norm: float = 4.0
) -> None:
    """Add a Fourier map to a run: the higher the frequency, the more it errs."""
    results, rng = load_results(folder / RESULTS_FILE), np.random.default_rng(7)
    labels = load_images(folder).labels
    cells = []
    for vertical in range(size // 2 + 1):
        horizontal = [*range(-(size // 2) if vertical else 0, size // 2 + 1)]
        chance = np.array([weakness * np.hypot(vertical, each) / size for each in horizontal])
        is_wrong = rng.random((len(labels), len(horizontal))) < 0.02 + 0.8 * chance
        predictions = FrequencyPredictions(
            prediction=((labels[:, None] + is_wrong) % 10).astype(np.uint8)
        )
        cell = FrequencyCell(
            name=f"vertical-{vertical}",
            vertical=vertical,
            horizontal=horizontal,
            num_images=len(labels),
            num_errors=is_wrong.sum(axis=0).tolist(),
            seconds=0.5,
        )
        write_predictions(predictions_path(folder, *cell.key), predictions)
        cells.append(cell)
    suites = [*results.protocol["suite"], "fourier"]
    protocol = {**results.protocol, "suite": suites, "fourier_norm": norm}
    protocol["fourier_size"] = [size, size]
    changed = replace(results, frequencies=tuple(cells), protocol=protocol)
    write_results(folder / RESULTS_FILE, changed)
