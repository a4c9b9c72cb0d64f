"""Kernels against the published vectors, and against slow formulations written here."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from augmix.corrupt import draws, kernels, suite

# preset -> name -> severity -> mean of all values, then R, G, B at row 5, column 7 (section 8)
VECTORS = json.loads((Path(__file__).parent / "published.json").read_text())
SIDES = {"cifar": 32, "tiny": 64, "imagenet": 224}
WITHIN_ONE_LEVEL = {"defocus_blur", "glass_blur", "gaussian_blur", "elastic_transform"}


def checkered(side: int) -> np.ndarray:
    """T(n) of section 8: ramps with every other 4 x 4 cell inverted."""
    step = 256 // side
    y, x = np.mgrid[:side, :side]
    image = np.stack([step * x, step * y, step * (x + y) // 2], axis=-1)
    image[(x // 4 + y // 4) % 2 == 1] = 255 - image[(x // 4 + y // 4) % 2 == 1]
    return image.astype(np.uint8)


def run(image: np.ndarray, name: str, preset: str, severity: int, generator) -> np.ndarray:
    row = suite.find(name)
    return row.kernel(image, *row.parameters[preset][severity - 1], generator=generator)


def legacy(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def cut(values: np.ndarray) -> np.ndarray:
    """To [0, 1], to 0..255, and the fraction off."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def random_images() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    sizes = [(32, 32, 3), (17, 40, 3), (33, 16, 1), (1, 1, 3), (5, 1, 1), (64, 50, 3)]
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    flat = [np.full((12, 20, 3), level, np.uint8) for level in (0, 1, 128, 254, 255)]
    few = rng.integers(0, 3, (30, 31, 3), dtype=np.uint8) * 127
    return [*images, *flat, few]


@pytest.mark.parametrize("preset", SIDES)
@pytest.mark.parametrize("name", suite.available())
def test_published_vectors(name: str, preset: str):
    for severity in suite.SEVERITIES:
        result = run(checkered(SIDES[preset]), name, preset, severity, legacy())
        mean, *pixel = VECTORS[preset][name][severity - 1]
        if name in WITHIN_ONE_LEVEL:
            assert abs(result.mean() - mean) < 0.002, severity
            assert np.abs(result[5, 7].astype(int) - pixel).max() <= 1, severity
        else:
            assert abs(result.mean() - mean) < 6e-5, severity
            assert result[5, 7].tolist() == pixel, severity


@pytest.mark.parametrize("name", suite.available())
def test_every_shape_is_kept(name: str):
    for image in random_images():
        before = image.copy()
        for preset in suite.PRESETS:
            result = run(image, name, preset, 5, np.random.default_rng(0))
            assert result.shape == image.shape
            assert result.dtype == np.uint8
        np.testing.assert_array_equal(image, before)


def test_gaussian_noise():
    for image in random_images():
        noise = legacy().normal(0, 0.12, image.shape)
        result = kernels.gaussian_noise(image, 0.12, generator=legacy())
        np.testing.assert_array_equal(result, cut(image / 255.0 + noise))


def test_shot_noise():
    for image in random_images():
        counts = legacy().poisson(image / 255.0 * 12)
        result = kernels.shot_noise(image, 12, generator=legacy())
        np.testing.assert_array_equal(result, cut(counts / 12.0))


def test_impulse_noise():
    for image in random_images():
        generator = legacy()
        flipped = generator.choice([True, False], size=image.shape, p=[0.2, 0.8])
        salted = generator.choice([True, False], size=image.shape, p=[0.5, 0.5])
        expected = image.copy()
        expected[flipped & salted] = 255
        expected[flipped & ~salted] = 0
        result = kernels.impulse_noise(image, 0.2, generator=legacy())
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("radius", "alias", "middle"),
    [
        (0.3, 0.4, [0.84497315, 0.03712553]),
        (1, 0.2, [0.2, 0.19999777]),
        (1.5, 0.1, [1 / 9, 1 / 9]),
        (4, 0.5, [0.02040816, 0.02040816, 0.02040816, 0.01994515, 0.01481335, 0.00171060]),
    ],
)
def test_disk_kernel(radius: float, alias: float, middle: list[float]):
    kernel = kernels.disk_kernel(radius, alias)
    centre = len(kernel) // 2
    np.testing.assert_allclose(
        kernel[centre, centre : centre + len(middle)], middle, rtol=0, atol=6e-9
    )


def test_disk_kernels_may_brighten():
    assert kernels.disk_kernel(8, 0.5).sum(dtype=np.float64) == pytest.approx(1.0129755, abs=1e-7)
    assert kernels.disk_kernel(10, 0.5).sum(dtype=np.float64) == pytest.approx(1.0107858, abs=1e-7)


@pytest.mark.parametrize("preset", suite.PRESETS)
def test_defocus_blur(preset: str):
    for radius, alias in suite.find("defocus_blur").parameters[preset]:
        kernel = kernels.disk_kernel(radius, alias).astype(np.float64)
        for image in random_images():
            expected = ndimage.correlate(image / 255.0, kernel[:, :, None], mode="mirror")
            result = kernels.defocus_blur(image, radius, alias, generator=legacy())
            difference = np.abs(result.astype(int) - cut(expected))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.02


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
        result = kernels.brightness(image, 0.2, generator=legacy())
        np.testing.assert_array_equal(result, expected)


def test_contrast():
    for image in random_images():
        x = image / 255.0
        mean = np.array([[[sum(x[..., c].ravel().tolist(), 0.0) for c in range(x.shape[2])]]])
        mean = mean / (image.shape[0] * image.shape[1])
        result = kernels.contrast(image, 0.3, generator=legacy())
        np.testing.assert_array_equal(result, cut((x - mean) * 0.3 + mean))
        if image.shape[2] == 3:
            mean = x.mean(axis=(0, 1), keepdims=True)
            np.testing.assert_array_equal(result, cut((x - mean) * 0.3 + mean))


def test_pixelate_averages_windows():
    def share(size: int, small: int) -> np.ndarray:
        """Pixels whose centre lies in the window of every large pixel, equally weighted."""
        centre = (np.arange(small)[:, None] + 0.5) * size / small
        offset = (np.arange(size) + 0.5 - centre) * small / size
        inside = (offset > -0.5) & (offset <= 0.5)
        return inside / inside.sum(axis=1, keepdims=True)

    for image in random_images():
        height, width = image.shape[:2]
        half = max(int(height * 0.5), 1), max(int(width * 0.5), 1)
        small = np.einsum(
            "ab,bcd,ec->aed", share(height, half[0]), image.astype(float), share(width, half[1])
        )
        rows = ((np.arange(height) + 0.5) * half[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * half[1] / width).astype(int)
        result = kernels.pixelate(image, 0.5, generator=legacy())
        assert np.abs(result - small[rows][:, columns]).max() <= 1.01


def test_jpeg_compression():
    for image in random_images():
        file = io.BytesIO()
        mode = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
        mode.save(file, format="JPEG", quality=15)
        expected = np.asarray(Image.open(io.BytesIO(file.getvalue()))).reshape(image.shape)
        result = kernels.jpeg_compression(image, 15, generator=legacy())
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("photons", [3.0, 12.0, 60.0, 500.0])
def test_addressed_photon_counts_follow_poisson(photons: float):
    levels = np.array([0, 1, 20, 100, 255], np.uint8)
    image = np.repeat(levels, 40_000).reshape(5, 40_000, 1)
    counts = draws.poisson_levels(np.random.default_rng(1), image, photons)[..., 0]
    assert not counts[0].any()
    for level, row in zip(levels[1:], counts[1:], strict=True):
        top = int(photons)
        mean = level / 255 * photons
        expected = stats.poisson.pmf(np.arange(top + 1), mean) * row.size
        expected = np.append(expected, stats.poisson.sf(top, mean) * row.size)
        found = np.bincount(row, minlength=top + 2)
        assert len(found) == top + 2
        keep = expected > 5
        chi2 = ((found - expected)[keep] ** 2 / expected[keep]).sum()
        assert stats.chi2.sf(chi2, keep.sum()) > 1e-4


def test_addressed_noise_has_the_statistics_of_the_legacy_one():
    image = np.full((200, 200, 3), 90, np.uint8)
    for name in ("gaussian_noise", "shot_noise", "impulse_noise"):
        for severity in (1, 3, 5):
            old = run(image, name, "imagenet", severity, legacy(3)).astype(float)
            new = run(image, name, "imagenet", severity, np.random.default_rng(3)).astype(float)
            error = np.hypot(old.std(), new.std()) / np.sqrt(image.size)
            assert abs(old.mean() - new.mean()) < 4 * error
            assert stats.ks_2samp(old.ravel(), new.ravel()).pvalue > 1e-4
            neighbours = np.corrcoef(new[:, :-1].ravel(), new[:, 1:].ravel())[0, 1]
            assert abs(neighbours) < 0.02


def test_chances_of_certain_things():
    generator = np.random.default_rng(0)
    assert not draws.chances(generator, 0.0, (1000,)).any()
    assert draws.chances(generator, 1.0, (1000,)).all()
    assert draws.chances(generator, 0.27, (100_000,)).mean() == pytest.approx(0.27, abs=0.006)
