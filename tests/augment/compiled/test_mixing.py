"""Noise, holes and pairs: pixel by pixel by hand, and the same bits from both executors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augmix.augment import compiled, pillow
from augmix.augment.compiled import mixing
from augmix.augment.pairing import PairPlan
from augmix.augment.patches import Hole, Noise
from augmix.augment.plan import Plan
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
from augmix.rng import Purpose, Stream, philox4x32

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


def draw(policy: Policy, batch: int, size: tuple[int, int], seed: int, num_views: int = 2) -> Plan:
    ids = np.arange(100, 100 + batch)
    return policy.sample(ids, num_views=num_views, size=size, stream=Stream(seed=seed))


def images_of(plan: Plan, channels: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (len(plan), *plan.size, channels), dtype=np.uint8)


def assert_equal_bits(images: np.ndarray, plan: Plan, *, num_threads: int = 1) -> None:
    expected = pillow.render(images, plan)
    views = compiled.render(images, plan, num_threads=num_threads)
    assert views.dtype == np.float32
    np.testing.assert_array_equal(views.view(np.uint32), expected.view(np.uint32))
    assert ((expected >= 0) & (expected <= 1)).all()


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


def standard(batch: int, size: tuple[int, int], num_views: int = 1) -> Plan:
    return draw(Standard(), batch, size, 0, num_views)


def test_every_pixel_of_a_hole() -> None:
    box = np.array([[[1, 2, 4, 9], [0, 0, 0, 0], [3, 5, 3, 9]]], np.int32)  # the last two are none
    plan = replace(
        standard(3, (6, 9)), hole=Hole(box=box, fill=np.array([0.25, 0.5, 1], np.float32))
    )
    images = images_of(plan, 3)
    views = pillow.render(images, plan)[0]
    for image in range(3):
        for y in range(6):
            for x in range(9):
                inside = image == 0 and 1 <= y < 4 and 2 <= x < 9
                for channel in range(3):
                    level = np.float32(images[image, y, x, channel]) / np.float32(255)
                    expected = np.float32([0.25, 0.5, 1][channel]) if inside else level
                    assert views[image, channel, y, x] == expected
    assert_equal_bits(images, plan)
    for render in (pillow.render, compiled.render):
        with pytest.raises(ValueError, match=r"1 or 1 levels for images of 1 channel\(s\), got 3"):
            render(images[..., :1], plan)


def test_every_pixel_of_noise() -> None:
    """The words are those that `Stream.uniforms` gives at the address, four to a pixel."""
    stream = Stream(seed=2**63 + 5, epoch=7)
    plan = standard(2, (5, 7), num_views=2)
    noise = Noise(
        box=np.array([[[0, 0, 5, 7], [1, 2, 4, 6]]] * 2, np.int32),
        amplitude=np.array([[0.5, 0.1], [2.0, 0.0]], np.float32),
        address=stream.at(Purpose.NOISE).addresses(plan.ids, num_views=2),
        seed=stream.seed,
    )
    plan = replace(plan, noise=noise)
    images = images_of(plan, 3)
    views = pillow.render(images, plan)
    uniforms = stream.at(Purpose.NOISE).uniforms(plan.ids, num_views=2, count=4 * 35)
    uniforms = uniforms.reshape(2, 2, 5, 7, 4)
    for view, image, y, x, channel in np.ndindex(2, 2, 5, 7, 3):
        level = images[image, y, x, channel] / 255
        top, left, bottom, right = noise.box[view, image]
        if top <= y < bottom and left <= x < right:
            drawn = 2 * uniforms[view, image, y, x, channel] - 1
            level = min(max(level + noise.amplitude[view, image] * drawn, 0), 1)
        assert views[view, image, channel, y, x] == pytest.approx(level, abs=1e-6)
    assert_equal_bits(images, plan)
    assert_equal_bits(images[..., :1], plan)


def test_noise_is_uniform_and_fresh() -> None:
    plan = draw(RandomStart(epsilon=0.2), 64, (16, 16), 0, num_views=2)
    images = np.full((64, 16, 16, 3), 128, np.uint8)
    noise = (compiled.render(images, plan) - np.float32(128 / 255)) / 0.2
    from scipy import stats

    assert stats.kstest(noise.ravel().astype(float), stats.uniform(-1, 2).cdf).pvalue > 1e-6
    flat = noise.reshape(2 * 64 * 3, -1)
    correlations = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlations).max() < 0.4  # 384 fields of 256 values: 0.0625 is one deviation
    assert abs(np.corrcoef(noise[..., :-1].ravel(), noise[..., 1:].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "blend"])
def test_every_pixel_of_a_pair(is_cut: bool) -> None:
    pairs = PairPlan(
        partner=np.array([2, 1, 0]),
        share=np.array([0.7, 0.0, 1.0], np.float32),
        box=np.array([[1, 0, 4, 3], [0, 0, 6, 9], [2, 2, 2, 5]], np.int32),
        is_cut=is_cut,
    )
    plan = replace(standard(3, (6, 9), num_views=2), pairs=pairs)
    images = images_of(plan, 3)
    plain = pillow.render(images, replace(plan, pairs=None))
    views = pillow.render(images, plan)
    for view, image, channel, y, x in np.ndindex(2, 3, 3, 6, 9):
        own = plain[view, image, channel, y, x]
        other = plain[view, pairs.partner[image], channel, y, x]
        top, left, bottom, right = pairs.box[image]
        if is_cut:
            expected = other if top <= y < bottom and left <= x < right else own
        else:
            share = pairs.share[image]
            expected = share * own + (np.float32(1) - share) * other
        assert views[view, image, channel, y, x] == expected
    assert_equal_bits(images, plan)


def test_order_noise_then_hole_then_pairs() -> None:
    plan = draw(CutMix(base=Cutout(size_px=40, fill=(0.25,), base=PatchUniform())), 4, (8, 8), 0)
    views = pillow.render(images_of(plan, 3), plan)
    np.testing.assert_array_equal(views, np.float32(0.25))  # the hole covers noise, pairs its views


def test_the_clean_view_is_paired_like_the_others() -> None:
    plan = draw(Mixup(base=Cutout(size_px=30)), 6, (8, 8), 0).with_clean()
    assert plan.pairs is not None
    images = images_of(plan, 3)
    clean = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    share = plan.pairs.share[:, None, None, None]
    expected = share * clean + (np.float32(1) - share) * clean[plan.pairs.partner]
    np.testing.assert_array_equal(compiled.render(images, plan)[0], expected)


def test_both_generators_give_the_same_words() -> None:
    rng = np.random.default_rng(0)
    counter = rng.integers(0, 2**32, (4, 50), dtype=np.uint32)
    for seed in (0, 1, 2**64 - 1, 0x0123456789ABCDEF):
        expected = philox4x32(counter, seed)
        words = np.empty(4, np.uint32)
        low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
        for column in range(50):
            mixing._philox(*counter[:, column], low, high, words)
            np.testing.assert_array_equal(words, expected[:, column])


def test_any_number_of_threads_gives_the_same_bits() -> None:
    plan = draw(POLICIES["cutmix+cutout+augmix"], 9, (12, 13), 3)
    images = images_of(plan, 3)
    one = compiled.render(images, plan)
    for num_threads in (2, 3, 50):
        np.testing.assert_array_equal(compiled.render(images, plan, num_threads=num_threads), one)
