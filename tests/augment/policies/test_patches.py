"""Cutout, Patch Uniform, random starts: the laws of boxes and amplitudes, draws by address."""

import numpy as np
import pytest
from scipy import stats

from augmix.augment.plan import Plan
from augmix.augment.policies import AugMix, Cutout, PatchUniform, Policy, RandomStart, Standard
from augmix.rng import Stream

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
