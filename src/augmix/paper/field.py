"""The table ``field``: methods of the paper and after it, what they reach and what they cost.

A row is a method on a network. The number of the literature for the family's published network
stands beside the measured one in parentheses, and those for other networks or recipes have rows of
their own, each with its source and what it starts from. In the form at equal cost every method
trains for as many whole epochs as the counted cost of one of them pays for
(`training.logging.count_cost`).
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from augmix import published
from augmix.corruptions.registry import SEVERITIES
from augmix.methods import METHODS, Method
from augmix.models.weights import build_model
from augmix.paper.compare import (
    NETWORKS,
    Finding,
    Measured,
    RunKey,
    clean_errors,
    entry_of,
    find,
    mean_error,
    mean_flips,
    rms_errors,
)
from augmix.paper.config import RECIPE_TITLES
from augmix.paper.runs import Task
from augmix.published import LaterRow
from augmix.report.tables import Column, Entry, Row, Table, text
from augmix.results import Results
from augmix.run_folder import load_steps
from augmix.training.logging import Cost, count_cost, format_flop
from augmix.training.run import open_training

RANDOM = "random weights"  # what every run here starts from
_PUBLISHED = {"WideResNet": "WRN-40-2"}  # the network of a family in `published.LATER_ROWS`
_TERA = 1e12
_DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldFinding(Finding):
    """One number of the table, in its unit, with what its row says about itself."""

    unit: str = "%"
    data_set: str
    network: str  # measured, or published where nothing is measured
    published_network: str = ""  # of the number beside the measured one
    starts_from: str = RANDOM
    source: str = ""  # of the published number, with its recipe


def _errors(results: Sequence[Results], *, suite: str) -> list[float]:
    return [mean_error(one, suite) for one in results]


# Column -> its number of each run in per cent, and the field of `published.LaterRow` that has it.
_NUMBERS: Mapping[str, tuple[Callable[[list[Results]], list[float]], str]] = {
    "clean error": (clean_errors, "clean"),
    "C error": (partial(_errors, suite="c"), "corrupted"),
    "C-bar error": (partial(_errors, suite="c-bar"), "bar"),
    "P flip probability": (mean_flips, ""),
    "RMS calibration error, clean": (partial(rms_errors, severities=(0,)), ""),
    "RMS calibration error, C": (partial(rms_errors, severities=SEVERITIES), "calibration"),
}
_EPOCHS, _COST, _RELATIVE, _TIME = "epochs", "training cost", "cost by AugMix's", "training time"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What a trained run cost."""

    epochs: int
    flop: float  # of all passes
    seconds: float  # of its steps, wall time


def read_facts(task: Task) -> RunFacts:
    """Read from the log of a trained run what it cost."""
    training = task.training
    last = load_steps(training.run.out)[-1]
    return RunFacts(
        epochs=training.optimisation.epochs,
        flop=last.get("flop", 0.0),
        seconds=last.get("seconds", 0.0),
    )


# -- Counted cost ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCost:
    """What a run will cost."""

    epochs: int
    num_images: int  # in an epoch
    cost: Cost  # of an image in a step

    @property
    def flop_per_epoch(self) -> int:
        """Operations of an epoch."""
        return self.num_images * self.cost.flop

    @property
    def flop(self) -> int:
        """Operations of the run."""
        return self.epochs * self.flop_per_epoch


def count_runs(tasks: Mapping[RunKey, Task]) -> dict[RunKey, RunCost]:
    """Count what runs cost, from their networks, methods and numbers of images.

    Raises:
        RunError: If their images cannot be read.
    """
    opened: dict[tuple[str, str], tuple[int, tuple[int, int], int, int]] = {}
    costs: dict[tuple[str, Method, tuple[str, str]], Cost] = {}
    found = {}
    for key, task in tasks.items():
        training = task.training
        images = (key.data_set, training.data.stylised or "")
        if images not in opened:
            source = open_training(training).source
            opened[images] = (len(source), source.size, source.channels, source.num_classes)
        num_images, size, channels, num_classes = opened[images]
        alike = (training.network_name, training.method, images)
        if alike not in costs:
            with torch.random.fork_rng(devices=[]):
                model = build_model(
                    training.network_name, num_classes=num_classes, channels=channels
                )
            costs[alike] = count_cost(
                model, training.method, size=size, channels=channels, device=torch.device("cpu")
            )
        epochs = training.optimisation.epochs
        found[key] = RunCost(epochs=epochs, num_images=num_images, cost=costs[alike])
    return found


def equal_epochs(cost: RunCost, other: RunCost) -> int:
    """The whole epochs, at least 1, that come nearest to the cost of another run.

    Example:
        >>> three, one = (Cost(multiply_adds=10, passes=n, attacks=0) for n in (3, 1))
        >>> augmix = RunCost(epochs=5, num_images=100, cost=three)
        >>> equal_epochs(RunCost(epochs=5, num_images=100, cost=one), augmix)
        15
    """
    return max(1, round(other.flop / cost.flop_per_epoch))


def describe_costs(
    costs: Mapping[RunKey, RunCost],
    baseline: str,
    counted: Mapping[tuple[str, str], float] | None = None,
) -> list[str]:
    """List what runs will cost, a line each, beside the run of a baseline method.

    Args:
        costs: Of the runs.
        baseline: The method whose cost is 100 %.
        counted: Its cost by data set and family, in operations, where it is no run of these.
    """
    bases = {
        (key.data_set, key.family, key.seed): cost.flop
        for key, cost in costs.items()
        if key.method == baseline and not key.setting
    }
    width = max((len(key.name) for key in costs), default=0)
    lines = []
    for key, cost in costs.items():
        base = bases.get((key.data_set, key.family, key.seed))
        base = base or (counted or {}).get((key.data_set, key.family))
        beside = f", {100 * cost.flop / base:.0f} % of {baseline}" if base else ""
        one = cost.cost
        attacked = f" + {one.attacks} attack step(s)" if one.attacks else ""
        lines.append(
            f"{key.name:<{width}}  {cost.epochs} epoch(s) of {cost.num_images:,} images, "
            f"{one.multiply_adds / 1e6:,.1f} million multiply-adds x {one.passes} pass(es)"
            f"{attacked}: {format_flop(float(cost.flop))}{beside}"
        )
    total = float(sum(cost.flop for cost in costs.values()))
    return [*lines, f"{len(costs)} run(s), {format_flop(total)} in all"]


# -- Findings -------------------------------------------------------------------------------------


def list_field(
    keys: Sequence[RunKey],
    measured: Measured,
    facts: Mapping[RunKey, RunFacts],
    *,
    tolerance: Mapping[str, float],
    networks: Mapping[str, str],
    baseline: str = "augmix",
    counted: Mapping[tuple[str, str], float] | None = None,
    has_published: bool = True,
) -> list[FieldFinding]:
    """List the numbers of the table, rows in the order of the runs.

    Args:
        keys: The planned runs.
        measured: Results of those that are done.
        facts: What those cost.
        tolerance: Percentage points by which a mean error on -C may differ from the published one,
            by data set; no verdict is given for others.
        networks: The network that stands for each family.
        baseline: The method whose cost is 100 %.
        counted: Its cost by data set and family, in operations, where it has no run.
        has_published: Whether numbers of the literature are shown.
    """
    findings = []
    for data_set, family, method in dict.fromkeys((k.data_set, k.family, k.method) for k in keys):
        own = [k for k in keys if (k.data_set, k.family, k.method) == (data_set, family, method)]
        done = [key for key in own if key in measured]
        base = [k for k in keys if (k.data_set, k.family, k.method) == (data_set, family, baseline)]
        rows = literature(method, data_set) if has_published else []
        beside = next((row for row in rows if row.network == _PUBLISHED[NETWORKS[family]]), None)
        about = FieldFinding(
            row=RECIPE_TITLES.get(method) or METHODS[method].title,
            column="",
            published=None,
            measured=None,
            data_set=data_set,
            network=networks.get(family, family),
            published_network=beside.network if beside else "",
            source=_source(beside) if beside else "",
        )
        for column, (numbers, attribute) in _NUMBERS.items():
            printed = getattr(beside, attribute, None)
            most = tolerance.get(data_set, 0.0) if attribute == "corrupted" else 0.0
            values = numbers([measured[key] for key in done])
            findings.append(_fill(about, column, values, published=printed, tolerance=most))
        costs = [facts[key].flop for key in done]
        of_base = [facts[key].flop for key in base if key in facts]
        if not of_base and counted and (data_set, family) in counted:
            of_base = [counted[data_set, family]]
        relative = [100 * cost / statistics.fmean(of_base) for cost in costs if of_base]
        epochs = [float(facts[key].epochs) for key in done]
        seconds = [facts[key].seconds for key in done]
        findings += [
            _fill(about, _EPOCHS, epochs, unit="epochs"),
            _fill(about, _COST, [cost / _TERA for cost in costs], unit="TFLOP"),
            _fill(about, _RELATIVE, relative),
            _fill(about, _TIME, seconds, unit="s"),
        ]
        for row in rows:
            if row is not beside:
                findings += _published_row(about, row)
    return findings


def _fill(
    about: FieldFinding,
    column: str,
    values: Sequence[float],
    *,
    unit: str = "%",
    published: float | None = None,
    tolerance: float = 0.0,
) -> FieldFinding:
    found = find(about.row, column, values, published=published, tolerance=tolerance)
    return replace(
        about,
        column=f"{about.data_set} {column}",
        unit=unit,
        published=found.published,
        measured=found.measured,
        spread=found.spread,
        num_seeds=found.num_seeds,
        tolerance=found.tolerance,
    )


def _published_row(about: FieldFinding, row: LaterRow) -> list[FieldFinding]:
    """A row of the literature alone."""
    own = replace(
        about,
        network=row.network,
        published_network=row.network,
        starts_from=row.starts_from,
        source=_source(row),
    )
    return [
        _fill(own, column, [], published=getattr(row, attribute))
        for column, (_, attribute) in _NUMBERS.items()
        if attribute and getattr(row, attribute) is not None
    ]


def _source(row: LaterRow) -> str:
    return f"{row.source}: {row.recipe}" if row.recipe else row.source


def literature(method: str, data_set: str) -> list[LaterRow]:
    """What is published of a method on a data set; WideResNets of the paper's tables first.

    A number of the tables that another row repeats together with the clean error is left out.
    """
    later = [
        row
        for row in (*published.PAPER_METHOD_ROWS, *published.LATER_ROWS)
        if (row.method, row.data) == (method, data_set)
    ]
    known = {(row.network, row.corrupted) for row in later if row.clean is not None}
    tables = {
        row.mean: LaterRow(
            method=method,
            data=data_set,
            network=_PUBLISHED[row.network],
            clean=None,
            corrupted=row.mean,
            source=f"Hendrycks et al. (2020), table {table.number}",
            recipe="100 epochs",
        )
        for table in (published.TABLE_4, published.TABLE_1)
        for row in table.rows
        if (row.method, row.data) == (method, data_set) and row.network in _PUBLISHED
    }
    return [row for row in tables.values() if (row.network, row.corrupted) not in known] + later


# -- Tables ---------------------------------------------------------------------------------------


def field_tables(name: str, findings: Sequence[FieldFinding]) -> list[Table]:
    """Make a table for each data set from `list_field`."""
    tables = []
    numbers = [*_NUMBERS, _EPOCHS, _COST, _RELATIVE, _TIME]
    units = {_COST: "FLOP", _RELATIVE: "%", _TIME: "s", _EPOCHS: ""}
    for data_set in dict.fromkeys(finding.data_set for finding in findings):
        rows: dict[tuple[str, str, str], dict[str, FieldFinding]] = {}
        for finding in findings:
            if finding.data_set == data_set:
                row = (finding.row, finding.network, finding.source)
                rows.setdefault(row, {})[finding.column.removeprefix(f"{data_set} ")] = finding
        columns = [
            Column(title="network", is_number=False),
            *(Column(title=number, unit=units.get(number, "%")) for number in numbers),
            Column(title="starts from", is_number=False),
            Column(title="published by", is_number=False),
        ]
        tables.append(
            Table(
                name=f"{name}-{data_set}",
                title=_DATA[data_set],
                unit="measured (published)",
                corner="Method",
                columns=tuple(columns),
                rows=tuple(_row(found, numbers) for found in rows.values()),
            )
        )
    return tables


def _row(found: Mapping[str, FieldFinding], numbers: Sequence[str]) -> Row:
    first = next(iter(found.values()))
    is_published = first.network == first.published_network and _COST not in found
    beside = f" ({first.published_network})" if first.published_network else ""
    network = first.network if is_published else f"{first.network}{beside}"
    return Row(
        label=first.row,
        kind="published" if is_published else "measured",
        entries=(
            text(network),
            *(_shown(found.get(number), is_published) for number in numbers),
            text(first.starts_from),
            text(first.source),
        ),
    )


def _shown(finding: FieldFinding | None, is_published: bool) -> Entry:
    if finding is not None and is_published:
        return Entry(text=f"({finding.published:.1f})", value=finding.published)
    if finding is None or finding.measured is None or finding.unit == "%":
        return entry_of(finding)
    value = finding.measured
    written = format_flop(value * _TERA) if finding.unit == "TFLOP" else f"{value:,.0f}"
    return Entry(text=written, value=value)
