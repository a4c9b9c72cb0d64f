"""Measured runs -> the numbers of an exhibit, with those the paper prints."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from augmix import metrics, published
from augmix.experiments.findings import (
    NETWORKS,
    Finding,
    clean_error,
    corruption_errors,
    find,
    flip_probabilities,
    mean_error,
    rms,
)
from augmix.records import Results

ENSEMBLE = -1  # the seed of an ensemble of all seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """One run of an exhibit.

    Attributes:
        data_set: ``cifar10``, ``cifar100`` or ``imagenet``.
        family: Of the network, a key of `findings.NETWORKS`.
        method: A key of `methods.METHODS`.
        seed: Of the run; `ENSEMBLE` for all seeds together.
    """

    data_set: str
    family: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder."""
        last = "ensemble" if self.seed == ENSEMBLE else f"seed{self.seed}"
        return f"{self.data_set}-{self.family}-{self.method}-{last}"


Measured = Mapping[Spot, Results]
Maker = Callable[[Measured, float], list[Finding]]


def list_findings(name: str, measured: Measured, *, tolerance: float = 0.0) -> list[Finding]:
    """The numbers of an exhibit.

    Args:
        name: A key of `exhibits.EXHIBITS`.
        measured: The results of its runs so far.
        tolerance: Points of percent a mean may differ from the published one.
    """
    return _MAKERS[name](measured, tolerance)


def _cifar_table(number: int) -> Maker:
    def make(measured: Measured, tolerance: float) -> list[Finding]:
        """A row for each method, a column for each data set and network."""
        rows = published.TABLES[number].rows
        entries = [
            find(
                _label(row.method),
                f"{row.data} {row.network}",
                _values(measured, row.data, row.network, row.method, mean_error),
                published=row.mean,
                tolerance=tolerance,
            )
            for row in rows
            if row.network in NETWORKS.values()
        ]
        return _filled(entries)

    return make


def _imagenet_table(
    number: int, cells_of: Callable[[Results], Mapping[str, float]], mean_name: str
) -> Maker:
    def make(measured: Measured, tolerance: float) -> list[Finding]:
        """A row for each method, a column for each corruption or perturbation."""
        entries = []
        for row in published.TABLES[number].rows:
            results = _results(measured, row.data, row.network, row.method)
            label, tables = _label(row.method), [cells_of(one) for one in results]
            entries.append(
                find(label, "clean error", list(map(clean_error, results)), published=row.clean)
            )
            for name, cell in (row.cells or {}).items():
                entries.append(find(label, name, [table[name] for table in tables], published=cell))
            means = [statistics.fmean(table[name] for name in row.cells or {}) for table in tables]
            entries.append(find(label, mean_name, means, published=row.mean, tolerance=tolerance))
        return _filled(entries)

    return make


def _flip_rates(results: Results) -> dict[str, float]:
    """FR of every standard perturbation against AlexNet's, in percent."""
    measured, baseline = flip_probabilities(results), published.ALEXNET_FLIP_PROBABILITIES
    return {name: 100 * metrics.flip_rate(measured[name], baseline[name]) for name in baseline}


def _errors_of_resnext(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 5: Table 1's row of the ResNeXt on CIFAR-10-C."""
    column = f"cifar10 {NETWORKS['resnext']}"
    found = [entry for entry in _MAKERS["table1"](measured, tolerance) if entry.column == column]
    return [replace(entry, column="error on CIFAR-10-C") for entry in found]


def _stability_and_calibration(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 6: no numbers are printed beside it."""
    entries = []
    for method in dict.fromkeys(spot.method for spot in measured):
        results = [one for spot, one in measured.items() if spot.method == method]
        flips = [100 * statistics.fmean(flip_probabilities(one).values()) for one in results]
        entries += [
            find(_label(method), "mean flip probability", flips),
            find(_label(method), "RMS calibration error, clean", _rms(results, (0,))),
            find(_label(method), "RMS calibration error, corrupted", _rms(results, range(1, 6))),
        ]
    return entries


def _calibration_by_severity(measured: Measured, tolerance: float) -> list[Finding]:
    """Figure 7: single networks (mean over seeds) and their ensembles; severity 0 is clean."""
    groups: dict[str, list[Results]] = {}
    for spot, one in measured.items():
        name = _label(spot.method) + (" ensemble" if spot.seed == ENSEMBLE else "")
        groups.setdefault(name, []).append(one)
    return [
        find(name, f"severity {severity}", _rms(results, (severity,)))
        for name, results in groups.items()
        for severity in range(6)
    ]


def _rms(results: Iterable[Results], severities: Iterable[int]) -> list[float]:
    wanted = set(severities)
    return [rms(cell for cell in one.cells if cell.severity in wanted) for one in results]


def _values(
    measured: Measured,
    data: str,
    network: str,
    method: str,
    number: Callable[[Results], float],
) -> list[float]:
    return [number(one) for one in _results(measured, data, network, method)]


def _results(measured: Measured, data: str, network: str, method: str) -> list[Results]:
    return [
        one
        for spot, one in measured.items()
        if (spot.data_set, NETWORKS[spot.family], spot.method) == (data, network, method)
    ]


def _filled(entries: list[Finding]) -> list[Finding]:
    """Without the columns and rows that nothing was measured of."""
    columns = {entry.column for entry in entries if entry.measured is not None}
    rows = {entry.row for entry in entries if entry.measured is not None}
    return [entry for entry in entries if entry.column in columns and entry.row in rows]


def _label(method: str) -> str:
    return published.LABELS[method]


_MAKERS: Mapping[str, Maker] = {
    "table1": _cifar_table(1),
    "table2": _imagenet_table(2, corruption_errors, "mCE"),
    "table3": _imagenet_table(3, _flip_rates, "mFR"),
    "table4": _cifar_table(4),
    "figure5": _errors_of_resnext,
    "figure6": _stability_and_calibration,
    "figure7": _calibration_by_severity,
}
