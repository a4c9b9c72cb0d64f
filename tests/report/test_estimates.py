"""Every number of a run against the metrics on its outcomes, and its intervals."""

from pathlib import Path

import numpy as np
import pytest
from fake_runs import NAMES, keep_cells, make_run

from augmix import metrics, published
from augmix.bootstrap import proportion_interval
from augmix.errors import RunError
from augmix.report.estimates import (
    ATTACKED,
    CLEAN,
    CORRUPTED,
    PERTURBED,
    Estimates,
    Grid,
    Key,
    common_grid,
    estimate,
)
from augmix.report.load import Run, load_runs
from augmix.results import load_predictions, predictions_path, write_predictions

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


def answers(run: Run, suite: str, name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidence, and whether it was right, of a cell of the run."""
    assert run.answers is not None
    cell = run.answers.cells[suite, name, severity]
    return cell.confidence.astype(float), cell.prediction == run.answers.images.labels


def test_errors(run: Run, numbers: Estimates):
    errors = {n: [1 - answers(run, "c", n, s)[1].mean() for s in range(1, 6)] for n in PAPER}
    found = {key: each.value for key, each in numbers.items()}
    clean = 1 - answers(run, "clean", "clean", 0)[1].mean()
    assert found[Key("error", CLEAN)] == pytest.approx(clean)
    assert found[Key("error", CORRUPTED)] == pytest.approx(metrics.mean_error(errors))
    assert found[Key("error", "corruption", "fog")] == pytest.approx(np.mean(errors["fog"]))
    by_severity = metrics.error_by_severity(errors)
    assert found[Key("error", "severity", "4")] == pytest.approx(by_severity[3])
    alexnet = published.ALEXNET_ERRORS
    assert found[Key("ce", CORRUPTED)] == pytest.approx(
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
    wrong = (~answers(run, "attack", "linf", 0)[1]).sum()
    assert 60 < wrong < 84
    robust = found[Key("error", ATTACKED)]
    assert robust.value == wrong / 120
    assert robust.interval == proportion_interval(int(wrong), 120)
    assert robust.draws is not None
    others = make_run(tmp_path / "plain", **few)
    (plain,) = load_runs([tmp_path / "plain"])
    without = estimate(plain, common_grid([others]), (), is_alexnet=False)
    assert set(found) - set(without) == {Key("error", ATTACKED)}
    for key in (Key("error", CORRUPTED), Key("rms", CORRUPTED), Key("ece", CLEAN)):
        assert found[key].value == without[key].value  # the attack is in none of them


def test_stability(run: Run, numbers: Estimates):
    assert run.answers is not None
    flips = {name: metrics.flip_probability(run.answers.sequences[name].prediction) for name in TEN}
    found = {key: each.value for key, each in numbers.items()}
    assert found[Key("flip", "perturbation", "tilt")] == pytest.approx(flips["tilt"])
    assert found[Key("flip", PERTURBED)] == pytest.approx(np.mean(list(flips.values())))
    assert found[Key("fr", PERTURBED)] == pytest.approx(
        metrics.mean_flip_rate(flips, published.ALEXNET_FLIP_PROBABILITIES)
    )


def test_calibration(run: Run, numbers: Estimates):
    cells = [answers(run, "c", name, severity) for name in PAPER for severity in range(1, 6)]
    found = {key: each.value for key, each in numbers.items()}
    rms = [metrics.rms_calibration_error(*cell) for cell in cells]
    assert found[Key("rms", CORRUPTED)] == pytest.approx(np.mean(rms))
    assert found[Key("rms", "severity", "2")] == pytest.approx(np.mean(rms[1::5]))
    pooled = [np.concatenate(part) for part in zip(*cells, strict=True)]
    ece = metrics.expected_calibration_error(pooled[0], pooled[1])
    assert found[Key("ece", CORRUPTED)] == pytest.approx(ece)
    assert found[Key("accuracy", CORRUPTED)] == pytest.approx(pooled[1].mean())
    assert found[Key("confidence", CORRUPTED)] == pytest.approx(pooled[0].mean())


def test_every_number_has_an_interval(numbers: Estimates):
    assert len(numbers) > 80
    for key, each in numbers.items():
        assert each.draws is not None, key
        assert each.draws.estimate == pytest.approx(each.value, abs=1e-6), key
        interval = each.draws.interval()
        assert interval.low < each.value < interval.high, key


def test_cells_of_an_image_are_resampled_together(run: Run, numbers: Estimates):
    """The range of the mean is that of the images' shares of wrong cells, not of 75 times as many.

    Its deviation by the formula of a mean.
    """
    right = [answers(run, "c", name, severity)[1] for name in PAPER for severity in range(1, 6)]
    shares = 1 - np.mean(right, axis=0)
    draws = numbers[Key("error", CORRUPTED)].draws
    assert draws is not None
    deviation = shares.std() / np.sqrt(len(shares))
    assert draws.resampled.std() == pytest.approx(deviation, rel=0.1)
    pooled = np.sqrt(shares.mean() * (1 - shares.mean()) / (75 * len(shares)))
    assert draws.resampled.std() > 3 * pooled


def test_without_errors_the_range_is_still_open(tmp_path: Path):
    """Wilson's range of the clean error: 0 of 250 images is not surely 0."""
    results = make_run(tmp_path / "a", names=NAMES[:1], num_images=250, clean_error=0.0)
    assert results.cells[0].num_errors == 0
    found = estimate(
        load_runs([tmp_path / "a"])[0], Grid(names=(), severities=()), (), is_alexnet=False
    )
    interval = found[Key("error", CLEAN)].interval
    assert interval is not None
    assert interval.low == 0
    assert interval.high == pytest.approx(0.0151, abs=1e-3)


def test_no_outcomes_no_intervals(tmp_path: Path):
    make_run(tmp_path / "a", names=NAMES[:2], has_predictions=False)
    run = load_runs([tmp_path / "a"])[0]
    found = estimate(run, common_grid([run.results]), (), is_alexnet=False)
    assert run.answers is None
    assert all(each.draws is None for each in found.values())
    assert found[Key("error", CLEAN)].interval is not None  # counts are enough for one set
    assert found[Key("rms", CORRUPTED)].value > 0


def test_alexnet_needs_the_complete_benchmark(tmp_path: Path):
    make_run(tmp_path / "a", names=PAPER, sequences=TEN, num_images=100, has_log=False)
    keep_cells(tmp_path / "a", lambda cell: (cell.name, cell.severity) != ("fog", 5))
    run = load_runs([tmp_path / "a"])[0]
    found = estimate(run, common_grid([run.results]), TEN[:9], is_alexnet=True)
    assert not [key for key in found if key.metric in ("ce", "fr") or key.scope == "benchmark"]


def test_outcomes_that_do_not_fit_are_refused(tmp_path: Path):
    make_run(tmp_path / "a", names=NAMES[:1], num_images=100)
    path = predictions_path(tmp_path / "a", "c", NAMES[0], 3)
    cell = load_predictions(tmp_path / "a", "c", NAMES[0], 3)
    cell.prediction[:50] = 0
    write_predictions(path, cell)
    run = load_runs([tmp_path / "a"])[0]
    with pytest.raises(RunError, match=r"results.json counts \d+ errors for gaussian_noise 3, its"):
        estimate(run, common_grid([run.results]), (), is_alexnet=False)
    other = load_predictions(tmp_path / "a", "c", NAMES[0], 2)
    write_predictions(
        path, type(other)(prediction=other.prediction[:9], confidence=other.confidence[:9])
    )
    with pytest.raises(RunError, match=r"must be of the 100 images .* got \[9, 100\]"):
        load_runs([tmp_path / "a"])
