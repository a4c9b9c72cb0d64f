"""The suite ``attack``: robust errors in closed form, random starts, models without a gradient."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from augmix.arrays import to_float
from augmix.data.sources import Source, open_source
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.methods.attacks import random_start
from augmix.models.open_model import open_model
from augmix.models.weights import build_model
from augmix.models.wrapper import Ensemble, hash_weights
from augmix.per_image import load_predictions
from augmix.progress import BatchFinished, EvaluationStarted, Event
from augmix.results import Cell, Results
from augmix.rng import Stream

NUM_IMAGES = 24
IDS = np.arange(NUM_IMAGES)
NORMS = ("linf", "l2")


class Plane(nn.Module):
    """Two classes by one weight a pixel, so the worst change of an image is known."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        weight = torch.randn(768, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(scale * (weight - weight.mean()))

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.weight
        return torch.stack([score, -score], dim=1)


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def grey(tmp_path: Path, plane: Plane) -> Source:
    """Images far from black and white; the model is wrong about every fourth."""
    images = np.random.default_rng(2).integers(100, 156, (NUM_IMAGES, 16, 16, 3), dtype=np.uint8)
    labels = (scores(plane, images) < 0).astype(np.int64)
    labels[::4] = 1 - labels[::4]
    np.savez(tmp_path / "grey.npz", x_test=images, y_test=labels, x_train=images, y_train=labels)
    return open_source("npz", root=tmp_path / "grey.npz", split="test")


def scores(plane: Plane, images: np.ndarray) -> np.ndarray:
    weight = plane.weight.detach().double().numpy()
    return to_float(images).reshape(len(images), -1).astype(float) @ weight


def margins(plane: Plane, source: Source, norm: str) -> np.ndarray:
    """The radius at which the model gets wrong about each image; below 0 where it is already."""
    weight = plane.weight.detach().double().numpy()
    reach = np.abs(weight).sum() if norm == "linf" else np.sqrt((weight**2).sum())
    return scores(plane, source.load(IDS)) * (1 - 2 * source.labels) / reach


def middle(values: np.ndarray) -> float:
    """A radius that half of the images that are right resist, far from all of their margins."""
    ordered = np.sort(values[values > 0])
    place = len(ordered) // 3 + np.diff(ordered)[len(ordered) // 3 : -len(ordered) // 3].argmax()
    low, high = ordered[place : place + 2]
    assert high > 1.05 * low
    return float((low + high) / 2)


def measure(model: nn.Module, source: Source, **changes: Any) -> Results:
    settings: dict[str, Any] = {"suite": ("attack",), "batch_size": 7, "bin_size": 5}
    return evaluate(model, source, **{**settings, **changes})


def timeless(results: Results) -> list[Cell]:
    return [replace(cell, seconds=0.0) for cell in results.cells]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("batch_size", [7, 100])
def test_the_robust_error_of_a_plane_is_that_of_the_formula(
    plane: Plane, grey: Source, tmp_path: Path, norm: Any, batch_size: int
) -> None:
    distance = margins(plane, grey, norm)
    epsilon = middle(distance)
    results = measure(
        plane,
        grey,
        attack_norm=norm,
        attack_epsilon=epsilon,
        batch_size=batch_size,
        out=tmp_path / "out",
    )
    (cell,) = results.cells
    is_wrong = distance < epsilon
    assert 6 + 5 < is_wrong.sum() < NUM_IMAGES - 5  # six without any attack
    assert (cell.suite, cell.name, cell.severity) == ("attack", norm, 0)
    assert (cell.num_images, cell.num_errors) == (NUM_IMAGES, is_wrong.sum())
    kept = load_predictions(tmp_path / "out", "attack", norm, 0)
    assert (kept.prediction != grey.labels).tolist() == is_wrong.tolist()
    given = {name: value for name, value in results.protocol.items() if "attack" in name}
    assert given == {
        "attack_norm": norm,
        "attack_epsilon": epsilon,
        "attack_steps": 20,
        "attack_step_size": epsilon / 4,
        "attack_restarts": 1,
    }


@pytest.mark.parametrize("norm", NORMS)
def test_an_answer_kept_is_the_first_wrong_one_else_the_worst(
    plane: Plane, grey: Source, tmp_path: Path, norm: Any
) -> None:
    """Who was wrong at once is as sure as of the clean image, all others of the worst one."""
    distance = margins(plane, grey, norm)
    epsilon = middle(distance)
    (cell,) = measure(
        plane, grey, attack_norm=norm, attack_epsilon=epsilon, out=tmp_path / "out"
    ).cells
    weight = plane.weight.detach().double().numpy()
    reach = np.abs(weight).sum() if norm == "linf" else np.sqrt((weight**2).sum())
    score = reach * np.where(distance < 0, distance, distance - epsilon)
    odds = 1 / (1 + np.exp(-2 * score))  # of the label
    kept = load_predictions(tmp_path / "out", "attack", norm, 0)
    np.testing.assert_allclose(kept.confidence, np.maximum(odds, 1 - odds), rtol=2e-3)
    assert cell.nll_sum == pytest.approx(-np.log(odds).sum(), rel=1e-3)
    assert sum(cell.adaptive.correct_sum) == (distance > epsilon).sum()


@pytest.mark.parametrize("norm", NORMS)
def test_an_ensemble_is_attacked_through_its_mean(plane: Plane, grey: Source, norm: Any) -> None:
    """Members of one direction and different steepness err where the plane does."""
    distance = margins(plane, grey, norm)
    epsilon = middle(distance)
    pair = Ensemble([Plane(0.5), Plane(3.0)])
    (cell,) = measure(pair, grey, attack_norm=norm, attack_epsilon=epsilon).cells
    assert cell.num_errors == (distance < epsilon).sum()


def test_attacks_start_where_seed_image_and_restart_say(plane: Plane, grey: Source) -> None:
    starts: list[Tensor] = []
    is_step = [False]

    class Watched(Plane):
        def forward(self, images: Tensor) -> Tensor:
            if images.requires_grad and not is_step[0]:
                starts.append(images.detach().clone())
            is_step[0] = images.requires_grad
            return super().forward(images)

    distance = margins(plane, grey, "linf")
    right = np.flatnonzero(distance > 0)
    epsilon = float(distance[right].min()) / 2
    images = torch.from_numpy(to_float(grey.load(right)))
    for batch_size in (5, 100):
        starts.clear()
        results = measure(
            Watched(),
            grey,
            seed=9,
            attack_epsilon=epsilon,
            attack_restarts=2,
            attack_steps=3,
            batch_size=batch_size,
        )
        assert results.cells[0].num_errors == NUM_IMAGES - len(right)  # who is right resists
        for part in (0, 1):
            stream = Stream(seed=9).at(part=part)
            expected = random_start(images, right, epsilon=epsilon, stream=stream)
            found = torch.cat(starts[1 + part :: 2])  # the first is to see if it can be attacked
            torch.testing.assert_close(found, expected, rtol=0, atol=epsilon / 50)
            assert not torch.equal(found, images)


def test_images_are_shown_as_often_as_the_events_say(plane: Plane, grey: Source) -> None:
    """Who resists is shown once clean, and with every restart at each step and at the end."""
    shown: list[int] = []
    plane.register_forward_pre_hook(lambda _, inputs: shown.append(len(inputs[0])))
    labels = (scores(plane, grey.load(IDS)) < 0).astype(np.int64)
    right = replace(grey, labels=labels)
    events: list[Event] = []
    settings: dict[str, Any] = {"attack_epsilon": 1e-6, "attack_steps": 3, "attack_restarts": 2}
    measure(plane, right, **settings, on_progress=events.append)
    first = events[0]
    assert isinstance(first, EvaluationStarted)
    assert first.num_images == NUM_IMAGES * (1 + 2 * (3 + 1))
    batches = [event.num_images for event in events if isinstance(event, BatchFinished)]
    assert sum(batches) == sum(shown[2:])
    assert first.num_images == sum(shown[2:])  # before, some, to see if they can be
    assert shown[:2] == [7, 7]


def test_images_once_wrong_are_not_attacked_again(plane: Plane, grey: Source) -> None:
    shown: list[int] = []
    plane.register_forward_pre_hook(lambda _, inputs: shown.append(len(inputs[0])))
    settings: dict[str, Any] = {"attack_steps": 5, "batch_size": 100}
    (cell,) = measure(plane, grey, **settings, attack_epsilon=0.3, attack_restarts=9).cells
    assert cell.num_errors == NUM_IMAGES
    assert shown[2:] == [NUM_IMAGES] + 6 * [18]  # six of 24 are wrong without any attack


def test_more_restarts_find_no_less(source: Source) -> None:
    torch.manual_seed(1)
    network = build_model("small", num_classes=3)
    errors = [
        measure(
            network, source, attack_epsilon=2e-3, attack_steps=1, attack_restarts=n, seed=3
        ).cells[0]
        for n in (1, 4)
    ]
    assert errors[0].num_errors <= errors[1].num_errors
    assert errors[0].nll_sum < errors[1].nll_sum


def test_batches_change_nothing_but_rounding_and_clean_is_no_worse(
    model: nn.Module, source: Source
) -> None:
    settings: dict[str, Any] = {"suite": ("clean", "attack"), "attack_steps": 4}
    small, large = (measure(model, source, batch_size=n, **settings) for n in (6, 20))
    assert timeless(small) == timeless(measure(model, source, batch_size=6, **settings))
    clean, attacked = small.cells
    assert clean.num_errors <= attacked.num_errors
    assert clean.nll_sum < attacked.nll_sum
    assert attacked.nll_sum == pytest.approx(large.cells[1].nll_sum, rel=1e-3)
    other = measure(model, source, batch_size=6, seed=1, **settings)
    assert timeless(other)[0] == timeless(small)[0]
    assert timeless(other)[1] != timeless(small)[1]


def test_nothing_of_the_model_changes_and_it_is_in_evaluation_mode(
    model: nn.Module, source: Source
) -> None:
    before = hash_weights(model)
    modes: set[bool] = set()
    model.register_forward_pre_hook(lambda module, _: modes.add(module.training))
    model.train()
    measure(model, source, attack_steps=2)
    assert modes == {False}
    assert model.training
    assert hash_weights(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bfloat16_attacks_in_bfloat16(grey: Source) -> None:
    seen: list[tuple[bool, torch.dtype]] = []
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
    network.register_forward_hook(
        lambda _, inputs, logits: seen.append((inputs[0].requires_grad, logits.dtype))
    )
    cells = {p: measure(network, grey, precision=p).cells[0] for p in ("bf16", "fp32")}
    assert set(seen) == {(is_step, kind) for is_step in (True, False) for kind in KINDS}
    assert cells["bf16"].nll_sum != cells["fp32"].nll_sum
    assert cells["bf16"].nll_sum == pytest.approx(cells["fp32"].nll_sum, rel=0.05)


KINDS = (torch.bfloat16, torch.float32)


def test_a_temperature_changes_no_error(plane: Plane, grey: Source) -> None:
    results = measure(plane, grey, suite=("clean", "attack"), temperature_images=8)
    attacked = results.cells[1]
    assert attacked.scaled is not None
    assert attacked.num_images == 16
    assert sum(attacked.scaled.adaptive.correct_sum) == 16 - attacked.num_errors
    assert attacked.scaled.nll_sum != attacked.nll_sum


class Cut(Plane):
    """Logits without a way back to the images."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.detach())


class Deaf(Plane):
    """The same logits for all images."""

    def forward(self, images: Tensor) -> Tensor:
        return self.weight[:2].expand(len(images), -1)


@pytest.mark.parametrize("kind", [Cut, Deaf])
@pytest.mark.parametrize("is_member", [False, True])
def test_a_model_without_a_gradient_is_refused_at_once(
    grey: Source, tmp_path: Path, kind: type[Plane], is_member: bool
) -> None:
    model = Ensemble([Plane(), kind()]) if is_member else kind()
    message = f"^{kind.__name__} gives no gradient .* measure it without suite 'attack', or name"
    with pytest.raises(RunError, match=message):
        measure(model, grey, suite=("clean", "attack"), out=tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()
    assert measure(model, grey, suite=("clean",)).cells


class Steps(Plane):
    """Logits of images rounded to a few levels, whose gradient is 0."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward((4 * images).round() / 4)


class Centred(Plane):
    """Logits that sum to a constant, which is no reason to refuse."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits - logits.mean(dim=1, keepdim=True)


def test_a_model_whose_gradient_is_zero_is_refused(grey: Source, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"^Steps gives a gradient of 0 .* of the 7 images .* robust"
    ):
        measure(Steps(), grey, suite=("attack",), out=tmp_path / "out")
    assert measure(Centred(), grey, suite=("attack",)).cells


def test_a_function_on_arrays_is_refused_by_name(grey: Source, tmp_path: Path) -> None:
    (tmp_path / "arrays.py").write_text(
        "import numpy as np\n"
        "def make():\n"
        "    return lambda images: np.stack(2 * [images.numpy().mean(axis=(1, 2, 3))], axis=1)\n"
    )
    model = open_model(f"python:{tmp_path / 'arrays.py'}:make")
    with pytest.raises(RunError, match=r"^python:.*arrays\.py:make gives no gradient"):
        measure(model, grey)


def test_a_model_that_does_not_fit_is_refused(grey: Source) -> None:
    with pytest.raises(RunError, match=r"must give logits .* got \(7, 3\)"):
        measure(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), grey)


def test_nan_of_an_attacked_image_names_it(grey: Source) -> None:
    class Fragile(Plane):
        def forward(self, images: Tensor) -> Tensor:
            is_grey = ((images > 0.3) & (images < 0.7)).flatten(1).all(dim=1)
            logits = super().forward(images)
            return torch.where(is_grey[:, None], logits, torch.nan)

    assert measure(Fragile(), grey, suite=("clean",)).cells
    with pytest.raises(RunError, match=r"not finite for linf \(attack\), first for image 1;"):
        measure(Fragile(), grey, attack_epsilon=0.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"attack_norm": "l2"},
            "attack_norm l2 would have no effect: it belongs to suite 'attack'",
        ),
        ({"attack_epsilon": 0.1}, "attack_epsilon 0.1 would have no effect"),
        ({"attack_steps": 10}, "attack_steps 10 would have no effect"),
        ({"attack_step_size": 0.1}, "attack_step_size 0.1 would have no effect"),
        ({"attack_restarts": 2}, "restarts 2 would have no effect.*suites asked for: clean, c"),
        ({"suite": ("attack",), "adapt_batch_norm": True}, "does not go with adapt_batch_norm"),
    ],
)
def test_settings_without_effect_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(**changes)
