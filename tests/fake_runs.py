"""Run folders as training and evaluation leave them, with made-up but plausible numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from augmix import records
from augmix.records import Bins, Cell, Results

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


def make_run(
    folder: Path,
    *,
    label: str = "Standard",
    weakness: float = 1.0,
    names: tuple[str, ...] = NAMES,
    num_images: int = 400,
    seed: int = 0,
    has_log: bool = True,
    has_examples: bool = True,
    **protocol: object,
) -> Results:
    """Write a run folder; the greater the weakness, the more it errs under corruption."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    method = "augmix" if "ug" in label else "standard"
    cells = [make_cell(rng, "clean", "clean", 0, error=0.02, gap=0.01, num_images=num_images)]
    for name in names:
        hardness = HARDNESS[NAMES.index(name)] if name in NAMES else 0.6
        for severity in SEVERITIES:
            error = 0.02 + 0.9 * (1 - np.exp(-weakness * hardness * severity / 8))
            gap = 0.4 * error * weakness
            cells.append(
                make_cell(rng, "c", name, severity, error=error, gap=gap, num_images=num_images)
            )
    results = Results(
        model={
            "name": "small",
            "num_classes": 10,
            "weights_sha256": f"{seed:064x}",
            "method": method,
            "label": label,
            "seed": seed,
        },
        source={
            "name": "digits",
            "split": "test",
            "num_images": num_images,
            "num_classes": 10,
            "class_names": [str(digit) for digit in range(10)],
            "fingerprint": "0f" * 32,
            "size": [32, 32],
        },
        protocol={
            "suite": ["clean", "c"],
            "names": list(names),
            "severities": list(SEVERITIES),
            "preset": "imagenet",
            "seed": 0,
            "bin_size": 100,
            "suite_version": "1",
            **protocol,
        },
        provenance=records.provenance(),
        cells=tuple(cells),
    )
    records.write_results(folder / records.RESULTS_FILE, results)
    config = {
        "schema": 1,
        "method": method,
        "epochs": 20,
        "batch_size": 100,
        "learning_rate": 0.1,
        "seed": seed,
        "augmix": {"severity": 3, "width": 3, "alpha": 1.0},
    }
    records.write_json(folder / records.CONFIG_FILE, config)
    if has_log:
        _write_log(folder / records.LOG_FILE, rng, loss=2.3 if method == "standard" else 3.1)
    if has_examples:
        write_examples(folder / "examples.npz", names)
    return results


def make_cell(
    rng: np.random.Generator,
    suite: str,
    name: str,
    severity: int,
    *,
    error: float,
    gap: float,
    num_images: int = 400,
) -> Cell:
    """A cell of the given error whose confidence is too high by the gap."""
    chance = np.clip(rng.beta(4 * (1 - error) + 0.2, 4 * error + 0.2, num_images), 0.1, 1)
    correct = rng.random(num_images) < chance
    confidence = np.clip(chance + gap * rng.random(num_images) * 2 * (1 - chance), 0.1, 0.9999)
    order = np.argsort(confidence)
    groups = np.array_split(order, max(1, num_images // 100))
    edges = np.minimum((confidence * 15).astype(int), 14)
    return Cell(
        suite=suite,
        name=name,
        severity=severity,
        num_images=num_images,
        num_errors=int((~correct).sum()),
        nll_sum=float(-np.log(np.where(correct, confidence, (1 - confidence) / 9)).sum()),
        brier_sum=float(((confidence - correct) ** 2 * 1.1).sum()),
        adaptive=_bins(confidence, correct, groups),
        equal_width=_bins(confidence, correct, [np.flatnonzero(edges == k) for k in range(15)]),
        seconds=0.4,
    )


def keep_cells(folder: Path, keep) -> None:
    """Drop the cells for which ``keep(cell)`` is false, as if the evaluation had been stopped."""
    path = folder / records.RESULTS_FILE
    results = records.load_results(path)
    records.write_results(
        path, replace(results, cells=tuple(cell for cell in results.cells if keep(cell)))
    )


def write_examples(
    path: Path, names: tuple[str, ...], *, side: int = 32, channels: int = 3
) -> None:
    """Five drawn shapes, clean and more or less noisy."""
    rng = np.random.default_rng(5)
    row, column = np.mgrid[0:side, 0:side] / side
    shapes = [np.hypot(row - 0.5, column - 0.5) < 0.15 + 0.05 * index for index in range(5)]
    clean = np.stack([np.where(shape, 0.85, 0.2) for shape in shapes])[..., None]
    clean = np.repeat(clean * (1 - 0.3 * row[None, :, :, None]), channels, axis=3)
    arrays = {"clean": (clean * 255).astype(np.uint8), "labels": np.arange(5)}
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
                "wait_share": 0.01,
                "seconds": 60 * done,
            }
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
