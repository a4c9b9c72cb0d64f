import numpy as np
import pytest
import torch

from augmix.augment.policies import AugMix, Standard
from augmix.augment.render import render
from augmix.methods import METHODS, build_method
from augmix.models.build import build_model
from augmix.objectives import Consistency, CrossEntropy
from augmix.streams import Stream

OPTIONS = AugMix(severity=2, width=2, crop_padding=3, flip=True)


def test_rows_are_the_paper_s():
    assert {name: row.title for name, row in METHODS.items()} == {
        "standard": "Standard",
        "augmix": "AugMix",
        "augmix-no-jsd": "AugMix without JSD",
    }
    assert all(row.summary and "\n" not in row.summary for row in METHODS.values())


def test_standard():
    method = build_method("standard", policy_options=OPTIONS, jsd_weight=3.0, label_smoothing=0.1)
    assert method.policy == Standard(crop_padding=3, flip=True)
    assert method.objective == CrossEntropy(label_smoothing=0.1)
    assert (method.num_views, method.has_clean) == (1, False)


def test_augmix():
    method = build_method("augmix", policy_options=OPTIONS, jsd_weight=3.0, label_smoothing=0.1)
    assert method.policy == OPTIONS
    assert method.objective == Consistency(weight=3.0, label_smoothing=0.1)
    assert (method.num_views, method.has_clean) == (2, True)
    assert build_method("augmix", policy_options=OPTIONS).objective == Consistency(weight=12.0)


def test_augmix_no_jsd():
    method = build_method("augmix-no-jsd", policy_options=OPTIONS)
    assert method.policy == OPTIONS
    assert method.objective == CrossEntropy()
    assert (method.num_views, method.has_clean) == (1, False)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("augmx", "augmix"), ("Standard", "standard"), ("augmix-nojsd", "augmix-no")],
)
def test_unknown_names_suggest_the_nearest(name: str, nearest: str):
    with pytest.raises(ValueError, match=rf"augmix-no-jsd, got '{name}'; did you mean '{nearest}"):
        build_method(name, policy_options=OPTIONS)


def test_wrong_weight_is_refused():
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got -1"):
        build_method("augmix", policy_options=OPTIONS, jsd_weight=-1.0)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_step(name: str, noise: np.ndarray):
    """The walk of a batch: plan, views, loss, gradient."""
    method = build_method(name, policy_options=OPTIONS)
    plan = method.policy.sample(
        np.arange(8), num_views=method.num_views, size=noise.shape[1:3], stream=Stream(seed=0)
    )
    plan = plan.with_clean() if method.has_clean else plan
    views = torch.from_numpy(render(noise, plan, executor="pillow"))
    assert len(views) == method.num_views + method.has_clean
    model = build_model("small", num_classes=3)
    loss = method.objective(model, views, torch.arange(8) % 3)
    loss.total.backward()
    assert loss.logits.shape == (8, 3)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())  # pyright: ignore
