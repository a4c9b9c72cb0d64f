"""Names of the published programs, written as their rule, against the names of our networks."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from augmix.models.weights import build_model, rename_released


def norm(at: str) -> Iterator[str]:
    for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield f"{at}.{kind}"


def released_allconv() -> Iterator[str]:
    """In the order of the layers: pooling and dropout take two places after three convolutions."""
    for place in (0, 3, 6, 11, 14, 17, 22, 25, 28):
        yield from (f"features.{place}.weight", f"features.{place}.bias")
        yield from norm(f"features.{place + 1}")
    yield from ("classifier.weight", "classifier.bias")


def released_wide(blocks: int) -> Iterator[str]:
    yield "conv1.weight"
    for group in (1, 2, 3):
        for block in range(blocks):
            at = f"block{group}.layer.{block}"
            yield from norm(f"{at}.bn1")
            yield f"{at}.conv1.weight"
            yield from norm(f"{at}.bn2")
            yield f"{at}.conv2.weight"
            if block == 0:
                yield f"{at}.convShortcut.weight"
    yield from norm("bn1")
    yield from ("fc.weight", "fc.bias")


def released_dense(layers: int, places: tuple[int, ...]) -> Iterator[str]:
    yield "conv1.weight"
    for block in (1, 2, 3):
        for layer in range(layers):
            for place in places:
                yield from norm(f"dense{block}.{layer}.bn{place}")
                yield f"dense{block}.{layer}.conv{place}.weight"
        if block < 3:
            yield from norm(f"trans{block}.bn1")
            yield f"trans{block}.conv1.weight"
    yield from norm("bn1")
    yield from ("fc.weight", "fc.bias")


def released_resnext(blocks: int) -> Iterator[str]:
    yield "conv_1_3x3.weight"
    yield from norm("bn_1")
    for stage in (1, 2, 3):
        for block in range(blocks):
            at = f"stage_{stage}.{block}"
            for conv, bn in (("reduce", "bn_reduce"), ("conv", "bn"), ("expand", "bn_expand")):
                yield f"{at}.conv_{conv}.weight"
                yield from norm(f"{at}.{bn}")
            if block == 0:
                yield f"{at}.downsample.0.weight"
                yield from norm(f"{at}.downsample.1")
    yield from ("classifier.weight", "classifier.bias")


RELEASED = {
    "allconv": released_allconv(),
    "wrn-16-2": released_wide(2),
    "densenet-10-4": released_dense(2, (1,)),
    "densenet-bc-16-4": released_dense(2, (1, 2)),
    "resnext-20-4x4d": released_resnext(2),
}


@pytest.mark.parametrize("name", RELEASED)
def test_names_of_the_released_code(name: str):
    """Both programs define the layers in the same order, so the n-th tensor is the n-th."""
    ours = build_model(name, num_classes=7).state_dict()
    theirs = list(RELEASED[name])
    assert len(theirs) == len(ours)
    state = dict(zip(theirs, ours.values(), strict=True))
    renamed = rename_released(name, state)
    assert list(renamed) == list(ours)
    assert all(renamed[key] is ours[key] for key in ours)
    assert rename_released(f"{name}-maxblur", state) == renamed


def blurred_by_zhang(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Where his blocks of stride 2 have a blur pool in front of a convolution."""
    names: dict[str, Tensor] = {"maxpool.1.filt": torch.zeros(64, 1, 5, 5)}
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    for key, value in state.items():
        at, _, rest = key.partition(".0.")
        if at in ("layer2", "layer3", "layer4") and rest == f"{last}.weight":
            names[f"{at}.0.{last}.0.filt"] = torch.zeros(1)
            key = f"{at}.0.{last}.1.weight"
        if at in ("layer2", "layer3", "layer4") and rest.startswith("downsample."):
            names[f"{at}.0.downsample.0.filt"] = torch.zeros(1)
            place, tail = rest.removeprefix("downsample.").split(".", 1)
            key = f"{at}.0.downsample.{int(place) + 1}.{tail}"
        names[key] = value
    return names


@pytest.mark.parametrize("name", ["resnet18-maxblur", "resnet50-maxblur"])
def test_names_of_blur_pooled_resnets(name: str):
    ours = build_model(name, num_classes=3).state_dict()
    theirs = blurred_by_zhang(ours)
    assert len(theirs) == len(ours) + 7
    renamed = rename_released(name, theirs)
    assert renamed.keys() == ours.keys()
    assert all(renamed[key] is ours[key] for key in ours)


@pytest.mark.parametrize("name", ["small", "allconv", "wrn-10-1", "densenet-10-4", "resnet18"])
def test_our_own_names_stay(name: str):
    state = build_model(name, num_classes=3).state_dict()
    assert list(rename_released(name, state)) == list(state)


def test_other_names_stay():
    state = {"something.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)}
    assert rename_released("wrn-10-1", state) == state
    with pytest.raises(ValueError, match="model must be one of"):
        rename_released("nothing", state)
