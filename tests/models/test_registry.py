import dataclasses

import pytest
import torch
from torch import nn

import augmix.models
from augmix.models import (
    ModelConfig,
    find_family,
    list_networks,
    maxblur_name,
    register_network,
)
from augmix.models.weights import build_model, load_model, save_model


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the registry after the test."""
    list_networks()
    monkeypatch.setattr(augmix.models, "_FAMILIES", dict(augmix.models._FAMILIES))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_classes": 0}, r"num_classes must be at least 1, got 0"),
        ({"channels": 4}, r"channels must be 1 or 3, got 4"),
        ({"channels": 1}, r"mean must have one number for each of 1 channel\(s\), got \(0.5, 0.5"),
        ({"std": (1.0,)}, r"std must have one number for each of 3 channel\(s\), got \(1.0,\)"),
        ({"std": (1.0, 0.0, 1.0)}, r"std must be above 0 in every channel, got \(1.0, 0.0, 1.0\)"),
        ({"mean": (0.0, float("nan"), 0.0)}, r"mean must be finite"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"blur_size": 6}, r"blur_size must be 2..5 pixels, got 6"),
    ],
)
def test_wrong_numbers_are_refused(wrong: dict, message: str):
    right = {"name": "small", "num_classes": 10}
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**right, **wrong})


def test_is_frozen():
    config = ModelConfig(name="small", num_classes=10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_classes = 3  # pyright: ignore


def test_every_name_is_built():
    names = list_networks()
    assert len(set(names)) == len(names)
    for name in names:
        with torch.device("meta"):
            assert build_model(name, num_classes=2).config.name == name


@pytest.mark.parametrize(
    ("name", "form", "numbers"),
    [
        ("small", "small", {}),
        ("allconv", "allconv", {}),
        ("allconv-24", "allconv-{width}", {"width": 24}),
        ("densenet-40-12", "densenet-{depth}-{growth}", {"depth": 40, "growth": 12}),
        ("densenet-bc-100-12", "densenet-bc-{depth}-{growth}", {"depth": 100, "growth": 12}),
        ("wrn-40-2-maxblur", "wrn-{depth}-{width}", {"depth": 40, "width": 2}),
        ("resnet50", "resnet{depth}", {"depth": 50}),
        ("resnet18-cifar", "resnet{depth}-cifar", {"depth": 18}),
    ],
)
def test_numbers_of_a_name(name: str, form: str, numbers: dict):
    family = find_family(name)
    assert (family.form, family.numbers(name)) == (form, numbers)


def test_names_of_blur_pooled_forms():
    assert maxblur_name("resnet50") == "resnet50-maxblur"
    assert maxblur_name("resnet50-maxblur") == "resnet50-maxblur"
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        maxblur_name("resnet-50")


def test_a_network_of_the_user(registry, tmp_path):
    @register_network("linear-{size}", examples=("linear-4",), size=64, dropout=0.25)
    def build(config: ModelConfig, size: int) -> nn.Module:
        pool, drop = nn.AdaptiveAvgPool2d(size), nn.Dropout(config.dropout)
        head = nn.Linear(config.channels * size * size, config.num_classes)
        return nn.Sequential(pool, drop, nn.Flatten(), head)

    assert "linear-4" in list_networks()
    assert find_family("linear-9").size == 64
    model = build_model("linear-3", num_classes=5).eval()
    assert model.config == ModelConfig(name="linear-3", num_classes=5, dropout=0.25)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(model(images), model.network((images - 0.5) / 0.5))  # pyright: ignore
    save_model(tmp_path, model)
    assert torch.equal(load_model(tmp_path)(images), model(images))
    with pytest.raises(ValueError, match="model 'linear-3' has no blur-pooled form"):
        maxblur_name("linear-3")
    with pytest.raises(ValueError, match="got 'linear-3-maxblur'"):
        build_model("linear-3-maxblur", num_classes=5)


def test_a_name_is_registered_once(registry):
    def build(config: ModelConfig) -> nn.Module:
        return nn.Flatten()

    with pytest.raises(ValueError, match="network 'small' is registered already"):
        register_network("small")(build)
    register_network("mine")(build)
    register_network("mine")(build)  # a module that is loaded again replaces its own
