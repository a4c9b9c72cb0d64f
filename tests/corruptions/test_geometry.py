"""The moving of pictures against Pillow, OpenCV and plain matrices."""

import cv2
import numpy as np
import pytest
from PIL import Image

from augmix.corruptions import geometry
from augmix.corruptions.geometry import Window, affine_map, centre_window, tilt_map

SETTINGS = [
    {"angle_deg": -15},
    {"angle_deg": 7, "scale": 0.9},
    {"scale": 0.4},
    {"scale": 1.124},
    {"shear_deg": 13, "scale": 1.3},
    {},
]


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    sizes = [(32, 32, 3), (64, 85, 3), (33, 16, 1), (1, 7, 3)]
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


def whole(image: np.ndarray) -> Window:
    return Window(0, 0, image.shape[0], image.shape[1])


@pytest.mark.parametrize(
    ("settings", "shift_px", "expected"),
    [  # perturbations.md 3.3
        ({"angle_deg": 15}, 0, (0.965926, 0.258819, -3.708290, -0.258819, 0.965926, 4.832738)),
        ({"scale": 0.7}, 0, (1.428571, 0, -7.071429, 0, 1.428571, -7.071429)),
        ({"scale": 1.3}, 0, (0.769231, 0, 3.807692, 0, 0.769231, 3.807692)),
        ({"shear_deg": 15}, 0, (1, 0.267949, -4.421162, 0, 1.035276, -0.582057)),
    ],
)
def test_affine_map(settings: dict, shift_px: int, expected: tuple):
    np.testing.assert_allclose(affine_map((32, 32), **settings), expected, rtol=0, atol=6e-7)


def test_affine_map_inverts_the_motion():
    """Turn, shear and enlarge about the centre as a product of matrices, then invert."""
    t, s, k = np.radians(12), np.radians(-6), 1.1
    x, y = 40 / 2 + 0.5, 30 / 2 + 0.5
    motion = k * np.array([[np.cos(t), -np.sin(t + s)], [np.sin(t), np.cos(t + s)]])
    there = np.block([[motion, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]])
    there[:2, 2] = np.array([x, y]) - motion @ [x, y]
    expected = np.linalg.inv(there)[:2].ravel()
    result = affine_map((30, 40), angle_deg=12, scale=1.1, shear_deg=-6)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_warp_affine_is_that_of_pillow(settings: dict):
    for image in pictures():
        height, width, channels = image.shape
        mapping = affine_map((height, width), **settings)
        picture = Image.fromarray(image if channels == 3 else image[:, :, 0])
        moved = picture.transform(
            (width, height), Image.Transform.AFFINE, mapping, Image.Resampling.BILINEAR
        )
        expected = np.asarray(moved).reshape(image.shape)
        np.testing.assert_array_equal(geometry.warp_affine(image, mapping, whole(image)), expected)
        window = centre_window((height, width), (height, (width + 1) // 2))
        result = geometry.warp_affine(image, mapping, window)
        np.testing.assert_array_equal(result, window.cut(expected))


def test_shift_columns():
    for image in pictures():
        width = image.shape[1]
        for shift in (-width - 2, -7, -1, 0, 1, 3, width, width + 5):
            result = geometry.shift_columns(image, shift, whole(image))
            for x in range(width):
                inside = 0 <= x - shift < width
                expected = image[:, x - shift] if inside else 0 * image[:, 0]
                np.testing.assert_array_equal(result[:, x], expected)


def in_space(point: np.ndarray, angle: float, size: tuple[int, int]) -> np.ndarray:
    """Where a point (x, y) of the picture is seen: turned about y, then about x, projected."""
    height, width = size
    focus = np.hypot(height, width)
    x, y, z = point[0] - width / 2, point[1] - height / 2, 1.0
    x, z = np.cos(angle) * x - np.sin(angle) * z, np.sin(angle) * x + np.cos(angle) * z
    y, z = np.cos(angle) * y - np.sin(angle) * z, np.sin(angle) * y + np.cos(angle) * z
    z += focus
    return np.array([focus * x / z + width / 2, focus * y / z + height / 2])


@pytest.mark.parametrize("angle_deg", [-15.0, -0.75, 0.0, 11.25])
def test_tilt_map_projects_the_turned_picture(angle_deg: float):
    for size in ((32, 32), (256, 341)):
        matrix = np.array(tilt_map(size, angle_deg))
        for point in ((0, 0), (size[1], 3), (10, size[0]), (size[1] / 2, size[0] / 2)):
            x, y, w = matrix @ [*point, 1]
            expected = in_space(np.array(point, float), np.radians(angle_deg), size)
            np.testing.assert_allclose([x / w, y / w], expected, rtol=0, atol=1e-9)


def test_the_tilt_of_nothing_shrinks():
    matrix = np.array(tilt_map((32, 32), 0))
    focus = 32 * np.sqrt(2)
    np.testing.assert_allclose(
        (matrix / matrix[2, 2])[:2, :2], np.eye(2) * focus / (1 + focus), atol=1e-12
    )
    assert focus / (1 + focus) == pytest.approx(0.9784, abs=5e-5)


def seen(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Bilinear, black outside, the place to 1/32 of a pixel, rounded; in plain numbers."""
    height, width, _ = image.shape
    back = np.linalg.inv(matrix)
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)))
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            u, v, w = back @ [x, y, 1]
            u, v = np.round(32 * u / w) / 32, np.round(32 * v / w) / 32
            if -1 <= u < width and -1 <= v < height:
                i, j = int(np.floor(v)) + 1, int(np.floor(u)) + 1
                q, p = v + 1 - i, u + 1 - j
                above = padded[i, j] * (1 - p) + padded[i, j + 1] * p
                below = padded[i + 1, j] * (1 - p) + padded[i + 1, j + 1] * p
                result[y, x] = np.floor(above * (1 - q) + below * q + 0.5)
    return result


@pytest.mark.parametrize("angle_deg", [-11.25, 0.0, 15.0])
def test_warp_perspective(angle_deg: float):
    for image in pictures():
        matrix = tilt_map((image.shape[0], image.shape[1]), angle_deg)
        expected = seen(image, np.array(matrix))
        result = geometry.warp_perspective(image, matrix, whole(image))
        assert (result != expected).mean() < 0.002  # a place may round to the next 1/32
        window = centre_window((image.shape[0], image.shape[1]), (1, 4))
        np.testing.assert_array_equal(
            geometry.warp_perspective(image, matrix, window), window.cut(result)
        )


def test_warp_perspective_is_close_to_any_opencv():
    ramp = np.add.outer(np.arange(100), np.arange(120))[:, :, None].astype(np.uint8)
    matrix = tilt_map((100, 120), 9)
    result = geometry.warp_perspective(ramp, matrix, whole(ramp))[:, :, 0].astype(int)
    other = cv2.warpPerspective(ramp, np.array(matrix), (120, 100)).astype(int)
    assert np.abs(result - other).mean() < 0.3
    assert (np.abs(result - other) > 2).mean() < 0.01  # on the border


def test_centre_window():
    assert centre_window((256, 341), (224, 224)) == Window(16, 58, 224, 224)  # 58.5 to even
    assert centre_window((64, 67), (64, 64)) == Window(0, 2, 64, 64)  # 1.5 to even
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    cut = Window(1, 2, 3, 4).cut(image)
    np.testing.assert_array_equal(cut, image[1:4, 2:6])
    assert cut.base is None
