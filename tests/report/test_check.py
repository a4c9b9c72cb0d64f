"""A gate: rules, the intervals that decide them, exit codes and JUnit."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from fake_runs import NAMES, SEVERITIES, make_run

from augmix import cli, metrics
from augmix.errors import RunError
from augmix.per_image import load_images, load_predictions, predictions_path, write_predictions
from augmix.report.check import check_run
from augmix.report.estimates import estimate
from augmix.report.load import common_grid, common_sequences, load_runs
from augmix.results import RESULTS_FILE, Decision, load_results, write_results


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, the first of which errs less."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "good", label="Good", weakness=0.5, sequences=("tilt",))
    make_run(folder / "bad", label="Bad", weakness=1.0)
    return folder


def test_limits_are_decided_by_the_whole_interval(runs: Path) -> None:
    (verdict,) = check_run(runs / "good", {"max_corruption_error": 0.5})
    low, high = verdict.interval.low, verdict.interval.high
    assert verdict.outcome == "passed"
    assert 0.005 < high - low < 0.1
    for limit, outcome in ((high, "passed"), (high - 1e-6, "undecided"), (low, "undecided")):
        assert check_run(runs / "good", {"max_corruption_error": limit})[0].outcome == outcome
    assert check_run(runs / "good", {"max_corruption_error": low - 1e-6})[0].outcome == "failed"
    results = load_results(runs / "good" / RESULTS_FILE)
    assert verdict.interval.estimate == pytest.approx(results.summary()["corruption_error"])


def test_all_limits_have_numbers(runs: Path) -> None:
    limits = {"max_clean_error": 0.5, "max_rms": 0.5, "max_flips": 0.9}
    verdicts = check_run(runs / "good", limits)
    assert [verdict.outcome for verdict in verdicts] == ["passed"] * 3
    with pytest.raises(RunError, match="has no flip probability; measure it first: .* --suite p"):
        check_run(runs / "bad", {"max_flips": 0.5})


@pytest.mark.slow
def test_two_runs_are_compared_on_the_same_images(runs: Path) -> None:
    (better,) = check_run(runs / "good", {}, no_worse_than=runs / "bad")
    (worse,) = check_run(runs / "bad", {}, no_worse_than=runs / "good", margin=0.01)
    assert (better.outcome, worse.outcome) == ("passed", "failed")
    assert better.interval.estimate == pytest.approx(-worse.interval.estimate)
    (same,) = check_run(runs / "bad", {}, no_worse_than=runs / "bad")
    assert (same.outcome, same.interval.low, same.interval.high) == ("passed", 0, 0)
    gap = worse.interval.estimate
    (open_one,) = check_run(runs / "bad", {}, no_worse_than=runs / "good", margin=gap)
    assert open_one.outcome == "undecided"


def test_agreement_is_that_of_predictions(runs: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "export", label="Export", weakness=0.5, sequences=("tilt",))
    path = tmp_path / "export"
    labels = load_images(path).labels
    changed = 0
    for name in NAMES[:2]:
        for severity in SEVERITIES:
            kept = load_predictions(path, "c", name, severity)
            prediction = kept.prediction.copy()
            wrong = np.flatnonzero(prediction != labels)[:2]  # stay wrong, so counts stay
            other = (prediction[wrong] + 1) % 10
            prediction[wrong] = np.where(other == labels[wrong], (other + 1) % 10, other)
            changed += len(wrong)
            write_predictions(
                predictions_path(path, "c", name, severity), replace(kept, prediction=prediction)
            )
    (verdict,) = check_run(path, {}, agrees_with=runs / "good", min_agreement=0.9)
    expected = 1 - changed / (len(labels) * len(NAMES) * len(SEVERITIES))
    assert verdict.interval.estimate == pytest.approx(expected)
    assert verdict.outcome == "passed"
    assert check_run(path, {}, agrees_with=runs / "good", min_agreement=1.0)[0].outcome == "failed"


def test_a_part_of_the_images_decides_too(runs: Path, tmp_path: Path) -> None:
    good = load_results(runs / "good" / RESULTS_FILE)
    decision = Decision(
        against=None, margin=0.01, num_cells=75, num_images=100, method="", num_rounds=9,
        errors=[0.2], estimate=0.2, low=0.18, high=0.22,
    )  # fmt: skip
    results = replace(good, cells=(), sequences=(), decision=decision, protocol={"suite": ["c"]})
    (tmp_path / "part").mkdir()
    write_results(tmp_path / "part" / RESULTS_FILE, results)
    for limit, outcome in ((0.22, "passed"), (0.2, "undecided"), (0.1, "failed")):
        found = check_run(tmp_path / "part", {"max_corruption_error": limit})
        assert [each.outcome for each in found] == [outcome]
    with pytest.raises(RunError, match="evaluate it without --margin-of-error"):
        check_run(tmp_path / "part", {"max_rms": 0.1})
    bad = load_results(runs / "bad" / RESULTS_FILE)
    paired = replace(decision, against=bad.model, estimate=-0.02, low=-0.03, high=-0.01)
    write_results(tmp_path / "part" / RESULTS_FILE, replace(results, decision=paired))
    (found,) = check_run(tmp_path / "part", {}, no_worse_than=runs / "bad")
    assert (found.outcome, found.interval.high) == ("passed", -0.01)


def test_runs_that_cannot_be_compared_are_refused(runs: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "other", source="cifar10")
    with pytest.raises(RunError, match="were not measured alike: source name"):
        check_run(tmp_path / "other", {}, no_worse_than=runs / "bad")
    make_run(tmp_path / "bare", has_predictions=False)
    with pytest.raises(RunError, match="has no predictions of single images"):
        check_run(tmp_path / "bare", {"max_corruption_error": 0.5})
    with pytest.raises(RunError, match="has no predictions of single images"):
        check_run(tmp_path / "bare", {}, agrees_with=runs / "bad")
    with pytest.raises(ValueError, match="there is nothing to check"):
        check_run(runs / "good", {})


@pytest.mark.parametrize(
    ("limit", "code", "tag"), [("0.9", 0, "system-out"), ("0.01", 1, "failure"), ("", 3, "error")]
)
def test_command_exits_and_writes_junit(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    limit: str,
    code: int,
    tag: str,
) -> None:
    limit = limit or str(load_results(runs / "bad" / RESULTS_FILE).summary()["corruption_error"])
    junit = tmp_path / "check.xml"
    flags = ["--max-corruption-error", limit, "--max-clean-error", "0.9", "--junit", str(junit)]
    assert cli.main(["check", str(runs / "bad"), *flags]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("passed     clean error at most 90 %: ")
    (suite,) = ElementTree.parse(junit).getroot()
    assert suite.get("tests") == "2"
    assert [test[0].tag for test in suite] == ["system-out", tag]
    assert suite[1][0].text or suite[1][0].get("message")
    assert cli.main(["check", str(runs / "bad"), "--max-rms", "5"]) == 2
    assert "max_rms must be a fraction in [0, 1], got 5" in capsys.readouterr().err


def test_any_number_of_the_report_can_be_a_limit(runs: Path) -> None:
    cells = load_results(runs / "good" / RESULTS_FILE).cells
    labels = load_images(runs / "good").labels
    kept = [load_predictions(runs / "good", *cell.key) for cell in cells if cell.severity == 3]
    errors = [float((each.prediction != labels).mean()) for each in kept]
    (most,) = check_run(runs / "good", {}, at_most=["error@severity:3=0.9"])
    assert most.interval.estimate == pytest.approx(np.mean(errors))
    assert str(most).startswith("passed     Error at severity 3 at most 90 %: ")
    low, high = most.interval.low, most.interval.high
    for limit, outcome in ((low, "passed"), (low + 1e-6, "undecided"), (high, "undecided")):
        (least,) = check_run(runs / "good", {}, at_least=[f"error@severity:3={limit}"])
        assert least.outcome == outcome
        assert least.interval == most.interval
    (least,) = check_run(runs / "good", {}, at_least=[f"error@severity:3={high + 1e-6}"])
    assert least.outcome == "failed"
    clean = load_predictions(runs / "good", "clean", "clean", 0)
    (found, _) = check_run(runs / "good", {}, at_most=["aurc@clean=1", "rms@corrupted=1"])
    expected = metrics.aurc(clean.confidence, clean.prediction == labels)
    assert found.interval.estimate == pytest.approx(expected)


@pytest.mark.slow
def test_a_number_alone_is_as_among_all(runs: Path) -> None:
    (run,) = load_runs([runs / "good"])
    how = common_grid([run.results]), common_sequences([run.results])
    every = estimate(run, *how)
    for name in ("error", "rms", "aurc", "flip"):
        alone = estimate(run, *how, names=(name,))
        assert alone.keys() == {key for key in every if key.metric == name}
        for key, found in alone.items():
            ours, theirs = found.draws, every[key].draws
            assert ours is not None
            assert theirs is not None
            assert ours.interval() == theirs.interval()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aurc@clean", "a limit is METRIC@SCOPE=VALUE, e.g. aurc@corrupted=0.1; got 'aurc@clean'"),
        ("aurc@clean=nan", "a limit is METRIC@SCOPE=VALUE"),
        ("arc@clean=1", "there is no metric 'arc', did you mean 'aurc'"),
        ("aurc=1", "aurc is measured at clean, corrupted, got ''"),
        ("flip@clean=1", "flip is measured at perturbed, perturbation, got 'clean'"),
        ("error@severity=1", "name one, error@severity:NAME"),
        ("error@clean:1=1", "clean has no names"),
        ("error@severity:7=1", "has no Error at severity 7; there are 1, 2, 3, 4, 5"),
        ("nll@clean=1", "is known as a sum only, without an interval"),
        ("thr_coverage@corrupted=1", "--suite c --metrics conformal --temperature-images N"),
        ("isotonic_rms@clean=1", "--suite clean --metrics calibrators --temperature-images N"),
        ("auroc_energy@outliers:x=1", "augmix evaluate with --suite ood --ood DIR"),
    ],
)
def test_limits_of_nothing_are_refused(runs: Path, text: str, message: str) -> None:
    with pytest.raises((ValueError, RunError), match=re.escape(message)):
        check_run(runs / "good", {}, at_most=[text])
