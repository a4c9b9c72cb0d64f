"""A step in parts, cut, scaled and averaged is what the arithmetic says."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from augmix.devices import GraphedFunction
from augmix.errors import RunError
from augmix.methods import build_method
from augmix.models.layers import Classifier, ModelConfig
from augmix.models.weights import build_model
from augmix.training import step as steps
from augmix.training.config import OptimisationConfig
from augmix.training.step import Learner, decay_of, open_learner

CPU = torch.device("cpu")
PLAIN: dict[str, Any] = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "batch_size": 7}


class Linear(Classifier):
    """One layer, without batch norm: parts of a batch do not see each other."""

    def __init__(self) -> None:
        config = ModelConfig(
            name="small", num_classes=4, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3
        )
        super().__init__(config)
        self.layer = nn.Linear(3 * 8 * 8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(self.normalize(images).flatten(1))


def make_learner(model: Classifier | None = None, **changes: Any) -> Learner:
    torch.manual_seed(0)
    optimisation = OptimisationConfig(**{**PLAIN, **changes})
    method = build_method("augmix")
    return open_learner(model or Linear(), method, optimisation=optimisation, device=CPU)


def learn(learner: Learner, views: Tensor, targets: Tensor, num_images: int) -> None:
    """Do a whole step, at a learning rate of 0.1."""
    learner.backward(views, targets, num_images)
    learner.update(0.1)


def make_views(count: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, count, 3, 8, 8, generator=generator), torch.arange(count) % 4


def gradient(learner: Learner) -> Tensor:
    return torch.cat(
        [
            weights.grad.flatten()
            for weights in learner.model.parameters()
            if weights.grad is not None
        ]
    )


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_of_a_batch_add_up_to_the_whole(parts: int) -> None:
    views, targets = make_views()
    whole, split = make_learner(), make_learner(accumulate=parts)
    expected, found = (one.backward(views, targets, 7) for one in (whole, split))
    torch.testing.assert_close(gradient(split), gradient(whole))
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.logits, expected.logits)
    for name, value in expected.terms.items():
        torch.testing.assert_close(found.terms[name], value)


def test_a_last_batch_smaller_than_its_parts_is_learned_one_by_one() -> None:
    views, targets = make_views(2)
    found = make_learner(accumulate=5).backward(views, targets, 2)
    torch.testing.assert_close(found.total, make_learner().backward(views, targets, 2).total)


def test_a_long_gradient_is_cut_to_the_norm_and_a_short_one_left() -> None:
    views, targets = make_views()
    for clip, expected in ((0.01, 0.01), (1e6, None)):
        learner = make_learner(clip_norm=clip)
        before = copy.deepcopy(learner.model.state_dict())
        learner.backward(views, targets, 7)
        length = float(gradient(learner).norm())
        assert length > 0.02
        learner.update(rate=0.5)
        moved = torch.cat(
            [(before[name] - now).flatten() for name, now in learner.model.state_dict().items()]
        )
        assert float(moved.norm()) == pytest.approx(0.5 * (expected or length), rel=1e-4)


def test_float16_scales_the_gradient_and_steps_as_float32_does() -> None:
    views, targets = make_views()
    learners = [make_learner(precision=precision) for precision in ("fp16", "fp32")]
    for learner in learners:
        learn(learner, views, targets, 7)
    half, full = (one.model.state_dict()["layer.weight"] for one in learners)
    torch.testing.assert_close(half, full, rtol=0, atol=2e-4)
    assert not torch.equal(half, full)
    assert learners[0].scaler.get_scale() == 2**16


def test_a_float16_step_whose_gradient_overflows_is_left_out() -> None:
    views, targets = make_views()
    learner = make_learner(precision="fp16")
    before = copy.deepcopy(learner.model.state_dict())
    learner.backward(views, targets, 7)
    next(learner.model.parameters()).grad[0, 0] = torch.inf  # type: ignore[index]
    learner.update(rate=0.1)
    assert all(torch.equal(before[name], now) for name, now in learner.model.state_dict().items())
    assert learner.scaler.get_scale() == 2**15


def test_scale_and_average_come_back_with_the_state(tmp_path: Path) -> None:
    views, targets = make_views()
    changes: dict[str, Any] = {"precision": "fp16", "ema_decay": 0.6, "momentum": 0.9}
    learner, other = make_learner(**changes), make_learner(**changes)
    for _ in range(3):
        learn(learner, views, targets, 7)
    learner.backward(views, targets, 7)
    next(learner.model.parameters()).grad[0, 0] = torch.inf  # type: ignore[index]
    learner.update(rate=0.1)  # left out; the scale goes down
    other.restore(copy.deepcopy(learner.capture(4, {}, {})), tmp_path)
    for one in (learner, other):
        learn(one, views, targets, 7)
    assert other.scaler.get_scale() == 2**15
    assert learner.average is not None
    assert other.average is not None
    assert int(other.average.n_averaged) == 5
    for first, second in ((learner.model, other.model), (learner.average, other.average)):
        mine, theirs = first.state_dict(), second.state_dict()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_average_follows_the_weights_by_its_decay() -> None:
    views, targets = make_views()
    learner = make_learner(ema_decay=0.6)
    assert learner.average is not None
    expected = None
    for step in range(8):
        learn(learner, views, targets, 7)
        weights = learner.model.layer.weight.detach().clone()
        if expected is None:
            expected = weights
        else:
            decay = min(0.6, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(learner.average.module.layer.weight, expected)
    assert decay_of(3, 0.6) == pytest.approx(4 / 13)
    assert decay_of(50, 0.6) == 0.6


def test_an_averages_batch_norm_is_measured_on_the_batches_it_is_given() -> None:
    torch.manual_seed(0)
    learner = make_learner(build_model("small", num_classes=4), ema_decay=0.5)
    views = torch.rand(3, 7, 3, 16, 16)
    for _ in range(3):
        learn(learner, views, torch.arange(7) % 4, 7)
    batches = [torch.rand(5, 3, 16, 16), torch.rand(6, 3, 16, 16)]
    model = learner.finish(iter(batches))
    assert model is not learner.model
    first = next(layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    assert first.running_mean is not None
    measured, inputs = first.running_mean.clone(), []
    first.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    means = torch.stack([each.mean((0, 2, 3)) for each in inputs])
    torch.testing.assert_close(measured, means.mean(0))
    assert first.momentum == 0.1
    assert model.training


def test_without_an_average_no_batch_is_drawn() -> None:
    learner = make_learner()

    def none() -> Any:
        pytest.fail("a batch was drawn")
        yield

    assert learner.finish(none()) is learner.model


def test_only_whole_batches_go_through_the_compiled_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    class Compiled(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            calls.append(len(images))
            return self.network(images)

    monkeypatch.setattr(torch, "compile", Compiled)
    learner = make_learner(compile=True)
    for count in (7, 3, 7):
        learn(learner, *make_views(count), count)
    assert calls == [21, 21]
    assert set(learner.capture(0, {}, {}).model) == set(Linear().state_dict())


class Replayed(GraphedFunction):
    """A `GraphedFunction` without a GPU: results stay where the first call put them."""

    def __init__(self, function: Any, device: torch.device) -> None:
        self.function: Any = function
        self.kept: Any = None

    def __call__(self, *inputs: Tensor) -> Any:
        loss, gradients = self.function(*inputs)
        if self.kept is None:
            self.kept = replace(loss, logits=loss.logits.clone()), [g.clone() for g in gradients]
        kept_loss, kept_gradients = self.kept
        for kept, new in zip(
            (kept_loss.total, kept_loss.logits, *kept_gradients),
            (loss.total, loss.logits, *gradients),
            strict=True,
        ):
            kept.copy_(new)
        return self.kept


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_graphed_step_is_that_of_the_network(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(steps, "GraphedFunction", Replayed)
    options = {"precision": precision, "momentum": 0.9}
    graphed, plain = replace(make_learner(**options), is_graphed=True), make_learner(**options)
    for count in (7, 7, 3, 7):  # a smaller batch between has gradients of its own
        views, targets = make_views(count)
        loss = graphed.backward(views, targets, count)
        truth = plain.backward(views, targets, count)
        assert torch.equal(loss.total, truth.total)
        assert torch.equal(loss.logits, truth.logits)
        graphed.update(0.1)
        plain.update(0.1)
        for one, other in zip(graphed.model.parameters(), plain.model.parameters(), strict=True):
            assert torch.equal(one, other)
    assert "_graph" in vars(graphed)
    assert "_graph" not in vars(plain)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", set()),
        ("no-norms", {"1.weight", "1.bias"}),
        ("weights", {"0.bias", "1.weight", "1.bias", "3.bias"}),
    ],
)
def test_the_parameters_that_do_not_decay(choice: Any, expected: set[str]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 4))
    options: dict[str, Any] = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.5}
    optimisation = OptimisationConfig(weight_decay_on=choice, **options)
    learner = open_learner(model, build_method("standard"), optimisation=optimisation, device=CPU)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    learner.update(0.1)
    kept = {name for name, each in model.named_parameters() if torch.all(each == 1)}
    assert kept == expected
    assert all(
        torch.allclose(each, torch.tensor(1 - 0.1 * 0.5))  # gradients are 0
        for name, each in model.named_parameters()
        if name not in expected
    )


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, (1, 0, 0)),
        ({"momentum": 0.9}, (1, 1, 0)),
        ({"optimizer": "adamw", "momentum": 0.9, "nesterov": True, "ema_decay": 0.9}, (1, 2, 1)),
    ],
)
def test_saving_is_rehearsed_on_a_copy(
    tmp_path: Path, changes: dict[str, Any], parts: tuple[int, int, int]
) -> None:
    learner = make_learner(**changes)
    before = {name: values.clone() for name, values in learner.model.state_dict().items()}
    sizes = learner.rehearse_saving(tmp_path)
    bytes_ = sum(values.nbytes for values in before.values())
    assert list(sizes) == ["weights", "optimiser", "average"]
    for found, times in zip(sizes.values(), parts, strict=True):
        assert found == pytest.approx(times * bytes_, abs=32)  # counters of steps
    assert not learner.optimizer.state
    assert all(weights.grad is None for weights in learner.model.parameters())
    assert all(torch.equal(learner.model.state_dict()[k], value) for k, value in before.items())


class Forgetful(Linear):
    def load_state_dict(self, state_dict: Any, *given: Any, **options: Any) -> Any:
        kept = {name: values for name, values in state_dict.items() if name != "layer.bias"}
        return super().load_state_dict(kept, strict=False)


def test_a_state_that_does_not_come_back_is_refused(tmp_path: Path) -> None:
    message = "small could not be continued after a stop, .*: layer.bias comes back with other"
    with pytest.raises(RunError, match=message):
        make_learner(Forgetful()).rehearse_saving(tmp_path)
