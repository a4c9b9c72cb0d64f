"""TrivialAugment: the strengths of the published code, and the laws of the draws."""

import numpy as np
import pytest

from augmix.augment.ops import ALL_OPS, Op
from augmix.augment.policies import AugMix, TrivialAugment
from augmix.rng import Stream


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
