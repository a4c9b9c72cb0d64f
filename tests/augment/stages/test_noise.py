"""Noise, pixel by pixel, and its distribution."""

import numpy as np
import pytest
from scipy import stats
from toy_plans import assert_equal_bits, define, draw, images_of

from augmix.augment import compiled
from augmix.augment.policies import RandomStart, Standard
from augmix.augment.stages.noise import Noise
from augmix.rng import Purpose, Stream


def test_every_pixel_of_noise() -> None:
    """The words are those that `Stream.uniforms` gives at the address, four to a pixel."""
    stream = Stream(seed=2**63 + 5, epoch=7)
    plan = draw(Standard(), 2, (5, 7), 0)
    noise = Noise(
        box=np.array([[[0, 0, 5, 7], [1, 2, 4, 6]]] * 2, np.int32),
        amplitude=np.array([[0.5, 0.1], [2.0, 0.0]], np.float32),
        address=stream.at(Purpose.NOISE).addresses(plan.ids, num_views=2),
        seed=stream.seed,
    )
    plan = plan.with_stage(noise)
    images = images_of(plan, 3)
    views = define(images, plan)
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
    assert stats.kstest(noise.ravel().astype(float), stats.uniform(-1, 2).cdf).pvalue > 1e-6
    flat = noise.reshape(2 * 64 * 3, -1)
    correlations = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlations).max() < 0.4  # of 256 values each: a standard error of 0.0625
    assert abs(np.corrcoef(noise[..., :-1].ravel(), noise[..., 1:].ravel())[0, 1]) < 0.01
