"""Noise2Net: value by value against loops, the torch form, and the laws of its draws."""

import math

import numpy as np
import pytest
from scipy import stats
from toy_plans import draw, images_of

from augmix.augment import batched, render
from augmix.augment.policies import AugMix, Noise2Net, Standard
from augmix.augment.policies.noise2net import NoiseNet, parse_layers
from augmix.rng import Purpose, Stream

EVERY = Noise2Net(probability=1.0)


def normalize(maps: list[list[list[float]]]) -> list[list[list[float]]]:
    result = []
    for rows in maps:
        values = [value for row in rows for value in row]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        result.append([[(v - mean) / math.sqrt(variance + 1e-5) for v in row] for row in rows])
    return result


def convolve(maps, draws, outputs: int, size: int, dilation: int):
    """Weights are taken one after another: outputs, then inputs, rows and columns."""
    height, width, fan_in = len(maps[0]), len(maps[0][0]), len(maps) * size * size
    result = []
    for _ in range(outputs):
        total = [[0.0] * width for _ in range(height)]
        for plane in maps:
            for dy in range(size):
                for dx in range(size):
                    weight = (2 * next(draws) - 1) / math.sqrt(fan_in)
                    for y in range(height):
                        for x in range(width):
                            row = y + (dy - size // 2) * dilation
                            column = x + (dx - size // 2) * dilation
                            if 0 <= row < height and 0 <= column < width:
                                total[y][x] += weight * plane[row][column]
        result.append(total)
    return normalize(result)


def rectify(maps):
    return [[[max(value, 0.0) for value in row] for row in plane] for plane in maps]


def add(first, second, factor: float = 1.0):
    return [
        [[a + factor * b for a, b in zip(p, q, strict=True)] for p, q in zip(r, s, strict=True)]
        for r, s in zip(first, second, strict=True)
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_value(channels: int):
    plan = draw(EVERY, 1, (3, 4), 9, num_views=1)
    stage = plan.find(NoiseNet)
    assert stage is not None
    images = images_of(plan, channels)
    at = Stream(seed=9).at(Purpose.NOISE_NET, part=2)
    draws = iter(at.uniforms(plan.ids, count=40_000)[0, 0].tolist())
    image = (images[0].transpose(2, 0, 1) / 255).tolist()
    for block in parse_layers(stage.layers):
        maps = rectify(convolve(image, draws, 64, 1, 1))
        before, outputs = None, []
        for number, (size, dilation) in enumerate(block):
            part = maps[16 * number : 16 * number + 16]
            part = part if before is None else add(part, before)
            before = rectify(convolve(part, draws, 16, size, dilation))
            outputs += before
        outputs += maps[48:]
        found = convolve(outputs, draws, channels, 1, 1)
        image = add(image, found, float(stage.strength[0, 0]) * 0.225)
    expected = np.clip(image, 0, 1)
    views = render(images, plan, executor="pillow")
    np.testing.assert_allclose(views[0, 0], expected, atol=1e-6)


def test_torch_equals_the_definition():
    plan = draw(Noise2Net(base=AugMix()), 6, (12, 14), 5).with_clean()
    images = images_of(plan, 3)
    expected = render(images, plan, executor="pillow")
    views = batched.render(images, plan, device="cpu").numpy()
    np.testing.assert_allclose(views, expected, atol=1e-4)
    clean = render(images, draw(AugMix(), 6, (12, 14), 5).with_clean())
    np.testing.assert_array_equal(expected[0], clean[0])
    stage = plan.find(NoiseNet)
    assert stage is not None
    same = (expected == clean).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(same, stage.strength == 0)


def test_the_laws_of_the_draws():
    ids = np.arange(20_000)
    stream = Stream(seed=3)
    plan = Noise2Net().sample(ids, num_views=1, size=(8, 8), stream=stream)
    stage = plan.find(NoiseNet)
    assert stage is not None
    strength = stage.strength[0].astype(float)
    assert stats.binomtest(np.count_nonzero(strength), 20_000, 0.5).pvalue > 1e-6
    drawn = strength[strength > 0]
    assert stats.kstest(drawn, stats.uniform(0.375, 0.375).cdf).pvalue > 1e-6
    later = Noise2Net().sample(ids[:3], num_views=2, size=(8, 8), stream=stream.at(epoch=4))
    again = later.find(NoiseNet)
    assert again is not None
    assert again.layers == stage.layers  # once for a run
    assert (again.address[0] != stage.address[0, :3]).any()
    layers = []
    for seed in range(400):
        plan = Noise2Net().sample(ids[:1], num_views=1, size=(8, 8), stream=Stream(seed=seed))
        found = plan.find(NoiseNet)
        assert found is not None
        layers += [pair for block in parse_layers(found.layers) for pair in block]
    kinds = [layers.count((size, dilation)) for size in (1, 3) for dilation in (1, 2, 3)]
    assert sum(kinds) == 400 * 12
    assert stats.chisquare(kinds).pvalue > 1e-6


def test_what_is_refused():
    for options in ({"probability": 1.5}, {"strength": 0.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Noise2Net(**options)
    with pytest.raises(ValueError, match="passes views through networks already"):
        draw(Noise2Net(base=Noise2Net(base=Standard())), 2, (8, 8), 0)
    stage = NoiseNet(
        strength=np.ones((1, 1), np.float32),
        address=np.zeros((1, 1, 3), np.uint32),
        seed=0,
        layers="31 12, 33",
    )
    with pytest.raises(ValueError, match="layers must be like '31 12 33, 11 32 13'"):
        stage.check_values()
