"""Sequences against published numbers, Pillow, OpenCV and slow formulas."""

import colorsys
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from toy_images import checkered, cut, legacy, smeared

from augmix.corruptions import sequences
from augmix.corruptions.registry import PRESETS, SEQUENCES
from augmix.corruptions.sequences import Scene, Window, affine_map, centre_window, tilt_map

# name -> frame -> mean of the frame, then R, G, B at row 5, column 7
VECTORS = json.loads((Path(__file__).parent / "published_sequences.json").read_text())


def show(image: np.ndarray, margin: int = 0) -> Scene:
    height, width = image.shape[:2]
    return Scene(image, centre_window((height, width), (height - margin, width - margin)))


def make(image: np.ndarray, name: str, preset: str, *, margin: int = 0, seed: int = 0) -> list:
    return list(SEQUENCES.find(name).apply(show(image, margin), preset, 1, legacy(seed)))


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (40, 30), interpolation=cv2.INTER_CUBIC)
    return [rng.integers(0, 256, (20, 28, 3), dtype=np.uint8), smooth, smooth[:, :, :1].copy()]


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors(name: str):
    result = make(checkered(32), name, "cifar")
    for frame, (mean, *pixel) in VECTORS[name].items():
        assert abs(result[int(frame)].mean() - mean) < 6e-5, frame
        assert result[int(frame)][5, 7].tolist() == pixel, frame


@pytest.mark.parametrize(
    ("frame", "mean", "pixel"), [(0, 114.1032, (95, 55, 75)), (30, 114.1032, (138, 131, 134))]
)
def test_published_vectors_about_the_true_centre(frame: int, mean: float, pixel: tuple):
    """The numbers of a newer torchvision's rotation, about (16, 16)."""
    makes = sequences.rotate(show(checkered(32)), 1, num_frames=31, generator=legacy(), offset_px=0)
    result = list(makes)[frame]
    assert abs(result.mean() - mean) < 6e-5
    assert tuple(result[5, 7].tolist()) == pixel


def test_the_true_centre_is_half_a_pixel_off():
    """A point symmetric picture turned about its very middle stays symmetric."""
    image = np.random.default_rng(2).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    image = np.maximum(image, image[::-1, ::-1])
    for maker, parameters in (
        (sequences.rotate, (1,)),
        (sequences.scale, (70, 2)),
        (sequences.shear, (1,)),
        (sequences.zoom_blur, (0.004,)),
    ):
        settings = {"num_frames": 4, "generator": legacy()}
        last = list(maker(show(image), *parameters, **settings, offset_px=0))[-1].astype(int)
        assert np.abs(last - last[::-1, ::-1]).max() <= 1
        published = list(maker(show(image), *parameters, **settings))[-1].astype(int)
        assert np.abs(published - published[::-1, ::-1]).max() > 1


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", tuple(SEQUENCES))
def test_every_shape_is_made(name: str, preset: str):
    for image in pictures():
        before = image.copy()
        result = make(image, name, preset, margin=4)
        assert len(result) == SEQUENCES.find(name).num_frames[preset]
        for frame in result:
            assert frame.shape == (image.shape[0] - 4, image.shape[1] - 4, image.shape[2])
            assert frame.dtype == np.uint8
        result[0][:] = 0
        np.testing.assert_array_equal(image, before)


def test_frames_are_made_one_by_one():
    """Nothing of a frame is kept, and none is made before it is asked for."""
    for name in SEQUENCES:
        stream = SEQUENCES.find(name).apply(show(checkered(32)), "cifar", 1, legacy())
        first = next(stream)
        first[:] = 77
        second = next(stream)
        np.testing.assert_array_equal(second, make(checkered(32), name, "cifar")[1], err_msg=name)


def test_noise_restarts_from_the_clean_image():
    for image in pictures():
        x = image / 255.0
        generator = legacy(4)
        clean, *noisy = sequences.gaussian_noise(
            show(image), 0.05, num_frames=4, generator=legacy(4)
        )
        np.testing.assert_array_equal(clean, image)
        for frame in noisy:
            np.testing.assert_array_equal(frame, cut(x + generator.normal(0, 0.05, image.shape)))
        generator = legacy(4)
        clean, *noisy = sequences.shot_noise(show(image), 60, num_frames=4, generator=legacy(4))
        np.testing.assert_array_equal(clean, image)
        for frame in noisy:
            np.testing.assert_array_equal(frame, cut(generator.poisson(x * 60) / 60.0))
        generator = legacy(4)
        clean, *noisy = sequences.speckle_noise(show(image), 0.1, num_frames=4, generator=legacy(4))
        np.testing.assert_array_equal(clean, image)
        for frame in noisy:
            expected = cut(x + x * generator.normal(0, 0.1, image.shape))
            np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize(
    ("preset", "radius", "deviation", "first_deg", "step_deg"),
    [
        ("cifar", 6, 1.8, -180, 9),
        ("tiny", 14, 3, -150, 5),
        ("imagenet", 10, 3, -120, 4),
        ("imagenet-299", 13, 3, -120, 4),
    ],
)
def test_motion_blur(
    preset: str, radius: float, deviation: float, first_deg: float, step_deg: float
):
    for image in pictures():
        for i, frame in enumerate(make(image, "motion_blur", preset)):
            expected = smeared(image, radius, deviation, first_deg + step_deg * i)
            np.testing.assert_array_equal(frame, expected)


def transformed(image: np.ndarray, mapping: tuple[float, ...]) -> np.ndarray:
    """By Pillow."""
    height, width, channels = image.shape
    picture = Image.fromarray(image if channels == 3 else image[:, :, 0])
    moved = picture.transform(
        (width, height), Image.Transform.AFFINE, mapping, Image.Resampling.BILINEAR
    )
    return np.asarray(moved).reshape(image.shape)


def far_share(frame: np.ndarray, expected: np.ndarray) -> float:
    """Share of the values that differ by more than the last bit of a coordinate explains."""
    return (np.abs(frame.astype(int) - expected) > 1).mean()


def enlarged(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    x, y, k = width / 2 + 0.5, height / 2 + 0.5, 1 / factor
    return transformed(image, (k, 0, x - k * x, 0, k, y - k * y))


def test_zoom_blur():
    for image in pictures():
        total = image.astype(np.float32) / 255
        result = make(image, "zoom_blur", "cifar")
        np.testing.assert_array_equal(result[0], image)
        for i in range(1, 31):
            total = total + enlarged(image, 1 + 0.004 * i).astype(np.float32) / 255
            difference = np.abs(result[i].astype(int) - (total / (i + 1) * 255).astype(np.uint8))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.002


def zoomed(values: np.ndarray, factor: int) -> np.ndarray:
    crop = [int(np.ceil(side / factor)) for side in values.shape]
    top, left = ((side - part) // 2 for side, part in zip(values.shape, crop, strict=True))
    piece = values[top : top + crop[0], left : left + crop[1]]
    large = ndimage.zoom(piece, factor, order=1)
    top, left = ((large.shape[axis] - values.shape[axis]) // 2 for axis in (0, 1))
    return large[top : top + values.shape[0], left : left + values.shape[1]]


@pytest.mark.parametrize(
    ("preset", "deviation", "zoom", "radius", "trail"),
    [("cifar", 0.3, 2, 10, 2), ("tiny", 0.28, 2, 10, 2.5), ("imagenet", 0.3, 3, 14, 4)],
)
def test_snow(preset: str, deviation: float, zoom: int, radius: int, trail: float):
    for image in pictures():
        x = image / 255.0
        luma = [0.299, 0.587, 0.114] if image.shape[2] == 3 else [1.0]
        grey = np.sum(x.astype(np.float32) * np.array(luma, np.float32), axis=-1, keepdims=True)
        layer = zoomed(legacy(6).normal(0.05, deviation, image.shape[:2]), zoom)
        layer[layer < 0.5] = 0
        flakes = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
        for i, frame in enumerate(make(image, "snow", preset, seed=6)):
            fall = smeared(flakes, radius, trail, 4 * i - 150)[:, :, None] / 255.0
            white = 0.85 * x + (1 - 0.85) * np.maximum(x, grey * 1.5 + 0.5)
            difference = frame.astype(int) - cut(white + fall + np.rot90(fall, 2))
            assert np.abs(difference).max() <= 1
            assert (difference != 0).mean() < 0.002


@pytest.mark.parametrize(("preset", "step"), [("cifar", 0.015), ("tiny", 0.02), ("imagenet", 0.02)])
def test_brightness(preset: str, step: float):
    for image in pictures():
        rgb = np.broadcast_to(image, (*image.shape[:2], 3)) / 255.0
        for i, frame in enumerate(make(image, "brightness", preset)):
            expected = np.empty(rgb.shape)
            for place in np.ndindex(rgb.shape[:2]):
                h, s, v = colorsys.rgb_to_hsv(*rgb[place])
                expected[place] = colorsys.hsv_to_rgb(h, s, np.clip(v + step * (i - 15), 0, 1))
            np.testing.assert_allclose(
                frame, 255 * expected[:, :, : image.shape[2]], rtol=0, atol=1 + 1e-9
            )


@pytest.mark.parametrize(("preset", "first"), [("cifar", -7), ("tiny", -15), ("imagenet", -20)])
def test_translate(preset: str, first: int):
    for image in pictures():
        width = image.shape[1] - 4
        padded = np.pad(image, ((0, 0), (60, 60), (0, 0)))[2:-2]
        for i, frame in enumerate(make(image, "translate", preset, margin=4)):
            start = 60 + 2 - (first + i)
            np.testing.assert_array_equal(frame, padded[:, start : start + width])


def test_rotate():
    for image in pictures():
        height, width = image.shape[:2]
        x, y = width / 2 + 0.5, height / 2 + 0.5
        result = make(image, "rotate", "imagenet")
        np.testing.assert_array_equal(result[15], image)
        for i, frame in enumerate(result):
            c, s = np.cos(np.radians(i - 15)), np.sin(np.radians(i - 15))
            expected = transformed(image, (c, s, x - c * x - s * y, -s, c, y + s * x - c * y))
            assert far_share(frame, expected) < 0.001, i


def test_rotation_is_clockwise():
    image = np.zeros((32, 32, 3), np.uint8)
    image[4, 16] = 255  # above the middle
    frame = make(image, "rotate", "cifar")[30]
    assert np.argmax(frame[:, :, 0].sum(axis=0)) > 17  # to the right


@pytest.mark.parametrize(
    ("preset", "first", "step", "neutral"),
    [("cifar", 0.7, 0.02, 15), ("tiny", 0.4, 0.025, 24), ("imagenet", 0.4, 0.025, 24)],
)
def test_scale(preset: str, first: float, step: float, neutral: int):
    for image in pictures():
        result = make(image, "scale", preset)
        np.testing.assert_array_equal(result[neutral], image)
        for i, frame in enumerate(result):
            assert far_share(frame, enlarged(image, first + step * i)) < 0.001, i


def test_shear():
    for image in pictures():
        y = image.shape[0] / 2 + 0.5
        result = make(image, "shear", "tiny")
        np.testing.assert_array_equal(result[15], image)
        for i, frame in enumerate(result):
            t, e = np.tan(np.radians(i - 15)), 1 / np.cos(np.radians(i - 15))
            expected = transformed(image, (1, t, -t * y, 0, e, y - e * y))
            assert far_share(frame, expected) < 0.001, i


@pytest.mark.parametrize(("preset", "step"), [("cifar", 0.75), ("tiny", 1.0), ("imagenet", 1.0)])
def test_tilt(preset: str, step: float):
    """Where the corners of a white picture are seen; `test_warps` has the rest."""
    white = np.full((60, 80, 1), 255, np.uint8)
    result = make(white, "tilt", preset)
    focus = np.hypot(60, 80)
    for i, frame in enumerate(result):
        turn = np.radians(step * (i - 15))
        corners = []
        for x, y in ((0, 0), (80, 0), (80, 60), (0, 60)):
            p = np.array([x - 40, y - 30, 1.0])
            about_y = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0]])
            about_y = np.vstack([about_y, [np.sin(turn), 0, np.cos(turn)]])
            about_x = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)]]
            about_x = np.vstack([about_x, [0, np.sin(turn), np.cos(turn)]])
            p = about_x @ about_y @ p
            corners.append([focus * p[0] / (p[2] + focus) + 40, focus * p[1] / (p[2] + focus) + 30])
        mask = np.zeros((60, 80), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 255)
        inner = cv2.erode(mask, np.ones((5, 5)), borderValue=0) > 0
        outer = cv2.dilate(mask, np.ones((5, 5))) > 0
        assert (frame[inner] == 255).all()
        assert (frame[~outer] == 0).all()
    assert result[15].mean() < 253  # the neutral frame is a little smaller than the image


@pytest.mark.parametrize(
    ("preset", "first", "step", "truncate"),
    [
        ("cifar", 0.3, 0.015, 7),
        ("tiny", 0.35, 0.014, 7),
        ("imagenet", 0.25, 0.035, 6),
        ("imagenet-299", 0.35, 0.035, 6),
    ],
)
def test_gaussian_blur(preset: str, first: float, step: float, truncate: float):
    for image in pictures():
        for i, frame in enumerate(make(image, "gaussian_blur", preset)):
            deviation = first + step * i
            expected = ndimage.gaussian_filter(
                image / 255.0, (deviation, deviation, 0), mode="nearest", truncate=truncate
            )
            difference = frame.astype(int) - (255 * expected).astype(np.uint8)
            assert np.abs(difference).max() <= 1
            assert (difference != 0).mean() < 0.001


@pytest.mark.parametrize(
    ("preset", "mean", "deviation", "blur", "threshold", "fall"),
    [
        ("cifar", 0.6, 0.265, 1.75, 0.7, [0.2, 0.8]),
        ("tiny", 0.6, 0.25, 1.75, 0.7, [0.2, 0.8]),
        ("imagenet", 0.65, 0.27, 3.7, 0.69, [0.05, 0.1, 0.15, 0.7]),
        ("imagenet-299", 0.65, 0.3, 4, 0.69, [0.05, 0.1, 0.15, 0.7]),
    ],
)
def test_spatter(
    preset: str, mean: float, deviation: float, blur: float, threshold: float, fall: list[float]
):
    colour = np.array([175, 238, 238]) / 255.0
    for image in pictures():
        tint = colour if image.shape[2] == 3 else np.array([colour @ [0.299, 0.587, 0.114]])
        field = legacy(1).normal(mean, deviation, image.shape[:2])
        field = ndimage.gaussian_filter(field, blur, mode="nearest", truncate=4)
        field[field < threshold] = 0
        for i, frame in enumerate(make(image, "spatter", preset, seed=1)):
            layer = (field * 255).astype(np.uint8)
            edge = cv2.distanceTransform(255 - cv2.Canny(layer, 50, 150), cv2.DIST_L2, 5)
            edge = cv2.blur(np.minimum(edge, 20), (3, 3)).astype(np.uint8)
            kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
            edge = cv2.blur(cv2.filter2D(cv2.equalizeHist(edge), cv2.CV_8U, kernel), (3, 3))
            height = layer * edge.astype(float)
            height = 0.6 * height / max(height.max(), 1)
            expected = image / 255.0 + height[:, :, None] * tint
            np.testing.assert_allclose(
                frame, np.clip(255 * expected, 0, 255), rtol=0, atol=1.001, err_msg=str(i)
            )
            columns = [np.convolve(column, fall, mode="same") for column in field.T]
            field = np.stack(columns, axis=1)


def test_spatter_without_a_drop_is_the_clean_image():
    image = checkered(32)
    stream = sequences.spatter(
        show(image), 0, 0.01, 1, 0.7, 0.6, (0.2, 0.8), num_frames=3, generator=legacy()
    )
    for frame in stream:
        np.testing.assert_array_equal(frame, image)


def test_weather_and_noise_see_only_the_frame():
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    window = Window(4, 4, 32, 40)
    still = {"zoom_blur", "translate", "rotate", "tilt", "scale", "shear"}
    for name in set(SEQUENCES) - still:
        alone = Scene(window.crop(image), Window(0, 0, 32, 40))
        expected = list(SEQUENCES.find(name).apply(alone, "imagenet", 1, legacy()))
        result = list(SEQUENCES.find(name).apply(Scene(image, window), "imagenet", 1, legacy()))
        np.testing.assert_array_equal(result, expected, err_msg=name)
    for name in still:
        whole = SEQUENCES.find(name).apply(show(image), "imagenet", 1, legacy())
        result = list(SEQUENCES.find(name).apply(Scene(image, window), "imagenet", 1, legacy()))
        np.testing.assert_array_equal(result, [window.crop(frame) for frame in whole])


SETTINGS = [
    {"angle_deg": -15},
    {"angle_deg": 7, "scale": 0.9},
    {"scale": 0.4},
    {"scale": 1.124},
    {"shear_deg": 13, "scale": 1.3},
    {},
]


def small_pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    sizes = [(32, 32, 3), (64, 85, 3), (33, 16, 1), (1, 7, 3)]
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


def whole(image: np.ndarray) -> Window:
    return Window(0, 0, image.shape[0], image.shape[1])


@pytest.mark.parametrize(
    ("settings", "shift_px", "expected"),
    [  #
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
    for image in small_pictures():
        height, width, channels = image.shape
        mapping = affine_map((height, width), **settings)
        picture = Image.fromarray(image if channels == 3 else image[:, :, 0])
        moved = picture.transform(
            (width, height), Image.Transform.AFFINE, mapping, Image.Resampling.BILINEAR
        )
        expected = np.asarray(moved).reshape(image.shape)
        np.testing.assert_array_equal(sequences.warp_affine(image, mapping, whole(image)), expected)
        window = centre_window((height, width), (height, (width + 1) // 2))
        result = sequences.warp_affine(image, mapping, window)
        np.testing.assert_array_equal(result, window.crop(expected))


def test_shift_columns():
    for image in small_pictures():
        width = image.shape[1]
        for shift in (-width - 2, -7, -1, 0, 1, 3, width, width + 5):
            result = sequences.shift_columns(image, shift, whole(image))
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
    for image in small_pictures():
        matrix = tilt_map((image.shape[0], image.shape[1]), angle_deg)
        expected = seen(image, np.array(matrix))
        result = sequences.warp_perspective(image, matrix, whole(image))
        assert (result != expected).mean() < 0.002  # a place may round to the next 1/32
        window = centre_window((image.shape[0], image.shape[1]), (1, 4))
        np.testing.assert_array_equal(
            sequences.warp_perspective(image, matrix, window), window.crop(result)
        )


def test_warp_perspective_is_close_to_any_opencv():
    ramp = np.add.outer(np.arange(100), np.arange(120))[:, :, None].astype(np.uint8)
    matrix = tilt_map((100, 120), 9)
    result = sequences.warp_perspective(ramp, matrix, whole(ramp))[:, :, 0].astype(int)
    other = cv2.warpPerspective(ramp, np.array(matrix), (120, 100)).astype(int)
    assert np.abs(result - other).mean() < 0.3
    assert (np.abs(result - other) > 2).mean() < 0.01  # on the border


def test_centre_window():
    assert centre_window((256, 341), (224, 224)) == Window(16, 58, 224, 224)  # 58.5 to even
    assert centre_window((64, 67), (64, 64)) == Window(0, 2, 64, 64)  # 1.5 to even
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    part = Window(1, 2, 3, 4).crop(image)
    np.testing.assert_array_equal(part, image[1:4, 2:6])
    assert part.base is None
