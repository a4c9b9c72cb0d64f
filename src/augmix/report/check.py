"""A gate: rules on the numbers of a run, each decided by an interval, for a pipeline to stop at."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from augmix.bootstrap import FRACTION, Interval, difference, resample_means
from augmix.errors import RunError, check_fields, did_you_mean, printable
from augmix.files import check_replaceable, write_bytes
from augmix.report import trust  # its metrics are limits too
from augmix.report.comparison import differences
from augmix.report.estimates import METRICS, Estimate, Estimates, Key, Scope, estimate, readable
from augmix.report.load import Grid, Run, common_grid, common_sequences, load_runs

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
_SUITES = {  # that measure a scope
    Scope.CLEAN: "clean",
    Scope.CORRUPTED: "c",
    Scope.BENCHMARK: "c",
    Scope.SEVERITY: "c",
    Scope.CORRUPTION: "c",
    Scope.BAR: "c-bar",
    Scope.PERTURBED: "p",
    Scope.PERTURBATION: "p",
    Scope.ATTACKED: "attack",
    Scope.FOURIER: "fourier",
    Scope.BAND: "fourier",
    Scope.OUTLIERS: "ood --ood DIR",
}
_NAMED = {  # scopes with a name, and where that is in words
    Scope.SEVERITY: "at severity {}",
    Scope.CORRUPTION: "under {}",
    Scope.PERTURBATION: "under {}",
    Scope.BAND: "at {} frequencies",
    Scope.OUTLIERS: "against {}",
}
_WHERE = {
    Scope.CLEAN: "on clean images",
    Scope.CORRUPTED: "under corruption",
    Scope.BENCHMARK: "under the paper's corruptions",
    Scope.BAR: "under corruptions of C-bar",
    Scope.PERTURBED: "under perturbations",
    Scope.ATTACKED: "of attacked images",
    Scope.FOURIER: "over all frequencies",
}


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
    at_most: tuple[str, ...] = ()
    """More limits, METRIC@SCOPE=VALUE, e.g. aurc@corrupted=0.1 or isotonic_rms@severity:5=0.05: any
    number of the report that has an interval, by the names of its CSV file; values as there."""
    at_least: tuple[str, ...] = ()
    """The same for least values, e.g. thr_coverage@corrupted=0.8 or auroc_energy@outliers:NAME=0.9.
    """
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
        for name, owner in (("margin", "no_worse_than"), ("min_agreement", "agrees_with")):
            if getattr(self, name) != _DEFAULTS[name] and getattr(self, owner) is None:
                raise ValueError(
                    f"{name} {getattr(self, name):g} would have no effect: it belongs to {owner}, "
                    "which names a run to compare with"
                )


_DEFAULTS = {entry.name: entry.default for entry in fields(CheckConfig)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The largest or least value of a number."""

    key: Key
    value: float
    is_least: bool = False
    title: str = ""  # of the number; by default of its metric and scope

    @classmethod
    def parse(cls, text: str, *, is_least: bool = False) -> "Limit":
        """Read METRIC@SCOPE=VALUE or METRIC@SCOPE:NAME=VALUE.

        Raises:
            ValueError: If it has another form, or there is no such number.

        Example:
            >>> Limit.parse("isotonic_rms@severity:5=0.05").key
            Key(metric='isotonic_rms', scope='severity', name='5')
        """
        name, has_value, number = text.rpartition("=")
        metric, _, where = name.partition("@")
        scope, _, own = where.partition(":")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if not has_value or not np.isfinite(value):
            raise ValueError(
                f"a limit is METRIC@SCOPE=VALUE, e.g. aurc@corrupted=0.1; got {text!r}"
            )
        if metric not in METRICS:
            raise ValueError(
                f"limit {text!r}: there is no metric {metric!r}{did_you_mean(metric, METRICS)}; "
                f"there are {', '.join(METRICS)}"
            )
        scopes = [str(each) for each in METRICS[metric].scopes]
        if scope not in scopes:
            raise ValueError(
                f"limit {text!r}: {metric} is measured at {', '.join(scopes)}, got {scope!r}"
            )
        low, high = METRICS[metric].limits
        if not low <= value <= high:
            hint = f"; it is a fraction, {value / 100:g} for {value:g} %" if value <= 100 else ""
            raise ValueError(
                f"limit {text!r}: {metric} is in {low:g}..{high:g}, so it would be decided "
                f"beforehand{hint if high == 1 else ''}"
            )
        if (Scope(scope) in _NAMED) != bool(own):
            raise ValueError(
                f"limit {text!r}: "
                + (f"name one, {metric}@{scope}:NAME" if not own else f"{scope} has no names")
            )
        return cls(key=Key(metric, scope, own), value=value, is_least=is_least)

    @classmethod
    def of_flag(cls, name: str, value: float) -> "Limit":
        """Return the limit of a name of `LIMITED`."""
        return cls(key=LIMITED[name], value=value, title=_TITLES[name])

    @property
    def words(self) -> str:
        """The number in words."""
        scope = Scope(self.key.scope)
        where = _NAMED.get(scope, "").format(readable(self.key.name)) or _WHERE[scope]
        return self.title or f"{METRICS[self.key.metric].title} {where}"

    @property
    def rule(self) -> str:
        """The rule in words."""
        metric, bound = METRICS[self.key.metric], "least" if self.is_least else "most"
        return f"{self.words} at {bound} {metric.scale * self.value:g} {metric.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A rule, whether a run keeps it, and the interval that decided."""

    rule: str
    outcome: Outcome
    interval: Interval
    unit: str = "%"
    scale: float = 100.0  # from the interval to what is shown

    def __str__(self) -> str:
        own = self.interval
        estimate, low, high = (self.scale * each for each in (own.estimate, own.low, own.high))
        return (
            f"{self.outcome:<9}  {self.rule}: {estimate:.2f} {self.unit} "
            f"(95 % interval {low:.2f} to {high:.2f})"
        )


def check_run(
    folder: Path,
    limits: dict[str, float],
    *,
    at_most: Sequence[str] = (),
    at_least: Sequence[str] = (),
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
        at_most: More largest values, as `Limit.parse` reads them.
        at_least: Least values, as `Limit.parse` reads them.
        no_worse_than: A run measured alike, whose corruption error may be exceeded by the margin.
        margin: As a fraction.
        agrees_with: A run of the same images, such as the model before its export, whose
            predictions under corruption must be the same.
        min_agreement: Fraction of the predictions.

    Raises:
        ValueError: If there is no rule, or one has the wrong form.
        RunError: If a number was not measured, or two runs were not measured alike.
    """
    rules = [Limit.of_flag(name, value) for name, value in limits.items()]
    rules += [Limit.parse(text) for text in at_most]
    rules += [Limit.parse(text, is_least=True) for text in at_least]
    run = _load(folder)
    found: Estimates = {}
    if rules and run.results.decision is None:
        names = {rule.key.metric for rule in rules}
        found = _estimates(run, common_grid([run.results]), names)
    verdicts = [_limit(run, rule, found) for rule in rules]
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


def check_junit(path: Path) -> None:
    """Refuse to write JUnit XML over a file of another kind, with a `RunError`."""
    check_replaceable(path, "JUnit file", b"<testsuite")


def write_junit(path: Path, verdicts: Sequence[Verdict], run: str) -> None:
    """Write verdicts as a file of JUnit XML, which is replaced if it is there."""
    write_bytes(path, to_junit(verdicts, run))


def _load(folder: Path) -> Run:
    runs = load_runs([folder])
    if len(runs) > 1:
        names = ", ".join(run.folder.name for run in runs)
        raise RunError(f"{folder} holds several runs ({names}); name one of them")
    return runs[0]


def _decide(
    rule: str,
    interval: Interval,
    limit: float,
    *,
    is_least: bool = False,
    unit: str = "%",
    scale: float = 100.0,
) -> Verdict:
    """A rule that a number is at most, or at least, a limit."""
    outcome: Outcome = "undecided"
    if interval.low >= limit if is_least else interval.high <= limit:
        outcome = "passed"
    elif interval.high < limit if is_least else interval.low > limit:
        outcome = "failed"
    return Verdict(rule=rule, outcome=outcome, interval=interval, unit=unit, scale=scale)


def _limit(run: Run, limit: Limit, found: Estimates) -> Verdict:
    metric, decision = METRICS[limit.key.metric], run.results.decision
    if decision is not None:
        suite = _SUITES[Scope(limit.key.scope)]
        if decision.against is not None or run.results.protocol.get("suite") != [suite]:
            raise _missing(run, limit, found)
        if limit.key not in (LIMITED["max_clean_error"], LIMITED["max_corruption_error"]):
            raise RunError(
                f"{run.folder} was measured on a part of the images, which gives no "
                f"{limit.words}; evaluate it without --margin-of-error"
            )
        interval = Interval(estimate=decision.estimate, low=decision.low, high=decision.high)
    elif limit.key not in found:
        raise _missing(run, limit, found)
    else:
        interval = _interval(run, limit, found[limit.key])
    how = {"is_least": limit.is_least, "unit": metric.unit, "scale": metric.scale}
    return _decide(limit.rule, interval, limit.value, **how)


def _missing(run: Run, limit: Limit, found: Estimates) -> RunError:
    key = limit.key
    names = [other.name for other in found if other[:2] == key[:2]]
    if names and key.name:
        return RunError(
            f"{run.folder} has no {limit.words}{did_you_mean(key.name, names)}; there are "
            f"{', '.join(names)}"
        )
    how = f"--suite {_SUITES[Scope(key.scope)]}"
    if METRICS[key.metric].is_asked:
        group = "conformal" if key.metric.partition("_")[0] in trust.METHODS else "calibrators"
        group = "classwise" if key.metric == "classwise_ece" else group
        how += f" --metrics {group} --temperature-images N"
    return RunError(
        f"{run.folder} has no {limit.words}; measure it first: augmix evaluate with {how}"
    )


def _estimates(run: Run, grid: Grid, names: Collection[str]) -> Estimates:
    return estimate(run, grid, common_sequences([run.results]), names=names)


def _interval(run: Run, limit: Limit, found: Estimate) -> Interval:
    if found.interval is not None:
        return found.interval
    if found.draws is None and not METRICS[limit.key.metric].has_draws:
        raise RunError(
            f"{limit.words} is known as a sum only, without an interval, so nothing can be decided "
            "by it; name another metric"
        )
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
        return _decide(rule, interval, margin, unit="points")
    grid = _common(run, other)
    key = LIMITED["max_corruption_error"]
    draws = [_estimates(each, grid, {key.metric})[key].draws for each in (run, other)]
    assert draws[0] is not None  # `_common` asks for predictions
    assert draws[1] is not None
    interval = difference(draws[0], draws[1]).interval()
    return _decide(rule, interval, margin, unit="points")


def _agree(run: Run, other: Run, least: float) -> Verdict:
    grid = _common(run, other)
    same = []
    for cell in grid.cells(run.results):
        ours, theirs = (
            each.predictions.cells[cell.key] for each in (run, other) if each.predictions
        )
        same.append(ours.prediction.astype(np.int64) == theirs.prediction)
    (draws,) = resample_means(np.mean(same, axis=0)[None], limits=[FRACTION])
    rule = f"predictions under corruption as those of {other.label}, at least {100 * least:g} %"
    return _decide(rule, draws.interval(), least, is_least=True)


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
