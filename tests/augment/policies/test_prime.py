"""The stage of PRIME against the published text, pixel by pixel, and the laws of its draws."""

import functools
import math

import numpy as np
import pytest

from augmix.augment import render
from augmix.augment.policies import PRIME
from augmix.augment.policies.prime import Primitive, Primitives, wave_table
from augmix.rng import Stream, philox4x32

SIZE = (6, 7)


def normals(address: np.ndarray, seed: int, block: int) -> list[float]:
    """Four normal numbers of a block, by Box and Muller."""
    counter = np.array([[block], *[[word] for word in address]], np.uint32)
    u = [(float(word) + 0.5) / 2**32 for word in philox4x32(counter, seed)[:, 0]]
    found = []
    for first, second in ((u[0], u[1]), (u[2], u[3])):
        radius = math.sqrt(-2 * math.log(first))
        found += [radius * math.cos(2 * math.pi * second), radius * math.sin(2 * math.pi * second)]
    return found


def deform(image: np.ndarray, c: int, temperature: float, draw, num_modes: int) -> np.ndarray:
    channels, height, width = image.shape
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y, dx, dy = column / (width - 1), row / (height - 1), 0.0, 0.0
            for i in range(1, c + 1):
                for j in range(1, c + 1):
                    r = math.sqrt(i * i + j * j)
                    if r < c + 0.5:
                        wave = math.sin(i * math.pi * x) * math.sin(j * math.pi * y) / r
                        u, v, *_ = draw((i - 1) * num_modes + j - 1)
                        dx += u * wave
                        dy += v * wave
            xn = min(max(column - math.sqrt(temperature) * dx * width, 0), width - 1)
            yn = min(max(row - math.sqrt(temperature) * dy * height, 0), height - 1)
            left, top = math.floor(xn), math.floor(yn)
            right, bottom = math.ceil(xn), math.ceil(yn)
            for channel in range(channels):
                at = image[channel]
                upper = at[top, left] * (1 - xn + left) + at[top, right] * (xn - left)
                lower = at[bottom, left] * (1 - xn + left) + at[bottom, right] * (xn - left)
                result[channel, row, column] = upper * (1 - yn + top) + lower * (yn - top)
    return result


def color(image: np.ndarray, first: int, last: int, temperature: float, draw) -> np.ndarray:
    result = np.zeros_like(image)
    for channel, row, column in np.ndindex(image.shape):
        value = image[channel, row, column]
        total = value
        for k in range(first, last + 1):
            number = draw(k - first)[channel]
            total += number * math.sqrt(temperature) * math.sin(math.pi * k * value)
        result[channel, row, column] = min(max(total, 0.0), 1.0)
    return result


def filtered(image: np.ndarray, sigma: float, draw, corner: int) -> np.ndarray:
    channels, height, width = image.shape
    numbers = [*draw(0), *draw(1), *draw(2)][:9]
    result = np.zeros_like(image)
    for channel, row, column in np.ndindex(channels, height, width):
        total = 0.0
        for a in range(3):
            for b in range(3):
                y, x = row + a - 1, column + b - 1
                if 0 <= y < height and 0 <= x < width:
                    kernel = sigma * numbers[3 * a + b] + (a == corner and b == corner)
                    total += kernel * image[channel, y, x]
        result[channel, row, column] = min(max(total, 0.0), 1.0)
    return result


@pytest.mark.parametrize("delta", ["corner", "centre"])
def test_a_view_is_that_of_the_text(delta: str):
    policy = PRIME(cutoff=6, filter_delta=delta, color_strength=0.1)
    plan = policy.sample(np.arange(5), num_views=1, size=SIZE, stream=Stream(seed=4))
    stage = plan.find(Primitives)
    assert stage is not None
    images = np.random.default_rng(0).random((1, 5, 3, *SIZE)).astype(np.float32)
    got = stage.apply(images)
    for index in range(5):
        image = images[0, index].astype(np.float64)
        mixed = (1 - float(stage.mix[0, index])) * image
        for chain in range(3):
            changed = image
            for step in range(3):
                at = (0, index, chain, step)
                kind, strength = stage.kind[at], float(stage.temperature[at])
                first, last = int(stage.first[at]), int(stage.last[at])

                @functools.cache
                def draw(block: int, at=at) -> list[float]:
                    return normals(stage.address[at], stage.seed, block)

                if kind == Primitive.DEFORM:
                    changed = deform(changed, last, strength, draw, 6)
                elif kind == Primitive.COLOR:
                    changed = color(changed, first, last, strength, draw)
                elif kind == Primitive.FILTER:
                    changed = filtered(changed, strength, draw, 2 if delta == "corner" else 1)
            mixed += float(stage.mix[0, index]) * float(stage.weight[0, index, chain]) * changed
        np.testing.assert_allclose(got[0, index], np.clip(mixed, 0, 1), atol=1e-6)


def test_the_laws_of_the_draws():
    plan = PRIME().sample(np.arange(4000), num_views=1, size=(32, 32), stream=Stream(seed=4))
    stage = plan.find(Primitives)
    assert stage is not None
    length = (stage.kind != Primitive.NONE).sum(axis=-1)
    for count in (1, 2, 3):
        assert float((length == count).mean()) == pytest.approx(1 / 3, abs=0.02)
    for kind in (Primitive.DEFORM, Primitive.COLOR, Primitive.FILTER):
        chosen = stage.kind == kind
        assert float(chosen[..., 0].mean()) == pytest.approx(1 / 3, abs=0.02)
    fields = stage.kind == Primitive.DEFORM
    c = stage.last[fields].astype(float)
    assert (c.min(), c.max() <= 100) == (2, True)
    lowest = 1 / (np.pi * 32**2 * np.log(c + 1e-6))
    highest = np.maximum(lowest, 4 / (np.pi**3 * (c + 1e-6) ** 2 * np.log(c + 1e-6)))
    inside = stage.temperature[fields]
    assert (inside >= 0.9999 * lowest).all()
    assert (inside <= 1.0001 * highest).all()
    colors = stage.kind == Primitive.COLOR
    assert stage.temperature[colors].max() <= 0.01
    assert float(stage.last[colors].mean()) == pytest.approx(50.5, abs=1.5)
    filters = stage.kind == Primitive.FILTER
    assert float(stage.temperature[filters].mean()) == pytest.approx(2, abs=0.06)
    large = PRIME().sample(np.arange(300), num_views=1, size=(224, 224), stream=Stream(seed=4))
    stage = large.find(Primitives)
    assert stage is not None
    colors = stage.kind == Primitive.COLOR
    assert (stage.last - stage.first)[colors].max() == 19
    assert stage.first[colors].max() > 300


def test_a_batch_field_is_one_for_all_images():
    plan = PRIME(batch_field=True).sample(
        np.array([9, 4, 7]), num_views=1, size=(8, 8), stream=Stream(seed=4)
    )
    other = PRIME(batch_field=True).sample(
        np.array([7, 9, 4]), num_views=1, size=(8, 8), stream=Stream(seed=4)
    )
    stage, turned = plan.find(Primitives), other.find(Primitives)
    assert stage is not None
    assert turned is not None
    np.testing.assert_array_equal(stage.temperature, turned.temperature[:, [1, 2, 0]])
    fields = stage.kind == Primitive.DEFORM
    for step in range(3):
        chosen = fields[0, :, :, step]
        assert len(np.unique(stage.address[0, :, :, step][chosen], axis=0)) <= 1
        assert len(np.unique(stage.temperature[0, :, :, step][chosen])) <= 1


@pytest.mark.parametrize("size", [(32, 32), (1, 9), (66, 70)])  # above 64: windows of frequencies
@pytest.mark.parametrize("channels", [1, 3])
def test_kernels_equal_the_definition(size: tuple[int, int], channels: int):
    for options in ({}, {"batch_field": True, "filter_delta": "centre", "depth": 2}):
        policy = PRIME(cutoff=90, color_strength=0.05, **options)
        plan = policy.sample(np.arange(7), num_views=2, size=size, stream=Stream(seed=5))
        stage = plan.with_clean().find(Primitives)
        assert stage is not None
        if not options:
            assert {int(kind) for kind in stage.kind.ravel()} == set(Primitive)
        images = np.random.default_rng(0).integers(0, 256, (7, *size, channels), np.uint8)
        expected = render(images, plan.with_clean(), executor="pillow")
        got = render(images, plan.with_clean(), executor="compiled", num_threads=2)
        np.testing.assert_array_equal(got, expected)


def test_waves_are_sines():
    positions = np.linspace(0, 1, 41)
    expected = np.sin(np.pi * np.arange(1, 301)[:, None] * positions)
    np.testing.assert_allclose(wave_table(300, 41), expected, atol=2e-13)  # np.pi times 300
    exact = [[0, 1, 0], [0, 0, 0], [0, -1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(wave_table(4, 3), exact)
