"""Suite ``ood``: clean images against images of no class of the model."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import write_npz

from augmix import metrics
from augmix.bootstrap import resample_outliers
from augmix.data.sources import Source, open_source
from augmix.errors import ResumeError, RunError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.evaluation.predictions import evaluate_predictions
from augmix.models.weights import build_model
from augmix.models.wrapper import Ensemble
from augmix.per_image import load_outlier_predictions, write_predictions
from augmix.report.comparison import compare
from augmix.report.estimates import Key, Scope
from augmix.report.exports import to_csv, to_latex
from augmix.report.trust import outlier_table
from augmix.results import Results, load_results


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_source("npz", root=write_npz(tmp_path_factory.mktemp("a") / "a.npz"), split="test")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven photographs of other sizes, in class folders that the model does not know."""
    folder, rng = tmp_path_factory.mktemp("textures") / "dtd", np.random.default_rng(1)
    for name, num in (("banded", 5), ("woven", 6)):
        (folder / name).mkdir(parents=True)
        for number in range(num):
            pixels = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_model("small", num_classes=3)


@pytest.fixture(scope="module")
def run(
    clean: Source, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results]:
    other = write_npz(tmp_path_factory.mktemp("b") / "noise.npz", num_images=9, seed=4)
    folder = tmp_path_factory.mktemp("run")
    how: dict[str, Any] = {"suite": ("clean", "ood"), "ood": (photos, other), "out": folder}
    return folder, evaluate(network(), clean, **how, temperature_images=6, batch_size=8)


def test_scores_of_all_images_by_hand(run: tuple[Path, Results], clean: Source, photos: Path):
    folder, results = run
    cell, other = results.outliers
    assert (cell.name, cell.num_inside, cell.num_images) == ("dtd", 14, 11)
    assert (other.name, other.num_images) == ("noise", 9)
    kept = load_outlier_predictions(folder, "dtd")
    source = open_source("folder", root=photos, split="test", size=16)
    with torch.inference_mode():
        shown = torch.from_numpy(source.load(np.arange(11))).permute(0, 3, 1, 2) / 255
        logits = network().eval()(shown).double().numpy()
    sums = np.log(np.exp(logits).sum(axis=1))
    np.testing.assert_allclose(kept.energy[kept.is_outside], sums, rtol=1e-5)
    np.testing.assert_allclose(kept.max_logit[kept.is_outside], logits.max(axis=1), rtol=1e-5)
    peak = np.exp(logits).max(axis=1) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(kept.confidence[kept.is_outside], peak, rtol=1e-5)
    for score in ("confidence", "max_logit", "energy"):
        values = getattr(kept, score)
        inside, outside = values[~kept.is_outside], values[kept.is_outside]
        pairs = [float(a > b) + 0.5 * float(a == b) for a in inside for b in outside]
        assert cell.auroc[score] == pytest.approx(np.mean(pairs))
        assert cell.fpr95[score] == metrics.fpr_at_recall(inside, outside)
    assert results.num_images == 14


def test_a_file_gives_the_same_numbers(
    run: tuple[Path, Results], clean: Source, photos: Path, tmp_path: Path
):
    """Rows of suite ``ood`` need no label, and share no id with the clean images."""
    sets = {"": clean, "dtd": open_source("folder", root=photos, split="test", size=16)}
    rows: list[tuple[Any, ...]] = []
    found = []
    for name, source in sets.items():
        shown = torch.from_numpy(source.load(np.arange(len(source)))).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            found.append(network().eval()(shown).double().numpy())
        for number in range(len(source)):
            label = "" if name else str(clean.labels[number])
            rows.append((number, label, "ood" if name else "clean", name))
    names = ("id", "label", "suite", "corruption")
    pairs = zip(names, zip(*rows, strict=True), strict=True)
    columns = {name: np.array(each) for name, each in pairs}
    logits = np.concatenate(found)
    measured = evaluate_predictions(
        {**columns, "logits": logits}, temperature_images=6, out=tmp_path
    )
    (ours,), theirs = measured.outliers, run[1].outliers[0]
    assert (ours.num_inside, ours.num_images) == (theirs.num_inside, theirs.num_images)
    assert ours.auroc == pytest.approx(theirs.auroc)
    assert ours.fpr95 == pytest.approx(theirs.fpr95)
    assert outlier_table(compare([tmp_path])) is not None
    probabilities = np.exp(metrics.log_softmax(logits))
    (other,) = evaluate_predictions({**columns, "probabilities": probabilities}).outliers
    assert list(other.auroc) == ["confidence"]
    only = columns["suite"] == "ood"
    outside = {name: each[only] for name, each in {**columns, "logits": logits}.items()}
    with pytest.raises(RunError, match="rows of suite 'ood' only"):
        evaluate_predictions(outside)


def test_a_run_without_them_can_be_compared(
    run: tuple[Path, Results], clean: Source, tmp_path: Path
):
    """The number of images of no class says nothing of the images that both runs measured."""
    evaluate(network(1), clean, suite=("clean",), temperature_images=6, out=tmp_path)
    assert compare([run[0], tmp_path]).unlike == ()


def test_damaged_files_are_refused(run: tuple[Path, Results], tmp_path: Path):
    shutil.copytree(run[0], folder := tmp_path / "run")
    kept = load_outlier_predictions(folder, "dtd")
    clean_only = replace(kept, is_outside=np.zeros_like(kept.is_outside))
    write_predictions(folder / "predictions" / "ood-dtd-0.npz", clean_only)
    with pytest.raises(RunError, match=r"14 clean images and 11 of dtd.*npz has 25 and 0; delete"):
        compare([folder])
    path = folder / "results.json"
    path.write_text(path.read_text().replace('"energy"', '"entropy"'))
    with pytest.raises(RunError, match=r"auroc must be of confidence, max_logit, energy, got"):
        compare([folder])


def test_report_and_exports_have_intervals(run: tuple[Path, Results]):
    comparison = compare([run[0]])
    (group,) = comparison.groups
    number = group.number(Key("auroc_energy", Scope.OUTLIERS, "dtd"))
    assert number is not None
    assert number.low is not None
    assert number.low <= number.value == run[1].outliers[0].auroc["energy"] <= (number.high or 0)
    table = outlier_table(comparison)
    assert table is not None
    assert [row.label for row in table.rows] == ["dtd", "noise"]
    assert "fpr95_max_logit,outliers,noise" in to_csv(comparison)
    assert "Out-of-distribution detection" in to_latex(comparison)


def test_resume_adds_sets_and_keeps_others(clean: Source, photos: Path, tmp_path: Path):
    how: dict[str, Any] = {"suite": ("ood",), "ood": (photos,), "out": tmp_path / "run"}
    first = evaluate(network(), clean, **how, max_images=7)
    assert (first.outliers[0].num_inside, first.outliers[0].num_images) == (7, 7)
    other = write_npz(tmp_path / "noise.npz", num_images=9, seed=4)
    both = evaluate(network(), clean, **{**how, "ood": (photos, other)}, max_images=7)
    assert both.outliers[0] == first.outliers[0]
    assert load_results(tmp_path / "run" / "results.json") == both
    Image.new("RGB", (16, 16)).save(photos / "woven" / "more.png")
    try:
        with pytest.raises(ResumeError, match="ood dtd"):
            evaluate(network(), clean, **how, max_images=7)
    finally:
        (photos / "woven" / "more.png").unlink()


def test_probabilities_have_one_score(clean: Source, photos: Path):
    """An ensemble gives logarithms of probabilities, whose energy is 0."""
    model = Ensemble([network(0), network(1)])
    (cell,) = evaluate(model, clean, suite=("ood",), ood=(photos,)).outliers
    assert list(cell.auroc) == ["confidence"]


def test_intervals_resample_both_kinds():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 60), rng.normal(0, 1, 40)
    auroc, fpr = resample_outliers(inside, outside, num_resamples=300)
    # Hanley and McNeil's standard error of an area
    area = auroc.estimate
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + 59 * (first - area**2) + 39 * (second - area**2)
    error = np.sqrt(variance / (60 * 40))
    assert auroc.resampled.std() == pytest.approx(error, rel=0.25)
    assert auroc.estimate == metrics.auroc(inside, outside)
    assert fpr.estimate == metrics.fpr_at_recall(inside, outside)


def test_refusals(clean: Source, photos: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="would have no effect: it belongs to suite 'ood'"):
        EvaluateConfig(ood=(photos,))
    with pytest.raises(ValueError, match="needs images of no class of the model: --ood"):
        evaluate(network(), clean, suite=("ood",))
    with pytest.raises(ValueError, match="two sets named 'dtd'"):
        evaluate(network(), clean, suite=("ood",), ood=(photos, photos))
    with pytest.raises(ValueError, match="'ood' does not go with adapt_batch_norm"):
        EvaluateConfig(suite=("ood",), ood=(photos,), adapt_batch_norm=True)
    with pytest.raises(RunError, match="missing"):
        evaluate(network(), clean, suite=("ood",), ood=(tmp_path / "missing",))
