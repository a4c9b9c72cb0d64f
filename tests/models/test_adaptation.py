import copy

import numpy as np
import pytest
import torch
from torch import nn

from augmix.errors import RunError
from augmix.models.adaptation import adapt_batch_norm
from augmix.models.weights import build_model


def images(count: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 6, 4, generator=torch.Generator().manual_seed(seed))


def trained() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(3)
    layer.running_mean.copy_(torch.tensor([0.1, -0.4, 2.0]))
    layer.running_var.copy_(torch.tensor([0.5, 3.0, 1.0]))
    nn.init.uniform_(layer.weight, 0.5, 2)
    nn.init.uniform_(layer.bias, -1, 1)
    return layer.eval()


@pytest.mark.parametrize("prior", [0, 4, 16, 10**9])
def test_against_the_formula_in_numpy(prior):
    layer, batch = trained(), images()
    share = prior / (prior + 5)
    pixels = batch.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    stored = [each.double().numpy() for each in (layer.running_mean, layer.running_var)]
    mean = share * stored[0] + (1 - share) * pixels.mean(axis=1)
    variance = share * stored[1] + (1 - share) * pixels.var(axis=1, ddof=1)
    wanted = (batch.double().numpy() - mean[:, None, None]) / np.sqrt(variance + 1e-5)[
        :, None, None
    ]
    weight, bias = (each.detach().double().numpy() for each in (layer.weight, layer.bias))
    wanted = wanted * weight[:, None, None] + bias[:, None, None]
    with torch.inference_mode(), adapt_batch_norm(layer, prior) as same:
        assert same is layer
        got = layer(batch)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_an_endless_prior_changes_nothing_and_none_whitens():
    layer, batch = trained(), images()
    with adapt_batch_norm(layer, prior=10**12):
        assert torch.allclose(layer(batch), trained_like(layer)(batch), atol=1e-5)
    with adapt_batch_norm(layer, prior=0):
        plain = (layer(batch) - layer.bias[:, None, None]) / layer.weight[:, None, None]
    assert torch.allclose(plain.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)


def trained_like(layer: nn.Module) -> nn.Module:
    return copy.deepcopy(layer)


def test_the_model_is_left_as_it_was():
    model = build_model("small", num_classes=4).eval()
    before = copy.deepcopy(model.state_dict())
    plain = model(images())
    with adapt_batch_norm(model, prior=2):
        first = model(images())
        other = model(images(seed=1))
        again = model(images())
    assert torch.equal(first, again)  # nothing is carried from batch to batch
    assert not torch.allclose(first, plain)
    assert not torch.allclose(other, first)
    assert torch.equal(model(images()), plain)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


def test_after_an_error_too():
    class Failing(nn.Module):
        def forward(self, features):
            raise ArithmeticError

    model = nn.Sequential(trained(), Failing()).eval()
    stored = model[0].running_mean.clone()
    with pytest.raises(ArithmeticError), adapt_batch_norm(model):
        model(images())
    assert torch.equal(model[0].running_mean, stored)


def test_an_error_inside_a_layer_does_not_reach_the_next_batch():
    """Two batches tried in one block, as an evaluation that halves its batch would."""

    class Fragile(nn.BatchNorm2d):
        def forward(self, features):
            if len(features) > 5:
                raise MemoryError
            return super().forward(features)

    layer = Fragile(3).eval()
    with adapt_batch_norm(layer, prior=3):
        wanted = layer(images())
        with pytest.raises(MemoryError):
            layer(images(9))
        assert torch.equal(layer(images()), wanted)


def test_layers_with_a_forward_of_their_own_keep_it():
    """timm's batch norm acts and drops in its own forward."""

    class NormAct(nn.BatchNorm2d):
        def forward(self, features):
            return super().forward(features).relu()

    layer = NormAct(3).eval()
    with adapt_batch_norm(layer, prior=0):
        assert float(layer(images() - 0.5).detach().min()) == 0


def test_a_single_value_a_channel_is_no_division_by_zero():
    layer = nn.BatchNorm1d(3).eval()
    with adapt_batch_norm(layer, prior=1):
        assert torch.isfinite(layer(torch.rand(1, 3))).all()


def test_refusals():
    with (
        pytest.raises(RunError, match="Sequential has none .ONNX"),
        adapt_batch_norm(nn.Sequential(nn.Linear(2, 2))),
    ):
        pass
    without = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(RunError, match="has none"), adapt_batch_norm(without):
        pass
    with pytest.raises(ValueError, match="prior must be at least 0 images, got -1"):
        adapt_batch_norm(trained(), prior=-1).__enter__()
    training = trained().train()
    stored = training.running_mean.clone()
    with pytest.raises(RuntimeError, match="call model.eval"), adapt_batch_norm(training):
        training(images())
    assert torch.equal(training.running_mean, stored)
