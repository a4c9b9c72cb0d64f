"""What is trained and how fast: layer decay, frozen parts, class weights, AdamW; exact resume."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_runs import read_weights, toy_config, write_npz

from augmix.errors import ResumeError, RunError
from augmix.methods import build_method
from augmix.methods.losses import CrossEntropy, balanced_weights, jsd_loss, weigh_targets
from augmix.models.layers import Classifier
from augmix.models.weights import build_model, load_model
from augmix.progress import Note, StepFinished
from augmix.training.config import OptimisationConfig
from augmix.training.forecast import forecast_run
from augmix.training.run import train
from augmix.training.settings import build_config
from augmix.training.step import Learner, open_learner

CPU = torch.device("cpu")
GROUPS = 8  # of wrn-16-1: stem, six blocks, norm and head


def learner_of(model: nn.Module | None = None, method: str = "standard", **changes: Any) -> Learner:
    torch.manual_seed(0)
    return open_learner(
        build_model("wrn-16-1", num_classes=4) if model is None else model,
        build_method(method),
        optimisation=OptimisationConfig(**changes),
        device=CPU,
    )


def step(learner: Learner, rate: float = 0.1, num_views: int = 1) -> None:
    views = torch.rand(num_views, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    learner.backward(views, torch.arange(4), 4)
    learner.update(rate)


def moved(learner: Learner, before: dict[str, Tensor]) -> set[str]:
    now = learner.model.state_dict()
    return {name for name in now if not torch.equal(now[name], before[name])}


def test_rates_decay_from_the_head_to_the_stem() -> None:
    learner = learner_of(
        momentum=0.0, nesterov=False, weight_decay=0.0, layer_decay=0.5, head_lr_scale=3.0
    )
    for parameter in learner.model.parameters():
        nn.init.zeros_(parameter)
        parameter.grad = torch.ones_like(parameter)
    learner.update(0.8)
    state = learner.model.state_dict()
    found = {name: -float(state[name].flatten()[0]) for name, _ in learner.model.named_parameters()}
    expected = {
        "stem.weight": 0.8 * 0.5**7,
        "groups.0.0.conv1.weight": 0.8 * 0.5**6,
        "groups.0.1.norm1.bias": 0.8 * 0.5**5,
        "groups.2.1.conv2.weight": 0.8 * 0.5,
        "norm.weight": 0.8,
        "head.weight": 2.4,
        "head.bias": 2.4,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert len(set(found.values())) == GROUPS + 1


def test_adamw_is_torchs() -> None:
    learner = learner_of(
        optimizer="adamw", betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3, weight_decay_on="weights"
    )
    other = copy.deepcopy(learner.model)
    small = [each for each in other.parameters() if each.ndim < 2]
    large = [each for each in other.parameters() if each.ndim >= 2]
    truth = torch.optim.AdamW(
        [{"params": large, "weight_decay": 0.3}, {"params": small, "weight_decay": 0.0}],
        lr=0.01,
        betas=(0.8, 0.95),
        eps=1e-6,
    )
    images = torch.rand(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        step(learner, rate=0.01)
        truth.zero_grad()
        F.cross_entropy(other(images[0]), torch.arange(4)).backward()
        truth.step()
    for mine, theirs in zip(learner.model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ("backbone", {"head.weight", "head.bias"}),
        (GROUPS - 1, {"head.weight", "head.bias", "norm."}),
        (GROUPS - 2, {"head.weight", "head.bias", "norm.", "groups.2.1."}),
    ],
)
def test_what_is_frozen_stays_as_it_is(freeze: Any, trained: set[str]) -> None:
    learner = learner_of(freeze=freeze, method="augmix", ema_decay=0.5)
    assert learner.average is not None
    before = copy.deepcopy(learner.model.state_dict())
    for _ in range(3):
        learner.model.eval()  # a validation between the steps
        learner.model.train()
        step(learner, num_views=3)
    changed = moved(learner, before)
    assert changed
    assert all(name.startswith(tuple(trained)) for name in changed)
    assert all(any(name.startswith(each) for name in changed) for each in trained)
    finished = learner.finish(iter([torch.rand(5, 3, 16, 16)])).state_dict()
    kept = [name for name in before if not name.startswith(tuple(trained))]
    assert all(torch.equal(finished[name], before[name]) for name in kept)
    if freeze != "backbone":  # batch norm that learns is measured again
        assert not torch.equal(finished["norm.running_mean"], before["norm.running_mean"])


def test_a_frozen_batch_norm_normalises_by_its_statistics() -> None:
    learner = learner_of(freeze="backbone")
    images = torch.rand(1, 4, 3, 16, 16)
    expected = learner.model.eval()(images[0])
    learner.model.train()
    found = learner.backward(images, torch.arange(4), 4).logits
    torch.testing.assert_close(found, expected.detach())


def test_what_cannot_be_frozen_is_refused() -> None:
    with pytest.raises(RunError, match="freeze 8 would leave nothing to train: .* has 8 blocks"):
        learner_of(freeze=GROUPS)
    config = build_model("small", num_classes=4).config
    headless = Classifier(config, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    headless.network.append(nn.Linear(3, 5))
    for options in ({"freeze": "backbone"}, {"layer_decay": 0.5}, {"head_lr_scale": 2.0}):
        with pytest.raises(RunError, match=r"none has an output for each class: .*e.g. one of 2"):
            learner_of(headless, **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adamw", "momentum": 0.5}, "momentum 0.5 would do nothing with optimizer"),
        ({"eps": 1e-5}, "eps 1e-05 would do nothing with optimizer 'sgd'"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers"),
        ({"layer_decay": 1.5}, "layer_decay must be above 0 and at most 1"),
        ({"freeze": 0}, "freeze must be"),
        ({"head_lr_scale": 0.0}, "head_lr_scale must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_config(**settings)


def test_defaults_follow_the_optimiser() -> None:
    for optimizer, rate, decay in (("sgd", 0.1, 5e-4), ("adamw", 1e-3, 0.05)):
        found = build_config(optimizer=optimizer).optimisation
        assert (found.learning_rate, found.weight_decay, found.peak) == (rate, decay, rate)


class Fixed(nn.Module):
    """Gives the same logits for any images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


def test_an_image_counts_as_often_as_its_class_weighs() -> None:
    """A set in which rare images are repeated has the same loss as one that is weighed."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 2, generator=generator)
    targets = torch.tensor([0, 0, 0, 1])
    weights = torch.tensor(balanced_weights(targets.numpy(), 2))
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))
    weighed = weigh_targets(targets, weights)
    repeated = torch.tensor([0, 1, 2, 3, 3, 3])  # as many of each class
    for smoothing in (0.0, 0.1):
        found = jsd_loss(logits, weighed, label_smoothing=smoothing)
        truth = jsd_loss(logits[:, repeated], targets[repeated], label_smoothing=smoothing)
        torch.testing.assert_close(found, truth)
        loss = CrossEntropy(label_smoothing=smoothing)
        of_all = loss(Fixed(logits[0]), torch.zeros(1, 4, 3, 8, 8), weighed).total
        own = F.cross_entropy(logits[0], targets, weights, label_smoothing=0)
        if not smoothing:  # torch divides by the sum of the weights, which is the number of images
            torch.testing.assert_close(of_all, own)
    mixed = torch.tensor([[0.3, 0.7], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    torch.testing.assert_close(
        CrossEntropy()(
            Fixed(logits[0]), torch.zeros(1, 4, 3, 8, 8), weigh_targets(mixed, weights)
        ).total,
        F.cross_entropy(logits[0], mixed, weights),
    )


def test_rare_classes_are_learned_as_well_as_common_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 6, 4])
    images = rng.integers(0, 200, (40, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "toy.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for method in ("augmix+mixup", "standard"):
        run = train(
            toy_config(
                tmp_path / method,
                method=method,
                class_weights="balanced",
                epochs=1,
                executor="compiled",
            )
        )
        assert load_model(run).config.num_classes == 3
    weights = balanced_weights(labels, 3)
    assert np.mean(np.array(weights)[labels]) == pytest.approx(1)
    np.savez(
        tmp_path / "gap.npz", x_train=images, y_train=labels % 2 * 3, x_test=images, y_test=labels
    )
    with pytest.raises(RunError, match=r"needs images of every class, and there are none of"):
        train(
            toy_config(tmp_path / "gap", data=str(tmp_path / "gap.npz"), class_weights="balanced")
        )


EVERYTHING: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "layer_decay": 0.8,
    "head_lr_scale": 2.0,
    "freeze": 2,
    "class_weights": "balanced",
    "ema_decay": 0.9,
    "weight_decay_on": "weights",
    "label_smoothing": 0.1,
    "checkpoint_every": 2,
    "executor": "compiled",
}


def test_a_stopped_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    def stop(event: Any) -> None:
        if isinstance(event, StepFinished) and event.step == 5:
            raise ZeroDivisionError

    notes: list[str] = []
    whole = train(
        toy_config(tmp_path / "whole", **EVERYTHING),
        on_progress=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert any(text.startswith("frozen: ") and "batch norms" in text for text in notes)
    assert any(text.startswith("learning rates: ") for text in notes)
    config = toy_config(tmp_path / "run", **EVERYTHING)
    with pytest.raises(ZeroDivisionError):
        train(config, on_progress=stop)
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    for change in (
        {"freeze": 3},
        {"optimizer": "sgd"},
        {"layer_decay": 0.7},
        {"betas": (0.9, 0.9)},
    ):
        with pytest.raises(ResumeError, match=f"holds a run with {next(iter(change))} = "):
            train(toy_config(config.run.out, **{**EVERYTHING, **change}))


def test_a_forecast_takes_all_of_it(tmp_path: Path) -> None:
    write_npz(tmp_path / "toy.npz")
    lines = forecast_run(toy_config(tmp_path / "run", **EVERYTHING))
    assert any("frozen: " in line for line in lines)


def test_gradient_checkpointing_is_refused_where_it_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="small offers no gradient checkpointing, .*--accumulate 2"):
        train(toy_config(tmp_path / "run", gradient_checkpointing=True))
