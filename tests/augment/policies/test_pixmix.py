"""PixMix and IPMix: the laws of what they draw."""

import numpy as np
import pytest
from scipy import stats

from augmix.augment.ops import Op
from augmix.augment.plan import Plan
from augmix.augment.policies import IPMix, PixMix, Policy
from augmix.augment.stages.chains import Copies
from augmix.augment.stages.pixmix import IPMix as IPMixStage
from augmix.augment.stages.pixmix import PixMix as PixMixStage
from augmix.rng import Stream

NUM = 20_000


def draw(policy: Policy, count: int = NUM) -> Plan:
    return policy.sample(np.arange(count), num_views=1, size=(32, 32), stream=Stream(seed=0))


def assert_shares(values: np.ndarray, expected: dict[int, float]) -> None:
    found = [np.count_nonzero(values == value) for value in expected]
    assert sum(found) == values.size
    assert stats.chisquare(found, np.array(list(expected.values())) * values.size).pvalue > 1e-6


def test_rounds_and_partners_of_pixmix():
    plan = draw(PixMix())
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
    stage = draw(PixMix()).find(PixMixStage)
    assert stage is not None
    a, b = (values[0].ravel().astype(float) for values in (stage.a, stage.b))
    assert_shares((b < 0).astype(int), {0: 0.5, 1: 0.5})
    assert stats.kstest(a[b > 0], stats.beta(3, 1).cdf).pvalue > 1e-6
    assert stats.kstest(b[b > 0], stats.beta(1, 3).cdf).pvalue > 1e-6
    assert stats.kstest(a[b < 0] - 1, stats.beta(1, 3).cdf).pvalue > 1e-6
    assert stats.kstest(-b[b < 0], stats.beta(1, 3).cdf).pvalue > 1e-6
    assert abs(np.corrcoef(a[b > 0], b[b > 0])[0, 1]) < 0.02


def test_chains_of_ipmix():
    plan = draw(IPMix())
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
