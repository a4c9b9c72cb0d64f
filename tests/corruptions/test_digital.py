"""Contrast, elastic transform, pixelation and JPEG against slow formulas and Pillow."""

import io
import os

import numpy as np
import pytest
from gil import is_free_of_gil
from PIL import Image
from scipy import ndimage
from toy_images import (
    cut,
    legacy,
    random_images,
)

from augmix.corruptions import digital
from augmix.corruptions.digital import compress_jpeg


def test_contrast():
    for image in random_images():
        x = image / 255.0
        # one addition after the other, in order; from Python 3.12 on, `sum` corrects its rounding
        mean = np.cumsum(x.reshape(-1, x.shape[2]), axis=0)[-1] / (image.shape[0] * image.shape[1])
        result = digital.contrast(image, 0.3, generator=legacy())
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
        result = digital.pixelate(image, 0.5, generator=legacy())
        assert np.abs(result - small[rows][:, columns]).max() <= 1.01


@pytest.mark.parametrize("channels", [1, 3])
def test_pixelate_is_pillows(channels: int):
    """By one axis at a time, columns first: Pillow 13 may take the rows of a long image first."""
    rng = np.random.default_rng(0)
    fractions = (0.01, 0.25, 0.37, 0.65, 0.9, 0.95, 1.0, *rng.uniform(0.05, 1, 60))
    for fraction in fractions:
        height, width = (int(each) for each in rng.integers(1, 70, 2))
        images = rng.integers(0, 256, (2, height, width, channels), dtype=np.uint8)
        result = digital.pixelate(images, fraction, generator=legacy())
        small = max(int(width * fraction), 1), max(int(height * fraction), 1)
        for image, found in zip(images, result, strict=True):
            picture = Image.fromarray(image.squeeze(2) if channels == 1 else image)
            for size in ((small[0], height), small, (width, small[1]), (width, height)):
                picture = picture.resize(size, Image.Resampling.BOX)
            np.testing.assert_array_equal(found, np.asarray(picture).reshape(image.shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_jpeg_does_to_pixels_is_what_pillow_decodes(channels: int):
    """All qualities; odd sizes, noise, smooth images, and blocks of black and white."""
    rng = np.random.default_rng(channels)
    for quality in range(1, 101):
        height, width = (int(each) for each in rng.integers(1, 50, 2))
        if quality % 10 == 0:
            width = quality // 10  # libjpeg doubles up to two columns of chroma in another way
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        images = np.stack([noise, smooth, (noise > 127) * np.uint8(255)])[..., :channels]
        for image, found in zip(images, compress_jpeg(images, quality), strict=True):
            file = io.BytesIO()
            picture = Image.fromarray(image.squeeze(2) if channels == 1 else image)
            picture.save(file, "JPEG", quality=quality)
            expected = np.asarray(Image.open(file)).reshape(image.shape)
            np.testing.assert_array_equal(found, expected, err_msg=f"{quality} {image.shape}")


def test_jpeg_compression():
    for image in random_images():
        file = io.BytesIO()
        mode = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
        mode.save(file, format="JPEG", quality=15)
        expected = np.asarray(Image.open(io.BytesIO(file.getvalue()))).reshape(image.shape)
        result = digital.jpeg_compression(image, 15, generator=legacy())
        np.testing.assert_array_equal(result, expected)


def jolted(x: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """4.13 step 2: solve for the map, invert it, round source coordinates to 1/32, interpolate."""
    height, width, channels = x.shape
    third = min(height, width) // 3
    before = np.array([width // 2, height // 2]) + third * np.array([[1, 1], [1, -1], [-1, -1]])
    corners = np.column_stack([before, np.ones(3)])
    forward = np.linalg.solve(corners, before + moved.astype(float)).T
    backward = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
    yy, xx = np.mgrid[:height, :width]
    places = []
    for m0, m1, m2 in backward:
        fixed = np.rint((m1 * yy + m2) * 1024) + 16 + np.rint(m0 * xx * 1024)
        places.append(np.floor(fixed / 32) / 32)
    at = np.stack(places[::-1])
    planes = [
        ndimage.map_coordinates(x[..., c], at, order=1, mode="mirror") for c in range(channels)
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize(
    ("distance", "smoothness", "jolt"), [(0, 0, 2.5), (3.2, 1.28, 1.6), (60, 40, 6), (200, 9, 1)]
)
def test_elastic_transform(distance: float, smoothness: float, jolt: float):
    rng = np.random.default_rng(3)
    for size in ((32, 32, 3), (48, 64, 3), (33, 30, 1), (16, 16, 3)):
        image = rng.integers(0, 256, size, dtype=np.uint8)
        generator = legacy(6)
        moved = generator.uniform(-jolt, jolt, (3, 2)).astype(np.float32)
        x = jolted((image / 255.0).astype(np.float32), moved)
        fields = []
        for _ in range(2):
            field = generator.uniform(-1, 1, size[:2])
            if smoothness:
                field = ndimage.gaussian_filter(field, smoothness, mode="reflect", truncate=3)
            fields.append((field * distance).astype(np.float32))
        yy, xx = np.mgrid[: size[0], : size[1]]
        at = np.stack([yy + fields[1], xx + fields[0]])
        planes = [
            ndimage.map_coordinates(x[..., c], at, order=1, mode="reflect") for c in range(size[2])
        ]
        expected = cut(np.stack(planes, axis=-1))
        result = digital.elastic_transform(image, distance, smoothness, jolt, generator=legacy(6))
        difference = np.abs(result.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("size", [(16, 16), (32, 40), (375, 500)])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_in_memory_are_those_of_pillow(size, channels):
    image = np.random.default_rng(3).integers(0, 256, (*size, channels), dtype=np.uint8)
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    for quality in (7, 85, 100):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        assert digital.encode_jpeg(image, quality=quality) == file.getvalue()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs files in memory, of Linux")
def test_encoding_lets_other_threads_work():
    image = np.full((5000, 5000, 3), 90, np.uint8)  # a small file, which is one piece for Pillow
    picture = Image.fromarray(image)
    assert not is_free_of_gil(lambda: picture.save(io.BytesIO(), "JPEG", quality=10, optimize=True))
    assert is_free_of_gil(lambda: digital.encode_jpeg(image, quality=10))
