"""Settings of a training run: the methods' own numbers, flags that override, what does not fit."""

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_runs import toy_config, write_npz

from augmix.augment.policies import CutMix, Cutout, Mixup, PatchUniform, Standard
from augmix.errors import RunError
from augmix.methods.attacks import Attack
from augmix.methods.losses import Adversarial
from augmix.methods.registry import METHODS
from augmix.training.config import TrainConfig

STYLISED = {"stylised": "somewhere"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_run(method: str) -> None:
    extra = STYLISED if METHODS[method].needs_stylised else {}
    config = TrainConfig(method=method, **extra)
    assert config.network == ("wrn-40-2-maxblur" if method == "maxblur" else "wrn-40-2")
    assert re.search(rf"\b{method}[,.]", inspect.getsource(TrainConfig)), "the flag's help"


@pytest.mark.parametrize(
    ("settings", "decay"),
    [
        ({}, 5e-4),
        ({"method": "mixup"}, 1e-4),
        ({"method": "mixup", "weight_decay": 5e-4}, 5e-4),
        ({"model": "densenet-bc-100-12"}, 1e-4),
        ({"model": "densenet-40-12-maxblur"}, 1e-4),
        ({"model": "resnet50"}, 1e-4),
        ({"model": "resnet18-cifar"}, 5e-4),
        ({"model": "resnext-29-32x4d"}, 5e-4),
        ({"weight_decay": 0.0}, 0.0),
    ],
    ids=lambda value: str(value),
)
def test_the_published_weight_decay_unless_stated(settings: dict[str, Any], decay: float) -> None:
    assert TrainConfig(**settings).weight_decay == decay


def test_flags_reach_the_method() -> None:
    def build(**settings: Any) -> Any:
        config = TrainConfig(**settings)
        return config.build_method(
            crop_padding=4, flip=True, size=(32, 32), num_classes=100, mean=(0.4, 0.5, 0.6)
        )

    base = Standard(crop_padding=4, flip=True)
    hole = Cutout(size_px=8, fill=(0.4, 0.5, 0.6), base=base)
    assert build(method="cutout").policy == hole
    assert build(method="cutout", cutout_side=3).policy.size_px == 3
    assert build(method="mixup", mixup_alpha=0.2, pairs_per_image=True).policy == Mixup(
        alpha=0.2, per_image=True, base=base
    )
    assert build(method="cutmix", cutmix_alpha=0.3, cutmix_probability=0.9).policy == CutMix(
        alpha=0.3, probability=0.9, base=base
    )
    assert build(
        method="patch-uniform", patch_side=5, patch_random_side=True, patch_amplitude=0.5
    ).policy == PatchUniform(size_px=5, random_size=True, amplitude=0.5, base=base)
    assert build(method="autoaugment", autoaugment_full=True).policy.full
    assert build(method="autoaugment", autoaugment_table="imagenet").policy.table == "imagenet"
    attack = {"norm": "l2", "epsilon": 0.7, "steps": 3, "step_size": 0.1}
    settings = {f"adversarial_{name}": value for name, value in attack.items()}
    assert build(method="adversarial", **settings).objective == Adversarial(
        attack=Attack(norm="l2", epsilon=0.7, num_steps=3, step_size=0.1)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "cutmx"}, "did you mean 'cutmix'"),
        ({"method": "sin"}, r"method 'sin' trains on stylised copies .*--stylised \(augmix styl"),
        ({"method": "augmix-sin"}, "method 'augmix-sin' trains on stylised copies"),
        ({"method": "mixup", "cutmix_probability": 0.5}, "an image is paired once"),
        ({"adversarial_epsilon": 0.1}, "adversarial_epsilon 0.1 would do nothing with method 'au"),
        ({"method": "cutmix", "patch_side": 3}, "it belongs to method 'patch-uniform'"),
        ({"autoaugment_full": True}, "it belongs to method 'autoaugment'"),
        ({"method": "mixup", "cutmix_alpha": 0.5}, "method 'cutmix', or --cutmix-probability"),
        ({"pairs_per_image": True}, "pairs_per_image True would do nothing with method 'augmix'"),
        ({"blur_size": 3}, "method 'maxblur', or --model wrn-40-2-maxblur"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"dropout": 1.5}, "dropout must be 0 up to below 1, got 1.5"),
        ({"dropout": -0.5}, "dropout must be 0 up to below 1, got -0.5"),
        ({"weight_decay": -2.0}, "weight_decay must be a finite number from 0, got -2.0"),
        ({"model": "wrn-40x2"}, "did you mean 'wrn-40-2'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"mixup_alpha": 1.0, "pairs_per_image": True},
        {"cutmix_probability": 0.5, "cutmix_alpha": 0.2},
        {"model": "wrn-40-2-maxblur", "blur_size": 3},
        {"method": "adversarial", "mixup_alpha": 1.0},
        {"method": "maxblur", "cutout_side": 8},
        {"method": "cutout", "stylised": "somewhere"},
    ],
    ids=lambda value: str(value),
)
def test_what_goes_together(settings: dict[str, Any]) -> None:
    TrainConfig(**settings)


def test_members_of_an_ensemble_are_runs_of_their_own() -> None:
    config = TrainConfig(seed=5, seeds=3, method="mixup", out=Path("somewhere"))
    members = [config.member(number) for number in range(3)]
    assert [member.seed for member in members] == [5, 6, 7]
    assert [member.out.name for member in members] == ["seed-5", "seed-6", "seed-7"]
    assert {member.seeds for member in members} == {1}
    assert {member.weight_decay for member in members} == {1e-4}


def write_stylised(path: Path, seed: int = 1) -> None:
    """Copies of the toy set's training images, in the layout of `augmix stylize`."""
    path.mkdir()
    write_npz(path / "both.npz", seed=seed)
    with np.load(path / "both.npz") as both:
        names = np.array(["0", "1", "2"])
        np.savez(
            path / "train.npz", images=both["x_train"], labels=both["y_train"], class_names=names
        )
    (path / "both.npz").unlink()


def test_stylised_copies_are_trained_on_beside_the_images(tmp_path: Path) -> None:
    write_stylised(tmp_path / "styled")
    config = toy_config(tmp_path / "run", method="sin", stylised=str(tmp_path / "styled"))
    plain, both = config.open_training()
    assert (len(plain), len(both)) == (20, 40)
    np.testing.assert_array_equal(both.labels[:20], both.labels[20:])
    part = toy_config(
        tmp_path / "run", method="sin", stylised=str(tmp_path / "styled"), max_train_images=6
    )
    plain, both = part.open_training()
    assert (len(plain), len(both)) == (6, 12)
    np.testing.assert_array_equal(both.labels[:6], both.labels[6:])
    assert len(toy_config(tmp_path / "run").open_training()[1]) == 20


def test_a_missing_stylised_set_is_named(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run", method="sin", stylised=str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="nowhere"):
        config.open_training()
