"""Policies after the paper: executors agree, and a draw depends on its address alone."""

from pathlib import Path

import numpy as np
import pytest
from toy_plans import draw_images

from augmix.augment import batched, render
from augmix.augment.plan import Plan, concatenate
from augmix.augment.policies import (
    APR,
    PRIME,
    AugMax,
    AugMix,
    FourierWaves,
    HybridAugment,
    IPMix,
    LpNoise,
    Noise2Net,
    PixMix,
    Policy,
    RandomErasing,
    Standard,
    TrivialAugment,
)
from augmix.rng import Stream

CROP = {"crop_padding": 2, "flip": True}
POLICIES: dict[str, Policy] = {
    "apr": APR(base=Standard(**CROP)),
    "apr, clipped": APR(base=Standard(**CROP), form="s", severity=10, overflow="clip"),
    "hybridaugment": HybridAugment(base=Standard(**CROP)),
    "hybridaugment over augmix": HybridAugment(base=AugMix(**CROP)),
    "lp-noise": LpNoise(),
    "lp-noise over augmix": LpNoise(base=RandomErasing(base=AugMix(**CROP)), noise_strength=3.0),
    "prime": PRIME(base=Standard(**CROP), cutoff=12),
    "prime, batch field": PRIME(batch_field=True, filter_delta="centre", depth=2, cutoff=20),
    "prime over augmix": PRIME(base=AugMix(), width=2, cutoff=5),
    "waves": FourierWaves(base=Standard(**CROP)),
    "waves over augmix": FourierWaves(base=AugMix(**CROP), wave_min=3.0),
    "waves over hybridaugment": FourierWaves(base=HybridAugment(form="s")),
    "waves, hybridaugment, augmix": FourierWaves(base=HybridAugment(base=AugMix(**CROP))),
    "hybridaugment over pixmix": HybridAugment(base=PixMix(rounds=2, **CROP)),
    "apr over ipmix": APR(form="s", base=IPMix(width=2, **CROP)),
    "waves over ipmix": FourierWaves(base=IPMix(depth=1, **CROP)),
    "trivialaugment": TrivialAugment(**CROP),
    "pixmix": PixMix(**CROP),
    "ipmix": IPMix(**CROP),
    "augmax": AugMax(**CROP),
    "noise2net": Noise2Net(base=AugMix(**CROP)),
}
PAIRED = (
    "apr",
    "prime, batch field",
    "hybridaugment",
    "hybridaugment over augmix",
    "waves, hybridaugment, augmix",
    "hybridaugment over pixmix",
)  # draw something of the whole batch
STREAM = Stream(seed=3).at(epoch=2)
SIZE = (20, 24)
IDS = np.arange(7, 19)


def draw(policy: Policy, ids: np.ndarray, num_views: int = 2) -> Plan:
    return policy.sample(ids, num_views=num_views, size=SIZE, stream=STREAM)


def images_of(plan: Plan, channels: int = 3) -> np.ndarray:
    shape = (len(plan), *plan.size, channels)
    return draw_images(np.random.default_rng(1), "slope", shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_executors_agree(name: str, channels: int):
    plan = draw(POLICIES[name], IDS).with_clean()
    images = images_of(plan, channels)
    expected = render(images, plan, executor="pillow")
    assert expected.dtype == np.float32
    assert np.isfinite(expected).all()
    compiled = render(images, plan, executor="compiled", num_threads=2)
    np.testing.assert_array_equal(compiled, expected)
    views = batched.render(images, plan, device="cpu").numpy()
    far = np.abs(views - expected) > 1 / 255
    assert far.mean() <= 1e-3, far.mean()


@pytest.mark.parametrize("name", POLICIES)
def test_a_draw_depends_on_its_address_alone(name: str, tmp_path: Path):
    policy, ids = POLICIES[name], IDS
    plan = draw(policy, ids)
    images = images_of(plan)
    expected = render(images, plan)
    if name not in PAIRED:
        again = draw(policy, ids[5:9])
        np.testing.assert_array_equal(render(images[5:9], again), expected[:, 5:9])
        joined = concatenate([plan[:9], plan[9:]])
        np.testing.assert_array_equal(render(images, joined), expected)
    order = np.random.default_rng(0).permutation(len(ids))
    np.testing.assert_array_equal(
        render(images[order], draw(policy, ids[order])), expected[:, order]
    )
    plan.save(tmp_path / "plan.npz")
    np.testing.assert_array_equal(render(images, Plan.load(tmp_path / "plan.npz")), expected)
    assert all(plan.describe(index, view) for index in range(len(ids)) for view in range(2))


@pytest.mark.parametrize("name", POLICIES)
def test_the_clean_view_is_the_image_cropped(name: str):
    plan = draw(POLICIES[name], IDS).with_clean()
    images = images_of(plan)
    views = render(images, plan)
    from augmix.augment.stages.chains import CropFlip

    crop = plan.find(CropFlip)
    pixels = images[None] if crop is None else crop.apply(images[None])
    np.testing.assert_array_equal(views[0], pixels[0].transpose(0, 3, 1, 2) / np.float32(255))


@pytest.mark.parametrize("name", POLICIES)
def test_no_images_give_no_views_and_no_views_are_refused(name: str):
    plan = draw(POLICIES[name], np.arange(0))
    for executor in ("pillow", "compiled", "batched"):
        views = render(images_of(plan), plan, executor=executor)
        assert tuple(views.shape) == (2, 0, 3, *SIZE)
    with pytest.raises(ValueError, match="num_views must be at least 1, got 0"):
        draw(POLICIES[name], np.arange(2), num_views=0)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("name", POLICIES)
def test_on_a_gpu(name: str, backend: batched.Backend):
    plan = draw(POLICIES[name], IDS).with_clean()
    images = images_of(plan)
    views = batched.render(images, plan, device="cuda", backend=backend).cpu().numpy()
    far = np.abs(views - render(images, plan, executor="pillow")) > 1 / 255
    assert far.mean() <= 1e-3, far.mean()
