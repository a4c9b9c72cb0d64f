"""Kernels against the published vectors, and against slow formulations written here."""

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from augmix.corruptions import blur, digital, frost, noise, registry, weather
from augmix.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from augmix.errors import RunError
from augmix.rng import Purpose, Stream

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
    row = registry.CORRUPTIONS.find(name)
    return row.function(image, *row.parameters[preset][severity - 1], generator=generator)


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


def rough_images() -> list[np.ndarray]:
    """Those whose levels differ; on flat ones the last bit of a sum decides on a whole level."""
    return [image for image in random_images() if image[..., 0].std() > 1]


@pytest.mark.parametrize("preset", SIDES)
@pytest.mark.parametrize("name", [name for name in list(registry.CORRUPTIONS) if name != "frost"])
def test_published_vectors(name: str, preset: str):
    row = registry.CORRUPTIONS.find(name)
    check_vectors(row.function, name, preset)


@pytest.mark.parametrize("preset", SIDES)
def test_published_vectors_of_the_photographs(preset: str, real_data: Path):
    check_vectors(partial(frost.frost, textures=real_data / "frost"), "frost", preset)


def check_vectors(kernel, name: str, preset: str) -> None:
    for severity in registry.SEVERITIES:
        parameters = registry.CORRUPTIONS.find(name).parameters[preset][severity - 1]
        result = kernel(checkered(SIDES[preset]), *parameters, generator=legacy())
        mean, *pixel = VECTORS[preset][name][severity - 1]
        if name in WITHIN_ONE_LEVEL:
            assert abs(result.mean() - mean) < 0.002, severity
            assert np.abs(result[5, 7].astype(int) - pixel).max() <= 1, severity
        else:
            assert abs(result.mean() - mean) < 6e-5, severity
            assert result[5, 7].tolist() == pixel, severity


@pytest.mark.parametrize("name", list(registry.CORRUPTIONS))
def test_every_shape_is_kept(name: str):
    for image in random_images():
        before = image.copy()
        for preset in registry.PRESETS:
            result = run(image, name, preset, 5, np.random.default_rng(0))
            assert result.shape == image.shape
            assert result.dtype == np.uint8
        np.testing.assert_array_equal(image, before)


def test_gaussian_noise():
    for image in random_images():
        noise = legacy().normal(0, 0.12, image.shape)
        result = gaussian_noise(image, 0.12, generator=legacy())
        np.testing.assert_array_equal(result, cut(image / 255.0 + noise))


def test_shot_noise():
    for image in random_images():
        counts = legacy().poisson(image / 255.0 * 12)
        result = shot_noise(image, 12, generator=legacy())
        np.testing.assert_array_equal(result, cut(counts / 12.0))


def test_impulse_noise():
    for image in random_images():
        generator = legacy()
        flipped = generator.choice([True, False], size=image.shape, p=[0.2, 0.8])
        salted = generator.choice([True, False], size=image.shape, p=[0.5, 0.5])
        expected = image.copy()
        expected[flipped & salted] = 255
        expected[flipped & ~salted] = 0
        result = impulse_noise(image, 0.2, generator=legacy())
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


def test_contrast():
    for image in random_images():
        x = image / 255.0
        mean = np.array([[[sum(x[..., c].ravel().tolist(), 0.0) for c in range(x.shape[2])]]])
        mean = mean / (image.shape[0] * image.shape[1])
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


def test_jpeg_compression():
    for image in random_images():
        file = io.BytesIO()
        mode = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
        mode.save(file, format="JPEG", quality=15)
        expected = np.asarray(Image.open(io.BytesIO(file.getvalue()))).reshape(image.shape)
        result = digital.jpeg_compression(image, 15, generator=legacy())
        np.testing.assert_array_equal(result, expected)


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


def smooth(values: np.ndarray, deviation: float, **settings) -> np.ndarray:
    settings = {"mode": "nearest", "truncate": 4.0, **settings}
    return ndimage.gaussian_filter(values, (deviation, deviation, 0), **settings)


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
        mirrored = blur.gaussian_filter(values, deviation, truncate=3.0, is_mirrored=True)
        expected = smooth(values, deviation, truncate=3.0, mode="reflect")
        np.testing.assert_allclose(mirrored, expected, rtol=0, atol=1e-13)


def test_gaussian_filter_wider_than_the_picture():
    values = np.random.default_rng(0).random((20, 33, 3))
    np.testing.assert_allclose(
        blur.gaussian_filter(values, 30.0, truncate=3.0, is_mirrored=True),
        smooth(values, 30.0, truncate=3.0, mode="reflect"),
        rtol=0,
        atol=1e-13,
    )
    np.testing.assert_allclose(
        blur.gaussian_filter(values, 11.0), smooth(values, 11.0), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("parameters", [(0.05, 1, 1), (0.4, 1, 2), (0.9, 2, 2), (1.5, 4, 1)])
def test_glass_blur(parameters: tuple):
    for image in rough_images():
        expected = scattered(image, *parameters, legacy(2))
        result = blur.glass_blur(image, *parameters, generator=legacy(2))
        difference = np.abs(result.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001


def smeared(image: np.ndarray, radius: float, deviation: float, angle_deg: float) -> np.ndarray:
    """3.4 pixel by pixel."""
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    angle = angle_deg * np.pi / 180
    ox, oy = (np.ceil(steps * turn - 0.5).astype(int) for turn in (np.cos(angle), np.sin(angle)))
    height, width = image.shape[:2]
    result = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            rows = np.clip(y + oy, 0, height - 1)
            columns = np.clip(x + ox, 0, width - 1)
            value = (weights[:, None] * image[rows, columns]).sum(axis=0)
            result[y, x] = np.floor(257 * value + 0.5).astype(int) // 257
    return result


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


def zoomed(values: np.ndarray, factor: float) -> np.ndarray:
    """3.3 by SciPy."""
    size = values.shape[:2]
    crop = [int(np.ceil(side / factor)) for side in size]
    top, left = ((side - part) // 2 for side, part in zip(size, crop, strict=True))
    piece = values[top : top + crop[0], left : left + crop[1]]
    large = ndimage.zoom(piece, (factor, factor, 1), order=1)
    rows, columns = ((large.shape[axis] - size[axis]) // 2 for axis in (0, 1))
    return large[rows : rows + size[0], columns : columns + size[1]]


def test_clipped_zoom():
    ramp = (32.0 * np.arange(32)[:, None] + np.arange(32))[:, :, None]
    result = blur.clipped_zoom(ramp, 1.25)[:, :, 0]
    np.testing.assert_allclose(result[0, :3], [99, 99.806452, 100.612903], atol=1e-6)
    np.testing.assert_allclose(result[-1, -3:], [922.387097, 923.193548, 924], atol=1e-6)
    rng = np.random.default_rng(0)
    for shape in ((32, 32, 3), (40, 24, 1), (224, 224, 1)):
        for factor in (1.0, 1.02, 1.25, 1.75, 2.25, 2.5, 4.5):
            values = rng.random(shape)
            np.testing.assert_allclose(
                blur.clipped_zoom(values, factor), zoomed(values, factor), rtol=0, atol=1e-12
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


def test_frost_lays_a_piece_of_the_texture():
    for image in random_images():
        generator = legacy(4)
        texture = frost.load_texture(generator.randint(5))
        height, width, channels = image.shape
        row = generator.randint(0, texture.shape[0] - height)
        column = generator.randint(0, texture.shape[1] - width)
        piece = texture[row : row + height, column : column + width].astype(float)
        if channels == 1:
            piece = (piece * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
        expected = np.clip(0.7 * image + 0.6 * piece, 0, 255)
        result = frost.frost(image, 0.7, 0.6, 1, generator=legacy(4))
        assert np.abs(result - np.floor(expected)).max() <= (channels == 1)


def test_frost_enlarges_a_texture_too_small():
    for size in ((300, 20), (330, 330), (20, 700), (64, 64)):
        image = np.zeros((*size, 3), np.uint8)
        for seed in range(6):
            result = frost.frost(image, 1, 1, 0.2, generator=legacy(seed))
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
        texture = frost.load_texture(index)
        np.testing.assert_allclose(texture.mean(axis=(0, 1)), mean, atol=3)
        assert np.abs(np.diff(texture.astype(int), axis=1)).mean() > 5


def test_drawn_textures_are_as_strong_as_the_photographs(real_data: Path):
    for index in range(5):
        drawn, photograph = (
            frost.load_texture(index),
            frost.load_texture(index, real_data / "frost"),
        )
        assert drawn.shape == photograph.shape
        ratio = drawn.std(axis=(0, 1)) / photograph.std(axis=(0, 1))
        np.testing.assert_allclose(ratio, 1, atol=0.15)


def test_frost_messages(tmp_path: Path):
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(RunError, match="no frost texture at .*must hold frost1.png"):
        frost.frost(image, 1, 1, 1, generator=legacy(), textures=tmp_path)
    for name in frost.PHOTOGRAPHS:
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(RunError, match="cannot read the frost texture"):
        frost.frost(image, 1, 1, 1, generator=legacy(), textures=tmp_path)


def test_frost_fingerprint(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in frost.PHOTOGRAPHS:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    assert len(frost.fingerprint()) == 64
    assert frost.fingerprint() != frost.fingerprint(tmp_path)


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


def test_speckle_noise():
    for image in random_images():
        x = image / 255.0
        expected = cut(x + x * legacy().normal(0, 0.35, image.shape))
        result = speckle_noise(image, 0.35, generator=legacy())
        np.testing.assert_array_equal(result, expected)


def test_gaussian_blur():
    for image in rough_images():
        for deviation in (0.4, 1, 3):
            result = blur.gaussian_blur(image, deviation, generator=legacy())
            difference = np.abs(result.astype(int) - cut(smooth(image / 255.0, deviation)))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.001


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


@pytest.mark.parametrize("photons", [3.0, 12.0, 60.0, 500.0])
def test_addressed_photon_counts_follow_poisson(photons: float):
    levels = np.array([0, 1, 20, 100, 255], np.uint8)
    image = np.repeat(levels, 40_000).reshape(5, 40_000, 1)
    counts = noise.poisson_counts(np.random.default_rng(1), image, photons)[..., 0]
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
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"):
        for severity in (1, 3, 5):
            old = run(image, name, "imagenet", severity, legacy(3)).astype(float)
            new = run(image, name, "imagenet", severity, np.random.default_rng(3)).astype(float)
            error = np.hypot(old.std(), new.std()) / np.sqrt(image.size)
            assert abs(old.mean() - new.mean()) < 4 * error
            assert stats.ks_2samp(old.ravel(), new.ravel()).pvalue > 1e-4
            neighbours = np.corrcoef(new[:, :-1].ravel(), new[:, 1:].ravel())[0, 1]
            assert abs(neighbours) < 0.02


@pytest.mark.parametrize(
    "name",
    ["glass_blur", "motion_blur", "snow", "frost", "fog", "elastic_transform", "spatter"],
)
def test_addressed_draws_have_the_statistics_of_the_legacy_ones(name: str):
    """Brightness, contrast and distance to the clean image, over many draws of each kind."""
    image = np.clip(checkered(32).astype(int) // 2 + 40, 0, 255).astype(np.uint8)
    old = [run(image, name, "cifar", 3, legacy(seed)) for seed in range(150)]
    stream = Stream(seed=8).at(Purpose.CORRUPTION)
    new = [run(image, name, "cifar", 3, stream.generator(sample)) for sample in range(150)]
    for measure in (
        lambda result: result.mean(),
        lambda result: result.std(),
        lambda result: np.abs(result.astype(float) - image).mean(),
        lambda result: float(result[16, 16, 1]),
    ):
        found = stats.ks_2samp([measure(one) for one in old], [measure(one) for one in new])
        assert found.pvalue > 1e-3


def test_chances_of_certain_things():
    generator = np.random.default_rng(0)
    assert not noise.bernoulli(generator, 0.0, (1000,)).any()
    assert noise.bernoulli(generator, 1.0, (1000,)).all()
    assert noise.bernoulli(generator, 0.27, (100_000,)).mean() == pytest.approx(0.27, abs=0.006)
