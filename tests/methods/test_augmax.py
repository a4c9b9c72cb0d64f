"""AugMax: the worst mixture, against a loop over images, and its loss."""

import numpy as np
import pytest
import torch
from torch import nn

from augmix.augment import render
from augmix.augment.policies import AugMax, AugMix
from augmix.methods import build_method
from augmix.methods.attacks import attack_mixture
from augmix.methods.losses import AdversarialMixing
from augmix.models.batch_norm import split_batch_norm
from augmix.rng import Stream

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
