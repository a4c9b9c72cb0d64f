"""Every number of an evaluation against the images and logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import write_npz

from augmix import metrics
from augmix.arrays import to_float
from augmix.corruptions import STANDARD_10
from augmix.corruptions.corrupt import corrupt, perturb
from augmix.data.sources import Source, open_source
from augmix.errors import RunError
from augmix.evaluation.images import choose_images
from augmix.evaluation.loop import evaluate
from augmix.models.batch_norm import adapt_batch_norm
from augmix.models.calibration import fit_temperature, mean_nll
from augmix.models.weights import build_model
from augmix.models.wrapper import hash_weights
from augmix.per_image import load_images, load_predictions, load_sequence_predictions
from augmix.progress import BatchFinished, CellFinished, EvaluationStarted, Event
from augmix.results import Results

SEQUENCES = ("translate", "gaussian_noise", "brightness")


@pytest.fixture
def six(tmp_path: Path) -> Source:
    return open_source("npz", root=write_npz(tmp_path / "six.npz", num_classes=6), split="test")


@pytest.fixture
def network(six: Source) -> torch.nn.Module:
    """Its statistics do not fit, and its predictions are of all classes."""
    torch.manual_seed(1)
    model = build_model("small", num_classes=6)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None
            layer.running_mean.normal_(0, 0.3)
    logits = torch.from_numpy(run(model, six.load(np.arange(20))))
    with torch.no_grad():
        model.head.bias -= logits.mean(dim=0)
        for values in (model.head.weight, model.head.bias):
            values *= 2 / logits.std(dim=0).mean()
    return model


def measure(model: torch.nn.Module, source: Source, **changes: Any) -> Results:
    settings = {"names": ("contrast",), "severities": (4,), "batch_size": 7, "bin_size": 5}
    return evaluate(model, source, **{**settings, **changes})


@torch.inference_mode()
def run(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    return model.eval()(torch.from_numpy(to_float(images))).double().numpy()


@pytest.mark.parametrize("difficulty", [1, 2])
def test_flips_and_distances_are_those_of_the_frames(
    network: torch.nn.Module, six: Source, tmp_path: Path, difficulty: int
) -> None:
    results = measure(
        network,
        six,
        suite=("p",),
        sequences=SEQUENCES,
        difficulty=difficulty,
        batch_size=64,
        seed=4,
        out=tmp_path / "out",
    )
    assert [cell.name for cell in results.sequences] == list(SEQUENCES)
    ids = np.arange(20)
    for cell in results.sequences:
        is_noise = "noise" in cell.name
        frames = perturb(
            six.load(ids), cell.name, preset="cifar", seed=4, ids=ids, difficulty=difficulty
        )
        logits = run(network, frames.reshape(-1, 16, 16, 3)).reshape(20, -1, 6)
        predictions = logits.argmax(axis=2)
        stride = 1 if is_noise else difficulty
        flip_probability = metrics.flip_probability(
            predictions, is_noise=is_noise, difficulty=stride
        )
        assert cell.flip_probability == pytest.approx(flip_probability)
        assert cell.num_pairs == 20 * (frames.shape[1] - stride)
        assert cell.top5_distance_sum is not None
        if stride == 1:
            distance = metrics.top5_distance(logits, is_noise=is_noise)
            assert cell.top5_distance == pytest.approx(distance)
        kept = load_sequence_predictions(tmp_path / "out", cell.name)
        assert kept.prediction.tolist() == predictions.tolist()
        assert kept.flips.sum() == cell.num_flips
        assert set(kept.pairs) == {frames.shape[1] - stride}
    assert any(cell.num_flips for cell in results.sequences)


def test_the_batch_may_be_smaller_than_a_sequence(network: torch.nn.Module, six: Source) -> None:
    settings: dict[str, Any] = {"suite": ("p",), "sequences": ("translate",)}
    small, large = (measure(network, six, batch_size=n, **settings) for n in (5, 500))
    assert small.sequences[0].num_flips == large.sequences[0].num_flips


def test_three_classes_have_no_top_five(model: torch.nn.Module, source: Source) -> None:
    results = measure(model, source, suite=("p",), sequences=("translate",))
    assert results.sequences[0].top5_distance_sum is None


def test_the_default_is_the_standard_ten(model: torch.nn.Module, source: Source) -> None:
    results = measure(model, source, suite=("p",), max_images=1, batch_size=41)
    assert results.protocol["sequences"] == list(STANDARD_10)
    assert (results.protocol["difficulty"], results.protocol["frames_of"]) == (
        1,
        "images as measured",
    )


def test_predictions_of_every_image_are_kept(
    network: torch.nn.Module, six: Source, tmp_path: Path
) -> None:
    results = measure(network, six, out=tmp_path, max_images=11)
    images = load_images(tmp_path)
    assert images.labels.tolist() == six.labels[images.ids].tolist()
    damaged = corrupt(six.load(images.ids), "contrast", severity=4, ids=images.ids)
    for cell, pixels in zip(results.cells, (six.load(images.ids), damaged), strict=True):
        logits = run(network, pixels)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        kept = load_predictions(tmp_path, cell.suite, cell.name, cell.severity)
        assert kept.prediction.dtype == np.uint8
        assert kept.prediction.tolist() == logits.argmax(axis=1).tolist()
        np.testing.assert_allclose(kept.confidence, 1 / odds.sum(axis=1), rtol=1e-5)
        assert cell.num_errors == (kept.prediction != images.labels).sum()


def test_a_temperature_is_fitted_on_images_that_are_not_measured(
    network: torch.nn.Module, six: Source, tmp_path: Path
) -> None:
    results = measure(network, six, temperature_images=8, out=tmp_path)
    ids, held = choose_images(20, num_held=8, seed=0)
    assert load_images(tmp_path).ids.tolist() == ids.tolist()
    logits = run(network, six.load(held))
    value = fit_temperature(logits, six.labels[held])
    assert results.temperature is not None
    assert results.temperature["value"] == pytest.approx(value, abs=1e-3)
    assert results.temperature["num_images"] == 8
    assert results.temperature["nll_before"] == pytest.approx(
        mean_nll(logits, six.labels[held], 1.0), rel=1e-5
    )
    assert abs(value - 1) > 0.05
    clean = results.cells[0]
    assert clean.num_images == 12
    assert clean.scaled is not None
    labels, logits = six.labels[ids], run(network, six.load(ids))
    for temperature, cell in ((1.0, clean), (results.temperature["value"], clean.scaled)):
        odds = np.exp(logits / temperature)
        odds /= odds.sum(axis=1, keepdims=True)
        nll = metrics.negative_log_likelihood(odds, labels)
        assert cell.nll_sum / 12 == pytest.approx(nll, rel=1e-5)
        assert cell.brier_sum / 12 == pytest.approx(metrics.brier_score(odds, labels), rel=1e-5)
        np.testing.assert_allclose(sum(cell.adaptive.confidence_sum), odds.max(axis=1).sum(), 1e-5)
        assert sum(cell.equal_width.correct_sum) == 12 - clean.num_errors
    plain = measure(network, six, max_images=12)
    assert plain.temperature is None
    assert plain.cells[0].scaled is None
    assert plain.cells[0].nll_sum == pytest.approx(clean.nll_sum)  # the same twelve images


def test_batch_norm_adapts_to_every_batch(network: torch.nn.Module, six: Source) -> None:
    before = hash_weights(network)
    adapted = measure(network, six, adapt_batch_norm=True, adapt_prior=4)
    assert hash_weights(network) == before
    assert adapted.model["adaptation"] == "batch norm, prior 4"
    plain = measure(network, six)
    assert plain.model["adaptation"] == ""
    ids = np.arange(20)
    damaged = corrupt(six.load(ids), "contrast", severity=4, ids=ids)
    with adapt_batch_norm(network.eval(), prior=4):
        logits = np.concatenate([run(network, damaged[k : k + 7]) for k in (0, 7, 14)])
    shifted = logits - logits.max(axis=1, keepdims=True)
    nll = np.log(np.exp(shifted).sum(axis=1)) - shifted[ids, six.labels]
    assert adapted.cells[1].nll_sum == pytest.approx(nll.sum(), rel=1e-5)
    assert adapted.cells[1].nll_sum != pytest.approx(plain.cells[1].nll_sum, rel=1e-3)


def test_a_model_without_batch_norm_cannot_adapt(six: Source) -> None:
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 6))
    with pytest.raises(RunError, match="has none"):
        measure(flat, six, adapt_batch_norm=True)


def test_events_add_up_to_the_total(model: torch.nn.Module, source: Source) -> None:
    events: list[Event] = []
    measure(
        model,
        source,
        suite=("clean", "c", "p"),
        sequences=("translate",),
        on_progress=events.append,
    )
    assert events[0] == EvaluationStarted(done=0, num_cells=3, num_images=20 * 18)
    assert sum(event.num_images for event in events if isinstance(event, BatchFinished)) == 20 * 18
    cells = [event for event in events if isinstance(event, CellFinished)]
    assert [(c.suite, c.done, c.num_cells) for c in cells] == [
        ("clean", 1, 3),
        ("c", 2, 3),
        ("p", 3, 3),
    ]
    assert [c.metric for c in cells] == ["error", "error", "flip probability"]
    assert all(0 <= cell.wait_fraction < 1 for cell in cells)
