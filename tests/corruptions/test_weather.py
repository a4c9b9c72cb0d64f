"""Snow, fog, HSV and spatter against slow formulas."""

import numpy as np
import pytest
from scipy import ndimage
from toy_images import checkered, cut, legacy, random_images, smeared, smooth, zoomed

from augmix.corruptions import weather


def hsv(image: np.ndarray) -> np.ndarray:
    """Section 3.6, one rule after the other."""
    x = image / 255.0
    r, g, b = np.moveaxis(x, -1, 0)
    v = x.max(-1)
    d = v - x.min(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        h = np.where(r == v, (g - b) / d, 0)
        h = np.where(g == v, 2 + (b - r) / d, h)
        h = np.where(b == v, 4 + (r - g) / d, h)
        s = np.where(d == 0, 0, d / v)
    return np.stack([np.where(d == 0, 0, (h / 6) % 1), s, v], axis=-1)


def rgb(image: np.ndarray) -> np.ndarray:
    h, s, v = np.moveaxis(image, -1, 0)
    k = np.floor(h * 6)
    f = h * 6 - k
    p, q, t = v * (1 - s), v * (1 - f * s), v * (1 - (1 - f) * s)
    orders = [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q)]
    cases = [np.stack(order, axis=-1) for order in orders]
    return np.choose((k % 6).astype(int)[..., None], cases)


def test_brightness():
    for image in random_images():
        if image.shape[2] == 1:
            expected = cut(image / 255.0 + 0.2)
        else:
            bright = hsv(image)
            bright[..., 2] = np.clip(bright[..., 2] + 0.2, 0, 1)
            expected = cut(rgb(bright))
        result = weather.brightness(image, 0.2, generator=legacy())
        np.testing.assert_array_equal(result, expected)


def test_saturate():
    for image in random_images():
        for factor, shift in ((0.3, 0), (2, 0), (5, 0.1), (30, 0.2)):
            expected = image
            if image.shape[2] == 3:
                strong = hsv(image)
                strong[..., 1] = np.clip(strong[..., 1] * factor + shift, 0, 1)
                expected = cut(rgb(strong))
            result = weather.saturate(image, factor, shift, generator=legacy())
            np.testing.assert_array_equal(result, expected)


def test_snow():
    rng = np.random.default_rng(3)
    for size in ((32, 32, 3), (48, 64, 3), (33, 30, 1)):
        image = rng.integers(0, 256, size, dtype=np.uint8)
        generator = legacy(5)
        field = zoomed(generator.normal(0.3, 0.3, size[:2])[:, :, None], 1.75)
        field[field < 0.55] = 0
        angle = generator.uniform(-135, -45)
        layer = smeared(cut(field), 10, 4, angle) / 255.0
        x = image.astype(np.float32) / np.float32(255)
        grey = (
            x[..., :1]
            if size[2] == 1
            else (x * np.float32([0.299, 0.587, 0.114])).sum(-1)[..., None]
        )
        x = np.float32(0.7) * x + np.float32(0.3) * np.maximum(x, 1.5 * grey + 0.5)
        expected = cut(x + layer + np.rot90(layer, 2))
        result = weather.snow(image, 0.3, 0.3, 1.75, 0.55, 10, 4, 0.7, generator=legacy(5))
        difference = np.abs(result.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.002


def test_plasma_fractal():
    expected = [
        [0, 0.670613, 1, 0.665746],
        [0.359257, 0.45444, 0.545653, 0.398221],
        [0.530769, 0.368503, 0.203732, 0.519636],
        [0.556551, 0.501283, 0.328495, 0.404682],
    ]
    cloud = weather.plasma_fractal(4, 3, generator=legacy())
    np.testing.assert_allclose(cloud, expected, atol=6e-7)
    cloud = weather.plasma_fractal(32, 3, generator=legacy())
    assert cloud.mean() == pytest.approx(0.46880199461, abs=1e-11)
    np.testing.assert_allclose(cloud[31, -4:], [0.353578, 0.294058, 0.235422, 0.173755], atol=6e-7)
    cloud = weather.plasma_fractal(32, 1.75, generator=legacy())
    assert cloud.mean() == pytest.approx(0.51821326235, abs=1e-11)


def test_fog():
    for image in random_images():
        side = max(2, int(2 ** np.ceil(np.log2(max(image.shape[:2])))))
        cloud = weather.plasma_fractal(side, 2.0, generator=legacy())
        x = image / 255.0
        foggy = x + 1.5 * cloud[: image.shape[0], : image.shape[1], None]
        expected = cut(foggy * x.max() / (x.max() + 1.5))
        np.testing.assert_array_equal(weather.fog(image, 1.5, 2.0, generator=legacy()), expected)


def test_mud():
    rng = np.random.default_rng(3)
    for size in ((32, 32, 3), (48, 64, 3)):
        image = rng.integers(0, 256, size, dtype=np.uint8)
        field = ndimage.gaussian_filter(legacy().normal(0.65, 0.3, size[:2]), 1, mode="nearest")
        cover = smooth((field > 0.65).astype(float)[:, :, None], 1.5)
        cover[cover < 0.8] = 0
        x = image.astype(np.float32) / np.float32(255)
        expected = cut(x * (1 - cover) + cover * np.array([63, 42, 20]) / 255)
        result = weather.spatter(image, 0.65, 0.3, 1, 0.65, 1.5, 1, generator=legacy())
        assert np.abs(result.astype(int) - expected).max() <= 1


def test_water_brightens_towards_its_colour():
    image = np.full((64, 64, 3), 60, np.uint8)
    result = weather.spatter(image, 0.65, 0.3, 3, 0.68, 0.6, 0, generator=legacy()).astype(int)
    added = result - 60
    assert (added >= 0).all()
    assert added.max(axis=(0, 1)).tolist() == [105, 142, 142]  # 0.6 of (175, 238, 238), cut
    wet = added[..., 1] > 20
    np.testing.assert_allclose(added[wet, 0] / added[wet, 1], 175 / 238, atol=0.05)


def test_no_water_leaves_the_image():
    image = checkered(32)
    result = weather.spatter(image, 0.1, 0.01, 1, 0.9, 0.6, 0, generator=legacy())
    np.testing.assert_array_equal(result, image)
