"""A second set of batch norms: what it sees, and that nothing of it is left after training."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import update_bn

from augmix.errors import RunError
from augmix.methods import build_method
from augmix.models.split_norm import is_split, main_state, second_set, split_batch_norm
from augmix.models.weights import build_model, load_model, save_model
from augmix.training.config import OptimisationConfig, build_config
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
