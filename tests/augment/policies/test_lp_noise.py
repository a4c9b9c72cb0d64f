"""The stage of Lp noise against its text, value by value, and the laws of its draws."""

import math

import numpy as np
import pytest

from augmix.augment.policies import LpNoise, RandomErasing, Standard
from augmix.augment.policies.lp_noise import LpNoiseStage as Stage
from augmix.augment.policies.lp_noise import Norm
from augmix.rng import Stream, philox4x32

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
    stage = plan.find(Stage)
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
    stage = Stage(
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
    stage = plan.find(Stage)
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
    stage = large.find(Stage)
    assert stage is not None
    grown = {1: 0.1, 2: 16 * 400_000, 3: 800, 4: 10, 5: 0.2}
    for norm, radius in grown.items():
        assert 0.95 * radius < stage.radius[stage.norm == norm].max() <= radius


def test_what_is_refused():
    with pytest.raises(ValueError, match="noise_strength must be a finite number above 0, got 0"):
        LpNoise(noise_strength=0.0)
    with pytest.raises(ValueError, match=r"erasing_probability must be in \[0, 1\], got 2"):
        RandomErasing(erasing_probability=2.0)
