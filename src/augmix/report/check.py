"""A gate: rules on the numbers of a run, each decided by an interval, for a pipeline to stop at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from augmix.bootstrap import FRACTION, Interval, difference, resample_means
from augmix.errors import RunError, check_fields, printable
from augmix.files import write_bytes
from augmix.report.comparison import differences
from augmix.report.estimates import (
    Estimate,
    Estimates,
    Grid,
    Key,
    Scope,
    common_grid,
    common_sequences,
    estimate,
)
from augmix.report.load import Run, load_runs

Outcome = Literal["passed", "failed", "undecided"]
LIMITED = {  # the number behind each flag
    "max_clean_error": Key("error", Scope.CLEAN),
    "max_corruption_error": Key("error", Scope.CORRUPTED),
    "max_rms": Key("rms", Scope.CORRUPTED),
    "max_flips": Key("flip", Scope.PERTURBED),
}
_TITLES = {
    "max_clean_error": "clean error",
    "max_corruption_error": "corruption error",
    "max_rms": "RMS calibration error under corruption",
    "max_flips": "flip probability",
}
_SUITES = {Scope.CLEAN: "clean", Scope.CORRUPTED: "c", Scope.PERTURBED: "p"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckConfig:
    """What a run must keep; each rule is decided by its 95 % interval."""

    run: Path
    """Run folder that was evaluated."""
    max_clean_error: float | None = None
    """Largest error on clean images, a fraction."""
    max_corruption_error: float | None = None
    """Largest mean error under corruption, a fraction."""
    max_rms: float | None = None
    """Largest RMS calibration error, mean over the corrupted sets, a fraction."""
    max_flips: float | None = None
    """Largest flip probability, mean over the perturbations, a fraction."""
    no_worse_than: Path | None = None
    """Run folder whose corruption error may not be exceeded by more than the margin, on the same
    images."""
    margin: float = 0.0
    """Percentage points by which --no-worse-than may be exceeded."""
    agrees_with: Path | None = None
    """Run folder, e.g. of the model before its export, whose predictions under corruption must be
    the same."""
    min_agreement: float = 0.99
    """Least fraction of the same predictions."""
    junit: Path | None = None
    """File of JUnit XML to write, a test for each rule."""

    def __post_init__(self) -> None:
        for name in (*LIMITED, "min_agreement"):
            value = getattr(self, name)
            check_fields(self, **{name: (value is None or 0 <= value <= 1, "a fraction in [0, 1]")})
        check_fields(self, margin=(0 <= self.margin <= 100, "0..100 percentage points"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A rule, whether a run keeps it, and the interval that decided."""

    rule: str
    outcome: Outcome
    interval: Interval
    unit: str = "%"

    def __str__(self) -> str:
        numbers = [100 * each for each in (self.interval.estimate, self.interval.low)]
        estimate, low, high = *numbers, 100 * self.interval.high
        return (
            f"{self.outcome:<9}  {self.rule}: {estimate:.2f} {self.unit} "
            f"(95 % interval {low:.2f} to {high:.2f})"
        )


def check_run(
    folder: Path,
    limits: dict[str, float],
    *,
    no_worse_than: Path | None = None,
    margin: float = 0.0,
    agrees_with: Path | None = None,
    min_agreement: float = 0.99,
) -> list[Verdict]:
    """Decide rules about a run by 95 % intervals over its images.

    A rule is passed if the whole interval keeps it, failed if none of it does, and else undecided:
    more images are needed.

    Args:
        folder: A run that was evaluated, completely or to a margin of error.
        limits: Largest values, as fractions, by names of `LIMITED`.
        no_worse_than: A run measured alike, whose corruption error may be exceeded by the margin.
        margin: As a fraction.
        agrees_with: A run of the same images, such as the model before its export, whose
            predictions under corruption must be the same.
        min_agreement: Fraction of the predictions.

    Raises:
        ValueError: If there is no rule.
        RunError: If a number was not measured, or two runs were not measured alike.
    """
    run = _load(folder)
    verdicts = [_limit(run, name, limit) for name, limit in limits.items()]
    if no_worse_than is not None:
        verdicts.append(_compare(run, _load(no_worse_than), margin))
    if agrees_with is not None:
        verdicts.append(_agree(run, _load(agrees_with), min_agreement))
    if not verdicts:
        raise ValueError(
            "there is nothing to check; give a rule, e.g. --max-corruption-error 0.3 or "
            "--no-worse-than RUN"
        )
    return verdicts


def to_junit(verdicts: Sequence[Verdict], run: str) -> bytes:
    """Write verdicts as JUnit XML: a test for each rule, undecided ones as errors."""
    count = [each.outcome for each in verdicts].count
    counts = {"failures": str(count("failed")), "errors": str(count("undecided"))}
    about = {"name": "augmix check", "tests": str(len(verdicts)), "skipped": "0", **counts}
    suite = ElementTree.Element("testsuite", about)
    for each in verdicts:
        test = ElementTree.SubElement(
            suite, "testcase", classname=printable(run), name=printable(each.rule), time="0"
        )
        text = printable(" ".join(str(each).split()))
        if each.outcome == "passed":
            ElementTree.SubElement(test, "system-out").text = text
        else:
            kind = "failure" if each.outcome == "failed" else "error"
            ElementTree.SubElement(test, kind, message=text, type=each.outcome)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def write_junit(path: Path, verdicts: Sequence[Verdict], run: str) -> None:
    """Write verdicts as a file of JUnit XML, which is replaced if it is there."""
    write_bytes(path, to_junit(verdicts, run))


def _load(folder: Path) -> Run:
    runs = load_runs([folder])
    if len(runs) > 1:
        names = ", ".join(run.folder.name for run in runs)
        raise RunError(f"{folder} holds several runs ({names}); name one of them")
    return runs[0]


def _decide(rule: str, interval: Interval, limit: float, unit: str = "%") -> Verdict:
    """A rule that a number is at most a limit."""
    outcome: Outcome = "undecided"
    if interval.high <= limit:
        outcome = "passed"
    elif interval.low > limit:
        outcome = "failed"
    return Verdict(rule=rule, outcome=outcome, interval=interval, unit=unit)


def _limit(run: Run, name: str, limit: float) -> Verdict:
    key = LIMITED[name]
    rule = f"{_TITLES[name]} at most {100 * limit:g} %"
    decision = run.results.decision
    if decision is not None:
        suite = _SUITES[Scope(key.scope)]
        if decision.against is not None or run.results.protocol.get("suite") != [suite]:
            raise _missing(run, name)
        if key.metric != "error":
            raise RunError(
                f"{run.folder} was measured on a part of the images, which gives no "
                f"{_TITLES[name]}; evaluate it without --margin-of-error"
            )
        interval = Interval(estimate=decision.estimate, low=decision.low, high=decision.high)
        return _decide(rule, interval, limit)
    found = _estimates(run, common_grid([run.results])).get(key)
    if found is None:
        raise _missing(run, name)
    return _decide(rule, _interval(run, found), limit)


def _missing(run: Run, name: str) -> RunError:
    suite = _SUITES[Scope(LIMITED[name].scope)]
    return RunError(
        f"{run.folder} has no {_TITLES[name]}; measure it first: augmix evaluate with --suite "
        f"{suite}"
    )


def _estimates(run: Run, grid: Grid) -> Estimates:
    return estimate(run, grid, common_sequences([run.results]))


def _interval(run: Run, found: Estimate) -> Interval:
    if found.interval is not None:
        return found.interval
    if found.draws is None:
        raise RunError(
            f"{run.folder} has no predictions of single images, so nothing can be decided; "
            "evaluate into a new folder"
        )
    return found.draws.interval()


def _compare(run: Run, other: Run, margin: float) -> Verdict:
    rule = f"corruption error of {run.label} minus that of {other.label}"
    rule += f" at most {100 * margin:g} points"
    decision = run.results.decision
    if decision is not None and decision.against is not None:
        theirs, ours = decision.against.get("weights_sha256"), other.results.model
        if theirs != ours.get("weights_sha256"):
            name = decision.against.get("label")
            raise RunError(f"{run.folder} was compared with {name}, not with {other.folder}")
        interval = Interval(estimate=decision.estimate, low=decision.low, high=decision.high)
        return _decide(rule, interval, margin, "points")
    grid = _common(run, other)
    key = LIMITED["max_corruption_error"]
    draws = [_estimates(each, grid)[key].draws for each in (run, other)]
    assert draws[0] is not None  # `_common` asks for predictions
    assert draws[1] is not None
    return _decide(rule, difference(draws[0], draws[1]).interval(), margin, "points")


def _agree(run: Run, other: Run, least: float) -> Verdict:
    grid = _common(run, other)
    same = []
    for cell in grid.cells(run.results):
        ours, theirs = (
            each.predictions.cells[cell.key] for each in (run, other) if each.predictions
        )
        same.append(ours.prediction.astype(np.int64) == theirs.prediction)
    (draws,) = resample_means(np.mean(same, axis=0)[None], limits=[FRACTION])
    interval = draws.interval()
    rule = f"predictions under corruption as those of {other.label}, at least {100 * least:g} %"
    outcome: Outcome = "undecided"
    if interval.low >= least:
        outcome = "passed"
    elif interval.high < least:
        outcome = "failed"
    return Verdict(rule=rule, outcome=outcome, interval=interval)


def _common(run: Run, other: Run) -> Grid:
    """The corruptions of two runs that were measured alike, with predictions of single images."""
    for each in (run, other):
        if each.predictions is None:
            raise RunError(
                f"{each.folder} has no predictions of single images of whole sets; evaluate it "
                "completely, into a new folder"
            )
    unlike = differences([run, other])
    if unlike:
        raise RunError(
            f"{run.folder} and {other.folder} were not measured alike: {'; '.join(unlike)}"
        )
    grid = common_grid([run.results, other.results])
    if not grid:
        raise RunError(
            f"{run.folder} and {other.folder} have no completely measured corruption in common; "
            "evaluate both with --suite c"
        )
    return grid
