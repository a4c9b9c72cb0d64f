"""Every row of the table of methods: what it draws, what it minimises, what goes with what."""

import numpy as np
import pytest
import torch

from augmix.augment import render
from augmix.augment.policies import (
    AugMix,
    AutoAugment,
    CutMix,
    Cutout,
    Mixup,
    PatchUniform,
    Policy,
    RandomAA,
    RandomStart,
    Standard,
)
from augmix.methods.attacks import Attack
from augmix.methods.losses import Adversarial, Consistency, CrossEntropy, Objective
from augmix.methods.registry import METHODS, Options, build_method
from augmix.models.weights import build_model
from augmix.rng import Stream

CHAINS = AugMix(severity=2, width=2, crop_padding=3, flip=True)
BASE = Standard(crop_padding=3, flip=True)
LOSS = Options(jsd_weight=3.0, label_smoothing=0.1)
PLAIN, JSD = CrossEntropy(label_smoothing=0.1), Consistency(weight=3.0, label_smoothing=0.1)
CHAIN = RandomAA(severity=2, crop_padding=3, flip=True)

# method -> title, policy, objective, views drawn, whether clean images go in front
EXPECTED: dict[str, tuple[str, Policy, Objective, int, bool]] = {
    "standard": ("Standard", BASE, PLAIN, 1, False),
    "cutout": ("Cutout", Cutout(size_px=16, base=BASE), PLAIN, 1, False),
    "mixup": ("Mixup", Mixup(alpha=1.0, base=BASE), PLAIN, 1, False),
    "cutmix": ("CutMix", CutMix(probability=0.5, base=BASE), PLAIN, 1, False),
    "autoaugment": ("AutoAugment*", AutoAugment(crop_padding=3, flip=True), PLAIN, 1, False),
    "random-aa": ("Random AutoAugment*", CHAIN, PLAIN, 1, False),
    "random-aa-jsd": ("Random AutoAugment* + JSD", CHAIN, JSD, 2, True),
    "patch-uniform": ("Patch Uniform", PatchUniform(size_px=25, base=BASE), PLAIN, 1, False),
    "adversarial": ("Adv Training", RandomStart(base=BASE), Adversarial(label_smoothing=0.1), 1, 1),
    "maxblur": ("MaxBlur pool", BASE, PLAIN, 1, False),
    "sin": ("SIN", BASE, PLAIN, 1, False),
    "augmix": ("AugMix", CHAINS, JSD, 2, True),
    "augmix-no-jsd": ("AugMix without JSD", CHAINS, PLAIN, 1, False),
    "augmix-sin": ("AugMix + SIN", CHAINS, JSD, 2, True),
}


def test_the_table_has_every_method_of_the_comparison():
    assert list(METHODS) == list(EXPECTED)
    for name, row in METHODS.items():
        assert row.title == EXPECTED[name][0]
        assert row.summary
        assert row.source
        assert "\n" not in row.summary
    assert [name for name, row in METHODS.items() if row.is_blurred] == ["maxblur"]
    assert [name for name, row in METHODS.items() if row.needs_stylised] == ["sin", "augmix-sin"]
    recipes = {name: dict(row.recipe) for name, row in METHODS.items() if row.recipe}
    assert recipes == {"mixup": {"weight_decay": 1e-4}}


@pytest.mark.parametrize("name", METHODS)
def test_rows_are_made_of_these(name: str):
    method = build_method(name, policy_options=CHAINS, options=LOSS)
    _, policy, objective, num_views, has_clean = EXPECTED[name]
    assert method.policy == policy
    assert method.objective == objective
    assert (method.num_views, method.has_clean) == (num_views, bool(has_clean))


def test_the_papers_weight_is_the_default():
    assert build_method("augmix", policy_options=CHAINS).objective == Consistency(weight=12.0)


@pytest.mark.parametrize(
    ("name", "options", "policy"),
    [
        ("cutout", Options(num_classes=100), Cutout(size_px=8, base=BASE)),
        ("cutout", Options(size=(20, 24)), Cutout(size_px=10, base=BASE)),
        (
            "cutout",
            Options(cutout_side=5, cutout_fill=(0.1, 0.2, 0.3)),
            Cutout(size_px=5, fill=(0.1, 0.2, 0.3), base=BASE),
        ),
        ("augmix", Options(cutout_side=7), Cutout(size_px=7, base=CHAINS)),
        ("augmix", Options(mixup_alpha=0.4), Mixup(alpha=0.4, base=CHAINS)),
        (
            "augmix",
            Options(mixup_alpha=0.4, cutout_side=3, pairs_per_image=True),
            Mixup(alpha=0.4, per_image=True, base=Cutout(size_px=3, base=CHAINS)),
        ),
        ("cutmix", Options(size=(224, 224)), CutMix(probability=1.0, base=BASE)),
        (
            "cutmix",
            Options(cutmix_alpha=0.3, cutmix_probability=0.2, pairs_per_image=True),
            CutMix(alpha=0.3, probability=0.2, per_image=True, base=BASE),
        ),
        ("mixup", Options(cutout_side=4), Mixup(base=Cutout(size_px=4, base=BASE))),
        (
            "autoaugment",
            Options(size=(224, 224), autoaugment_full=True, cutout_side=16),
            Cutout(
                size_px=16,
                base=AutoAugment(table="imagenet", full=True, crop_padding=3, flip=True),
            ),
        ),
        (
            "autoaugment",
            Options(size=(224, 224), autoaugment_table="cifar10"),
            AutoAugment(crop_padding=3, flip=True),
        ),
        (
            "patch-uniform",
            Options(size=(224, 224)),
            PatchUniform(size_px=250, random_size=True, base=BASE),
        ),
        ("patch-uniform", Options(size=(8, 8)), PatchUniform(size_px=6, base=BASE)),
        (
            "patch-uniform",
            Options(size=(224, 224), patch_side=9, patch_amplitude=0.2),
            PatchUniform(size_px=9, amplitude=0.2, base=BASE),
        ),
        ("adversarial", Options(attack=Attack(norm="l2")), RandomStart(epsilon=0.5, base=BASE)),
        (
            "adversarial",
            Options(mixup_alpha=1.0),
            Mixup(base=RandomStart(base=BASE)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_and_combinations(name: str, options: Options, policy: Policy):
    method = build_method(name, policy_options=CHAINS, options=options)
    assert method.policy == policy
    if name == "adversarial":
        assert method.objective == Adversarial(attack=options.attack)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixup", Options(cutmix_probability=0.5), "an image is paired once: mixup_alpha 1 and"),
        ("cutmix", Options(mixup_alpha=0.2), "an image is paired once: mixup_alpha 0.2 and"),
        ("adversarial", Options(cutout_side=8), "cannot have holes .cutout_side 8.: the attack"),
        ("cutout", Options(cutout_side=0), "'cutout' is nothing without cutout_side, got 0; take"),
        ("mixup", Options(mixup_alpha=0.0), "'mixup' is nothing without mixup_alpha"),
        ("cutmix", Options(cutmix_probability=0.0), "'cutmix' is nothing without cutmix_prob"),
    ],
    ids=["mixup cutmix", "cutmix mixup", "attack hole", "no hole", "no mixup", "no cutmix"],
)
def test_impossible_combinations_say_why(name: str, options: Options, message: str):
    with pytest.raises(ValueError, match=message):
        build_method(name, policy_options=CHAINS, options=options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cutout_side": -2}, "cutout_side must be at least 0, or -1 for the method's, got -2"),
        ({"mixup_alpha": -0.5}, "mixup_alpha must be at least 0, or -1 for the method's, got -0.5"),
        ({"patch_side": -1}, "patch_side must be at least 0 pixels, got -1"),
    ],
    ids=["side", "alpha", "patch"],
)
def test_options_out_of_range(changes, message: str):
    with pytest.raises(ValueError, match=message):
        Options(**changes)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("augmx", "augmix"), ("Standard", "standard"), ("cut-out", "cutout"), ("pgd", "")],
    ids=["augmx", "Standard", "cut-out", "pgd"],
)
def test_unknown_names_suggest_the_nearest(name: str, nearest: str):
    hint = f", did you mean '{nearest}'" if nearest else "$"
    with pytest.raises(ValueError, match=rf"augmix-sin, got '{name}'{hint}"):
        build_method(name, policy_options=CHAINS)


def test_wrong_weight_is_refused():
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got -1"):
        build_method("augmix", policy_options=CHAINS, options=Options(jsd_weight=-1.0))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_step(name: str, noise: np.ndarray):
    """The walk of a batch: plan, views, loss, gradient."""
    method = build_method(name, policy_options=CHAINS)
    plan = method.policy.sample(
        np.arange(8), num_views=method.num_views, size=noise.shape[1:3], stream=Stream(seed=0)
    )
    plan = plan.with_clean() if method.has_clean else plan
    views = torch.from_numpy(render(noise, plan, executor="pillow"))
    assert len(views) == method.num_views + method.has_clean
    model = build_model("small", num_classes=3)
    labels = np.arange(8) % 3
    targets = torch.from_numpy(plan.pairs.targets(labels, 3) if plan.pairs else labels)
    loss = method.objective(model, views, targets)
    loss.total.backward()
    assert loss.logits.shape == (8, 3)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())  # pyright: ignore
