"""Measures of ``--metrics``: against loops over the logits, on held-out images, from a file too."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import nn
from toy_runs import write_npz

from augmix import metrics
from augmix.bootstrap import Interval
from augmix.data.sources import Source, open_source
from augmix.errors import ResumeError, RunError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.images import choose_images
from augmix.evaluation.loop import evaluate
from augmix.evaluation.measures import draw_uniforms
from augmix.evaluation.predictions import evaluate_predictions
from augmix.models.calibration import fit_histogram, fit_isotonic, fit_vector_scaling
from augmix.per_image import load_predictions, predictions_path, write_predictions
from augmix.report.comparison import compare
from augmix.report.estimates import Key, Scope
from augmix.report.exports import to_csv, to_json, to_latex
from augmix.report.trust import trust_tables
from augmix.results import Results, load_results, write_results

GROUPS = ("classwise", "conformal", "calibrators")
HELD, COVERAGE, SEED = 24, 0.75, 5


class Bright(nn.Module):
    """Logits by the distance of the mean brightness from that of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.tensor([0.25, 0.45, 0.7])
        self.sharpness = nn.Parameter(torch.tensor(40.0))
        self.seen: list[np.ndarray] = []

    def forward(
        self, images: Float[torch.Tensor, "batch channel height width"]
    ) -> Float[torch.Tensor, "batch class"]:
        brightness = images.mean(dim=(1, 2, 3))[:, None] + (images[:, 0, 0, 0, None] - 0.4)
        logits = -self.sharpness * (brightness - self.levels) ** 2 * 4
        self.seen.append(logits.detach().double().numpy())
        return logits


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("toy") / "toy.npz"
    return open_source("npz", root=write_npz(path, num_images=72), split="test")


HOW: dict[str, Any] = {
    "suite": ("clean", "c"),
    "names": ("contrast", "gaussian_noise"),
    "severities": (1, 5),
    "temperature_images": HELD,
    "conformal_coverage": COVERAGE,
    "seed": SEED,
    "bin_size": 8,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(
    toy: Source, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results, dict[str, np.ndarray]]:
    """A measured model, and its logits on all images of all cells as another program gives them."""
    folder, model = tmp_path_factory.mktemp("run"), Bright()
    results = evaluate(model, toy, **HOW, metrics=GROUPS, out=folder)
    columns: dict[str, list[Any]] = {name: [] for name in ("suite", "corruption", "severity", "id")}
    everything = evaluate_all(toy, model)
    for (suite, name, severity), logits in everything.items():
        columns["suite"] += [suite] * len(logits)
        columns["corruption"] += [name] * len(logits)
        columns["severity"] += [str(severity)] * len(logits)
        columns["id"] += range(len(logits))
    arrays = {name: np.array(each) for name, each in columns.items()}
    arrays["label"] = np.tile(toy.labels, len(everything))
    return folder, results, arrays | {"logits": np.concatenate([*everything.values()])}


def evaluate_all(toy: Source, model: Bright) -> dict[tuple[str, str, int], np.ndarray]:
    """Logits of all images of the source in every cell."""
    found = {}
    how = {name: HOW[name] for name in ("suite", "names", "severities", "seed", "bin_size")}
    model.seen.clear()
    results = evaluate(model, toy, **how, device="cpu", batch_size=100)
    for cell, logits in zip(results.cells, model.seen, strict=True):
        found[tuple(cell.key)] = logits
    return found


def measured(run: tuple[Path, Results, dict[str, np.ndarray]], toy: Source) -> Iterator[Any]:
    """Each cell with its arrays, and the logits, labels and ids of its images."""
    folder, results, columns = run
    ids, _ = choose_images(len(toy), num_held=HELD, seed=SEED)
    for number, cell in enumerate(results.cells):
        logits = columns["logits"][number * len(toy) :][ids]
        yield cell, load_predictions(folder, *cell.key), logits, toy.labels[ids], ids


def held_out(run: tuple[Path, Results, dict[str, np.ndarray]], toy: Source) -> tuple[Any, ...]:
    _, held = choose_images(len(toy), num_held=HELD, seed=SEED)
    return run[2]["logits"][held], toy.labels[held], held


def test_sets_are_fitted_on_held_out_images(run, toy: Source):
    logits, labels, held = held_out(run, toy)
    rank = int(np.ceil((HELD + 1) * COVERAGE))
    for method in ("thr", "aps", "raps"):
        probabilities = np.exp(metrics.log_softmax(logits))
        scores = metrics.conformal_scores(probabilities, method, uniforms=draw_uniforms(held, SEED))
        threshold = sorted(scores[np.arange(HELD), labels])[rank - 1]
        assert run[1].fitted is not None
        assert run[1].fitted["thresholds"][method] == pytest.approx(threshold, abs=1e-12)
        for cell, kept, own, truth, ids in measured(run, toy):
            rows = np.exp(metrics.log_softmax(own))
            scores = metrics.conformal_scores(rows, method, uniforms=draw_uniforms(ids, SEED))
            sets = scores <= run[1].fitted["thresholds"][method]
            assert kept.measures[f"{method}_size"].tolist() == sets.sum(axis=1).tolist()
            covered = sets[np.arange(len(truth)), truth]
            assert kept.measures[f"{method}_covered"].tolist() == covered.tolist()
            assert cell.measures[f"{method}_coverage"] == pytest.approx(covered.mean())
            assert cell.measures[f"{method}_size"] == pytest.approx(sets.sum(axis=1).mean())
    assert run[1].fitted["num_images"] == HELD
    assert run[1].cells[0].num_images == len(toy) - HELD


def test_calibrators_and_classes(run, toy: Source):
    logits, labels, _ = held_out(run, toy)
    vector = fit_vector_scaling(logits, labels)
    scores = metrics.image_scores(logits, labels)
    maps = {
        "isotonic": fit_isotonic(scores.confidence, scores.correct),
        "histogram": fit_histogram(scores.confidence, scores.correct),
    }
    assert run[1].temperature is not None
    for cell, kept, own, truth, _ in measured(run, toy):
        plain = metrics.image_scores(own, truth)
        scaled = metrics.image_scores(own, truth, temperature=run[1].temperature["value"])
        other = metrics.image_scores(vector.logits(own), truth)
        expected = {
            "temperature": (scaled.confidence, plain.correct),
            "vector": (other.confidence, other.correct),
            **{name: (each(plain.confidence), plain.correct) for name, each in maps.items()},
        }
        for name, answers in expected.items():
            found = kept.measures[f"{name}_confidence"]
            np.testing.assert_allclose(found, answers[0], atol=2e-6)
            rms = metrics.rms_calibration_error(*answers, bin_size=8)
            assert cell.measures[f"{name}_rms"] == pytest.approx(rms, abs=1e-6)
            smooth = metrics.smooth_calibration_error(*answers)
            assert cell.measures[f"{name}_smooth_ece"] == pytest.approx(smooth, abs=1e-4)
        assert cell.measures["vector_error"] == pytest.approx(1 - other.correct.mean())
        rows = np.exp(metrics.log_softmax(own))
        classwise = metrics.classwise_calibration_error(rows, truth)
        assert cell.measures["classwise_ece"] == pytest.approx(classwise, abs=1e-9)
        assert cell.measures["aurc"] == pytest.approx(metrics.aurc(plain.confidence, plain.correct))


def same(results: Results) -> Results:
    """Results without what a file cannot say."""
    cells = tuple(replace(cell, seconds=0.0) for cell in results.cells)
    return replace(results, model={}, source={}, protocol={}, provenance={}, cells=cells)


def test_a_file_gives_the_same_numbers(run, toy: Source, tmp_path: Path):
    folder, results, columns = run
    how: dict[str, Any] = {
        "temperature_images": HELD,
        "metrics": GROUPS,
        "conformal_coverage": COVERAGE,
        "seed": SEED,
        "bin_size": 8,
    }
    order = np.random.default_rng(0).permutation(len(columns["id"]))
    shuffled = {name: each[order] for name, each in columns.items()}
    starts = [int(np.flatnonzero(order == n * len(toy))[0]) for n in range(len(results.cells))]
    shuffled = {  # cells are in the order of their first rows
        name: np.concatenate([each[starts], np.delete(each, starts, axis=0)])
        for name, each in shuffled.items()
    }
    found = evaluate_predictions(shuffled, toy, **how, out=tmp_path)
    assert same(found) == same(results)
    for cell in results.cells:
        ours, theirs = (load_predictions(each, *cell.key) for each in (tmp_path, folder))
        assert ours.measures.keys() == theirs.measures.keys()
        for name, values in theirs.measures.items():
            np.testing.assert_array_equal(ours.measures[name], values)
    scores = metrics.image_scores(columns["logits"], columns["label"])
    answers = {name: each for name, each in columns.items() if name != "logits"}
    answers |= {"prediction": scores.prediction, "confidence": scores.confidence}
    del how["conformal_coverage"]
    bare = evaluate_predictions(answers, toy, **{**how, "metrics": ("calibrators",)})
    for ours, theirs in zip(bare.cells, results.cells, strict=True):
        assert ours.measures["isotonic_rms"] == theirs.measures["isotonic_rms"]
        assert "vector_rms" not in ours.measures
    with pytest.raises(RunError, match="metrics 'conformal' need the logits"):
        evaluate_predictions(answers, toy, **{**how, "metrics": ("conformal",)})
    with pytest.raises(RunError, match="a temperature needs the logits"):
        evaluate_predictions(answers, toy, temperature_images=HELD)


@pytest.mark.parametrize("is_first", [True, False])
def test_parts_of_a_file_that_hold_images_of_no_class_only(
    is_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They have no arrays of ``--metrics``; the numbers are those of one read."""
    rng = np.random.default_rng(0)
    suites = np.repeat(["ood", "clean"] if is_first else ["clean", "ood"], 24)
    names = np.where(suites == "ood", "dtd", "")
    logits = rng.normal(0, 2, (48, 3)).round(2)
    columns: dict[str, np.ndarray] = {"id": np.tile(np.arange(24), 2), "suite": suites}
    columns |= {"label": np.arange(48) % 3, "corruption": names}
    columns |= {f"logit_{number}": logits[:, number] for number in range(3)}
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    (path := tmp_path / "rows.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")
    monkeypatch.setattr("augmix.evaluation.columns._ROWS", 8)
    expected, found = (
        evaluate_predictions(each, temperature_images=6, metrics=GROUPS, bin_size=6)
        for each in (columns, path)
    )
    assert "vector_rms" in found.cells[0].measures
    for name, value in expected.cells[0].measures.items():
        assert found.cells[0].measures[name] == pytest.approx(value)
    assert found.outliers == expected.outliers


def test_what_could_not_be_fitted_is_said(toy: Source, tmp_path: Path):
    """Two held-out images are too few for the coverage and for a class."""
    ids, held = choose_images(len(toy), num_held=2, seed=SEED)
    logits = np.eye(3)[toy.labels] * 2
    columns = {"id": np.arange(len(toy)), "label": toy.labels, "logits": logits}
    columns["suite"] = np.full(len(toy), "clean")
    found = evaluate_predictions(
        columns,
        temperature_images=2,
        metrics=("conformal", "calibrators"),
        seed=SEED,
        out=tmp_path,
    )
    assert found.fitted is not None
    assert found.fitted["thresholds"] == {"thr": None, "aps": None, "raps": None}
    assert found.cells[0].measures["thr_size"] == 3
    assert found.cells[0].num_images == len(ids)
    assert found.fitted["vector"] is None
    assert len(held) == 2
    assert "hold out at least 9" in found.fitted["note"]
    assert "vector scaling is fitted on at least 1 image of each class" in found.fitted["note"]
    tables = {table.name: table for table in trust_tables(compare([tmp_path]))}
    assert found.fitted["note"] in tables["calibrators"].note


def test_the_report_shows_them_with_intervals(run):
    comparison = compare([run[0]])
    (group,) = comparison.groups
    for name in ("classwise_ece", "aurc", "smooth_ece", "thr_size", "aps_coverage", "vector_rms"):
        number = group.number(Key(name, Scope.CORRUPTED))
        assert number is not None
        assert number.low is not None
        assert number.high is not None
        assert number.low <= number.value <= number.high
        cells = [cell for cell in run[1].cells if cell.suite == "c"]
        expected = np.mean([cell.measures[name] for cell in cells])
        assert number.value == pytest.approx(expected)
    names = [table.name for table in trust_tables(comparison)]
    assert names == ["trust-clean", "trust-corrupted", "sets-coverage", "sets-size", "calibrators"]
    for text in (to_csv(comparison), to_json(comparison)):
        for word in ("augrc", "raps_size", "histogram_rms", "isotonic_smooth_ece", "vector_error"):
            assert word in text
    assert "Isotonic regression" in to_latex(comparison)


def test_calibrators_of_a_run_without_clean_images_are_shown(run, tmp_path: Path):
    shutil.copytree(run[0], folder := tmp_path / "run")
    cells = tuple(cell for cell in run[1].cells if cell.suite == "c")
    write_results(folder / "results.json", replace(run[1], cells=cells))
    names = [table.name for table in trust_tables(compare([folder]))]
    assert names == ["trust-corrupted", "sets-coverage", "sets-size", "calibrators"]


def test_sets_say_the_coverage_of_the_run_that_has_them(run, toy: Source, tmp_path: Path):
    how = {**HOW, "metrics": ("calibrators",), "out": tmp_path / "first"}
    del how["conformal_coverage"]
    evaluate(Bright(), toy, **how)
    tables = {table.name: table for table in trust_tables(compare([tmp_path / "first", run[0]]))}
    assert "Sets fitted for a coverage of 75 % on 24" in tables["sets-coverage"].note


def test_coverage_has_the_interval_of_a_fraction(run):
    (group,) = compare([run[0]]).groups
    estimate = group.estimates[0][Key("thr_coverage", Scope.CLEAN)]
    assert estimate.draws is not None
    found = estimate.draws.interval()
    assert isinstance(found, Interval)
    assert found.kind == "Wilson"


def test_resume_is_exact_or_refused(run, toy: Source, tmp_path: Path):
    part = {**HOW, "metrics": GROUPS, "out": tmp_path}
    write_results(tmp_path / "results.json", replace(run[1], cells=run[1].cells[:2]))
    for cell in run[1].cells[:2]:  # the rest was not measured yet
        kept = load_predictions(run[0], *cell.key)
        write_predictions(predictions_path(tmp_path, *cell.key), kept)
    with pytest.raises(ResumeError, match="with metrics = "):
        evaluate(Bright(), toy, **{**part, "metrics": ("classwise", "conformal")})
    found = evaluate(Bright(), toy, **part)
    assert same(found) == same(run[1])
    assert load_results(tmp_path / "results.json") == found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ("conformal",)}, "'conformal' are fitted on held-out clean images"),
        ({"conformal_coverage": 0.8}, "conformal_coverage 0.8 would have no effect"),
        ({"conformal_coverage": 1.0}, r"conformal_coverage must be between 0 and 1, got 1\.0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(**settings)
