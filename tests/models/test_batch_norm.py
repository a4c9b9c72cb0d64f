"""Batch norms: a second set of which nothing is left after training, and test-time adaptation."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import update_bn

from augmix.errors import RunError
from augmix.methods import build_method
from augmix.models.batch_norm import (
    adapt_batch_norm,
    is_split,
    main_state,
    second_set,
    split_batch_norm,
)
from augmix.models.weights import build_model, load_model, save_model
from augmix.training.config import OptimisationConfig
from augmix.training.settings import build_config
from augmix.training.step import open_learner


class Odd(nn.BatchNorm2d):
    """A batch norm of another library's class, with something behind it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).relu()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), Odd(4), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5))


def test_each_set_normalises_and_tracks_its_own_views():
    images = torch.rand(3 * 4, 3, 6, 6)
    split, main, rest = network(), network(), network()
    assert split_batch_norm(split, num_main=1, num_views=3) == 2
    assert split_batch_norm(split, num_main=1, num_views=3) == 2  # done already
    got = split(images)
    expected = torch.cat([main(images[:4]), rest(images[4:])])
    torch.testing.assert_close(got, expected)
    for name, value in main.state_dict().items():
        torch.testing.assert_close(split.state_dict()[name], value)
        torch.testing.assert_close(main_state(split)[name], value)
    torch.testing.assert_close(split[3].second.running_mean, rest[3].running_mean)  # pyright: ignore
    with second_set(split):
        torch.testing.assert_close(split(images), rest(images))
    split.eval(), main.eval()
    torch.testing.assert_close(split(images), main(images))
    assert list(main_state(split)) == list(main.state_dict())


def test_copies_averages_and_recomputed_statistics_keep_both_sets():
    model = network()
    split_batch_norm(model, num_main=1, num_views=2)
    twin = copy.deepcopy(model)
    assert is_split(twin)
    images = torch.rand(8, 3, 6, 6)
    images[4:] *= 3
    update_bn([images], twin)
    first = nn.Sequential(*(copy.deepcopy(layer) for layer in network()[:1]))(images[:4])
    torch.testing.assert_close(twin[1].running_mean, first.mean((0, 2, 3)))  # pyright: ignore


def test_a_run_saves_the_main_set_alone(tmp_path):
    model = build_model("small", num_classes=3)
    names = list(model.state_dict())
    learner = open_learner(
        model,
        build_method("afa"),
        optimisation=OptimisationConfig(ema_decay=0.9),
        device=torch.device("cpu"),
    )
    assert is_split(model)
    views, targets = torch.rand(2, 6, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1, 2])
    learner.backward(views, targets, 6)
    learner.update(0.1)
    finished = learner.finish(iter([views.flatten(0, 1)]))
    save_model(tmp_path, finished)
    assert sorted(load_file(tmp_path / "weights.safetensors")) == sorted(names)
    loaded = load_model(tmp_path)
    finished.eval()
    torch.testing.assert_close(loaded(views[0]), finished(views[0]))
    state = learner.capture(1, {}, {})
    assert any(".second." in name for name in state.model)


def test_where_there_is_nothing_to_split():
    with pytest.raises(ValueError, match="would do nothing with method 'standard'"):
        build_config(method="standard", split_batch_norm=True)
    with pytest.raises(ValueError, match="would do nothing with method 'adversarial'"):
        build_config(method="adversarial", split_batch_norm=True)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
    for is_asked in (None, False):
        how = OptimisationConfig(split_batch_norm=is_asked)
        open_learner(model, build_method("afa"), optimisation=how, device=torch.device("cpu"))
    how = OptimisationConfig(split_batch_norm=True)
    with pytest.raises(RunError, match="which has no batch norm"):
        open_learner(model, build_method("augmix"), optimisation=how, device=torch.device("cpu"))


def test_the_second_set_is_the_methods_choice_unless_asked_for():
    cases = {
        ("afa", None): True,
        ("afa", False): False,
        ("augmix", None): False,
        ("augmix", True): True,
    }
    for (method, is_asked), expected in cases.items():
        model = build_model("small", num_classes=3)
        how = OptimisationConfig(split_batch_norm=is_asked)
        open_learner(model, build_method(method), optimisation=how, device=torch.device("cpu"))
        assert is_split(model) == expected


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
