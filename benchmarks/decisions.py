"""Repeat measurements to a margin of error on stored outcomes, and count how often they are right.

python benchmarks/decisions.py RUN [RUN2] [--margins 1] [--repetitions 1000] [--num-images 10000]

The runs were evaluated on suite c with the predictions of single images. Their images are repeated
in order to the number asked for, and each repetition measures as `augmix evaluate
--margin-of-error` does, with draws of its own: a truth is known, so that it can be seen how often
an interval misses it at any look until the stop. Beside it stands what happens to a reader who
looks as often at usual 95 % intervals, by the normal distribution. Table of `docs/results.md`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from augmix import per_image, results
from augmix.bootstrap import LEVEL
from augmix.evaluation.decide import is_decided, looks, make_sequence
from augmix.results import Decision

_Z = 1.96  # of a usual interval


def main() -> None:
    """Measure the deviations, simulate, and print a line for each margin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, one or two")
    parser.add_argument("--margins", nargs="+", type=float, default=[1.0], help="in points")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--num-images", type=int, help="by default those of the runs")
    options = parser.parse_args()
    wrong = [load_outcomes(folder) for folder in options.runs[:2]]
    values = wrong[0] - wrong[1] if len(wrong) > 1 else wrong[0]
    if options.num_images:
        values = values[:, np.resize(np.arange(values.shape[1]), options.num_images)]
    describe(values, wrong)
    for margin in options.margins:
        simulate(values, margin / 100, options.repetitions, is_paired=len(wrong) > 1)


def load_outcomes(folder: Path) -> np.ndarray:
    """Whether each image of each cell of suite c was misclassified, `cell image`."""
    found = results.load_results(folder / results.RESULTS_FILE)
    labels = per_image.load_images(folder).labels
    cells = sorted((cell for cell in found.cells if cell.suite == "c"), key=lambda cell: cell.key)
    said = [per_image.load_predictions(folder, *cell.key).prediction for cell in cells]
    return (np.stack(said) != labels).astype(np.float64)


def describe(values: np.ndarray, wrong: list[np.ndarray]) -> None:
    """Print the measured deviations of single images."""
    within, errors = values.std(axis=1), [f"{100 * each.mean():.2f} %" for each in wrong]
    mean, between = 100 * values.mean(), values.mean(axis=1).std()
    print(
        f"{values.shape[0]} cells x {values.shape[1]:,} images; errors {', '.join(errors)}; mean "
        f"{mean:.2f}; deviation of an image within cells {np.sqrt((within**2).mean()):.3f} "
        f"({within.min():.3f} to {within.max():.3f}), between cells {between:.3f}"
    )
    if len(wrong) > 1:
        apart = np.sqrt((wrong[0].var(axis=1) + wrong[1].var(axis=1)).mean())
        print(f"  without pairing {apart:.3f}; disagreement {100 * np.abs(values).mean():.1f} %")


def simulate(values: np.ndarray, margin: float, repetitions: int, *, is_paired: bool) -> None:
    """Repeat a measurement and print how often it misses the truth, and what it took."""
    truth, num_images = float(values.mean()), values.shape[1]
    misses = wrong_signs = usual = 0
    taken = []
    for repetition in range(repetitions):
        rng = np.random.default_rng(repetition)
        order = rng.permuted(np.tile(np.arange(num_images), (len(values), 1)), axis=1)
        drawn = np.take_along_axis(values, order, axis=1)
        found = measure(drawn, truth, margin, is_paired=is_paired)
        misses += found["missed"]
        usual += found["usual_missed"]
        wrong_signs += found["wrong_sign"]
        taken.append(found["rounds"] / num_images)
    low, middle, high = np.quantile(taken, (0.05, 0.5, 0.95))
    print(
        f"margin {100 * margin:g} points, {repetitions} repetitions: missed the truth at a look in "
        f"{100 * misses / repetitions:.1f} % (allowed {100 * (1 - LEVEL):.0f} %), wrong "
        f"sign in {100 * wrong_signs / repetitions:.1f} %; took {100 * middle:.2f} % of the passes "
        f"(90 % of repetitions: {100 * low:.2f} to {100 * high:.2f} %); usual intervals, looked at "
        f"as often: missed in {100 * usual / repetitions:.1f} %"
    )


def measure(drawn: np.ndarray, truth: float, margin: float, *, is_paired: bool) -> dict[str, float]:
    """Measure once, from the values in the order of the draws."""
    num_cells, num_images = drawn.shape
    sequence = make_sequence(num_cells, num_images, margin, is_paired=is_paired)
    blank = Decision(
        against={} if is_paired else None,
        margin=margin,
        num_cells=num_cells,
        num_images=num_images,
        method="",
    )
    missed = usual_missed = False
    has_usual_stopped = False
    decided, sign = None, 0.0
    for rounds in looks(num_images):
        if decided is None:
            sequence.add(drawn[:, sequence.num_rounds : rounds])
            found = sequence.interval()
            missed |= not found.low <= truth <= found.high
            now = replace(blank, estimate=found.estimate, low=found.low, high=found.high)
            decided = rounds if is_decided(now) else None
            sign = np.sign(found.low) if found.low * found.high > 0 else 0
        if not has_usual_stopped:
            part = drawn[:, :rounds]
            left = 1 - rounds / num_images
            half = _Z * np.sqrt(left * part.var(axis=1, ddof=1).mean() / (num_cells * rounds))
            estimate = float(part.mean())
            usual_missed |= abs(estimate - truth) > half
            has_usual_stopped = half <= margin or (is_paired and abs(estimate) > half)
        if decided is not None and has_usual_stopped:
            break
    is_wrong = is_paired and sign != 0 and sign != np.sign(truth)
    return {
        "missed": missed,
        "usual_missed": usual_missed,
        "wrong_sign": is_wrong,
        "rounds": decided or num_images,
    }


if __name__ == "__main__":
    main()
