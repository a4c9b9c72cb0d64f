"""Noise and holes, pixel by pixel; the distribution of noise; the order of stages on views."""

import numpy as np
import pytest
from scipy import stats
from toy_plans import assert_equal_bits, define, draw, images_of

from augmix.augment import compiled
from augmix.augment.policies import CutMix, Cutout, PatchUniform, RandomStart, Standard
from augmix.augment.stages.patches import Hole, Noise
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


def test_every_pixel_of_a_hole() -> None:
    box = np.array([[[1, 2, 4, 9], [0, 0, 0, 0], [3, 5, 3, 9]]], np.int32)  # the last two are none
    hole = Hole(box=box, fill=np.array([0.25, 0.5, 1], np.float32))
    plan = draw(Standard(), 3, (6, 9), 0, num_views=1).with_stage(hole)
    images = images_of(plan, 3)
    views = define(images, plan)[0]
    for image in range(3):
        for y in range(6):
            for x in range(9):
                inside = image == 0 and 1 <= y < 4 and 2 <= x < 9
                for channel in range(3):
                    level = np.float32(images[image, y, x, channel]) / np.float32(255)
                    expected = np.float32([0.25, 0.5, 1][channel]) if inside else level
                    assert views[image, channel, y, x] == expected
    assert_equal_bits(images, plan)
    for render in (define, compiled.render):
        with pytest.raises(ValueError, match=r"1 or 1 levels for images of 1 channel\(s\), got 3"):
            render(images[..., :1], plan)


def test_order_noise_then_hole_then_pairs() -> None:
    plan = draw(CutMix(base=Cutout(size_px=40, fill=(0.25,), base=PatchUniform())), 4, (8, 8), 0)
    views = define(images_of(plan, 3), plan)
    np.testing.assert_array_equal(views, np.float32(0.25))  # the hole covers noise, pairs its views
