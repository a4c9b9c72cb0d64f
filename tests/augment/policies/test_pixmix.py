"""PixMix and IPMix: every value against loops written from the papers, and the laws of draws."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from toy_plans import draw, images_of

from augmix.arrays import from_pillow, to_pillow
from augmix.augment import batched, render
from augmix.augment.bank import open_bank
from augmix.augment.ops import Op, apply_op
from augmix.augment.plan import Plan
from augmix.augment.policies import IPMix, PixMix, Policy
from augmix.augment.policies.pixmix import IPMixStage, PixMixStage
from augmix.augment.stages.chains import Copies
from augmix.rng import Purpose, Stream

SIZE = (16, 18)


def copies_of(plan: Plan, images: np.ndarray, view: int, index: int) -> list[np.ndarray]:
    """The copies of an image as nested levels in [0, 1]: one operation after another, by Pillow."""
    stage = plan.find(Copies)
    assert stage is not None
    made = []
    for ops, amounts in zip(stage.op[view, index], stage.amount[view, index], strict=True):
        picture = to_pillow(images[index])
        for op, amount in zip(ops.tolist(), amounts.tolist(), strict=True):
            picture = apply_op(picture, Op(op), amount)
        made.append(from_pillow(picture) / 255)
    return made


def picture_of(stage: Any, view: int, index: int, channels: int) -> np.ndarray:
    bank = open_bank(stage.bank, stage.size_px, channels)
    top, left = stage.corner[view, index]
    return bank[stage.picture[view, index]][top : top + SIZE[0], left : left + SIZE[1]] / 255


def mix_value(x: float, y: float, operator: int, a: float, b: float) -> float:
    """Add in [-1, 1], or multiply powers of doubled levels; clipped to [0, 1]."""
    if operator == 1:
        mixed = (a * (2 * x - 1) + b * (2 * y - 1) + 1) / 2
    else:
        mixed = (2 * x) ** a * max(2 * y, 1e-37) ** b / 2
    return min(max(mixed, 0.0), 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_value_of_pixmix(channels: int):
    plan = draw(PixMix(), 6, SIZE, 3)
    stage = plan.find(PixMixStage)
    assert stage is not None
    images = images_of(plan, channels)
    views = render(images, plan, executor="pillow")
    for view, index in np.ndindex(2, 6):
        copies = copies_of(plan, images, view, index)
        picture = picture_of(stage, view, index, channels)
        for y, x, channel in np.ndindex(*SIZE, channels):
            value = float(copies[0][y, x, channel])
            for number in range(4):
                operator = int(stage.operator[view, index, number])
                if operator == 0:
                    continue
                is_picture = stage.is_picture[view, index, number]
                partner = picture if is_picture else copies[number + 1]
                a, b = (float(each[view, index, number]) for each in (stage.a, stage.b))
                value = mix_value(value, float(partner[y, x, channel]), operator, a, b)
            assert views[view, index, channel, y, x] == pytest.approx(value, abs=2e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_value_of_ipmix(channels: int):
    stream = Stream(seed=11)
    plan = draw(IPMix(width=2), 6, SIZE, stream.seed)
    stage = plan.find(IPMixStage)
    assert stage is not None
    images = images_of(plan, channels)
    views = render(images, plan, executor="pillow")
    pixels, per_pixel = SIZE[0] * SIZE[1], 4
    drawn = stream.at(Purpose.PICTURES, part=2).uniforms(
        plan.ids, num_views=2, count=2 * 3 * pixels * per_pixel
    )
    drawn = drawn.reshape(2, 6, 2, 3, *SIZE, per_pixel)
    seen = set()
    for view, index in np.ndindex(2, 6):
        copies = copies_of(plan, images, view, index)
        picture = picture_of(stage, view, index, channels)
        total = (1 - stage.mix[view, index]) * copies[0]
        for chain in range(2):
            mixed = copies[chain + 1].copy()
            if stage.is_mirrored[view, index, chain]:
                mixed = np.stack([row[::-1] for row in mixed])
            for step in range(3):
                where = (view, index, chain, step)
                operator = int(stage.operator[where])
                seen.add(operator)
                top, left, bottom, right = stage.box[where].tolist()
                for y, x, channel in np.ndindex(*SIZE, channels):
                    if operator == 0 or not (top <= y < bottom and left <= x < right):
                        continue
                    own, other = mixed[y, x, channel], picture[y, x, channel]
                    if operator < 3:
                        a, b = float(stage.a[where]), float(stage.b[where])
                        mixed[y, x, channel] = mix_value(own, other, operator, a, b)
                    else:
                        word = 3 if operator == 3 else channel
                        stays = drawn[view, index, chain, step, y, x, word] < stage.keep[where]
                        mixed[y, x, channel] = own if stays else other
            total += stage.mix[view, index] * stage.weight[view, index, chain] * mixed
        np.testing.assert_allclose(views[view, index].transpose(1, 2, 0), total, atol=2e-5)
    assert seen == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("policy", [PixMix(), IPMix()], ids=["pixmix", "ipmix"])
def test_torch_equals_the_definition(policy: Any):
    plan = draw(policy, 60, (32, 32), 5).with_clean()
    images = images_of(plan, 3)
    expected = render(images, plan, executor="pillow")
    views = batched.render(images, plan, device="cpu").numpy()
    assert (np.abs(views - expected) > 1 / 255).mean() <= 1e-3
    np.testing.assert_allclose(views, expected, atol=2e-4)
    assert expected.min() >= 0
    assert expected.max() <= 1


def test_a_corner_outside_the_picture_is_refused():
    plan = draw(PixMix(), 2, SIZE, 0)
    stage = plan.find(PixMixStage)
    assert stage is not None
    stage.corner[0, 1] = [0, 40]
    with pytest.raises(ValueError, match="corners of pictures of 21 pixels must lie within"):
        Plan(ids=plan.ids, size=plan.size, stages=plan.stages)


def test_other_pictures_can_be_given():
    plan = draw(PixMix(), 4, SIZE, 0)
    stage = plan.find(PixMixStage)
    assert stage is not None
    white = np.full((1200, 21, 21, 3), 255, np.uint8)
    images = images_of(plan, 3)
    views = render(images, plan, pictures=white)
    is_mixed = stage.is_picture.any(-1)
    same = (views == render(images, plan)).all(axis=(2, 3, 4))
    assert same[~is_mixed].all()
    assert not same[is_mixed].all()
    with pytest.raises(ValueError, match=r"each \(21, 21, 3\), got shape \(1200, 16, 18, 3\)"):
        render(images, plan, pictures=white[:, :16, :18])


NUM = 20_000


def sample(policy: Policy, count: int = NUM) -> Plan:
    return policy.sample(np.arange(count), num_views=1, size=(32, 32), stream=Stream(seed=0))


def assert_shares(values: np.ndarray, expected: dict[int, float]) -> None:
    found = [np.count_nonzero(values == value) for value in expected]
    assert sum(found) == values.size
    assert stats.chisquare(found, np.array(list(expected.values())) * values.size).pvalue > 1e-6


def test_rounds_and_partners_of_pixmix():
    plan = sample(PixMix())
    stage, copies = plan.find(PixMixStage), plan.find(Copies)
    assert stage is not None
    assert copies is not None
    is_taken = stage.operator[0] > 0
    assert_shares(is_taken.sum(1), dict.fromkeys(range(5), 0.2))
    assert (np.diff(is_taken.astype(int)) <= 0).all()  # rounds follow each other
    assert_shares(stage.operator[0][is_taken], {1: 0.5, 2: 0.5})
    assert_shares(stage.is_picture[0][is_taken].astype(int), {0: 0.5, 1: 0.5})
    assert not stage.is_picture[0][~is_taken].any()
    op = copies.op[0, ..., 0]
    assert_shares((op[:, 0] > 0).astype(int), {0: 0.5, 1: 0.5})
    np.testing.assert_array_equal(op[:, 1:] > 0, is_taken & ~stage.is_picture[0])
    assert_shares(op[op > 0], dict.fromkeys(range(1, 14), 1 / 13))
    assert_shares(stage.picture[0] // 300, dict.fromkeys(range(4), 0.25))
    assert stage.size_px == 36
    assert_shares(stage.corner[0, :, 0], dict.fromkeys(range(5), 0.2))


def test_weights_of_a_round():
    """Half Beta(3, 1) and Beta(1, 3), half 1 + Beta(1, 3) and -Beta(1, 3)."""
    stage = sample(PixMix()).find(PixMixStage)
    assert stage is not None
    a, b = (values[0].ravel().astype(float) for values in (stage.a, stage.b))
    assert_shares((b < 0).astype(int), {0: 0.5, 1: 0.5})
    assert stats.kstest(a[b > 0], stats.beta(3, 1).cdf).pvalue > 1e-6
    assert stats.kstest(b[b > 0], stats.beta(1, 3).cdf).pvalue > 1e-6
    assert stats.kstest(a[b < 0] - 1, stats.beta(1, 3).cdf).pvalue > 1e-6
    assert stats.kstest(-b[b < 0], stats.beta(1, 3).cdf).pvalue > 1e-6
    assert abs(np.corrcoef(a[b > 0], b[b > 0])[0, 1]) < 0.02


def test_chains_of_ipmix():
    plan = sample(IPMix())
    stage, copies = plan.find(IPMixStage), plan.find(Copies)
    assert stage is not None
    assert copies is not None
    op, operator = copies.op[0], stage.operator[0]
    assert not op[:, 0].any()  # the image itself
    num_ops, num_patches = (op[:, 1:] > 0).sum(-1), (operator > 0).sum(-1)
    assert not (num_ops * num_patches).any()
    assert_shares(num_patches, {0: 0.625, 1: 0.125, 2: 0.125, 3: 0.125})
    assert_shares(operator[operator > 0], dict.fromkeys(range(1, 5), 0.25))
    drawn = op[op > 0]
    found = [Op.EQUALIZE, Op.POSTERIZE, Op.ROTATE, Op.SOLARIZE, Op.SHEAR_X, Op.SHEAR_Y]
    found += [Op.TRANSLATE_X, Op.TRANSLATE_Y, Op.INVERT]
    assert_shares(drawn, dict.fromkeys(map(int, found), 1 / 9))
    # three in four chains of operations have 1, 2 or 3, of which a tenth each mirrors
    odd = np.mean([(1 - 0.8**n) / 2 for n in range(4)]) / 2
    assert stage.is_mirrored.mean() == pytest.approx(odd, abs=0.004)
    height, width = (stage.box[0][..., axis + 2] - stage.box[0][..., axis] for axis in (0, 1))
    assert height.min() == 2
    assert height.max() == 32
    is_full = (height == width) & np.isin(height, [4, 8, 16, 32])
    assert is_full.mean() == pytest.approx(
        0.5 + 0.5 * np.mean([1 / 9, 2 / 49, 3 / 225, 4 / 961]), abs=0.01
    )
    np.testing.assert_allclose(stage.weight.sum(-1), 1, atol=1e-6)
    assert stats.kstest(stage.keep.ravel()[:NUM].astype(float), stats.uniform.cdf).pvalue > 1e-6


@pytest.mark.parametrize("policy", [PixMix(), IPMix()], ids=["pixmix", "ipmix"])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (224, 224)])
def test_any_size(policy: Policy, size: tuple[int, int]):
    plan = policy.sample(np.arange(200), num_views=2, size=size, stream=Stream(seed=1))
    assert plan.num_views == 2


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        (PixMix, {"rounds": 0}, "rounds must be at least 1, got 0"),
        (PixMix, {"beta": 0.0}, "beta must be a finite number above 0, got 0.0"),
        (PixMix, {"severity": 11}, "severity must be 1..10, got 11"),
        (IPMix, {"width": 0}, "width must be at least 1, got 0"),
        (IPMix, {"alpha": np.inf}, "alpha must be a finite number above 0, got inf"),
    ],
)
def test_options_out_of_range_are_refused(policy, options, message):
    with pytest.raises(ValueError, match=message):
        policy(**options)
