"""Attacks: inside the ball and [0, 1], the closed form of linear models, starts by address."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.augment import compiled
from augmix.augment.policies import RandomStart
from augmix.methods.attacks import Attack, pgd, random_start, resists
from augmix.models.weights import build_model
from augmix.rng import Stream

NORMS = ("linf", "l2")


class Linear(nn.Module):
    """Two classes by one weight a pixel: the worst change of an image is known."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(size, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.weight
        return torch.stack([score, -score], dim=1)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_model("small", num_classes=4).eval()


LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def lengths(change: Tensor, norm: str) -> Tensor:
    flat = change.flatten(1).double()
    return flat.abs().amax(dim=1) if norm == "linf" else (flat**2).sum(dim=1).sqrt()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("epsilon", [0.01, 0.3, 5.0])
def test_attacked_images_stay_in_the_ball_and_are_images(model, images, norm, epsilon):
    start = torch.rand_like(images)  # may lie far outside
    found = pgd(
        model, images, LABELS, norm=norm, epsilon=epsilon, step_size=epsilon / 3, start=start
    )
    assert (lengths(found - images, norm) <= epsilon * (1 + 1e-5)).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targets", ["ids", "rows"])
def test_attacks_raise_the_loss_of_every_image(model, images, norm, targets):
    labels = F.one_hot(LABELS, 4).float() * 0.7 + 0.075 if targets == "rows" else LABELS
    attack = Attack(norm=norm)
    found = pgd(
        model, images, labels, norm=norm, epsilon=attack.radius, step_size=attack.step, num_steps=5
    )
    before = F.cross_entropy(model(images), labels, reduction="none")
    after = F.cross_entropy(model(found), labels, reduction="none")
    assert (after > before).all()
    longer = pgd(
        model, images, labels, norm=norm, epsilon=attack.radius, step_size=attack.step, num_steps=20
    )
    final = F.cross_entropy(model(longer), labels, reduction="none")
    assert final.mean() > after.mean() - 1e-4


@pytest.mark.parametrize("label", [0, 1])
def test_the_worst_image_of_a_linear_model(label: int):
    model = Linear(3 * 4 * 4)
    images = torch.full((2, 3, 4, 4), 0.5)
    labels = torch.full((2,), label)
    down = -1 if label == 0 else 1  # the loss grows against the class's weights
    weight = model.weight.detach().reshape(3, 4, 4)
    found = pgd(model, images, labels, norm="linf", epsilon=0.1, num_steps=10, step_size=0.03)
    torch.testing.assert_close(found[0], 0.5 + down * 0.1 * weight.sign())
    found = pgd(model, images, labels, norm="l2", epsilon=0.2, num_steps=10, step_size=0.05)
    torch.testing.assert_close(found[0], 0.5 + down * 0.2 * weight / weight.norm())


def test_steps_are_those_of_the_formula():
    """Three steps of l_inf and l_2, written out, from a start inside the ball."""
    model = Linear(3 * 4 * 4)
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(5, 3, 4, 4, generator=generator)
    start = (images + 0.02 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    labels = torch.tensor([0, 1, 0, 1, 1])
    for norm, epsilon, step in (("linf", 0.06, 0.04), ("l2", 0.3, 0.2)):
        expected = start.clone()
        for turn in range(4):
            if turn:
                inputs = expected.clone().requires_grad_()
                F.cross_entropy(model(inputs), labels, reduction="sum").backward()
                assert inputs.grad is not None
                for row, gradient in enumerate(inputs.grad):
                    unit = gradient.sign() if norm == "linf" else gradient / gradient.norm()
                    expected[row] += step * unit
            for row in range(5):
                change = expected[row] - images[row]
                if norm == "linf":
                    change = change.clamp(-epsilon, epsilon)
                elif change.norm() > epsilon:
                    change = change * epsilon / change.norm()
                expected[row] = (images[row] + change).clamp(0, 1)
        found = pgd(
            model,
            images,
            labels,
            norm=norm,
            epsilon=epsilon,
            num_steps=3,
            step_size=step,
            start=start,
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_nothing_of_the_model_or_the_caller_changes(model, images, guard):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = images.clone()
    with guard():
        found = pgd(model, images.clone(), LABELS, num_steps=2)
        assert not torch.is_grad_enabled()
    assert not torch.equal(found, images)
    assert torch.equal(images, kept)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_gradient_of_zero_moves_nothing(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    nn.init.zeros_(model[1].weight)
    for norm in NORMS:
        assert torch.equal(pgd(model, images, LABELS, norm=norm, epsilon=0.1), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_starts_are_those_that_training_plans(channels: int):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 9, 7, channels), dtype=np.uint8)
    ids, stream = np.array([5, 2, 70000, 9]), Stream(seed=8).at(epoch=3)
    plan = RandomStart(epsilon=0.05).sample(ids, num_views=1, size=(9, 7), stream=stream)
    planned = compiled.render(pixels, plan.with_clean())
    found = random_start(torch.from_numpy(planned[0]), ids, epsilon=0.05, stream=stream)
    np.testing.assert_array_equal(found.numpy(), planned[1])


def test_starts_hang_on_the_address(images):
    ids = np.arange(6)
    first = random_start(images, ids, epsilon=0.1, stream=Stream(seed=0))
    order = np.array([4, 1])
    again = random_start(images[order], ids[order], epsilon=0.1, stream=Stream(seed=0))
    assert torch.equal(first[order], again)
    for other in (Stream(seed=1), Stream(seed=0, epoch=1), Stream(seed=0).at(part=1)):
        assert not torch.equal(random_start(images, ids, epsilon=0.1, stream=other), first)
    assert (first - images).abs().max() <= 0.1 + 1e-6


def test_who_resists(images):
    """A linear model, whose margin in the l_inf ball is the score less epsilon * |w|."""
    model = Linear(192)
    score = (images.flatten(1) @ model.weight).detach()
    labels = (score < 0).long()
    labels[0] = 1 - labels[0]  # wrong without any attack
    reach = float(model.weight.detach().abs().sum())
    ranked = score.abs().sort().values
    epsilon = float(ranked[3] + ranked[2]) / 2 / reach
    inside = images.clone().clamp(epsilon, 1 - epsilon)
    score = (inside.flatten(1) @ model.weight).detach()
    expected = (score.abs() > epsilon * reach) & ((score < 0).long() == labels)
    attack = Attack(epsilon=epsilon, num_steps=12)
    found = resists(model, inside, labels, np.arange(6), attack=attack, stream=Stream(seed=0))
    assert torch.equal(found, expected)
    assert 0 < int(found.sum()) < 6
    assert not found[0]
    more = resists(
        model, inside, labels, np.arange(6), attack=attack, stream=Stream(seed=0), num_restarts=3
    )
    assert not (more & ~found).any()


def test_the_usual_radius_and_step():
    assert (Attack().radius, Attack().step) == (8 / 255, 2 / 255)
    assert (Attack(norm="l2").radius, Attack(norm="l2").step) == (0.5, 0.125)
    assert Attack(epsilon=0.1, step_size=0.03).step == 0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be a finite number above 0"),
        ({"epsilon": float("nan")}, "epsilon must be a finite number above 0"),
        ({"step_size": float("inf")}, "step_size must be a finite number above 0"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
    ],
    ids=["negative", "nan", "inf", "steps"],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Attack(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU for torch")
def test_attacks_start_the_same_on_a_gpu() -> None:
    ids = np.array([5, 2**32 - 1, 0, 70000])
    images, stream = torch.rand(4, 3, 9, 7), Stream(seed=8)
    truth = random_start(images, ids, epsilon=0.05, stream=stream)
    found = random_start(images.cuda(), ids, epsilon=0.05, stream=stream)
    torch.testing.assert_close(found.cpu(), truth, rtol=0, atol=1e-7)
