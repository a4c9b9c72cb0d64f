"""Measured numbers beside the published ones, as JSON, CSV, Markdown and LaTeX."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from augmix import files, metrics, published
from augmix.published import ALEXNET_ERRORS, ALEXNET_FLIP_PROBABILITIES
from augmix.report.exports import records_to_csv, tables_to_latex
from augmix.report.load import BANDS, frequency_sets
from augmix.report.tables import Column, Entry, Row, Table, to_markdown_table
from augmix.results import Cell, Results

# Family of networks -> the name in the paper's tables.
NETWORKS = {
    "allconv": "AllConv",
    "densenet": "DenseNet",  # the released code's
    "densenet-bc": "DenseNet",  # the one that the paper's text names
    "wrn": "WideResNet",
    "resnext": "ResNeXt",
    "resnet": "ResNet-50",
}
ENSEMBLE = -1  # the seed of an ensemble of all seeds
ABLATION: Mapping[str, tuple[Any, ...]] = {  # settings of AugMix that figure 8 varies
    "width": (1, 2, 3, 4, 5, 6),
    "depth": (1, 2, 3, 4, 5, None),
    "alpha": (0.1, 0.5, 1.0, 2.0, 5.0),
    "num_views": (1, 2, 3, 4),
    "jsd_weight": (0.0, 1.0, 4.0, 12.0, 24.0),
    "severity": (1, 3, 5, 7, 10),
}
ABLATED = {  # their names in the figure, and the paper's values
    "width": ("chains", 3),
    "depth": ("depth", None),
    "alpha": ("alpha", 1.0),
    "num_views": ("augmented views", 2),
    "jsd_weight": ("lambda", 12.0),
    "severity": ("severity", 3),
}
FREQUENCY = "cycles over height and width: "  # begins the columns of single frequencies
SCRIPT_BINS = " (published script's bins)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One number of a table or figure, in per cent."""

    row: str  # method, and in figures the kind of model
    column: str  # what was measured, e.g. ``cifar10 WideResNet`` or ``mCE``
    published: float | None  # as printed in the paper; None where it prints none
    measured: float | None  # mean over the seeds; None while no run has it
    spread: float | None = None  # standard deviation over the seeds; None for fewer than two
    num_seeds: int = 0
    tolerance: float = 0.0  # points that the two may differ by; 0 if they are not compared

    @property
    def difference(self) -> float | None:
        """Measured minus published, in percentage points."""
        if self.published is None or self.measured is None:
            return None
        return self.measured - self.published

    @property
    def verdict(self) -> str:
        """``pass`` or ``fail`` where the scale is the paper's; empty where nothing is compared."""
        if not self.tolerance or self.difference is None:
            return ""
        return "pass" if abs(self.difference) <= self.tolerance else "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunKey:
    """Which run of a table or figure a result belongs to."""

    data_set: str  # ``cifar10``, ``cifar100`` or ``imagenet``
    family: str  # of the network, a key of `NETWORKS`
    method: str  # as in `config.PaperTable.methods`
    seed: int  # or `ENSEMBLE` for all seeds together
    setting: str = ""  # one that is not the method's or the scale's own, by its flat name
    value: Any = None

    @property
    def name(self) -> str:
        """The name of its run folder."""
        last = "ensemble" if self.seed == ENSEMBLE else f"seed{self.seed}"
        changed = f"-{self.setting}-{self.value}" if self.setting else ""
        return f"{self.data_set}-{self.family}-{self.method}{changed}-{last}"


Measured = Mapping[RunKey, Results]


def ablated(key: RunKey) -> list[RunKey]:
    """The run of every value of every setting that is varied; the paper's own is the run itself."""
    return [
        key if value == ABLATED[setting][1] else replace(key, setting=setting, value=value)
        for setting, values in ABLATION.items()
        for value in values
    ]


def list_findings(
    name: str,
    measured: Measured,
    *,
    tolerance: Mapping[str, float] = MappingProxyType({}),
    networks: Mapping[str, str] = MappingProxyType({}),
) -> list[Finding]:
    """List the numbers of a table or figure, a key of `paper.PAPER_TABLES`, from its runs so far.

    Args:
        name: The table or figure.
        measured: Results by run.
        tolerance: Percentage points by which a mean may differ from the published one, by data
            set; no verdict is given for others.
        networks: The network that stands for each family, where columns must tell it.
    """
    return _LISTED[name](measured, tolerance, networks)


def find(
    row: str,
    column: str,
    values: Sequence[float],
    *,
    published: float | None = None,
    tolerance: float = 0.0,
) -> Finding:
    """Make a finding from the values of its seeds, in per cent."""
    return Finding(
        row=row,
        column=column,
        published=published,
        measured=statistics.fmean(values) if values else None,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        num_seeds=len(values),
        tolerance=tolerance,
    )


def agreement(findings: Sequence[Finding]) -> dict[str, tuple[int, int]]:
    """Count, by column, the pairs of rows in the same order as published, and all pairs.

    A pair whose published or measured numbers are equal is not counted.
    """
    columns: dict[str, list[tuple[float, float]]] = {}
    for finding in findings:
        if finding.published is not None and finding.measured is not None:
            pair = (finding.published, finding.measured)
            columns.setdefault(finding.column, []).append(pair)
    counted = {}
    for column, pairs in columns.items():
        signs = [np.sign(np.subtract(one, other)) for one, other in combinations(pairs, 2)]
        clear = [sign for sign in signs if sign.all()]
        if clear:
            counted[column] = (sum(bool(sign[0] == sign[1]) for sign in clear), len(clear))
    return counted


# -- The numbers of one run -----------------------------------------------------------------------


def mean_error(results: Results, suite: str = "c") -> float:
    """Average the error over corruptions and severities, in per cent: CIFAR-C's score."""
    return 100 * metrics.mean_error(_errors(results, suite))


def _errors(results: Results, suite: str = "c") -> dict[str, list[float]]:
    """Errors of every measured corruption at its severities."""
    errors: dict[str, list[float]] = {}
    for cell in results.cells:
        if cell.suite == suite:
            errors.setdefault(cell.name, []).append(cell.error)
    return errors


def _corruption_errors(results: Results) -> dict[str, float]:
    """CE of every corruption of the benchmark, in per cent."""
    errors = _errors(results)
    return {
        name: 100 * metrics.corruption_error(errors[name], baseline)
        for name, baseline in ALEXNET_ERRORS.items()
    }


def _flip_rates(results: Results) -> dict[str, float]:
    """FR of every perturbation of the benchmark, in per cent."""
    measured = {cell.name: cell.flip_probability for cell in results.sequences}
    return {
        name: 100 * metrics.flip_rate(measured[name], baseline)
        for name, baseline in ALEXNET_FLIP_PROBABILITIES.items()
    }


def _mean_over_cells(
    results: Iterable[Results], severities: Sequence[int], number: Callable[[Cell], float]
) -> list[float]:
    """Mean of a number of the cells at some severities, in per cent, of each run."""
    suites = ("clean", "c")
    return [
        100 * statistics.fmean(number(cell) for cell in cells if cell.severity in severities)
        for cells in ([cell for cell in one.cells if cell.suite in suites] for one in results)
    ]


def clean_errors(results: Iterable[Results]) -> list[float]:
    """Error on clean images, in per cent, of each run."""
    return _mean_over_cells(results, (0,), _error)


def rms_errors(results: Iterable[Results], severities: Sequence[int]) -> list[float]:
    """Mean RMS calibration error at some severities, 0 is clean, in per cent, of each run."""
    return _mean_over_cells(results, severities, lambda cell: metrics.rms_from_bins(*cell.adaptive))


def _script_rms(results: Iterable[Results], severities: Sequence[int]) -> list[float]:
    """The same without the most confident bin, as the published script has it."""
    return _mean_over_cells(
        results, severities, lambda cell: metrics.rms_from_bins(*cell.adaptive, legacy=True)
    )


def mean_flips(results: Iterable[Results]) -> list[float]:
    """Mean flip probability of the sequences, in per cent, of each run."""
    return [
        100 * statistics.fmean(cell.flip_probability for cell in one.sequences) for one in results
    ]


# -- The tables and figures -----------------------------------------------------------------------


Tolerance = Mapping[str, float]
Networks = Mapping[str, str]


def _cifar_table(
    rows: Sequence[published.Row], measured: Measured, tolerance: Tolerance, networks: Networks
) -> list[Finding]:
    """A row for each method, a column for each data set and network."""
    findings = []
    for row in rows:
        for family in [None] if row.network == published.MEAN else _families_of(row.network):
            if family is None:
                network, values = row.network, _means_of_four(measured, row)
            else:
                known = networks.get(family, "")
                is_one_of_two = family.startswith("densenet") and known
                network = f"{row.network} ({known})" if is_one_of_two else row.network
                values = list(map(mean_error, _of_row(measured, row, family)))
            findings.append(
                find(
                    published.LABELS[row.method],
                    f"{row.data} {network}",
                    values,
                    published=row.mean,
                    tolerance=0.0 if row in published.UNVERIFIED else tolerance.get(row.data, 0.0),
                )
            )
    return _filled(findings)


def _families_of(network: str) -> list[str]:
    return [family for family, name in NETWORKS.items() if name == network]


def _means_of_four(measured: Measured, row: published.Row) -> list[float]:
    """Mean over the four networks of Table 1, of each seed that was measured on all of them."""
    of_seed: dict[int, dict[str, float]] = {}
    for key, one in measured.items():
        if (key.data_set, key.method) == (row.data, row.method) and not key.setting:
            errors = of_seed.setdefault(key.seed, {})
            errors.setdefault(NETWORKS[key.family], mean_error(one))
    return [statistics.fmean(each.values()) for each in of_seed.values() if len(each) == 4]


def _imagenet_table(
    number: int,
    cells_of: Callable[[Results], Mapping[str, float]],
    mean_name: str,
    measured: Measured,
    tolerance: Tolerance,
    networks: Networks,
) -> list[Finding]:
    """A row for each method, a column for each corruption or perturbation."""
    findings = []
    for row in published.TABLES[number].rows:
        label, printed = published.LABELS[row.method], row.cells or {}
        results = _of_row(measured, row, "resnet")
        found = [one.find("clean", "clean", 0) for one in results]
        clean = [100 * cell.error for cell in found if cell]
        cells = [cells_of(one) for one in results]
        means = [statistics.fmean(one[name] for name in printed) for one in cells]
        findings.append(find(label, "clean error", clean, published=row.clean))
        for name, value in printed.items():
            findings.append(find(label, name, [one[name] for one in cells], published=value))
        most = tolerance.get(row.data, 0.0)
        findings.append(find(label, mean_name, means, published=row.mean, tolerance=most))
    return _filled(findings)


def _errors_of_resnext(
    measured: Measured, tolerance: Tolerance, networks: Networks
) -> list[Finding]:
    """Figure 5: the ResNeXt on CIFAR-10-C, as in Table 1."""
    column = f"cifar10 {NETWORKS['resnext']}"
    return [
        replace(finding, column="error on CIFAR-10-C")
        for finding in list_findings("table1", measured, tolerance=tolerance)
        if finding.column == column
    ]


Number = Callable[[list[Results]], list[float]]  # of the seeds of a run, in per cent


def _by_network(
    numbers: Mapping[str, Number], measured: Measured, tolerance: Tolerance, networks: Networks
) -> list[Finding]:
    """Tables 5 and 6: a row for each method, columns of each network; their numbers are unknown."""
    return [
        find(label, f"{network}, {name}", of_runs(results))
        for label, network, results in _by_method_and_network(measured, networks)
        for name, of_runs in numbers.items()
    ]


def _by_method_and_network(
    measured: Measured, networks: Networks
) -> Iterator[tuple[str, str, list[Results]]]:
    """The seeds of every method and network, with the names of both."""
    groups: dict[tuple[str, str], list[Results]] = {}
    for key, one in measured.items():
        network = networks.get(key.family) if key.family.startswith("densenet") else None
        name = NETWORKS[key.family] + (f" ({network})" if network else "")
        groups.setdefault((published.LABELS[key.method], name), []).append(one)
    for (label, name), results in groups.items():
        yield label, name, results


def _stability_and_calibration(
    measured: Measured, tolerance: Tolerance, networks: Networks
) -> list[Finding]:
    """Figure 6, beside which the paper prints no numbers."""
    corrupted = range(1, 6)
    return [
        find(label, name, values)
        for label, _, results in _by_method_and_network(measured, networks)
        for name, values in {
            "mean flip probability": mean_flips(results),
            "RMS calibration error, clean": rms_errors(results, (0,)),
            "RMS calibration error, corrupted": rms_errors(results, corrupted),
            f"RMS calibration error, clean{SCRIPT_BINS}": _script_rms(results, (0,)),
            f"RMS calibration error, corrupted{SCRIPT_BINS}": _script_rms(results, corrupted),
        }.items()
    ]


def _calibration_by_severity(
    measured: Measured, tolerance: Tolerance, networks: Networks
) -> list[Finding]:
    """Figure 7: single networks (mean over seeds) and their ensembles; severity 0 is clean."""
    groups: dict[str, list[Results]] = {}
    for key, one in measured.items():
        name = published.LABELS[key.method] + (" ensemble" if key.seed == ENSEMBLE else "")
        groups.setdefault(name, []).append(one)
    numbers = {
        "RMS calibration error": rms_errors,
        "error": partial(_mean_over_cells, number=_error),
        f"RMS calibration error{SCRIPT_BINS}": _script_rms,
    }
    return [
        find(name, f"{what}, severity {severity}", of_runs(results, (severity,)))
        for name, results in groups.items()
        for what, of_runs in numbers.items()
        for severity in range(6)
    ]


def _ablation(measured: Measured, tolerance: Tolerance, networks: Networks) -> list[Finding]:
    """Figure 8: AugMix with one setting at a time changed; a row for each value."""
    findings = []
    for setting, values in ABLATION.items():
        label, own = ABLATED[setting]
        for value in values:
            is_own = value == own
            runs = [
                one
                for key, one in measured.items()
                if (key.setting, key.value) == (("", None) if is_own else (setting, value))
            ]
            row = f"{label} {_show(value)}{' (paper)' if is_own else ''}"
            findings.append(find(row, "error on CIFAR-10-C", list(map(mean_error, runs))))
            findings.append(find(row, "clean error", clean_errors(runs)))
    return _filled(findings)


def _show(value: Any) -> str:
    return "random" if value is None else f"{value:g}"


def _errors_by_corruption(
    measured: Measured, tolerance: Tolerance, networks: Networks
) -> list[Finding]:
    """Figure 11: the ResNeXt's error under each corruption of CIFAR-10-C, mean of severities."""
    return [
        find(label, name, [100 * statistics.fmean(_errors(one)[name]) for one in results])
        for label, _, results in _by_method_and_network(measured, networks)
        for name in ALEXNET_ERRORS
    ]


def _errors_by_frequency(
    measured: Measured, tolerance: Tolerance, networks: Networks
) -> list[Finding]:
    """Figure 9: the error under each Fourier-basis perturbation, a column for each frequency."""
    findings = []
    for label, _, results in _by_method_and_network(measured, networks):
        maps = [100 * one.fourier_map for one in results if one.fourier_map is not None]
        bands = [frequency_sets(one) for one in results]
        for band in BANDS:
            values = [100 * each[band].error for each in bands if band in each]
            findings.append(find(label, f"{band} frequencies", values))
        rows, columns = maps[0].shape if maps else (0, 0)
        findings += [
            find(
                label,
                f"{FREQUENCY}{row - rows // 2} {column - columns // 2}",
                [float(each[row, column]) for each in maps],
            )
            for row, column in np.ndindex(rows, columns)
        ]
    return findings


def _error(cell: Cell) -> float:
    return cell.error


def _of_row(measured: Measured, row: published.Row, family: str) -> list[Results]:
    """The runs of a printed row by a network of one family."""
    return [
        one
        for key, one in measured.items()
        if (key.data_set, key.family, key.method) == (row.data, family, row.method)
        and not key.setting
    ]


def _filled(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out columns and rows of which nothing was measured."""
    everything = list(findings)
    columns = {finding.column for finding in everything if finding.measured is not None}
    rows = {finding.row for finding in everything if finding.measured is not None}
    return [each for each in everything if each.column in columns and each.row in rows]


_TABLES = published.TABLES
_LISTED: Mapping[str, Callable[[Measured, Tolerance, Networks], list[Finding]]] = {
    "table1": partial(_cifar_table, _TABLES[1].rows),
    "table2": partial(_imagenet_table, 2, _corruption_errors, "mCE"),
    "table3": partial(_imagenet_table, 3, _flip_rates, "mFR"),
    "table4": partial(_cifar_table, _TABLES[4].rows),
    "table4-extended": partial(_cifar_table, (*_TABLES[4].rows, *published.UNVERIFIED)),
    "table5": partial(
        _by_network,
        {
            "clean": partial(rms_errors, severities=(0,)),
            "corrupted": partial(rms_errors, severities=range(1, 6)),
        },
    ),
    "table6": partial(
        _by_network,
        {
            "clean error": clean_errors,
            "mean flip probability": mean_flips,
        },
    ),
    "figure5": _errors_of_resnext,
    "figure6": _stability_and_calibration,
    "figure7": _calibration_by_severity,
    "figure8": _ablation,
    "figure9": _errors_by_frequency,
    "figure11": _errors_by_corruption,
}


# -- Files ----------------------------------------------------------------------------------------


def write_findings(
    folder: Path,
    name: str,
    findings: Sequence[Finding],
    about: Mapping[str, Any],
    tables: Sequence[Table] | None = None,
) -> list[Path]:
    """Write ``NAME.json``, ``.csv``, ``.md`` and ``.tex`` of a table or figure into a folder.

    ``about`` has ``title``, ``scale``, ``summary``, ``runs`` (folder -> state) and ``remarks``
    (lines). Without ``tables`` one table shows all findings.
    """
    shown = [finding for finding in findings if not finding.column.startswith(FREQUENCY)]
    if tables is None:
        tables = [_to_table(shown, name=name, title=about["title"])]
    records = [
        {**files.to_plain(each), "difference": each.difference, "verdict": each.verdict}
        for each in findings
    ]
    paths = [folder / f"{name}.{suffix}" for suffix in ("json", "csv", "md", "tex")]
    order = {column: list(pair) for column, pair in agreement(findings).items()}
    files.write_json(paths[0], {**about, "findings": records, "pairs_in_published_order": order})
    kind = type(findings[0]) if findings else Finding
    columns = [*(each.name for each in fields(kind)), "difference", "verdict"]
    files.write_bytes(paths[1], records_to_csv(records, columns).encode())
    files.write_bytes(paths[2], _to_markdown(shown, tables, about).encode())
    files.write_bytes(paths[3], tables_to_latex(tables).encode())
    return paths


def _to_markdown(
    shown: Sequence[Finding], tables: Sequence[Table], about: Mapping[str, Any]
) -> str:
    """A page with the measured numbers, and the published ones in parentheses."""
    several = len(tables) > 1
    several_units = any(column.unit for table in tables for column in table.columns)
    lines = [
        f"# {about['title']}",
        "",
        f"Scale `{about['scale']}`: {about['summary']}. "
        f"{'Measured' if several_units else 'In per cent: measured'} (published).",
        "",
        *(
            f"{to_markdown_table(table if several else replace(table, title=''))}\n"
            for table in tables
        ),
        *(f"- {remark}" for remark in about["remarks"]),
        *(
            f"- {column}: {same} of {pairs} pairs of methods in the published order"
            for column, (same, pairs) in agreement(shown).items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _to_table(findings: Sequence[Finding], *, name: str, title: str) -> Table:
    columns = list(dict.fromkeys(finding.column for finding in findings))
    by_row: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        by_row.setdefault(finding.row, {})[finding.column] = finding
    return Table(
        name=name,
        title=title,
        unit="%, measured (published)",
        corner="",
        columns=tuple(Column(title=column) for column in columns),
        rows=tuple(
            Row(label=label, entries=tuple(entry_of(found.get(column)) for column in columns))
            for label, found in by_row.items()
        ),
    )


def entry_of(finding: Finding | None) -> Entry:
    """The cell of a finding: measured, its spread over seeds, published in parentheses."""
    if finding is None or (finding.measured is None and finding.published is None):
        return Entry(text="")
    parts = ["-" if finding.measured is None else f"{finding.measured:.1f}"]
    parts += [f"± {finding.spread:.1f}"] if finding.spread is not None else []
    parts += [f"({finding.published:.1f})"] if finding.published is not None else []
    return Entry(text=" ".join([*parts, finding.verdict]).strip(), value=finding.measured)
