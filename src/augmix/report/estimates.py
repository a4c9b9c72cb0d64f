"""Every number of a run, with what it would have been on resampled images.

Means are taken over a `Grid` that all runs have measured completely, so no mean hides a gap.

A `Key` names a number: a metric and where it was taken. Numbers are fractions. A run that kept no
outcomes of single images has the same numbers without draws, and so without intervals; single sets
have Wilson's interval of their counts instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from augmix import published
from augmix.bootstrap import (
    Draws,
    Interval,
    average,
    proportion_interval,
    resample_ece,
    resample_means,
    resample_rms,
)
from augmix.errors import RunError
from augmix.metrics import Bins as BinArrays
from augmix.metrics import ece_from_bins, rms_from_bins
from augmix.report.load import Answers, Run
from augmix.results import Bins, Cell, Results, Scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Corruptions and severities that are averaged over; every cell of it was measured.

    Attributes:
        own: Corruptions of the user's own, which are shown but not averaged over.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    own: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names and self.severities)

    def cells(self, results: Results) -> list[Cell]:
        """The cells of one run, corruption by corruption."""
        found = [
            results.find("c", name, severity) for name in self.names for severity in self.severities
        ]
        return [cell for cell in found if cell is not None]


def common_grid(results: Sequence[Results]) -> Grid:
    """The corruptions that all runs have measured at all severities they all planned.

    Runs without any corrupted cell are left aside: they have nothing to compare.
    """
    measured = [each for each in results if any(cell.suite == "c" for cell in each.cells)]
    if not measured:
        return Grid(names=(), severities=(), own=common_own(results))
    plans = [planned_grid(each) for each in measured]
    severities = tuple(
        level for level in plans[0].severities if all(level in plan.severities for plan in plans)
    )
    names = tuple(
        name
        for name in plans[0].names
        if all(each.find("c", name, level) for each in measured for level in severities)
    )
    return Grid(
        names=names if severities else (),
        severities=severities if names else (),
        own=common_own(results),
    )


def common_own(results: Sequence[Results]) -> tuple[str, ...]:
    """The user's own corruptions that all runs with any have measured at the same severities."""
    measured = [found for each in results if (found := own_severities(each))]
    if not measured:
        return ()
    return tuple(
        name
        for name, levels in measured[0].items()
        if all(each.get(name) == levels for each in measured)
    )


def own_severities(results: Results) -> dict[str, list[int]]:
    """The severities at which each corruption of the user's own was measured."""
    found: dict[str, list[int]] = {}
    for cell in results.cells:
        if cell.suite == "own":
            found.setdefault(cell.name, []).append(cell.severity)
    return found


def find_corrupted(results: Results, name: str, severity: int) -> Cell | None:
    """The cell of a corruption, published or the user's own; None if it was not measured."""
    return results.find("c", name, severity) or results.find("own", name, severity)


def common_sequences(results: Sequence[Results]) -> tuple[str, ...]:
    """The perturbations measured by all runs that have measured any."""
    measured = [each for each in results if each.sequences]
    if not measured:
        return ()
    names = [cell.name for cell in measured[0].sequences]
    return tuple(name for name in names if all(each.find_sequence(name) for each in measured))


def planned_grid(results: Results) -> Grid:
    """The corruptions and severities that the evaluation set out to measure."""
    cells = [cell for cell in results.cells if cell.suite == "c"]
    suites = results.protocol.get("suite", ["c"] if cells else [])
    names = results.protocol.get("names", []) if "c" in suites else []
    severities = results.protocol.get("severities", []) if "c" in suites else []
    return Grid(
        names=tuple(dict.fromkeys([*names, *(cell.name for cell in cells)])),
        severities=tuple(sorted({*severities, *(cell.severity for cell in cells)})),
    )


def attacked_cell(results: Results) -> Cell | None:
    """The cell of the suite ``attack``, or None if it was not measured; a folder holds one."""
    return next((cell for cell in results.cells if cell.suite == "attack"), None)


def error_of(cell: Cell) -> float:
    """Share of the cell's images that were taken for another class."""
    return cell.num_errors / cell.num_images


def rms_of(cell: Cell | Scaled) -> float:
    """RMS calibration error of the cell, from bins of equally many predictions."""
    return float(rms_from_bins(*arrays(cell.adaptive)))


def nll_of(cell: Cell) -> float:
    """Mean negative log-likelihood of the cell, in nats."""
    return cell.nll_sum / cell.num_images


def brier_of(cell: Cell) -> float:
    """Mean Brier score of the cell, 0..2."""
    return cell.brier_sum / cell.num_images


def mean_over(cells: Sequence[Cell], value: Callable[[Cell], float]) -> float | None:
    """The mean over cells, each counting equally; None over no cell."""
    return float(np.mean([value(cell) for cell in cells])) if cells else None


def arrays(bins: Bins) -> BinArrays:
    """Counts, sums of confidence and sums of right predictions as `metrics` takes them."""
    return (
        np.array(bins.count, np.int64),
        np.array(bins.confidence_sum, np.float64),
        np.array(bins.correct_sum, np.int64),
    )


def pooled(bins: Sequence[Bins]) -> Bins:
    """The bins of several cells thrown together."""
    columns = zip(*(arrays(each) for each in bins), strict=True)
    count, confidence, correct = (np.sum(column, axis=0).tolist() for column in columns)
    return Bins(count=count, confidence_sum=confidence, correct_sum=correct)


def readable(name: str) -> str:
    """A name of the benchmark as a word of the page."""
    return name.replace("_", " ")


RMS_RESAMPLES = 300  # each bins 76 sets of 10,000 images anew: seconds a run
CLEAN, CORRUPTED, PERTURBED, ATTACKED = "clean", "corrupted", "perturbed", "attacked"
BENCHMARK = "benchmark"  # the paper's 15 corruptions at 5 severities, where all were measured


class Key(NamedTuple):
    """A number of the page.

    ``error``, ``rms``, ``accuracy``, ``confidence``, ``ece``, ``ce`` (and its mean, mCE), ``flip``
    or ``fr`` (and its mean, mFR); of the clean or attacked images, all corrupted or perturbed ones,
    one corruption or perturbation by name, or one severity.
    """

    metric: str
    scope: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number of one run.

    Attributes:
        value: As measured.
        draws: What it would have been on resampled images; None if no outcomes were kept.
        interval: From counts, for the error of a single set: right for no error at all too.
    """

    value: float
    draws: Draws | None = None
    interval: Interval | None = None


Estimates = dict[Key, Estimate]
Linear = tuple[Key, Float64[np.ndarray, " image"] | None, float]  # number, shares, value


def estimate(run: Run, grid: Grid, sequences: Sequence[str], *, is_alexnet: bool) -> Estimates:
    """The numbers of a run on what all runs have measured.

    Args:
        run: With its outcomes, if they were kept.
        grid: Corruptions and severities.
        sequences: Perturbations.
        is_alexnet: Whether errors and flip probabilities are divided by AlexNet's too.
    """
    clean = run.results.find("clean", "clean", 0)
    parts = [*_errors(run, clean, grid)]
    if is_alexnet and is_complete(grid):
        parts += _corruption_errors(run, grid)
    parts += _flips(run, sequences, is_alexnet=is_alexnet)
    found = _with_draws(parts)
    for scope, cell in ((CLEAN, clean), (ATTACKED, attacked_cell(run.results))):
        if cell:
            key = Key("error", scope)
            found[key] = replace(found[key], interval=counted(cell))
    cells = grid.cells(run.results)
    found |= _calibration(run.answers, [clean] if clean else [], CLEAN)
    found |= _calibration(run.answers, cells, CORRUPTED)
    found |= _rms(run, clean, grid, cells)
    return found


def own_cells(results: Results, name: str) -> list[Cell]:
    """The cells of one corruption of the user's own."""
    return [cell for cell in results.cells if (cell.suite, cell.name) == ("own", name)]


def is_complete(grid: Grid) -> bool:
    """Whether the 15 corruptions of the benchmark were measured at all 5 severities."""
    return set(published.ALEXNET_ERRORS) <= set(grid.names) and grid.severities == (1, 2, 3, 4, 5)


def is_complete_p(sequences: Sequence[str]) -> bool:
    """Whether the 10 perturbations of the benchmark were measured."""
    return set(published.ALEXNET_FLIP_PROBABILITIES) <= set(sequences)


def _errors(run: Run, clean: Cell | None, grid: Grid) -> list[Linear]:
    """Errors of clean and attacked images, of all corrupted ones, by corruption and severity."""
    cells, attacked = grid.cells(run.results), attacked_cell(run.results)
    groups: dict[Key, list[Cell]] = {Key("error", CLEAN): [clean] if clean else []}
    groups[Key("error", ATTACKED)] = [attacked] if attacked else []
    groups[Key("error", CORRUPTED)] = cells
    if is_complete(grid):
        paper = [cell for cell in cells if cell.name in published.ALEXNET_ERRORS]
        groups[Key("error", BENCHMARK)] = paper
    for name in grid.names:
        groups[Key("error", "corruption", name)] = [cell for cell in cells if cell.name == name]
    for name in grid.own:
        groups[Key("error", "corruption", name)] = own_cells(run.results, name)
    for level in grid.severities:
        at_level = [cell for cell in cells if cell.severity == level]
        groups[Key("error", "severity", str(level))] = at_level
    weights = {key: [1 / len(group)] * len(group) for key, group in groups.items() if group}
    return [_weighted(run, key, groups[key], each) for key, each in weights.items()]


def _corruption_errors(run: Run, grid: Grid) -> list[Linear]:
    """CE of the benchmark's corruptions and their mean, mCE: errors divided by AlexNet's."""
    baseline = {name: float(np.mean(each)) for name, each in published.ALEXNET_ERRORS.items()}
    parts = []
    complete = Grid(names=tuple(baseline), severities=grid.severities)
    cells = complete.cells(run.results)
    if not cells:
        return []
    for name, divisor in baseline.items():
        of_name = [cell for cell in cells if cell.name == name]
        share = 1 / (divisor * len(of_name))
        parts.append(_weighted(run, Key("ce", "corruption", name), of_name, [share] * len(of_name)))
    shares = [1 / (baseline[cell.name] * len(cells)) for cell in cells]
    return [*parts, _weighted(run, Key("ce", CORRUPTED), cells, shares)]


def _weighted(run: Run, key: Key, cells: Sequence[Cell], weights: Sequence[float]) -> Linear:
    """A weighted sum of errors, image by image if their outcomes are there."""
    value = sum(weight * error_of(cell) for weight, cell in zip(weights, cells, strict=True))
    if run.answers is None:
        return key, None, value
    wrong = np.zeros(len(run.answers.images.ids))
    for weight, cell in zip(weights, cells, strict=True):
        answers = run.answers.wrong(cell)
        if int(answers.sum()) != cell.num_errors:
            raise RunError(
                f"{run.folder}: results.json counts {cell.num_errors} errors for {cell.name} "
                f"{cell.severity}, its outcomes {int(answers.sum())}; evaluate the run again"
            )
        wrong += weight * answers
    return key, wrong, value


def _flips(run: Run, sequences: Sequence[str], *, is_alexnet: bool) -> list[Linear]:
    """Flip probabilities and their mean; divided by AlexNet's, flip rates and mFR."""
    cells = [cell for cell in run.results.sequences if cell.name in sequences]
    if not cells:
        return []
    values = {cell.name: cell.num_flips / cell.num_pairs for cell in cells}
    own = run.results.protocol.get("own_sequences", {})
    shares: dict[str, np.ndarray | None] = dict.fromkeys(values)
    if run.answers is not None:
        found = {name: run.answers.sequences[name] for name in values}
        shares = {name: each.flips / each.pairs for name, each in found.items()}
    parts = [(Key("flip", "perturbation", name), shares[name], values[name]) for name in values]
    equal = {name: 1.0 for name in values if name not in own}
    if equal:
        parts.append(_mean_of(Key("flip", PERTURBED), shares, values, equal))
    if is_alexnet and is_complete_p(sequences):
        baseline = published.ALEXNET_FLIP_PROBABILITIES
        for name, divisor in baseline.items():
            rate = _mean_of(Key("fr", "perturbation", name), shares, values, {name: divisor})
            parts.append(rate)
        parts.append(_mean_of(Key("fr", PERTURBED), shares, values, baseline))
    return parts


def _mean_of(
    key: Key,
    shares: Mapping[str, np.ndarray | None],
    values: Mapping[str, float],
    divisors: Mapping[str, float],
) -> Linear:
    """The mean over the names of the divisors of what is divided by them."""
    value = float(np.mean([values[name] / divisor for name, divisor in divisors.items()]))
    known = [
        share / divisor for name, divisor in divisors.items() if (share := shares[name]) is not None
    ]
    return key, np.mean(known, axis=0) if len(known) == len(divisors) else None, value


def _with_draws(parts: Sequence[Linear]) -> Estimates:
    """Numbers that are means over images, all resampled together."""
    known = [(key, shares, value) for key, shares, value in parts if shares is not None]
    found = {key: Estimate(value=value) for key, _, value in parts}
    if known:
        draws = resample_means(np.stack([shares for _, shares, _ in known]))
        found |= {
            key: Estimate(value=value, draws=each)
            for (key, _, value), each in zip(known, draws, strict=True)
        }
    return found


def _calibration(answers: Answers | None, cells: Sequence[Cell], scope: str) -> Estimates:
    """Accuracy, mean confidence and ECE of cells thrown together."""
    if not cells:
        return {}
    count, confidence, correct = arrays(pooled([cell.equal_width for cell in cells]))
    values = {
        "accuracy": correct.sum() / count.sum(),
        "confidence": confidence.sum() / count.sum(),
        "ece": ece_from_bins(count, confidence, correct),
    }
    found = {Key(metric, scope): Estimate(value=float(v)) for metric, v in values.items()}
    if answers is None:
        return found
    sure, right = _stacked(answers, cells)
    means = resample_means(np.stack([right.mean(axis=0), sure.mean(axis=0)]))
    draws = (*means, resample_ece(sure, right))
    return {
        key: Estimate(value=each.value, draws=drawn)
        for (key, each), drawn in zip(found.items(), draws, strict=True)
    }


def _rms(run: Run, clean: Cell | None, grid: Grid, cells: Sequence[Cell]) -> Estimates:
    """RMS calibration error of each set; means over corruptions, by severity and of all."""
    answers = run.answers
    own = [cell for name in grid.own for cell in own_cells(run.results, name)]
    everything = [*([clean] if clean else []), *cells, *own]
    if not everything:
        return {}
    found = [Estimate(value=rms_of(cell)) for cell in everything]
    if answers is not None:
        sure, right = _stacked(answers, everything)
        bin_size = min(everything[0].adaptive.count)
        drawn = resample_rms(sure, right, bin_size=bin_size, num_resamples=RMS_RESAMPLES)
        found = [replace(e, draws=each) for e, each in zip(found, drawn, strict=True)]
    pairs = list(zip(everything, found, strict=True))
    corrupted = [(cell, each) for cell, each in pairs if cell.suite == "c"]
    groups = {
        Key("rms", CLEAN): [each for cell, each in pairs if cell.suite == "clean"],
        Key("rms", CORRUPTED): [each for _, each in corrupted],
    }
    for level in grid.severities:
        at_level = [each for cell, each in corrupted if cell.severity == level]
        groups[Key("rms", "severity", str(level))] = at_level
    for name in (*grid.names, *grid.own):
        groups[Key("rms", "corruption", name)] = [
            each for cell, each in pairs if cell.name == name and cell.suite in ("c", "own")
        ]
    return {key: mean_estimate(group) for key, group in groups.items() if group}


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several numbers of the same images; draws only if all have them."""
    draws = [each.draws for each in estimates if each.draws is not None]
    return Estimate(
        value=float(np.mean([each.value for each in estimates])),
        draws=average(draws) if len(draws) == len(estimates) else None,
    )


def counted(cell: Cell) -> Interval:
    """Wilson's interval of the error of a single set."""
    return proportion_interval(cell.num_errors, cell.num_images)


def _stacked(answers: Answers, cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and rights, `cell image`."""
    sure = np.stack([answers.of(cell).confidence for cell in cells])
    return sure, np.stack([~answers.wrong(cell) for cell in cells])
