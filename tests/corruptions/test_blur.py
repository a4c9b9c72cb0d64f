"""Blurs and their filters against SciPy and slow formulas."""

import numpy as np
import pytest
from scipy import ndimage
from toy_images import checkered, cut, legacy, random_images, rough_images, smeared, smooth, zoomed

from augmix.corruptions import blur, registry


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
    kernel = blur.disk_kernel(radius, alias)
    centre = len(kernel) // 2
    np.testing.assert_allclose(
        kernel[centre, centre : centre + len(middle)], middle, rtol=0, atol=6e-9
    )


def test_disk_kernels_may_brighten():
    assert blur.disk_kernel(8, 0.5).sum(dtype=np.float64) == pytest.approx(1.0129755, abs=1e-7)
    assert blur.disk_kernel(10, 0.5).sum(dtype=np.float64) == pytest.approx(1.0107858, abs=1e-7)


@pytest.mark.parametrize("preset", registry.PRESETS)
def test_defocus_blur(preset: str):
    for radius, alias in registry.CORRUPTIONS.find("defocus_blur").parameters[preset]:
        kernel = blur.disk_kernel(radius, alias).astype(np.float64)
        for image in random_images():
            expected = ndimage.correlate(image / 255.0, kernel[:, :, None], mode="mirror")
            result = blur.defocus_blur(image, radius, alias, generator=legacy())
            difference = np.abs(result.astype(int) - cut(expected))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.02


def scattered(
    image: np.ndarray, deviation: float, reach: int, rounds: int, generator
) -> np.ndarray:
    """4.5 pixel by pixel."""
    y = cut(smooth(image / 255.0, deviation))
    height, width = image.shape[:2]
    for _ in range(rounds):
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                dx, dy = generator.randint(-reach, reach, size=2)
                y[h, w] = y[h + dy, w + dx]
    return cut(smooth(y / 255.0, deviation))


@pytest.mark.parametrize("deviation", [0.05, 0.4, 1.0, 2.5, 6.0])
def test_gaussian_filter(deviation: float):
    for image in random_images():
        values = image / 255.0
        np.testing.assert_allclose(
            blur.gaussian_filter(values, deviation),
            smooth(values, deviation),
            rtol=0,
            atol=1e-13,
        )
        mirrored = blur.gaussian_filter(values, deviation, truncate=3.0, border="mirror with edge")
        expected = smooth(values, deviation, truncate=3.0, mode="reflect")
        np.testing.assert_allclose(mirrored, expected, rtol=0, atol=1e-13)


def test_gaussian_filter_wider_than_the_picture():
    values = np.random.default_rng(0).random((20, 33, 3))
    np.testing.assert_allclose(
        blur.gaussian_filter(values, 30.0, truncate=3.0, border="mirror with edge"),
        smooth(values, 30.0, truncate=3.0, mode="reflect"),
        rtol=0,
        atol=1e-13,
    )
    np.testing.assert_allclose(
        blur.gaussian_filter(values, 11.0), smooth(values, 11.0), rtol=0, atol=1e-13
    )


def test_gaussian_blur():
    for image in rough_images():
        for deviation in (0.4, 1, 3):
            result = blur.gaussian_blur(image, deviation, generator=legacy())
            difference = np.abs(result.astype(int) - cut(smooth(image / 255.0, deviation)))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("parameters", [(0.05, 1, 1), (0.4, 1, 2), (0.9, 2, 2), (1.5, 4, 1)])
def test_glass_blur(parameters: tuple):
    for image in rough_images():
        expected = scattered(image, *parameters, legacy(2))
        result = blur.glass_blur(image, *parameters, generator=legacy(2))
        difference = np.abs(result.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("angle_deg", [0.0, 44.0, -45.0, -90.0, -134.5])
def test_motion_trail(angle_deg: float):
    for image in random_images():
        for radius, deviation in ((6, 1.5), (15, 8)):
            np.testing.assert_array_equal(
                blur.motion_trail(image, radius, deviation, angle_deg),
                smeared(image, radius, deviation, angle_deg),
            )


def test_motion_blur_draws_its_angle():
    image = checkered(32)
    np.testing.assert_array_equal(
        blur.motion_blur(image, 6, 2, generator=legacy()),
        smeared(image, 6, 2, 4.393215353459226),
    )


def test_a_single_zoom():
    ramp = (32.0 * np.arange(32)[:, None] + np.arange(32))[:, :, None]
    result = blur.sum_of_zooms(ramp, (1.25,))[:, :, 0]
    np.testing.assert_allclose(result[0, :3], [99, 99.806452, 100.612903], atol=1e-6)
    np.testing.assert_allclose(result[-1, -3:], [922.387097, 923.193548, 924], atol=1e-6)
    rng = np.random.default_rng(0)
    for shape in ((32, 32, 3), (40, 24, 1), (224, 224, 1)):
        for factor in (1.0, 1.02, 1.25, 1.75, 2.25, 2.5, 4.5):
            values = rng.random(shape)
            np.testing.assert_allclose(
                blur.sum_of_zooms(values, (factor,)), zoomed(values, factor), rtol=0, atol=1e-12
            )


def test_factors_of_the_zoom_blur():
    counts = {"cifar": [7, 12, 16, 21, 26], "imagenet": [12, 16, 11, 13, 11]}
    lasts = {"cifar": [1.06, 1.11, 1.15, 1.2, 1.25], "imagenet": [1.11, 1.15, 1.2, 1.24, 1.3]}
    for preset, expected in counts.items():
        factors = [
            np.arange(1, *row) for row in registry.CORRUPTIONS.find("zoom_blur").parameters[preset]
        ]
        assert [len(row) for row in factors] == expected
        np.testing.assert_allclose([row[-1] for row in factors], lasts[preset], rtol=1e-12)


def test_zoom_blur():
    rng = np.random.default_rng(3)
    for size in ((32, 32, 3), (48, 64, 3), (33, 30, 1)):
        image = rng.integers(0, 256, size, dtype=np.uint8)
        x = (image / 255.0).astype(np.float32)
        total = np.zeros_like(x)
        factors = np.arange(1, 1.21, 0.02)
        for factor in factors:
            total += zoomed(x, factor)
        expected = cut((x + total) / (len(factors) + 1))
        result = blur.zoom_blur(image, 1.21, 0.02, generator=legacy())
        difference = np.abs(result.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
