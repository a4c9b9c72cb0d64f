"""What may be averaged: corruptions, severities and perturbations that every run has measured.

Means are taken over a `Grid` that all runs have measured completely, so no mean hides a gap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from augmix.metrics import Bins as BinArrays
from augmix.metrics import rms_from_bins
from augmix.records import Bins, Cell, Results, Scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Corruptions and severities that are averaged over; every cell of it was measured."""

    names: tuple[str, ...]
    severities: tuple[int, ...]

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
        return Grid(names=(), severities=())
    plans = [planned_grid(each) for each in measured]
    severities = tuple(
        level for level in plans[0].severities if all(level in plan.severities for plan in plans)
    )
    names = tuple(
        name
        for name in plans[0].names
        if all(each.find("c", name, level) for each in measured for level in severities)
    )
    return Grid(names=names if severities else (), severities=severities if names else ())


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
