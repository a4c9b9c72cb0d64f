"""The compiled executor gives the bits of the definition for the plans of every policy."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_plans import assert_equal_bits, draw, draw_images, images_of, make_plan

from augmix.arrays import to_uint8
from augmix.augment import compiled
from augmix.augment.compiled import mixing
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

POLICIES: dict[str, Policy] = {
    "cutout": Cutout(size_px=5, base=Standard(crop_padding=2, flip=True)),
    "cutout+augmix": Cutout(size_px=4, fill=(0.3,), base=AugMix(crop_padding=2, flip=True)),
    "autoaugment": AutoAugment(crop_padding=2, flip=True),
    "autoaugment full": AutoAugment(full=True),
    "autoaugment imagenet": AutoAugment(table="imagenet", full=True),
    "random-aa": RandomAA(ops="all", severity=8),
    "patch-uniform": PatchUniform(size_px=7, base=Standard(flip=True)),
    "patch+cutout": Cutout(size_px=3, base=PatchUniform(size_px=9, random_size=True)),
    "start": RandomStart(),
    "mixup": Mixup(base=Standard(crop_padding=1)),
    "mixup per image": Mixup(alpha=0.4, per_image=True),
    "mixup+augmix": Mixup(base=AugMix()),
    "cutmix": CutMix(probability=1.0),
    "cutmix per image": CutMix(per_image=True, probability=0.8),
    "cutmix+cutout+augmix": CutMix(base=Cutout(size_px=4, base=AugMix()), probability=1.0),
}


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_at_any_size(name: str, data: st.DataObject) -> None:
    side = st.one_of(st.integers(1, 9), st.integers(10, 48))
    size = (data.draw(side), data.draw(side))
    plan = draw(
        POLICIES[name], data.draw(st.integers(0, 5)), size, data.draw(st.integers(0, 2**64 - 1))
    )
    if data.draw(st.booleans()):
        plan = plan.with_clean()
    images = images_of(plan, data.draw(st.sampled_from([1, 3])))
    assert_equal_bits(images, plan, num_threads=data.draw(st.integers(1, 3)))


@pytest.mark.parametrize("name", ["cutout+augmix", "patch-uniform", "cutmix", "mixup"])
def test_every_policy_at_224(name: str) -> None:
    plan = draw(POLICIES[name], 3, (224, 224), 0)
    assert_equal_bits(images_of(plan, 3), plan, num_threads=2)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    plan = draw(POLICIES["cutmix+cutout+augmix"], 9, (12, 13), 3)
    images = images_of(plan, 3)
    one = compiled.render(images, plan)
    for num_threads in (2, 3, 50):
        np.testing.assert_array_equal(compiled.render(images, plan, num_threads=num_threads), one)


@pytest.mark.parametrize("channels", [1, 3])
def test_levels_are_rounded_as_numpy_rounds_them(channels: int) -> None:
    views = np.random.default_rng(0).uniform(-0.1, 1.1, (2, channels, 9, 31)).astype(np.float32)
    views.ravel()[:255] = (np.arange(255) + np.float32(0.5)) / np.float32(255)  # half way
    expected = to_uint8(views)
    np.testing.assert_array_equal(mixing.round_levels(views), expected)
    last = mixing.round_levels(views, channels_last=True)
    np.testing.assert_array_equal(last, expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("size", [(64, 64), (63, 65)], ids=str)
def test_batches_of_many_weights(size: tuple[int, int]) -> None:
    """They are larger than the caches; only the first is written past them."""
    images = draw_images(np.random.default_rng(0), "noise", (90, *size, 3))
    nothing = np.zeros((1, 90, 3, 1))
    plan = make_plan(nothing.astype(np.int8), nothing, size)
    assert compiled.render(images, plan).nbytes >= compiled._LARGE
    assert_equal_bits(images, plan, num_threads=2)
