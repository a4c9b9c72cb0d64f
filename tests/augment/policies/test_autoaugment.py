"""AutoAugment and TrivialAugment: published tables and strengths, and the laws of the draws."""

import numpy as np
import pytest
from scipy import stats

from augmix.augment.ops import ALL_OPS, Op
from augmix.augment.plan import Plan
from augmix.augment.policies import AugMix, AutoAugment, RandomAA, TrivialAugment
from augmix.augment.policies.autoaugment import OVERLAPPING, TABLES, magnitude_to_amount
from augmix.rng import Stream

NUM = 60_000
GOLDEN_OPS = [[[1, 0], [9, 9], [11, 0]], [[0, 0], [10, 0], [2, 0]]]
GOLDEN_AMOUNTS = [
    [[0, 0], [-14.501510574018127, -14.501510574018127], [1.7000000000000002, 0]],
    [[0, 0], [0.09999999999999998, 0], [0, 0]],
]
SIZE = (48, 96)

# the tables as the paper prints them, to be compared with the ones of the program
CIFAR10 = """
Invert .1 7 Contrast .2 6 | Rotate .7 2 TranslateX .3 9 | Sharpness .8 1 Sharpness .9 3
ShearY .5 8 TranslateY .7 9 | AutoContrast .5 8 Equalize .9 2 | ShearY .2 7 Posterize .3 7
Color .4 3 Brightness .6 7 | Sharpness .3 9 Brightness .7 9 | Equalize .6 5 Equalize .5 1
Contrast .6 7 Sharpness .6 5 | Color .7 7 TranslateX .5 8 | Equalize .3 7 AutoContrast .4 8
TranslateY .4 3 Sharpness .2 6 | Brightness .9 6 Color .2 8 | Solarize .5 2 Invert .0 3
Equalize .2 0 AutoContrast .6 0 | Equalize .2 8 Equalize .6 4 | Color .9 9 Equalize .6 6
AutoContrast .8 4 Solarize .2 8 | Brightness .1 3 Color .7 0 | Solarize .4 5 AutoContrast .9 3
TranslateY .9 9 TranslateY .7 9 | AutoContrast .9 2 Solarize .8 3 | Equalize .8 8 Invert .1 3
TranslateY .7 9 AutoContrast .9 1
"""
IMAGENET = """
Posterize .4 8 Rotate .6 9 | Solarize .6 5 AutoContrast .6 5 | Equalize .8 8 Equalize .6 3
Posterize .6 7 Posterize .6 6 | Equalize .4 7 Solarize .2 4 | Equalize .4 4 Rotate .8 8
Solarize .6 3 Equalize .6 7 | Posterize .8 5 Equalize 1 2 | Rotate .2 3 Solarize .6 8
Equalize .6 8 Posterize .4 6 | Rotate .8 8 Color .4 0 | Rotate .4 9 Equalize .6 2
Equalize 0 7 Equalize .8 8 | Invert .6 4 Equalize 1 8 | Color .6 4 Contrast 1 8
Rotate .8 8 Color 1 2 | Color .8 8 Solarize .8 7 | Sharpness .4 7 Invert .6 8
ShearX .6 5 Equalize 1 9 | Color .4 0 Equalize .6 3 | Equalize .4 7 Solarize .2 4
Solarize .6 5 AutoContrast .6 5 | Invert .6 4 Equalize 1 8 | Color .6 4 Contrast 1 8
Equalize .8 8 Equalize .6 3
"""
NAMES = {op.name.replace("_", "").lower(): op for op in Op}


def parse(text: str) -> list[tuple]:
    pairs = [pair.split() for line in text.strip().splitlines() for pair in line.split("|")]
    return [
        tuple((NAMES[words[at].lower()], float(words[at + 1]), int(words[at + 2])) for at in (0, 3))
        for words in pairs
    ]


@pytest.mark.parametrize(("name", "text"), [("cifar10", CIFAR10), ("imagenet", IMAGENET)])
def test_the_tables_are_the_published_ones(name: str, text: str):
    assert len(TABLES[name]) == 25
    assert list(TABLES[name]) == parse(text)


def draw(policy: AutoAugment | RandomAA, count: int = NUM, **options) -> Plan:
    return policy.sample(np.arange(count), num_views=1, size=SIZE, stream=Stream(seed=0), **options)


def expected_chains(table: str, full: bool) -> dict[tuple[int, ...], float]:
    """Every chain of operations and its probability, by enumeration."""
    shares: dict[tuple[int, ...], float] = {}
    for first, second in TABLES[table]:
        for one in (False, True):
            for two in (False, True):
                share = (first[1] if one else 1 - first[1]) * (second[1] if two else 1 - second[1])
                steps = [step[0] for step, is_on in ((first, one), (second, two)) if is_on]
                chain = tuple(int(op) for op in steps if full or op not in OVERLAPPING)
                shares[chain] = shares.get(chain, 0.0) + share / 25
    return {chain: share for chain, share in shares.items() if share > 0}


@pytest.mark.parametrize("full", [False, True], ids=["star", "full"])
@pytest.mark.parametrize("table", ["cifar10", "imagenet"])
def test_chains_are_drawn_with_the_tables_probabilities(table, full: bool):
    plan = draw(AutoAugment(table=table, full=full))
    assert plan.op.shape == (1, NUM, 1, 2)
    np.testing.assert_array_equal(plan.mix, 1)
    np.testing.assert_array_equal(plan.weight, 1)
    expected = expected_chains(table, full)
    drawn = [tuple(op for op in chain if op) for chain in plan.op[0, :, 0].tolist()]
    counts = {chain: drawn.count(chain) for chain in expected}
    assert sum(counts.values()) == NUM
    shares = np.array(list(expected.values()))
    assert stats.chisquare(list(counts.values()), shares / shares.sum() * NUM).pvalue > 1e-6


def test_the_star_never_overlaps_with_the_corruptions():
    assert not np.isin(draw(AutoAugment()).op, OVERLAPPING).any()
    assert np.isin(draw(AutoAugment(full=True), 2000).op, OVERLAPPING).any()


def test_chains_have_no_holes():
    used = draw(AutoAugment()).op != Op.NONE
    assert (used[..., :-1] >= used[..., 1:]).all()


def test_signs_are_even():
    plan = draw(AutoAugment(full=True))
    for op in (Op.ROTATE, Op.TRANSLATE_X, Op.TRANSLATE_Y, Op.SHEAR_Y):
        amounts = plan.amount[plan.op == op]
        assert abs((amounts > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(amounts.size)
    factors = plan.amount[plan.op == Op.BRIGHTNESS]
    assert abs((factors > 1).mean() - 0.5) < 5 * 0.5 / np.sqrt(factors.size)


@pytest.mark.parametrize("magnitude", range(10))
def test_magnitudes(magnitude: int):
    """Ten values from nothing to the largest, in plain Python."""
    enhancement = 1 - 0.1 * magnitude
    expected = {
        Op.SHEAR_X: -magnitude / 30,
        Op.SHEAR_Y: -magnitude / 30,
        Op.TRANSLATE_X: -magnitude / 9 * 150 / 331 * 96,
        Op.TRANSLATE_Y: -magnitude / 9 * 150 / 331 * 48,
        Op.ROTATE: -30 * magnitude / 9,
        Op.COLOR: enhancement,
        Op.CONTRAST: enhancement,
        Op.BRIGHTNESS: enhancement,
        Op.SHARPNESS: enhancement,
        Op.POSTERIZE: (8, 8, 7, 7, 6, 6, 5, 5, 4, 4)[magnitude],
        Op.EQUALIZE: 0,
        Op.AUTOCONTRAST: 0,
        Op.INVERT: 0,
        Op.NONE: 0,
    }
    op = np.array(list(expected), np.int8)
    levels, sign = np.full(op.shape, magnitude), -np.ones(op.shape)
    np.testing.assert_allclose(
        magnitude_to_amount(op, levels, sign, SIZE), list(expected.values()), rtol=1e-12, atol=1e-12
    )
    # a level is inverted where it is not below the threshold, which may be a fraction
    threshold = magnitude_to_amount(np.array([Op.SOLARIZE], np.int8), levels[:1], sign[:1], SIZE)[0]
    for level in range(256):
        assert (level >= threshold) == (level >= 256 * (1 - magnitude / 9))


def test_views_and_crops_are_drawn_by_address():
    policy = AutoAugment(crop_padding=4, flip=True)
    ids, stream = np.array([9, 3, 70000]), Stream(seed=5).at(epoch=2)
    whole = policy.sample(ids, num_views=3, size=SIZE, stream=stream)
    part = policy.sample(ids[[2, 0]], num_views=2, size=SIZE, stream=stream)
    for name in ("op", "amount"):
        np.testing.assert_array_equal(getattr(whole, name)[:2][:, [2, 0]], getattr(part, name))
    np.testing.assert_array_equal(whole.crop[[2, 0]], part.crop)
    augmix = AugMix(crop_padding=4, flip=True).sample(ids, num_views=1, size=SIZE, stream=stream)
    np.testing.assert_array_equal(whole.crop, augmix.crop)


def test_golden_chains():
    """Kept as drawn: a change here changes everybody's runs."""
    plan = AutoAugment(full=True).sample(
        np.array([3, 70000, 5]), num_views=2, size=(32, 48), stream=Stream(seed=2026)
    )
    assert plan.op[:, :, 0].tolist() == GOLDEN_OPS
    np.testing.assert_allclose(plan.amount[:, :, 0], GOLDEN_AMOUNTS, rtol=1e-15)


def test_random_aa_is_a_chain_of_augmix_unmixed():
    options = {"severity": 5, "ops": "all", "crop_padding": 4, "flip": True}
    ids, stream = np.arange(300), Stream(seed=2)
    plan = RandomAA(**options).sample(ids, num_views=2, size=SIZE, stream=stream)
    augmix = AugMix(width=1, **options).sample(ids, num_views=2, size=SIZE, stream=stream)
    for name in ("op", "amount", "crop", "flip"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(augmix, name))
    np.testing.assert_array_equal(plan.mix, 1)
    np.testing.assert_array_equal(plan.weight, 1)


def test_random_aa_draws_depths_and_operations_evenly():
    plan = draw(RandomAA())
    depth = (plan.op[0, :, 0] != Op.NONE).sum(-1)
    assert stats.chisquare(np.bincount(depth)[1:]).pvalue > 1e-6
    ops = plan.op[plan.op != Op.NONE]
    counts = np.bincount(ops)[1:]
    assert len(counts) == 9
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AutoAugment(crop_padding=-1), "crop_padding must be at least 0 pixels, got -1"),
        (lambda: RandomAA(severity=0), "severity must be 1..10, got 0"),
        (lambda: RandomAA(depth=0), "depth must be at least 1, or None for random, got 0"),
        (lambda: RandomAA(crop_padding=-1), "crop_padding must be at least 0 pixels, got -1"),
    ],
    ids=["padding", "severity", "depth", "random padding"],
)
def test_bad_options(make, message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize(("size", "table"), [((64, 99), "cifar10"), ((65, 65), "imagenet")])
def test_a_table_left_to_the_policy_goes_by_size(size, table) -> None:
    ids, stream = np.arange(30), Stream(seed=0)
    chosen, stated = (
        AutoAugment(table=each).sample(ids, num_views=1, size=size, stream=stream)
        for each in (None, table)
    )
    np.testing.assert_array_equal(chosen.op, stated.op)
    np.testing.assert_array_equal(chosen.amount, stated.amount)


def wide_amounts(op: Op) -> set[float]:
    """All amounts of an operation, as the text of automl/trivialaugment has them."""
    found = set()
    for level in range(31):
        if op == Op.POSTERIZE:
            found.add(8.0 - level * 6 // 30)
        elif op == Op.SOLARIZE:
            found.add(256.0 - level * 256 // 30)
        elif op == Op.ROTATE:
            found |= {float(level * 135 // 30), -float(level * 135 // 30)}
        elif op in (Op.TRANSLATE_X, Op.TRANSLATE_Y):
            found |= {float(level * 32 // 30), -float(level * 32 // 30)}
        elif op in (Op.SHEAR_X, Op.SHEAR_Y):
            found |= {level * 0.99 / 30, -level * 0.99 / 30}
        elif op in (Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS):
            found.add(level * (2.0 - 0.01) / 30 + 0.01)
        else:
            found.add(0.0)
    return found


def test_operations_and_strengths_are_the_published_ones():
    plan = TrivialAugment().sample(
        np.arange(30_000), num_views=1, size=(224, 96), stream=Stream(seed=5)
    )
    assert plan.op.shape == (1, 30_000, 1, 1)
    assert (plan.mix == 1).all()
    ops, amounts = plan.op.ravel(), plan.amount.ravel()
    for op in (Op.NONE, *ALL_OPS):
        chosen = ops == op
        assert chosen.mean() == pytest.approx(1 / 14, abs=0.006)
        expected = np.array(sorted(wide_amounts(op)))
        drawn = np.unique(amounts[chosen].round(9))
        np.testing.assert_allclose(drawn, np.unique(expected.round(9)), atol=1e-9)


def test_chains_of_augmix_draw_from_the_wide_space():
    plan = AugMix(ops="wide", severity=10).sample(
        np.arange(4000), num_views=1, size=(32, 32), stream=Stream(seed=5)
    )
    rotated = plan.amount[plan.op == Op.ROTATE]
    assert 125 < np.abs(rotated).max() < 135
    bits = plan.amount[plan.op == Op.POSTERIZE]
    assert set(bits) == {3.0, 4.0, 5.0, 6.0, 7.0, 8.0}
    factors = plan.amount[plan.op == Op.COLOR]
    assert 0.01 < factors.min() < 0.1
    assert 1.9 < factors.max() < 2
    mild = AugMix(ops="wide", severity=1).sample(
        np.arange(4000), num_views=1, size=(32, 32), stream=Stream(seed=5)
    )
    assert np.abs(mild.amount[mild.op == Op.ROTATE]).max() <= 13
