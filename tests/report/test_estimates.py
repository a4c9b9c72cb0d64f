"""Every number of a run against the metrics of its predictions, its intervals, and its grid."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_runs import NAMES, keep_cells, make_run

from augmix import metrics, published
from augmix.bootstrap import proportion_interval
from augmix.errors import RunError
from augmix.per_image import load_predictions, predictions_path, write_predictions
from augmix.report import summarise
from augmix.report.estimates import METRICS, Estimates, Key, Scope, estimate
from augmix.report.load import Grid, Run, common_grid, load_runs
from augmix.results import Bins, Cell, CellKey, Results

PAPER = tuple(published.ALEXNET_ERRORS)
TEN = tuple(published.ALEXNET_FLIP_PROBABILITIES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("estimates") / "run"
    make_run(folder, names=PAPER, sequences=TEN, num_images=250, has_log=False, has_examples=False)
    return load_runs([folder])[0]


@pytest.fixture(scope="module")
def numbers(run: Run) -> Estimates:
    return estimate(run, common_grid([run.results]), TEN, is_alexnet=True)


def predicted(run: Run, suite: str, name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidence, and whether it was right, of a cell of the run."""
    assert run.predictions is not None
    cell = run.predictions.cells[CellKey(suite, name, severity)]
    return cell.confidence.astype(float), cell.prediction == run.predictions.images.labels


def test_errors(run: Run, numbers: Estimates):
    errors = {n: [1 - predicted(run, "c", n, s)[1].mean() for s in range(1, 6)] for n in PAPER}
    found = {key: each.value for key, each in numbers.items()}
    clean = 1 - predicted(run, "clean", "clean", 0)[1].mean()
    assert found[Key("error", Scope.CLEAN)] == pytest.approx(clean)
    assert found[Key("error", Scope.CORRUPTED)] == pytest.approx(metrics.mean_error(errors))
    assert found[Key("error", "corruption", "fog")] == pytest.approx(np.mean(errors["fog"]))
    by_severity = metrics.error_by_severity(errors)
    assert found[Key("error", "severity", "4")] == pytest.approx(by_severity[3])
    alexnet = published.ALEXNET_ERRORS
    assert found[Key("ce", Scope.CORRUPTED)] == pytest.approx(
        metrics.mean_corruption_error(errors, alexnet)
    )
    assert found[Key("ce", "corruption", "snow")] == pytest.approx(
        metrics.corruption_error(errors["snow"], alexnet["snow"])
    )


def test_the_error_under_attack(tmp_path: Path):
    few = {"names": NAMES[:1], "num_images": 120, "has_log": False, "has_examples": False}
    results = make_run(tmp_path / "run", robust_error=0.6, **few)
    (run,) = load_runs([tmp_path / "run"])
    found = estimate(run, common_grid([results]), (), is_alexnet=False)
    wrong = (~predicted(run, "attack", "linf", 0)[1]).sum()
    assert 60 < wrong < 84
    robust = found[Key("error", Scope.ATTACKED)]
    assert robust.value == wrong / 120
    assert robust.interval == proportion_interval(int(wrong), 120)
    assert robust.draws is not None
    others = make_run(tmp_path / "plain", **few)
    (plain,) = load_runs([tmp_path / "plain"])
    without = estimate(plain, common_grid([others]), (), is_alexnet=False)
    assert set(found) - set(without) == {Key("error", Scope.ATTACKED)}
    for key in (
        Key("error", Scope.CORRUPTED),
        Key("rms", Scope.CORRUPTED),
        Key("ece", Scope.CLEAN),
    ):
        assert found[key].value == without[key].value  # the attack is in none of them


def test_stability(run: Run, numbers: Estimates):
    assert run.predictions is not None
    flips = {
        name: metrics.flip_probability(run.predictions.sequences[name].prediction) for name in TEN
    }
    found = {key: each.value for key, each in numbers.items()}
    assert found[Key("flip", "perturbation", "tilt")] == pytest.approx(flips["tilt"])
    assert found[Key("flip", Scope.PERTURBED)] == pytest.approx(np.mean(list(flips.values())))
    assert found[Key("fr", Scope.PERTURBED)] == pytest.approx(
        metrics.mean_flip_rate(flips, published.ALEXNET_FLIP_PROBABILITIES)
    )


def test_calibration(run: Run, numbers: Estimates):
    cells = [predicted(run, "c", name, severity) for name in PAPER for severity in range(1, 6)]
    found = {key: each.value for key, each in numbers.items()}
    rms = [metrics.rms_calibration_error(*cell) for cell in cells]
    assert found[Key("rms", Scope.CORRUPTED)] == pytest.approx(np.mean(rms))
    assert found[Key("rms", "severity", "2")] == pytest.approx(np.mean(rms[1::5]))
    pooled = [np.concatenate(part) for part in zip(*cells, strict=True)]
    ece = metrics.expected_calibration_error(pooled[0], pooled[1])
    assert found[Key("ece", Scope.CORRUPTED)] == pytest.approx(ece)
    assert found[Key("accuracy", Scope.CORRUPTED)] == pytest.approx(pooled[1].mean())
    assert found[Key("confidence", Scope.CORRUPTED)] == pytest.approx(pooled[0].mean())


def test_every_number_has_an_interval(numbers: Estimates):
    assert len(numbers) > 80
    from_images = {k: each for k, each in numbers.items() if METRICS[k.metric].has_draws}
    assert {key.metric for key in set(numbers) - set(from_images)} == {"nll", "brier", "top5"}
    for key, each in from_images.items():
        assert each.draws is not None, key
        assert each.draws.estimate == pytest.approx(each.value, abs=1e-6), key
        interval = each.draws.interval()
        assert interval.low <= each.value < interval.high, key
        assert interval.low < each.value or each.value == 0, key


def test_cells_of_an_image_are_resampled_together(run: Run, numbers: Estimates):
    """The interval of the mean is that of the images, not of 75 times as many.

    Its standard deviation by the formula of a mean.
    """
    right = [predicted(run, "c", name, severity)[1] for name in PAPER for severity in range(1, 6)]
    fractions = 1 - np.mean(right, axis=0)
    draws = numbers[Key("error", Scope.CORRUPTED)].draws
    assert draws is not None
    std = fractions.std() / np.sqrt(len(fractions))
    assert draws.resampled.std() == pytest.approx(std, rel=0.1)
    pooled = np.sqrt(fractions.mean() * (1 - fractions.mean()) / (75 * len(fractions)))
    assert draws.resampled.std() > 3 * pooled


def test_without_errors_the_range_is_still_open(tmp_path: Path):
    """Wilson's range of the clean error: 0 of 250 images is not surely 0."""
    results = make_run(tmp_path / "a", names=NAMES[:1], num_images=250, clean_error=0.0)
    assert results.cells[0].num_errors == 0
    found = estimate(
        load_runs([tmp_path / "a"])[0], Grid(names=(), severities=()), (), is_alexnet=False
    )
    interval = found[Key("error", Scope.CLEAN)].interval
    assert interval is not None
    assert interval.low == 0
    assert interval.high == pytest.approx(0.0151, abs=1e-3)


@pytest.mark.parametrize("num_images", [3, 12])
def test_no_interval_leaves_the_range_of_its_metric(tmp_path: Path, num_images: int):
    few = {"num_images": num_images, "sequences": TEN[:2], "names": NAMES[:2]}
    make_run(tmp_path / "a", clean_error=0.0, weakness=0.05, robust_error=0.9, **few)
    run = load_runs([tmp_path / "a"])[0]
    found = estimate(run, common_grid([run.results]), TEN[:2], is_alexnet=False)
    for key, each in found.items():
        if each.draws is None:
            continue
        low, high = METRICS[key.metric].limits
        interval = each.draws.interval()
        assert low <= interval.low <= each.value + 1e-9, key
        assert each.value - 1e-9 <= interval.high <= high, key
        assert interval.kind == ("bootstrap" if METRICS[key.metric].per_set else "Wilson")


def test_a_clean_error_has_one_interval(tmp_path: Path):
    """The accuracy's is its complement, and the count's is the same."""
    make_run(tmp_path / "a", names=NAMES[:1], num_images=400, clean_error=0.012)
    run = load_runs([tmp_path / "a"])[0]
    found = estimate(run, common_grid([run.results]), ())
    error, accuracy = (found[Key(name, Scope.CLEAN)] for name in ("error", "accuracy"))
    assert error.draws is not None
    assert accuracy.draws is not None
    one, other = error.draws.interval(), accuracy.draws.interval()
    assert error.interval is not None
    assert (one.low, one.high) == (error.interval.low, error.interval.high)
    assert (1 - other.high, 1 - other.low) == pytest.approx((one.low, one.high))


def test_without_predictions_no_intervals(tmp_path: Path):
    make_run(tmp_path / "a", names=NAMES[:2], has_predictions=False)
    run = load_runs([tmp_path / "a"])[0]
    found = estimate(run, common_grid([run.results]), (), is_alexnet=False)
    assert run.predictions is None
    assert all(each.draws is None for each in found.values())
    assert found[Key("error", Scope.CLEAN)].interval is not None  # counts are enough for one set
    assert found[Key("rms", Scope.CORRUPTED)].value > 0


def test_alexnet_needs_the_complete_benchmark(tmp_path: Path):
    make_run(tmp_path / "a", names=PAPER, sequences=TEN, num_images=100, has_predictions=False)
    keep_cells(tmp_path / "a", lambda cell: (cell.name, cell.severity) != ("fog", 5))
    run = load_runs([tmp_path / "a"])[0]
    found = estimate(run, common_grid([run.results]), TEN[:9], is_alexnet=True)
    assert not [key for key in found if key.metric in ("ce", "fr") or key.scope == "benchmark"]


def test_predictions_that_do_not_fit_are_refused(tmp_path: Path):
    make_run(tmp_path / "a", names=NAMES[:1], num_images=100)
    path = predictions_path(tmp_path / "a", "c", NAMES[0], 3)
    cell = load_predictions(tmp_path / "a", "c", NAMES[0], 3)
    cell.prediction[:50] = 0
    write_predictions(path, cell)
    with pytest.raises(RunError, match=r"results.json counts \d+ errors for gaussian_noise 3, c-"):
        load_runs([tmp_path / "a"])
    other = load_predictions(tmp_path / "a", "c", NAMES[0], 2)
    write_predictions(
        path, type(other)(prediction=other.prediction[:9], confidence=other.confidence[:9])
    )
    with pytest.raises(RunError, match=r"must be of the 100 images .* got 9;"):
        load_runs([tmp_path / "a"])


# -- Means by hand, from two bins -----------------------------------------------------------------


def cell(name: str, severity: int, num_errors: int, *, num_images: int = 10) -> Cell:
    """A cell whose 10 predictions lie in two bins with gaps of 0.2 and 0.1."""
    bins = Bins(count=[4, 6], confidence_sum=[2.8, 5.4], correct_sum=[2, 6])
    return Cell(
        suite="c" if severity else "clean",
        name=name,
        severity=severity,
        num_images=num_images,
        num_errors=num_errors,
        nll_sum=5.0,
        brier_sum=2.0,
        adaptive=bins,
        equal_width=bins,
        seconds=0.1,
    )


def results(*cells: Cell, names=("fog", "snow"), severities=(1, 2)) -> Results:
    protocol = {"suite": ["clean", "c"], "names": list(names), "severities": list(severities)}
    return Results(model={}, source={}, protocol=protocol, cells=cells)


COMPLETE = (
    cell("clean", 0, 1),
    cell("fog", 1, 2),
    cell("fog", 2, 4),
    cell("snow", 1, 3),
    cell("snow", 2, 9),
)


def test_summary_by_hand():
    summary = summarise(results(*COMPLETE))
    assert summary["clean_error"] == pytest.approx(0.1)
    assert summary["corruption_error"] == pytest.approx((0.2 + 0.4 + 0.3 + 0.9) / 4)
    # bins: |2/4 - 2.8/4| = 0.2 with weight 0.4, |6/6 - 5.4/6| = 0.1 with weight 0.6
    rms = np.sqrt(0.4 * 0.2**2 + 0.6 * 0.1**2)
    assert summary["rms_calibration_error"] == pytest.approx(rms)
    assert summary["rms_calibration_error_clean"] == pytest.approx(rms)
    assert summary["nll"] == pytest.approx(0.5)
    assert summary["brier_clean"] == pytest.approx(0.2)


def test_the_robust_error_is_that_of_the_attack():
    attacked = replace(cell("linf", 0, 7), suite="attack")
    assert summarise(results(*COMPLETE, attacked))["robust_error"] == pytest.approx(0.7)
    assert summarise(results(*COMPLETE))["robust_error"] is None
    with_it, without = (summarise(results(*cells)) for cells in ((*COMPLETE, attacked), COMPLETE))
    assert with_it | {"robust_error": None} == without


def test_rms_of_the_worked_example():
    """Bins of 3 predictions, the last one extended."""
    bins = Bins(count=[3, 4], confidence_sum=[0.55 + 0.6 + 0.7, 3.64], correct_sum=[1, 4])
    assert metrics.rms_from_bins(*bins) == pytest.approx(0.1975685536)


def test_an_incomplete_corruption_is_not_averaged():
    partial = results(*COMPLETE[:-1])  # snow lacks severity 2
    assert common_grid([partial]).names == ("fog",)
    assert summarise(partial)["corruption_error"] == pytest.approx(0.3)
    nothing = results(COMPLETE[0], COMPLETE[1])
    assert summarise(nothing)["corruption_error"] is None
    assert summarise(nothing)["clean_error"] == pytest.approx(0.1)
    assert summarise(results(*COMPLETE[1:]))["clean_error"] is None


def test_runs_are_compared_on_common_cells():
    one = results(*COMPLETE)
    other = results(COMPLETE[0], cell("fog", 2, 5), cell("rain", 2, 1), names=("fog", "rain"))
    other = replace(other, protocol={**other.protocol, "severities": [2]})
    grid = common_grid([one, other])
    assert grid.names == ("fog",)
    assert grid.severities == (2,)
    assert summarise(one, grid)["corruption_error"] == pytest.approx(0.4)
    clean_only = replace(results(COMPLETE[0]), protocol={"suite": ["clean"]})
    assert common_grid([one, clean_only]) == common_grid([one])
