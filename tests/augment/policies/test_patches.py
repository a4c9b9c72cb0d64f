"""Cutout, Patch Uniform, random starts, erasing, Lp noise: laws of boxes and noise, by address."""

import math

import numpy as np
import pytest
from scipy import stats

from augmix.augment.plan import Plan
from augmix.augment.policies import (
    AugMix,
    Cutout,
    LpNoise,
    PatchUniform,
    Policy,
    RandomErasing,
    RandomStart,
    Standard,
)
from augmix.augment.policies.patches import LpNoiseStage, Norm
from augmix.rng import Stream, philox4x32

NUM = 50_000
GOLDEN_HOLES = [[[16, 9, 22, 15], [9, 0, 15, 3]]]
GOLDEN_PATCHES = [[[0, 0, 4, 5], [11, 4, 17, 10]]]
GOLDEN_AMPLITUDES = [[0.45052477717399597, 0.05835197493433952]]
SIZE = (24, 40)
IDS = np.arange(NUM)


def draw(policy: Policy, ids: np.ndarray = IDS, *, num_views: int = 1, seed: int = 0) -> Plan:
    return policy.sample(ids, num_views=num_views, size=SIZE, stream=Stream(seed=seed))


def assert_uniform(values: np.ndarray, count: int) -> None:
    """Whole numbers 0 .. count - 1 are equally likely (chi-square at 1e-6)."""
    observed = np.bincount(values.ravel(), minlength=count)
    assert len(observed) == count
    assert stats.chisquare(observed).pvalue > 1e-6


def centres(box: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the centres of squares, clipped at top and left or bottom and right."""
    result = []
    for axis in (0, 1):
        low, high = box[..., axis], box[..., axis + 2]
        from_low = low + side // 2
        from_high = high - (side - side // 2)
        result.append(np.where(low > 0, from_low, from_high))
    return result[0], result[1]


@pytest.mark.parametrize("side", [1, 7, 8])
def test_holes_are_squares_around_any_pixel(side: int):
    plan = draw(Cutout(size_px=side))
    assert plan.hole is not None
    box = plan.hole.box
    row, column = centres(box[0], side)
    assert_uniform(row, SIZE[0])
    assert_uniform(column, SIZE[1])
    assert_uniform(row * SIZE[1] + column, SIZE[0] * SIZE[1])  # and independent of each other
    expected = np.stack(
        [
            np.maximum(row - side // 2, 0),
            np.maximum(column - side // 2, 0),
            np.minimum(row - side // 2 + side, SIZE[0]),
            np.minimum(column - side // 2 + side, SIZE[1]),
        ],
        axis=-1,
    )
    np.testing.assert_array_equal(box[0], expected)


def test_the_published_square_of_cutout():
    """Side 16 of 32 pixels: rows y - 8 .. y + 8, clipped, as the released code has it."""
    plan = Cutout().sample(np.arange(4000), num_views=1, size=(32, 32), stream=Stream(seed=1))
    assert plan.hole is not None
    assert plan.hole.fill.tolist() == [0.5]
    allowed = {(max(y - 8, 0), min(y + 8, 32)) for y in range(32)}
    found = {(int(top), int(bottom)) for top, _, bottom, _ in plan.hole.box[0]}
    assert found == allowed


def test_a_hole_keeps_the_plan_below():
    base = AugMix(crop_padding=4, flip=True)
    below, over = draw(base, IDS[:50], num_views=2), draw(Cutout(base=base), IDS[:50], num_views=2)
    for name in ("op", "amount", "weight", "mix", "crop", "flip"):
        np.testing.assert_array_equal(getattr(below, name), getattr(over, name))
    assert over.hole is not None
    assert (over.hole.box[0] != over.hole.box[1]).any()


def test_clean_views_have_neither_hole_nor_noise():
    plan = draw(Cutout(base=PatchUniform(base=AugMix())), IDS[:5], num_views=2).with_clean()
    assert plan.hole is not None
    assert plan.noise is not None
    for part in (plan.hole.box, plan.noise.box, plan.noise.amplitude):
        assert not part[0].any()
        assert part[1:].any()


def test_patches_have_the_stated_sides_and_amplitudes():
    plan = draw(PatchUniform(size_px=9, amplitude=0.4))
    assert plan.noise is not None
    row, column = centres(plan.noise.box[0], 9)
    assert_uniform(row * SIZE[1] + column, SIZE[0] * SIZE[1])
    amplitude = plan.noise.amplitude[0].astype(np.float64)
    assert stats.kstest(amplitude, stats.uniform(0, 0.4).cdf).pvalue > 1e-6
    assert plan.noise.seed == 0


def test_random_sides():
    """On an image so large that few squares are clipped, none of them small for that."""
    plan = PatchUniform(size_px=6, random_size=True).sample(
        IDS[:20_000], num_views=1, size=(4000, 4000), stream=Stream(seed=0)
    )
    assert plan.noise is not None
    sides = plan.noise.box[0, :, 2:] - plan.noise.box[0, :, :2]
    np.testing.assert_array_equal(*sides[(plan.noise.box[0] % 4000 > 0).all(1)].T)
    assert_uniform(sides.max(1), 7)


def test_a_start_is_noise_everywhere():
    plan = draw(RandomStart(epsilon=0.1), IDS[:7]).with_clean()
    assert plan.noise is not None
    assert not plan.noise.box[0].any()
    assert (plan.noise.box[1] == [0, 0, *SIZE]).all()
    np.testing.assert_array_equal(plan.noise.amplitude[1], np.float32(0.1))


@pytest.mark.parametrize(
    "policy", [Cutout(), PatchUniform(), RandomStart()], ids=lambda policy: type(policy).__name__
)
def test_draws_hang_on_the_address_alone(policy: Policy):
    ids = np.array([5, 900, 3, 77])
    whole, part = draw(policy, ids, num_views=3), draw(policy, ids[[2, 0]], num_views=2)
    for name in ("hole", "noise"):
        if getattr(whole, name):
            for field in ("box", "amplitude", "address"):
                left = getattr(getattr(whole, name), field, None)
                if left is not None:
                    right = getattr(getattr(part, name), field)
                    np.testing.assert_array_equal(left[:2][:, [2, 0]], right)
    others = draw(policy, ids, seed=1), draw(policy, ids + 1)
    for other in others:
        assert not np.array_equal(fingerprint(whole), fingerprint(other))


def fingerprint(plan: Plan) -> np.ndarray:
    """Whatever a policy of this module draws for the first view."""
    if plan.hole:
        return plan.hole.box[0]
    assert plan.noise is not None
    seeds = np.full(len(plan), plan.noise.seed)
    return np.column_stack([plan.noise.box[0], plan.noise.address[0], seeds])


def test_golden_patches():
    """Kept as drawn: a change here changes everybody's runs."""
    ids = np.array([3, 70000])
    hole = draw(Cutout(size_px=6), ids).hole
    noise = draw(PatchUniform(size_px=6), ids).noise
    assert hole is not None
    assert noise is not None
    assert hole.box.tolist() == GOLDEN_HOLES
    assert noise.box.tolist() == GOLDEN_PATCHES
    np.testing.assert_array_equal(noise.amplitude, np.array(GOLDEN_AMPLITUDES, np.float32))
    assert noise.address.tolist() == [[[15 << 26, 0, 3], [15 << 26, 0, 70000]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cutout(size_px=0), "size_px of a hole must be at least 1 pixel, got 0"),
        (lambda: Cutout(fill=(1.5,)), r"fill must be 1 or 3 levels in \[0, 1\], got \(1.5,\)"),
        (lambda: Cutout(fill=(0.5, 0.5)), "fill must be 1 or 3 levels"),
        (lambda: PatchUniform(size_px=0), "size_px of a patch must be at least 1 pixel, got 0"),
        (lambda: PatchUniform(amplitude=0.0), "amplitude must be a finite number above 0, got 0"),
        (lambda: RandomStart(epsilon=-1.0), "epsilon must be a finite number above 0, got -1"),
    ],
    ids=["side", "fill", "two levels", "patch side", "amplitude", "epsilon"],
)
def test_bad_options(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Cutout(base=Cutout()), "cuts holes already"),
        (PatchUniform(base=Cutout(base=PatchUniform())), "adds noise already"),
        (RandomStart(base=Cutout()), "starts at the image itself"),
        (RandomStart(base=PatchUniform()), "starts at the image itself"),
    ],
    ids=["two holes", "two patches", "start in a hole", "start in noise"],
)
def test_what_cannot_be_laid_twice(policy: Policy, message: str):
    with pytest.raises(ValueError, match=message):
        draw(policy, IDS[:2])


def test_standard_is_the_default_base():
    plan = draw(Cutout(base=Standard(crop_padding=4, flip=True)), IDS[:100])
    assert plan.crop.any()
    assert not draw(Cutout(), IDS[:100]).crop.any()


def test_sizes_left_to_the_policy_are_the_published_ones() -> None:
    """Cutout: half the image; Patch Gaussian: 25 of 32 px, and up to 250 of 224 on ImageNet."""
    small, large = (32, 40), (224, 224)
    stream = Stream(seed=0)
    for policy, size, same in (
        (Cutout(size_px=None), small, Cutout(size_px=16)),
        (Cutout(size_px=None), large, Cutout(size_px=112)),
        (PatchUniform(size_px=None), small, PatchUniform(size_px=25)),
        (PatchUniform(size_px=None), large, PatchUniform(size_px=250, random_size=True)),
    ):
        first, second = (
            each.sample(IDS[:20], num_views=1, size=size, stream=stream) for each in (policy, same)
        )
        left, right = (first.hole, second.hole) if first.hole else (first.noise, second.noise)
        assert left is not None
        assert right is not None
        np.testing.assert_array_equal(left.box, right.box)


POWERS = {Norm.HALF: 0.5, Norm.ONE: 1.0, Norm.TWO: 2.0}


def numbers(address: np.ndarray, seed: int, block: int) -> list[float]:
    counter = np.array([[block], *[[word] for word in address]], np.uint32)
    return [(float(word) + 0.5) / 2**32 for word in philox4x32(counter, seed)[:, 0]]


def noisy(image: np.ndarray, norm: Norm, radius: float, kept: float, box, draw) -> np.ndarray:
    _, height, width = image.shape
    sizes, signs, used = {}, {}, {}
    for channel, row, column in np.ndindex(image.shape):
        u = draw(channel * height * width + row * width + column)
        if norm == Norm.TWO:
            size = abs(math.sqrt(-2 * math.log(u[0])) * math.cos(2 * math.pi * u[1]))
        elif norm == Norm.ONE:
            size = -math.log(u[0])
        elif norm == Norm.HALF:  # a Gamma(2) number is the sum of two exponential ones
            size = (-math.log(u[0]) - math.log(u[1])) ** 2
        else:
            size = u[0]
        sizes[channel, row, column] = size
        signs[channel, row, column] = -1 if u[2] < 0.5 else 1
        used[channel, row, column] = u[3] < kept
    if norm in POWERS:
        p = POWERS[norm]
        length = sum(size**p for size in sizes.values()) ** (1 / p)
        sizes = {at: size / length for at, size in sizes.items()}
    distance = draw(4 * height * width)[0] ** (1 / image.size)
    top, left, bottom, right = box
    result = image.copy()
    for at in sizes:
        if not (top <= at[1] < bottom and left <= at[2] < right and used[at]):
            continue
        if norm == Norm.IMPULSE:
            if sizes[at] < radius:
                result[at] = 1.0 if signs[at] > 0 else 0.0
        else:
            value = image[at] + signs[at] * sizes[at] * radius * distance
            result[at] = min(max(value, 0.0), 1.0)
    return result


def test_views_are_those_of_the_text():
    plan = LpNoise(base=Standard()).sample(
        np.arange(25), num_views=1, size=(5, 6), stream=Stream(seed=1)
    )
    stage = plan.find(LpNoiseStage)
    assert stage is not None
    assert set(stage.norm.ravel().tolist()) == {1, 2, 3, 4, 5}
    images = np.random.default_rng(0).random((1, 25, 3, 5, 6)).astype(np.float32)
    got = stage.apply(images)
    for index in range(25):
        expected = noisy(
            images[0, index].astype(float),
            Norm(int(stage.norm[0, index])),
            float(stage.radius[0, index]),
            float(stage.kept[0, index]),
            stage.box[0, index].tolist(),
            lambda block, index=index: numbers(stage.address[0, index], stage.seed, block),
        )
        np.testing.assert_allclose(got[0, index], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "radius"), [(Norm.HALF, 20_000.0), (Norm.ONE, 20.0), (Norm.TWO, 2.0)]
)
def test_points_have_the_norm_of_their_radius(norm: Norm, radius: float):
    shape = (1, 1, 3, 32, 32)
    stage = LpNoiseStage(
        box=np.array([[[0, 0, 32, 32]]], np.int32),
        norm=np.full((1, 1), int(norm), np.int8),
        radius=np.full((1, 1), radius, np.float32),
        kept=np.ones((1, 1), np.float32),
        address=np.zeros((1, 1, 3), np.uint32),
        seed=3,
    )
    change = stage.apply(np.full(shape, 0.5, np.float32)) - 0.5
    power = POWERS[norm]
    length = float((np.abs(change.astype(float)) ** power).sum() ** (1 / power))
    assert length == pytest.approx(radius, rel=0.01)


def test_the_laws_of_the_draws():
    plan = LpNoise().sample(np.arange(20_000), num_views=1, size=(32, 32), stream=Stream(seed=1))
    stage = plan.find(LpNoiseStage)
    assert stage is not None
    largest = {1: 0.1, 2: 400_000, 3: 200, 4: 5, 5: 0.2}
    for norm, radius in largest.items():
        chosen = stage.norm == norm
        assert float(chosen.mean()) == pytest.approx(0.2, abs=0.01)
        assert 0.98 * radius < stage.radius[chosen].max() <= radius
        assert float(stage.radius[chosen].mean()) == pytest.approx(radius / 2, rel=0.04)
    box = stage.box[0].astype(float)
    height, width = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    assert 0.3 < float((height * width / 1024).mean()) < 0.5
    hole = plan.hole
    assert hole is not None
    area = (hole.box[0, :, 2] - hole.box[0, :, 0]) * (hole.box[0, :, 3] - hole.box[0, :, 1])
    assert float((area > 0).mean()) == pytest.approx(0.3, abs=0.01)
    assert float(area[area > 0].mean()) / 1024 == pytest.approx(0.175, abs=0.02)
    large = LpNoise().sample(np.arange(4000), num_views=1, size=(64, 64), stream=Stream(seed=1))
    stage = large.find(LpNoiseStage)
    assert stage is not None
    grown = {1: 0.1, 2: 16 * 400_000, 3: 800, 4: 10, 5: 0.2}
    for norm, radius in grown.items():
        assert 0.95 * radius < stage.radius[stage.norm == norm].max() <= radius


def test_what_is_refused():
    with pytest.raises(ValueError, match="noise_strength must be a finite number above 0, got 0"):
        LpNoise(noise_strength=0.0)
    with pytest.raises(ValueError, match=r"erasing_probability must be in \[0, 1\], got 2"):
        RandomErasing(erasing_probability=2.0)
