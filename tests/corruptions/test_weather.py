"""Snow, fog, HSV, spatter and frost against slow formulas; drawn textures beside photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from toy_images import checkered, cut, legacy, random_images, smeared, smooth, zoomed

from augmix.corruptions import weather
from augmix.errors import RunError


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


def test_frost_lays_a_piece_of_the_texture():
    for image in random_images():
        generator = legacy(4)
        texture = weather.load_frost_texture(generator.randint(5))
        height, width, channels = image.shape
        row = generator.randint(0, texture.shape[0] - height)
        column = generator.randint(0, texture.shape[1] - width)
        piece = texture[row : row + height, column : column + width].astype(float)
        if channels == 1:
            piece = (piece * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
        expected = np.clip(0.7 * image + 0.6 * piece, 0, 255)
        result = weather.frost(image, 0.7, 0.6, 1, generator=legacy(4))
        assert np.abs(result - np.floor(expected)).max() <= (channels == 1)


def test_frost_enlarges_a_texture_too_small():
    for size in ((300, 20), (330, 330), (20, 700), (64, 64)):
        image = np.zeros((*size, 3), np.uint8)
        for seed in range(6):
            result = weather.frost(image, 1, 1, 0.2, generator=legacy(seed))
            assert result.mean() > 60


def test_drawn_textures_are_as_bright_as_the_photographs():
    means = [  # red, green, blue; corruptions.md 3.7
        (77.67, 149.12, 165.74),
        (200.79, 205.38, 214.48),
        (200.79, 205.38, 214.48),
        (137.62, 152.77, 165.18),
        (112.38, 123.37, 134.75),
    ]
    for index, mean in enumerate(means):
        texture = weather.load_frost_texture(index)
        np.testing.assert_allclose(texture.mean(axis=(0, 1)), mean, atol=3)
        assert np.abs(np.diff(texture.astype(int), axis=1)).mean() > 5


def test_drawn_textures_are_as_strong_as_the_photographs(real_data: Path):
    for index in range(5):
        drawn, photograph = (
            weather.load_frost_texture(index),
            weather.load_frost_texture(index, real_data / "frost"),
        )
        assert drawn.shape == photograph.shape
        ratio = drawn.std(axis=(0, 1)) / photograph.std(axis=(0, 1))
        np.testing.assert_allclose(ratio, 1, atol=0.15)


def test_frost_messages(tmp_path: Path):
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(RunError, match="no frost texture at .*must hold frost1.png"):
        weather.frost(image, 1, 1, 1, generator=legacy(), textures=tmp_path)
    for name in weather.FROST_PHOTOGRAPHS:
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(RunError, match="cannot read the frost texture"):
        weather.frost(image, 1, 1, 1, generator=legacy(), textures=tmp_path)


def test_frost_fingerprint(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in weather.FROST_PHOTOGRAPHS:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    assert len(weather.frost_fingerprint()) == 64
    assert weather.frost_fingerprint() != weather.frost_fingerprint(tmp_path)
