"""The stage of AFA against the published text, pixel by pixel, and the laws of its draws."""

import math

import numpy as np
import pytest

from augmix.augment.policies import AugMix, FourierWaves
from augmix.augment.policies.waves import Waves
from augmix.augment.stages.chains import Chains
from augmix.rng import Stream


def wave_of(size: int, frequency: float, angle: float, strength: float) -> np.ndarray:
    """sin(2 pi f (u cos a + v sin a) - pi / 4) on linspace(-S/2, S/2, S), of a given length."""
    result = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            u = -size / 2 + size * column / (size - 1)
            v = -size / 2 + size * row / (size - 1)
            along = u * math.cos(angle) + v * math.sin(angle)
            result[row, column] = math.sin(2 * math.pi * frequency * along - math.pi / 4)
    length = math.sqrt(sum(value**2 for value in result.ravel()))
    return result / length * (size / 32) * strength


@pytest.mark.parametrize("size", [8, 33])
def test_the_waves_are_those_of_the_text(size: int):
    rng = np.random.default_rng(0)
    views = rng.random((1, 2, 3, size, size)).astype(np.float32)
    stage = Waves(
        frequency=rng.random((1, 2, 3)).astype(np.float32),
        angle=(np.pi * rng.random((1, 2, 3))).astype(np.float32),
        strength=np.array([[[10.0, 2.0, 0.5], [0.0, 0.0, 0.0]]], np.float32),
    )
    got = stage.apply(views)
    np.testing.assert_array_equal(got[0, 1], views[0, 1])
    for channel in range(3):
        wave = wave_of(
            size, *(float(a[0, 0, channel]) for a in (stage.frequency, stage.angle, stage.strength))
        )
        expected = np.clip(views[0, 0, channel] + wave, 0, 1)
        np.testing.assert_allclose(got[0, 0, channel], expected, atol=1e-6)


def test_the_laws_of_the_draws():
    plan = FourierWaves(wave_min=2.0).sample(
        np.arange(20_000), num_views=1, size=(16, 24), stream=Stream(seed=2)
    )
    stage = plan.find(Waves)
    assert stage is not None
    frequency = np.unique((stage.frequency * 16).round(4))
    np.testing.assert_allclose(frequency, np.arange(1, 17))
    assert len(np.unique(stage.angle)) == 448
    assert stage.angle.min() == 0
    assert stage.angle.max() == pytest.approx(math.pi, abs=1e-6)
    assert stage.strength.min() >= 2
    assert float(stage.strength.mean()) == pytest.approx(12, abs=0.2)
    assert float(stage.strength.std()) == pytest.approx(10, abs=0.2)


def test_the_last_view_is_the_clean_one_with_waves():
    policy, ids, stream = FourierWaves(base=AugMix()), np.arange(6), Stream(seed=2)
    plan = policy.sample(ids, num_views=3, size=(8, 8), stream=stream)
    base = AugMix().sample(ids, num_views=2, size=(8, 8), stream=stream)
    chains, waves = plan.find(Chains), plan.find(Waves)
    assert chains is not None
    assert waves is not None
    np.testing.assert_array_equal(chains.op[:2], base.op)
    assert (chains.mix[2] == 0).all()
    assert ((waves.strength > 0).all(axis=-1) == [[False] * 6, [False] * 6, [True] * 6]).all()
