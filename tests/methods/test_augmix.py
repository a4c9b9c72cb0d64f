"""AugMax and NoisyMix: mixtures against loops over images, the laws of the noise, the losses."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from augmix.augment import render
from augmix.augment.policies import AugMax, AugMix
from augmix.errors import RunError
from augmix.methods import build_method
from augmix.methods.attacks import attack_mixture
from augmix.methods.losses import AdversarialMixing, HiddenMixing
from augmix.models import ModelConfig
from augmix.models.batch_norm import split_batch_norm
from augmix.models.depth import find_stages
from augmix.models.layers import Classifier
from augmix.models.weights import build_model
from augmix.rng import Stream
from augmix.training.settings import build_config

NUM_STEPS, STEP = 5, 0.1


def linear_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3), nn.Tanh(), nn.Linear(3, 3)).double()


def test_the_attack_image_by_image():
    """Sign steps by numeric gradients; an image stops one step after the first mistake."""
    model = linear_model()
    draw = torch.Generator().manual_seed(2)
    images = torch.rand(6, 3, 4, 4, generator=draw).double()
    chains = torch.rand(2, 6, 3, 4, 4, generator=draw).double()
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % 3  # wrong from the start
    torch.manual_seed(7)
    share, scores = torch.rand(6).double(), torch.randn(2, 6).double()
    torch.manual_seed(7)
    found = attack_mixture(
        model, images, chains, labels, num_steps=NUM_STEPS, step_size=STEP
    ).numpy()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set()
    num_taken = []
    for index in range(6):

        def mixture(m: float, q: np.ndarray, index: int = index) -> np.ndarray:
            weights = np.exp(q) / np.exp(q).sum()
            mixed = sum(w * chains[i, index].numpy() for i, w in enumerate(weights))
            return (1 - m) * images[index].numpy() + m * mixed

        def loss(m: float, q: np.ndarray, index: int = index) -> tuple[float, int]:
            logits = model(torch.from_numpy(mixture(m, q))[None])[0].detach()
            return float(-logits.log_softmax(0)[labels[index]]), int(logits.argmax())

        m, q, taken = float(share[index]), scores[:, index].numpy().copy(), 0
        for _ in range(NUM_STEPS):
            tiny = 1e-5
            own = int(labels[index])
            slope_m = loss(m + tiny, q)[0] - loss(m - tiny, q)[0]
            slope_q = [
                loss(m, q + tiny * unit)[0] - loss(m, q - tiny * unit)[0] for unit in np.eye(2)
            ]
            was_wrong = loss(m, q)[1] != own
            m = min(max(m + STEP * np.sign(slope_m), 0), 1)
            q += STEP * np.sign(slope_q)
            taken += 1
            if was_wrong:
                break
        num_taken.append(taken)
        np.testing.assert_allclose(found[index], mixture(m, q), atol=1e-6)
    assert num_taken[0] == 1
    assert max(num_taken) == NUM_STEPS


def test_the_loss_is_that_of_three_views():
    model = linear_model().float()
    draw = torch.Generator().manual_seed(3)
    views, labels = torch.rand(5, 4, 3, 4, 4, generator=draw), torch.tensor([0, 1, 2, 0])
    torch.manual_seed(5)
    loss = AdversarialMixing(weight=3.0)(model, views, labels)
    torch.manual_seed(5)
    worst = attack_mixture(model, views[0], views[2:], labels, num_steps=5, step_size=0.1)
    p = model(torch.cat([views[0], views[1], worst])).softmax(1).detach().numpy().reshape(3, 4, 3)
    own = [-np.mean([np.log(p[view, i, labels[i]]) for i in range(4)]) for view in range(3)]
    divergence = np.mean([(p[v] * np.log(p[v] / p.mean(0))).sum(1) for v in range(3)])
    assert float(loss.terms["cross_entropy"]) == pytest.approx(own[0], abs=1e-5)
    assert float(loss.terms["cross_entropy_2"]) == pytest.approx(own[2], abs=1e-5)
    expected = (own[0] + own[2]) / 2 + 3 * divergence
    assert float(loss.total.detach()) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="takes clean image, view and chains, got 2 views"):
        AdversarialMixing()(model, views[:2], labels)


def test_the_attack_leaves_the_main_batch_norms_alone():
    """They see the clean images alone; the attack and the other views take the second set."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3))
    split_batch_norm(model, num_main=1, num_views=3)
    views = torch.rand(5, 4, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    AdversarialMixing(num_steps=4)(model, views, torch.tensor([0, 1, 2, 0]))
    norm = model[0]
    assert int(norm.num_batches_tracked) == 1
    assert int(norm.second.num_batches_tracked) == 5
    expected = 0.1 * views[0].mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)


def test_views_are_augmix_and_single_chains():
    ids, stream = np.arange(9), Stream(seed=4)
    plan = AugMax(crop_padding=2).sample(ids, num_views=4, size=(16, 16), stream=stream)
    usual = AugMix(crop_padding=2).sample(ids, num_views=4, size=(16, 16), stream=stream)
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    views = render(images, plan)
    np.testing.assert_array_equal(views[0], render(images, usual)[0])
    for view in range(1, 4):
        assert plan.weight[view].argmax(1).tolist() == [view % 3] * 9
        assert (plan.mix[view] == 1).all()
        levels = views[view] * 255
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)  # one chain, not mixed
    alone = AugMax(crop_padding=2).sample(ids, num_views=1, size=(16, 16), stream=stream)
    np.testing.assert_array_equal(render(images, alone)[0], views[0])
    assert build_method("augmax").num_views == 4
    assert build_method("augmax+cutout").num_views == 4


class Toy(Classifier):
    """Two stages without batch norm."""

    def __init__(self) -> None:
        super().__init__(ModelConfig(name="toy", num_classes=4))
        torch.manual_seed(1)
        self.first = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh())
        self.second = nn.Sequential(nn.Conv2d(5, 6, 3), nn.Tanh())
        self.head = nn.Linear(6, 4)
        self.stage_names = ("first", "second")

    def forward(self, images: Any) -> Any:
        return self.head(self.second(self.first(self.normalize(images))).mean((2, 3)))


def draws(seed: int, batch: int) -> tuple[int, np.ndarray, float]:
    """Layer, permutation and lambda of a step."""
    torch.manual_seed(seed)
    layer, order = int(torch.randint(3, ())), torch.randperm(batch).numpy()
    return layer, order, float(torch.distributions.Beta(1.0, 1.0).sample())


def test_maps_and_targets_are_mixed_image_by_image():
    """Without noise, against loops over views and images, at every layer."""
    model, layers = Toy(), set()
    views = torch.rand(3, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 1, 2, 2])
    objective = HiddenMixing(weight=2.0, sparsity=1.0)
    for seed in range(8):
        layer, order, fraction = draws(seed, 5)
        layers.add(layer)
        torch.manual_seed(seed)
        loss = objective(model, views, labels)
        probabilities = np.empty((3, 5, 4))
        for view in range(3):
            parts = [nn.Identity(), model.first, model.second]
            maps = []
            for index in range(5):
                one = views[view, index][None]
                for number in range(layer + 1):
                    one = parts[number](model.normalize(one) if number == 1 else one)
                maps.append(one)
            for index in range(5):
                one = fraction * maps[index] + (1 - fraction) * maps[order[index]]
                for number in range(layer + 1, 3):
                    one = parts[number](model.normalize(one) if number == 1 else one)
                logits = model.head(one.mean((2, 3)))[0].detach().double()
                probabilities[view, index] = logits.softmax(0).numpy()
        cross_entropy = divergence = 0.0
        for index in range(5):
            for share, label in ((fraction, index), (1 - fraction, order[index])):
                cross_entropy -= share * np.log(probabilities[0, index, labels[label]]) / 5
            mean = probabilities[:, index].mean(0)
            for view in range(3):
                p = probabilities[view, index]
                divergence += (p * np.log(p / mean)).sum() / 15
        assert float(loss.terms["cross_entropy"]) == pytest.approx(cross_entropy, abs=1e-5)
        assert float(loss.terms["consistency"]) == pytest.approx(divergence, abs=1e-5)
        assert float(loss.total.detach()) == pytest.approx(cross_entropy + 2 * divergence, abs=1e-5)
        loss.total.backward()
    assert layers == {0, 1, 2}
    assert not model.first._forward_hooks


def test_noise_of_every_view():
    torch.manual_seed(0)
    objective = HiddenMixing(multiplicative=0.4, additive=0.2, sparsity=0.65)
    spreads = torch.tensor([[0.5, 1.0], [1.0, 0.5]])
    zero = objective._add_noise(torch.zeros(2, 50_000), spreads)
    is_left_out = (zero == 0).float().mean(1)
    np.testing.assert_allclose(is_left_out, 0.65, atol=0.01)
    for view, std in enumerate((0.2 * 1.0, 2 * 0.2 * 0.5)):
        assert float(zero[view][zero[view] != 0].std()) == pytest.approx(std, rel=0.02)
    objective = HiddenMixing(multiplicative=0.4, additive=0.0, sparsity=0.65)
    ones = objective._add_noise(torch.ones(2, 50_000), spreads) - 1
    np.testing.assert_allclose((ones == 0).float().mean(1), 0.65, atol=0.01)
    for view, most in enumerate((0.4 * 0.5, 0.4 * 1.0)):
        changed = ones[view][ones[view] != 0]
        assert float(changed.abs().max()) == pytest.approx(most, rel=0.01)
        assert float(changed.std()) == pytest.approx(most / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("small", [16, 8, 4]),
        ("allconv-8", [32, 16, 10]),
        ("wrn-10-1", [32, 16, 8]),
        ("densenet-10-4", [32, 16, 8]),
        ("resnet18", [8, 4, 2, 1]),
        ("resnext-29-2x4d", [32, 16, 8]),
        ("wrn-10-1-maxblur", [32, 16, 8]),
    ],
)
def test_networks_name_their_stages(name: str, sides: list[int]):
    model, found = build_model(name, num_classes=3), []
    for stage in find_stages(model):
        layer = model.get_submodule(stage)
        layer.register_forward_hook(lambda module, inputs, output: found.append(output.shape[2]))
    model.eval()(torch.zeros(1, 3, 32, 32))
    assert found == sides


def wrapped(network: nn.Module) -> Classifier:
    return Classifier(ModelConfig(name="theirs", num_classes=2), network)


def test_stages_of_other_networks():
    blocks = nn.ModuleDict({f"b{n}": nn.Conv2d(3, 3, 1) for n in range(8)})
    blocks["act"] = nn.ReLU()
    network: Any = nn.Module()
    network.blocks = blocks
    names = [("act", 2), ("b0", 2), ("b1", 4), ("b2", 4), ("b3", 8)]
    network.feature_info = [{"module": f"blocks.{n}", "reduction": r} for n, r in names]
    assert find_stages(wrapped(network)) == tuple(f"network.blocks.b{n}" for n in (0, 2, 3))
    info = [{"module": f"blocks.b{n}", "reduction": 16} for n in range(8)]
    network.feature_info = SimpleNamespace(info=info)
    assert find_stages(wrapped(network)) == tuple(f"network.blocks.b{n}" for n in (1, 3, 5, 7))
    network.stage_names = ("blocks.b6",)
    assert find_stages(wrapped(network)) == ("network.blocks.b6",)
    plain = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    for refused in (plain, wrapped(nn.Linear(3, 2))):
        with pytest.raises(RunError, match="theirs does not name its stages: give the module an"):
            build_method("noisymix").check_network(refused)


def test_a_stage_that_is_not_called_is_refused():
    model = Toy()
    model.spare = nn.Conv2d(3, 3, 1)
    model.stage_names = ("spare", "spare")
    seed = next(seed for seed in range(9) if draws(seed, 2)[0])
    torch.manual_seed(seed)
    with pytest.raises(RunError, match="Conv2d, the end of a stage, was not called"):
        HiddenMixing()(model, torch.zeros(3, 2, 3, 8, 8), torch.tensor([0, 1]))


def test_a_compiled_step_is_refused():
    with pytest.raises(ValueError, match="'noisymix' runs other operations in every step"):
        build_config(method="noisymix", data="digits", compile=True)
