"""Policies: the distributions of the method, and draws that depend on the address alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from augmix import transforms
from augmix.augment import render
from augmix.augment.ops import ALL_OPS, PAPER_OPS, Op, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies import AugMix, Standard
from augmix.rng import Stream

NUM = 200_000
SIZE = (48, 96)  # height and width differ, so that translations show which one they use


@pytest.fixture(scope="module")
def many() -> Plan:
    return AugMix(severity=3, ops="all", crop_padding=4, flip=True).sample(
        np.arange(NUM), num_views=1, size=SIZE, stream=Stream(seed=0)
    )


def assert_share(share: float, expected: float, count: int) -> None:
    """A share of independent trials lies within 5 standard deviations of its probability."""
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / count)


def test_depth_is_uniform(many: Plan):
    depth = (many.op != Op.NONE).sum(-1)
    for value in (1, 2, 3):
        assert_share((depth == value).mean(), 1 / 3, depth.size)


def test_chains_have_no_holes(many: Plan):
    used = many.op != Op.NONE
    assert (used[..., :-1] >= used[..., 1:]).all()


def test_operations_are_uniform(many: Plan):
    ops = many.op[many.op != Op.NONE]
    for op in ALL_OPS:
        assert_share((ops == op).mean(), 1 / 13, ops.size)


def test_paper_operations():
    plan = AugMix().sample(np.arange(20_000), num_views=1, size=SIZE, stream=Stream(seed=1))
    ops = plan.op[plan.op != Op.NONE]
    assert set(ops.tolist()) == {int(op) for op in PAPER_OPS}
    for op in PAPER_OPS:
        assert_share((ops == op).mean(), 1 / 9, ops.size)


def assert_distribution(values, expected) -> None:
    """Kolmogorov-Smirnov at 1e-6, less what float32 rounds to exactly 0 or 1."""
    rounded = expected.cdf(2.0**-150) + expected.sf(1 - 2.0**-25)
    distance = stats.kstest(values.astype(np.float64), expected.cdf).statistic
    assert distance < stats.kstwo.isf(1e-6, values.size) + rounded


@pytest.mark.parametrize("alpha", [0.05, 1.0, 10.0])
def test_weights_are_dirichlet_and_share_is_beta(alpha: float):
    plan = AugMix(alpha=alpha, width=4).sample(
        np.arange(NUM), num_views=1, size=(32, 32), stream=Stream(seed=2)
    )
    np.testing.assert_allclose(plan.weight.sum(-1), 1, atol=1e-6)
    # A coordinate of a symmetric Dirichlet vector of 4 is Beta(alpha, 3 alpha).
    for chain in range(4):
        assert_distribution(plan.weight[0, :, chain], stats.beta(alpha, 3 * alpha))
    assert_distribution(plan.mix[0], stats.beta(alpha, alpha))
    # The coordinates of a Dirichlet vector are correlated by -1 / (k - 1).
    assert abs(np.corrcoef(plan.weight[0].T)[0, 1] + 1 / 3) < 0.02


@pytest.mark.parametrize(
    ("op", "lowest", "highest", "mean"),
    [  # at severity 3: levels uniform in [0.1, 3]
        (Op.POSTERIZE, 3, 4, 4 - 0.5 / 2.9),
        (Op.SOLARIZE, 180, 254, None),
        (Op.ROTATE, -8, 8, 0.0),
        (Op.SHEAR_X, -0.09, 0.09, 0.0),
        (Op.SHEAR_Y, -0.09, 0.09, 0.0),
        (Op.TRANSLATE_X, -9, 9, 0.0),
        (Op.TRANSLATE_Y, -4, 4, 0.0),
        (Op.COLOR, 0.118, 0.64, 0.379),
        (Op.CONTRAST, 0.118, 0.64, 0.379),
        (Op.BRIGHTNESS, 0.118, 0.64, 0.379),
        (Op.SHARPNESS, 0.118, 0.64, 0.379),
    ],
)
def test_amounts(many: Plan, op: Op, lowest: float, highest: float, mean: float | None):
    amounts = many.amount[many.op == op]
    assert amounts.min() >= lowest
    assert amounts.max() <= highest
    spread = highest - lowest
    assert amounts.min() < lowest + 0.01 * spread
    assert amounts.max() > highest - 0.01 * spread
    if mean is not None:
        assert abs(amounts.mean() - mean) < 5 * amounts.std() / np.sqrt(amounts.size)
    if lowest < 0:
        signed = amounts[amounts != 0]
        assert_share((signed > 0).mean(), 0.5, signed.size)


def test_operations_without_amount(many: Plan):
    for op in (Op.NONE, Op.AUTOCONTRAST, Op.EQUALIZE):
        assert not many.amount[many.op == op].any()


@pytest.mark.parametrize("severity", range(1, 11))
def test_levels_map_as_the_released_code(severity: int):
    """The table of the published parameters, one level at a time, in plain Python."""
    generator = np.random.default_rng(severity)
    for level in [0.1, severity, *generator.uniform(0.1, severity, 200)]:
        expected = {
            Op.POSTERIZE: 4 - int(level * 4 / 10),
            Op.SOLARIZE: 256 - int(level * 256 / 10),
            Op.ROTATE: -int(level * 30 / 10),
            Op.SHEAR_X: -(float(level) * 0.3 / 10.0),
            Op.SHEAR_Y: -(float(level) * 0.3 / 10.0),
            Op.TRANSLATE_X: -int(level * (224 / 3) / 10),
            Op.TRANSLATE_Y: -int(level * (32 / 3) / 10),
            Op.COLOR: float(level) * 1.8 / 10.0 + 0.1,
            Op.CONTRAST: float(level) * 1.8 / 10.0 + 0.1,
            Op.BRIGHTNESS: float(level) * 1.8 / 10.0 + 0.1,
            Op.SHARPNESS: float(level) * 1.8 / 10.0 + 0.1,
            Op.EQUALIZE: 0.0,
        }
        op = np.array(list(expected), np.int8)
        levels = np.full(op.shape, float(level))
        got = level_to_amount(op, levels, -np.ones(op.shape), (32, 224))
        assert got.tolist() == [float(value) for value in expected.values()]


def test_crops_and_flips(many: Plan):
    assert_share(many.flip.mean(), 0.5, NUM)
    for axis in (0, 1):
        for offset in range(9):
            assert_share((many.crop[:, axis] == offset).mean(), 1 / 9, NUM)


def test_what_is_not_asked_for_is_not_drawn():
    plan = AugMix().sample(np.arange(100), num_views=1, size=(8, 8), stream=Stream(seed=0))
    assert not plan.flip.any()
    assert not plan.crop.any()
    flipped = AugMix(flip=True).sample(
        np.arange(100), num_views=1, size=(8, 8), stream=Stream(seed=0)
    )
    assert flipped.flip.any()
    assert not flipped.crop.any()


@settings(max_examples=30)
@given(
    ids=st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=12),
    alpha=st.sampled_from([0.3, 1.0, 4.0]),
    epoch=st.integers(0, 1000),
)
def test_a_draw_depends_on_its_address_alone(ids, alpha, epoch):
    policy = AugMix(alpha=alpha, crop_padding=4, flip=True)
    stream = Stream(seed=11).at(epoch=epoch)
    whole = policy.sample(np.array(ids), num_views=3, size=(32, 32), stream=stream)
    order = np.argsort(ids)[::-1]
    shuffled = policy.sample(np.array(ids)[order], num_views=2, size=(32, 32), stream=stream)
    for name in ("op", "amount", "weight", "mix"):
        left, right = getattr(whole, name)[:2][:, order], getattr(shuffled, name)
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(whole.crop[order], shuffled.crop)
    np.testing.assert_array_equal(whole.flip[order], shuffled.flip)


@pytest.mark.parametrize(
    "other", [Stream(seed=1), Stream(seed=0, epoch=1)], ids=["other seed", "other epoch"]
)
def test_seeds_and_epochs_differ(other: Stream):
    ids = np.arange(50)
    first = AugMix().sample(ids, num_views=1, size=(32, 32), stream=Stream(seed=0))
    second = AugMix().sample(ids, num_views=1, size=(32, 32), stream=other)
    assert not np.isin(first.mix, second.mix).any()
    assert (first.op != second.op).any(axis=(0, 2, 3)).all()


def test_views_and_ids_differ():
    plan = AugMix().sample(np.arange(500), num_views=4, size=(32, 32), stream=Stream(seed=0))
    assert len(np.unique(plan.mix)) == plan.mix.size


def golden() -> Plan:
    policy = AugMix(severity=5, ops="all", crop_padding=4, flip=True)
    return policy.sample(
        np.array([3, 70000]), num_views=2, size=(32, 48), stream=Stream(seed=2026).at(epoch=4)
    )


def test_golden_plan():
    """Kept as drawn by version 0.1: a change here changes everybody's runs."""
    plan = golden()
    assert plan.op.tolist() == [
        [[[10, 4, 5], [5, 8, 0], [11, 0, 0]], [[11, 13, 0], [8, 5, 0], [7, 13, 0]]],
        [[[2, 5, 4], [11, 13, 0], [3, 4, 0]], [[12, 12, 2], [3, 11, 0], [9, 12, 7]]],
    ]
    assert plan.amount.ravel().tolist() == [
        *(0.9299082577105146, 0, 165, 199, 3, 0, 0.1467706540094223, 0, 0),
        *(0.5688564943589737, 0.7977923908128869, 0, -4, 171, 0),
        *(-0.0655525225274032, 0.8034973827514332, 0),
        *(0, 185, 4, 0.450352273011813, 0.4724462447122205, 0, 4, 5, 0),
        *(0.8286389554406051, 0.7381595128087793, 0, 4, 0.21809629730624147, 0),
        *(-4, 0.19665527158393525, -0.13901618070190308),
    ]
    np.testing.assert_allclose(
        plan.weight.reshape(4, 3),
        [
            [0.3894781172275543, 0.4514123797416687, 0.15910951793193817],
            [0.3506692945957184, 0.2129909098148346, 0.436339795589447],
            [0.11462906748056412, 0.5342628955841064, 0.3511080741882324],
            [0.4952768087387085, 0.4786396622657776, 0.026083512231707573],
        ],
        rtol=2e-7,  # logarithms may differ in the last bit between platforms
    )
    np.testing.assert_array_equal(
        plan.mix,
        np.array(
            [
                [0.049829527735710144, 0.5184417366981506],
                [0.642651379108429, 0.8208571076393127],
            ],
            np.float32,
        ),
    )
    assert plan.crop.tolist() == [[0, 3], [8, 8]]
    assert plan.flip.tolist() == [True, False]


def test_golden_plan_with_other_concentration():
    plan = AugMix(alpha=0.3).sample(
        np.array([3]), num_views=1, size=(32, 32), stream=Stream(seed=2026)
    )
    expected = [0.9991620779037476, 0.0008321084314957261, 5.817350029246882e-06]
    np.testing.assert_allclose(plan.weight[0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(plan.mix[0, 0], 0.24383728206157684, rtol=1e-6)


def test_another_process_draws_the_same():
    code = (
        "import numpy as np; from augmix import AugMix, Stream;"
        "plan = AugMix(severity=5, ops='all', crop_padding=4, flip=True).sample("
        "np.array([70000, 3]), num_views=2, size=(32, 48), stream=Stream(seed=2026).at(epoch=4));"
        "print(plan.amount[:, ::-1].ravel().tolist(), plan.mix[:, ::-1].ravel().tolist())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    plan = golden()
    assert output.strip() == f"{plan.amount.ravel().tolist()} {plan.mix.ravel().tolist()}"


def test_fixed_depth_and_width():
    plan = AugMix(depth=5, width=1).sample(
        np.arange(10), num_views=1, size=(32, 32), stream=Stream(seed=0)
    )
    assert plan.op.shape == (1, 10, 1, 5)
    assert (plan.op != Op.NONE).all()
    np.testing.assert_array_equal(plan.weight, 1)


def test_standard_has_the_crops_of_augmix():
    ids, stream = np.arange(50), Stream(seed=0).at(epoch=2)
    standard = Standard(crop_padding=4, flip=True).sample(
        ids, num_views=1, size=(32, 32), stream=stream
    )
    augmix = AugMix(crop_padding=4, flip=True).sample(
        ids, num_views=2, size=(32, 32), stream=stream
    )
    np.testing.assert_array_equal(standard.crop, augmix.crop)
    np.testing.assert_array_equal(standard.flip, augmix.flip)
    assert not standard.mix.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"severity": 0}, "severity must be 1..10, got 0"),
        ({"severity": 11}, "severity must be 1..10, got 11"),
        ({"width": 0}, "width must be at least 1 chain, got 0"),
        ({"depth": 0}, "depth must be at least 1, or None for random, got 0"),
        ({"alpha": 0.0}, "alpha must be a finite number above 0, got 0"),
        ({"alpha": float("nan")}, "alpha must be a finite number above 0, got nan"),
        ({"crop_padding": -1}, "crop_padding must be at least 0 pixels, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        AugMix(**options)


def test_unknown_ops_are_refused():
    # Types are not checked outside of the tests, so this mistake reaches the policy's own check.
    code = "import augmix; augmix.AugMix(ops='some')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ValueError: ops must be one of paper, all, wide, or names of operations" in run.stderr


def test_bad_requests():
    with pytest.raises(ValueError, match="num_views must be at least 1, got 0"):
        AugMix().sample(np.arange(2), num_views=0, size=(8, 8), stream=Stream(seed=0))
    with pytest.raises(ValueError, match="size must be at least 1x1 pixel, got 0x8"):
        AugMix().sample(np.arange(2), num_views=1, size=(0, 8), stream=Stream(seed=0))


def test_operations_by_name_are_those_and_no_others() -> None:
    policy = AugMix(ops=("rotate", "posterize"), depth=2)
    plan = policy.sample(np.arange(40), num_views=2, size=(16, 16), stream=Stream(seed=3))
    assert set(np.unique(plan.op)) == {Op.ROTATE, Op.POSTERIZE}
    every = AugMix(ops=tuple(op.name.lower() for op in PAPER_OPS), depth=2)
    same = AugMix(depth=2)
    plans = [
        each.sample(np.arange(40), num_views=2, size=(16, 16), stream=Stream(seed=3))
        for each in (every, same)
    ]
    assert np.array_equal(plans[0].op, plans[1].op)
    assert np.array_equal(plans[0].amount, plans[1].amount)
    with pytest.raises(ValueError, match="names of operations.*got 'rotat', did you mean 'rotate'"):
        AugMix(ops=("rotat",))
    with pytest.raises(ValueError, match="got none"):
        AugMix(ops=())


def test_own_functions_are_carried_out_by_pillow_and_refused_by_name_elsewhere(
    tmp_path: Path,
) -> None:
    levels = []

    def swap(picture: Image.Image, level: float) -> Image.Image:
        levels.append(level)
        return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)

    policy = AugMix(ops=(swap, "invert"), depth=1, width=1, severity=5)
    ids = np.arange(12)
    plan = policy.sample(ids, num_views=1, size=(8, 6), stream=Stream(seed=1))
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 6, 3), np.uint8)
    views = render(images, plan)
    assert levels
    assert all(0.1 <= level <= 5 for level in levels)
    for index in ids:
        image = images[index].astype(np.float32) / 255
        is_own = plan.op[0, index, 0, 0] != Op.INVERT
        changed = image[::-1] if is_own else 1 - image
        mix = plan.mix[0, index]
        expected = (1 - mix) * image + mix * changed
        np.testing.assert_allclose(views[0, index].transpose(1, 2, 0), expected, atol=1e-6)
        assert ("swap" in plan.describe(int(index))) == is_own
    for executor in ("compiled", "batched"):
        with pytest.raises(ValueError, match=f"{executor}' has no kernel for swap: .*'pillow'"):
            render(images, plan, executor=executor, device="cpu")
    with pytest.raises(ValueError, match="a file cannot hold operations of your own, got swap"):
        plan.save(tmp_path / "plan.npz")
    view = transforms.AugMix(ops=(swap,))(Image.fromarray(images[0]))
    assert view.size == (6, 8)
    with pytest.raises(ValueError, match="has no kernel for swap"):
        transforms.AugMix(ops=(swap,), executor="compiled")(images[0])

    def shrink(picture: Image.Image, level: float) -> Image.Image:
        return picture.resize((3, 3))

    with pytest.raises(ValueError, match="operation shrink must return a PIL image of the same"):
        transforms.AugMix(ops=(shrink,))(images[0])
