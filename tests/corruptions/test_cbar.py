"""C-bar against plain loops written from its description, and the distribution of its draws.

The loops know square images only and draw from a `RandomState` in the published order, as the
functions do from one.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import augmix
from augmix.corruptions import CIFAR_BAR, IMAGENET_BAR, cbar, cbar_warps
from augmix.corruptions.registry import CORRUPTIONS
from augmix.rng import Purpose, Stream

RandomState = np.random.RandomState
Image = np.ndarray
Pixel = Callable[[int, int], Any]


def second(draws: RandomState) -> RandomState:
    return RandomState(draws.randint(0, 2**32))


def by_pixel(size: int, pixel: Pixel) -> np.ndarray:
    """An array of what a function of row and column returns."""
    return np.array([[pixel(y, x) for x in range(size)] for y in range(size)])


def to_levels(values: np.ndarray) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Read between four pixels; black outside."""
    top, left = math.floor(y), math.floor(x)

    def pixel(row: int, column: int) -> np.ndarray:
        is_inside = 0 <= row < len(image) and 0 <= column < len(image)
        return image[row, column].astype(np.float64) if is_inside else np.zeros(image.shape[2])

    # in the published order, since a white area may lose a level by rounding
    above, below = (
        pixel(row, left) * (1.0 - x + left) + pixel(row, left + 1) * (1.0 - (left + 1) + x)
        for row in (top, top + 1)
    )
    return above * (1.0 - y + top) + below * (1.0 - (top + 1) + y)


def spectral(size: int, draws: RandomState, power: Callable[[float], float]) -> np.ndarray:
    phases = draws.uniform(0, 2 * np.pi, (size, size // 2))
    parts = [phases, phases[::-1, ::-1]]
    if size % 2:
        half = draws.uniform(0, 2 * np.pi, size // 2)
        parts.insert(1, np.concatenate([half, [0.0], half[::-1]])[:, None])
    phases = np.concatenate(parts, axis=1)
    height = by_pixel(size, lambda y, x: power(math.hypot(x - size / 2, y - size / 2)))
    spectrum = np.roll(height * np.exp(1j * phases), (size // 2, size // 2), axis=(0, 1))
    noise = np.real(np.fft.ifft2(spectrum))
    return noise / noise.std()


def blue_noise_sample(image: Image, s: float, draws: RandomState) -> Image:
    noise = spectral(len(image), second(draws), lambda distance: distance)
    return np.where((noise > 0.3 * s - 2.5)[:, :, None], image, 0).astype(np.uint8)


def brownish_noise(image: Image, s: float, draws: RandomState) -> Image:
    again = second(draws)
    noise = [spectral(len(image), again, lambda distance: 1 / (distance**2 + 1)) for _ in range(3)]
    return to_levels(image + 6.4 * s * np.stack(noise, axis=2))


def caustic_refraction(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    time, extent = draws.uniform(0.5, 2), draws.uniform(0.75, 1.25) * size

    def light(y: int, x: int) -> float:
        p = np.array([y, x]) / extent % 1 * 6.28318530718 - 250
        i, c = p.copy(), 1.0
        for n in range(5):
            t = time * (1 - 3.5 / (n + 1))
            i = p + np.array(
                [np.cos(t - i[0]) + np.sin(t + i[1]), np.sin(t - i[1]) + np.cos(t + i[0])]
            )
            c += 1 / np.hypot(p[0] / (np.sin(i[0] + t) / 0.005), p[1] / (np.cos(i[1] + t) / 0.005))
        return float(np.clip(abs(1.17 - (c / 5) ** 1.4) ** 8, 0, 1))

    field = np.pad(ndimage.gaussian_filter(by_pixel(size, light), 1), 1)
    values = image.astype(np.float32) / 255

    def pixel(y: int, x: int) -> np.ndarray:
        north, south = field[y + 1, x], field[y + 1, x + 2]
        west, east = field[y, x + 1], field[y + 2, x + 1]
        normal = np.array([east - west, south - north, 1.0])
        normal /= np.linalg.norm(normal)
        ray = np.array([0.0, 0.0, 1.0])
        if normal[2] < 1 - 1e-3:
            axis = np.cross(ray, normal)
            axis /= np.linalg.norm(axis)
            angle = np.arcsin(np.sin(np.arccos(normal[2])) / 4)
            ray = np.cos(angle) * normal + np.sin(angle) * np.cross(normal, axis)
        move = np.round(ray * 0.05 * size * s, 3)
        read = bilinear(values, y + move[0], x + move[1])
        return np.clip(read + 0.2 * s * (north - south) + 0.2 * s * (east - west), 0, 1)

    return to_levels(by_pixel(size, pixel).astype(np.float32) * np.float32(255))


def checkerboard_cutout(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    angle = draws.uniform(0, 2 * np.pi)
    scale = max(draws.uniform(0.1, 0.25) * size, 1)
    count = int(4 * size // scale)
    grid = second(draws).uniform(size=(count, count)) < s / 10
    result = image.copy()
    for y in range(size):
        for x in range(size):
            n = (np.cos(angle) * y + np.sin(angle) * x) / scale
            m = (-np.sin(angle) * y + np.cos(angle) * x) / scale
            if int(n % 2) == int(m % 2) and grid[int(n), int(m)]:
                result[y, x] = 128
    return result


def cocentric_sine_waves(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    x0, y0 = draws.uniform(0, size, 2)
    freq = draws.uniform(0, 10)
    amplitude, width = draws.uniform(0, size / 10), draws.uniform(0, size / 10)

    def wave(y: int, x: int) -> float:
        angle = math.atan2(x - x0, y - y0) * freq
        distance = math.hypot(x - x0, y - y0) + math.sin(angle) * amplitude
        return distance % width / width - 0.5

    return to_levels(image + 12.8 * s * by_pixel(size, wave)[:, :, None])


def star(y: int, x: int, centre: np.ndarray, lengths: np.ndarray, exponent: float) -> float:
    dy, dx = np.array([y, x]) - centre
    a = (math.atan2(dx, dy) + np.pi) / (2 * np.pi) * len(lengths)
    i, f = int(a), a - int(a)
    first, following = lengths[i % len(lengths)], lengths[(i + 1) % len(lengths)]
    length = first + f * (following - first)
    fall = (length**2 / (dy**2 + dx**2 + 1e-4)) ** exponent
    return float(np.clip((1 - (f - 0.5) ** 2) * fall, 0, 1))


def inverse_sparkles(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    centre = draws.uniform(0.25, 0.75, 2) * size
    again, rays = second(draws), draws.randint(50, 200)
    lengths = np.array([size / 4 + 0.25 * size / 4 * again.randn() for _ in range(rays)])
    fall = by_pixel(size, lambda y, x: star(y, x, centre, lengths, 0.13 * s))
    return to_levels(255 + fall[:, :, None] * (image - 255.0))


def sparkles(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    centres = draws.uniform(0, size, (5, 2))
    again = second(draws)
    values, radius = image.astype(np.float64), 0.01 * s * size
    for centre, rays in zip(centres, draws.randint(50, 200, 5), strict=True):
        lengths = np.array([max(1, radius + 0.25 * radius * again.randn()) for _ in range(rays)])
        fall = by_pixel(size, lambda y, x, c=centre, r=lengths: star(y, x, c, r, 1))
        values = values.astype(np.float32).astype(np.float64)
        values += fall[:, :, None] * (255 - values)
    return to_levels(values)


def perlin_noise(image: Image, s: float, draws: RandomState) -> Image:
    size, again = len(image), second(draws)
    gradients = []
    for pair in again.randint(0, 512, (256, 2)):
        vector = (pair - 256) / 256
        gradients.append(vector / (np.linalg.norm(vector) or 1))
    table = list(range(256))
    swaps = again.randint(0, 256, 256)
    for k in range(256):
        i, j = 255 - k, swaps[k]
        table[i], table[j] = table[j], table[i]

    def noise(y: float, x: float) -> float:
        row, column = math.floor(y), math.floor(x)
        v, u = y - row, x - column

        def dot(down: int, right: int) -> float:
            entry = table[(table[(row + down) % 256] + column + right) % 256]
            return float(gradients[entry] @ np.array([v - down, u - right]))

        curve_v, curve_u = 3 * v**2 - 2 * v**3, 3 * u**2 - 2 * u**3
        left = dot(0, 0) * (1 - curve_v) + dot(1, 0) * curve_v
        right = dot(0, 1) * (1 - curve_v) + dot(1, 1) * curve_v
        return 1.5 * (left * (1 - curve_u) + right * curve_u)

    def turbulence(y: int, x: int) -> float:
        unit = 32 * size / 224
        total = sum(abs(noise(f * y / unit, f * x / unit)) / f for f in (1, 2, 4, 8, 16))
        return float(np.clip(total / 2 + 0.5, 0, 1))

    field = by_pixel(size, turbulence)[:, :, None]
    kept = np.float32(1 - 0.05 * s) * image.astype(np.float32)
    return to_levels(kept + 255 * (0.05 * s) * field)


def plasma_noise(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    time, rounds = draws.uniform(0, 6 * np.pi), draws.randint(4, 7)
    sharpness, scale = draws.uniform(0.5, 1), draws.uniform(0.075, 0.2) * size

    def colour(row: int, column: int) -> list[float]:
        x, y = column / scale, row / scale
        i = [1.0, 1.0, 1.0]
        for _ in range(rounds):
            r = (
                np.array([math.cos(y * i[0] + time / i[1]), math.sin(x * i[0] + time / i[1])])
                / i[2]
            )
            r = r + 0.3 * np.array([-r[1], r[0]])
            x, y = x + r[0], y + r[1]
            i = [i[0] * 1.93, i[1] * 1.15, i[2] * (2.25 - sharpness)]
        return [math.sin(x - time), math.sin((x + y + math.sin(time)) / 2), math.sin(y + time)]

    return to_levels((1 - 6.4 * s / 255) * image + 6.4 * s * by_pixel(size, colour))


def single_frequency_greyscale(image: Image, s: float, draws: RandomState) -> Image:
    first = draws.uniform(-np.pi, np.pi)
    pair = np.array([first, draws.uniform(-abs(first), abs(first))])
    a, b = pair[draws.permutation(2)]
    phase = draws.uniform(0, 2 * np.pi)
    wave = by_pixel(len(image), lambda y, x: math.sin(x * a + y * b + phase))
    return to_levels(image + 19.6 * s * wave[:, :, None])


def circular_motion_blur(image: Image, s: float, draws: RandomState) -> Image:
    values = image.astype(np.float32) / np.float32(255)
    total, weights = np.zeros_like(values), []
    for t in np.linspace(-1, 1, 21):
        weights.append(np.exp(-2 * t**2))
        total += np.float32(weights[-1]) * ndimage.rotate(values, t * 1.5 * s, reshape=False)
    return to_levels(total / np.float32(sum(weights)) * np.float32(255))


def line_aa(r0: int, c0: int, r1: int, c1: int) -> list[tuple[int, int, float]]:
    """Zingl's line as scikit-image draws it: row, column and weight of each pixel."""
    f32 = np.float32
    dc, dr = abs(c0 - c1), abs(r0 - r1)
    step_c, step_r = (1 if c0 < c1 else -1), (1 if r0 < r1 else -1)
    error, length = f32(dc - dr), f32(math.sqrt(dc * dc + dr * dr) if dc + dr else 1)
    c, r, found = c0, r0, []
    while True:
        found.append((r, c, abs(error - f32(dc) + f32(dr)) / length))
        before, before_c = error, c
        if 2 * before >= -dc:
            if c == c1:
                break
            if before + f32(dr) < length:
                found.append((r + step_r, c, abs(before + f32(dr)) / length))
            error = error - f32(dr)
            c += step_c
        if 2 * before <= dr:
            if r == r1:
                break
            if f32(dc) - before < length:
                found.append((r, before_c + step_c, abs(f32(dc) - before) / length))
            error = error + f32(dc)
            r += step_r
    return [(row, column, 1 - float(distance)) for row, column, distance in found]


def lines(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    angle, variation = draws.uniform(0, 2 * np.pi), draws.uniform(0.1, 1)
    again, result = second(draws), image.copy()
    for _ in range(int(size * s / 10)):
        row, column = size * again.uniform(), size * again.uniform()
        a = angle + 2 * np.pi * variation * (again.uniform() - 0.5)
        c, r = np.cos(a) * size, np.sin(a) * size
        for y, x, weight in line_aa(int(row - c), int(column - r), int(row + c), int(column + r)):
            if 0 <= y < size and 0 <= x < size:
                result[y, x] = ((1 - weight) * result[y, x] + weight * 128).astype(np.uint8)
    return result


def pinch_and_twirl(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    num = 5 if size == 224 else 3
    signs = [[1 if draws.randint(0, 2) == 0 else -1 for _ in range(num)] for _ in range(num)]
    values, cell = image.astype(np.float32), size // num
    radius = cell / 2
    for column in range(num):
        for row in range(num):
            top, left = row * cell, column * cell
            middle = np.array([top + radius, left + radius])
            changed = np.empty((cell, cell, 3), np.float32)
            for y, x in np.ndindex(cell, cell):
                point = np.array([top + y, left + x], np.float64)
                dy, dx = point - middle
                distance = math.hypot(dy, dx)
                if distance <= radius and round(distance, 3) != 0:
                    d = distance / radius
                    stretch = math.sin(np.pi * d / 2) ** -(0.04 * s + 0.1)
                    a = signs[column][row] * s / 10 * np.pi / 2 * (1 - d) ** 2
                    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
                    point = middle + turn @ np.array([dy, dx]) * stretch
                changed[y, x] = bilinear(values, point[0], point[1])
            values[top : top + cell, left : left + cell] = changed
    return to_levels(values)


def ripple(image: Image, s: float, draws: RandomState) -> Image:
    size = len(image)
    length, phase = draws.uniform(0.1, 0.3, 2) * size, draws.uniform(0, 2 * np.pi, 2)

    def pixel(y: int, x: int) -> np.ndarray:
        down = y + 0.0025 * s * size * math.sin(2 * np.pi * y / length[0] + phase[0])
        right = x + 0.0025 * s * size * math.sin(2 * np.pi * x / length[1] + phase[1])
        return bilinear(image, down, right)

    return to_levels(by_pixel(size, pixel))


def transverse_chromatic_abberation(image: Image, s: float, draws: RandomState) -> Image:
    size, result = len(image), image.copy()
    scales = np.array([1, 1 + 0.025 * s, 1 + 0.05 * s])[draws.permutation(3)]
    for channel in range(3):
        plane = image[:, :, channel]
        zoomed = np.asarray(ndimage.zoom(plane, scales[channel], prefilter=False))
        edge = (len(zoomed) - size) // 2
        result[:, :, channel] = zoomed[edge : edge + size, edge : edge + size]
    return result


DEFINITIONS = {
    function.__name__: function
    for function in (
        *(blue_noise_sample, brownish_noise, caustic_refraction, checkerboard_cutout),
        *(cocentric_sine_waves, inverse_sparkles, sparkles, perlin_noise, plasma_noise),
        *(single_frequency_greyscale, circular_motion_blur, lines, pinch_and_twirl, ripple),
        transverse_chromatic_abberation,
    )
}


def scene(size: int) -> Image:
    """A smooth image with noise, black and white parts."""
    draws = np.random.default_rng(size)
    corners = draws.uniform(-60, 320, (6, 6, 3))
    smooth = np.asarray(ndimage.zoom(corners, (size / 6, size / 6, 1), order=1))
    noisy = smooth[:size, :size] + draws.normal(0, 6, (size, size, 3))
    noisy[: size // 5, : size // 5] = 255
    return to_levels(noisy)


def function_of(name: str) -> Callable[..., Image]:
    return getattr(cbar, name, None) or getattr(cbar_warps, name)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_against_the_definition(name: str):
    severities = sorted({row[0] for each in CORRUPTIONS[name].parameters.values() for row in each})
    for size, severity in ((32, severities[0]), (32, severities[-1]), (33, severities[2])):
        image, seed = scene(size), size + round(severity)
        result = function_of(name)(image, severity, generator=RandomState(seed))
        expected = DEFINITIONS[name](image, severity, RandomState(seed))
        differences = np.abs(result.astype(int) - expected)
        assert differences.max() <= 1
        assert (differences > 0).mean() <= 0.001
        assert (result != image).mean() > 0.001


@pytest.mark.parametrize("name", ["circular_motion_blur", "transverse_chromatic_abberation"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_images_against_the_definition(name: str, size: int):
    image = np.random.default_rng(size).integers(1, 256, (size, size, 3), dtype=np.uint8)
    for severity in (1.0, 4.5, 10.0):
        result = function_of(name)(image, severity, generator=RandomState(1))
        expected = DEFINITIONS[name](image, severity, RandomState(1))
        np.testing.assert_allclose(result, expected.astype(int), atol=1)


def rotations_in_double(image: Image, amount: float) -> Image:
    """`circular_motion_blur` with every spline in double precision, in the order of its sums."""
    steps = 2 * np.arange(21) / 20 - 1
    weights, angles = np.exp(-2 * steps**2), np.deg2rad(steps * (1.5 * amount))
    spline = cbar_warps._spline(image.astype(np.float32) / np.float32(255))
    height, width = image.shape[:2]
    y, x = np.arange(height)[:, None], np.arange(width)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    total = np.zeros(image.shape, np.float32)
    for weight, angle in zip(weights.astype(np.float32), angles, strict=True):
        c, s = np.cos(angle), np.sin(angle)
        at_y = c * y + s * x + (middle_y - (c * middle_y + s * middle_x))
        at_x = c * x - s * y + (middle_x - (c * middle_x - s * middle_y))
        is_inside = (at_y >= 0) & (at_y <= height - 1) & (at_x >= 0) & (at_x <= width - 1)
        at_y, at_x = np.where(is_inside, at_y, 0), np.where(is_inside, at_x, 0)
        top, left = at_y.astype(int), at_x.astype(int)
        down, right = (
            cbar_warps._weights(part.reshape(-1)).reshape(height, width, 4).transpose(2, 0, 1)
            for part in (at_y - top, at_x - left)
        )
        value = np.zeros(image.shape)
        for j in range(4):
            line = np.zeros(image.shape)
            for k in range(4):
                line += down[k][:, :, None] * spline[top + 1 + k, left + 1 + j]
            value += right[j][:, :, None] * line
        total += np.where(is_inside[:, :, None], weight * value.astype(np.float32), np.float32(0))
    return to_levels(total / np.float32(sum(weights)) * np.float32(255))


@pytest.mark.parametrize("amount", [0.0, 2.5, 10.0])
def test_single_precision_changes_no_level_of_a_rotation(amount: float):
    """Also where every pixel is near a whole level, and where splines overshoot."""
    draws = np.random.default_rng(0)
    chess = (np.indices((40, 57)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None]
    images = {
        "noise": draws.integers(0, 256, (57, 40, 3), dtype=np.uint8),
        "chess board": chess.repeat(3, axis=2),
        "grey chess board": chess,
        "one level": np.full((33, 33, 3), 100, np.uint8),
        "white": np.full((33, 33, 3), 255, np.uint8),
        "levels of columns": np.arange(256, dtype=np.uint8)[None, :, None].repeat(9, axis=0),
        "scene": scene(96),
    }
    for name, image in images.items():
        result = cbar_warps.circular_motion_blur(image, amount, generator=RandomState(0))
        expected = rotations_in_double(image, amount)
        np.testing.assert_array_equal(result, expected, err_msg=name)


def test_cells_of_one_pixel_are_not_turned():
    for shape in ((1, 1, 3), (2, 5, 1), (2, 2, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        result = cbar_warps.pinch_and_twirl(image, 5.0, generator=RandomState(0))
        np.testing.assert_array_equal(result, image)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pinch_and_twirl", "perlin_noise", "caustic_refraction"])
def test_against_the_definition_at_224(name: str):
    image = scene(224)
    severity = CORRUPTIONS[name].parameters["imagenet"][3][0]
    result = function_of(name)(image, severity, generator=RandomState(5))
    expected = DEFINITIONS[name](image, severity, RandomState(5))
    differences = np.abs(result.astype(int) - expected)
    assert differences.max() <= 1
    assert (differences > 0).mean() <= 0.001


def test_the_lists():
    assert len(CIFAR_BAR) == len(IMAGENET_BAR) == 10
    assert len(DEFINITIONS) == len({*CIFAR_BAR, *IMAGENET_BAR}) == 15
    assert {*CIFAR_BAR} & {*IMAGENET_BAR} == {
        *("blue_noise_sample", "brownish_noise", "checkerboard_cutout"),
        *("inverse_sparkles", "sparkles"),
    }
    assert {CORRUPTIONS[name].suite for name in DEFINITIONS} == {"c-bar"}


def test_published_amounts():
    def amounts(name: str, preset: str) -> list[float]:
        return [amount for (amount,) in CORRUPTIONS[name].parameters[preset]]

    assert amounts("sparkles", "cifar") == [0.7, 3.5, 5.6, 6.3, 7.0]
    assert amounts("sparkles", "imagenet") == [1, 2, 3, 5, 6]
    assert amounts("caustic_refraction", "imagenet") == [2.35, 3.2, 4.9, 6.6, 9.15]
    assert amounts("caustic_refraction", "cifar") == amounts("caustic_refraction", "imagenet")
    assert amounts("lines", "imagenet-299") == amounts("lines", "cifar") == [0.5, 1, 1.5, 2, 2.5]


def test_another_spelling():
    image = scene(32)
    assert CORRUPTIONS.resolve(["blue_noise", "lines"]) == ("blue_noise_sample", "lines")
    for name in ("blue_noise", "blue_noise_sample"):
        found = augmix.corrupt(image, name, severity=4)
        np.testing.assert_array_equal(found, augmix.corrupt(image, CIFAR_BAR[0], severity=4))


@pytest.mark.parametrize("name", DEFINITIONS)
def test_same_address_same_bytes(name: str):
    images = np.stack([scene(32), scene(32)[::-1], scene(32).transpose(1, 0, 2)])
    together = augmix.corrupt(images, name, severity=3, seed=4, ids=[7, 8, 9])
    alone = augmix.corrupt(images[1], name, severity=3, seed=4, ids=8)
    np.testing.assert_array_equal(together[1], alone)
    if name not in ("circular_motion_blur", "transverse_chromatic_abberation"):  # few or no draws
        assert (augmix.corrupt(images[1], name, severity=3, seed=5, ids=8) != alone).any()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_grey_image_is_one_channel(name: str):
    """All but noise per channel, colour and the zoom of the channels see each channel alone."""
    grey = scene(32)[:, :, :1]
    result = augmix.corrupt(grey, name, severity=3)
    assert result.shape == grey.shape
    if name not in ("brownish_noise", "plasma_noise", "transverse_chromatic_abberation"):
        rgb = augmix.corrupt(grey.repeat(3, axis=2), name, severity=3)
        np.testing.assert_array_equal(rgb[:, :, :1], result)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_images_need_not_be_square(name: str):
    image = scene(64)[:40]
    for turned in (image, np.ascontiguousarray(image.transpose(1, 0, 2))):
        result = augmix.corrupt(turned, name, severity=5, preset="imagenet")
        assert result.shape == turned.shape
        assert (result != turned).any()


def drawn(name: str, index: int = 0) -> np.random.Generator:
    return Stream(seed=index, purpose=Purpose.CORRUPTION).generator(3)


def test_noise_is_standardised():
    for is_blue in (True, False):
        noise = cbar._spectral_noise((32, 47), 3, drawn("noise"), is_blue=is_blue)
        np.testing.assert_allclose(noise.std(axis=(0, 1)), 1, rtol=1e-12)


def test_statistics_of_the_draws():
    """What a draw decides, measured on a flat grey image over many images."""
    flat = np.full((600, 32, 32, 3), 100, np.uint8)

    def made(name: str, severity: int) -> np.ndarray:
        return augmix.corrupt(flat, name, severity=severity, preset="cifar").astype(float)

    # the normal distribution below 0.3 s - 2.5, s = 4.2
    black = (made("blue_noise_sample", 5) == 0).mean()
    assert black == pytest.approx(0.1075, abs=0.003)
    # half of the squares, s / 10 of them
    cut = (made("checkerboard_cutout", 3) == 128).mean()
    assert cut == pytest.approx(0.15, abs=0.01)
    noise = made("brownish_noise", 1).std(axis=(1, 2))  # its mean is random, too
    assert noise == pytest.approx(6.4 * 2.5, rel=0.05)
    # a sine of random phase and a saw tooth of random phase, of amplitude a: a^2 / 2 and a^2 / 12
    wave = made("single_frequency_greyscale", 1) - 99.5
    assert wave.std() == pytest.approx(19.6 / np.sqrt(2), rel=0.03)
    rings = made("cocentric_sine_waves", 1) - 99.5
    assert rings.std() == pytest.approx(12.8 * 3 / np.sqrt(12), rel=0.03)
    plasma = made("plasma_noise", 1) - (1 - 6.4 * 4.75 / 255) * 100 + 0.5
    assert plasma.std() == pytest.approx(6.4 * 4.75 / np.sqrt(2), rel=0.06)
    # lines are as often up and down as left and right
    changed = made("lines", 5) != 100
    assert changed.mean(axis=(0, 1, 3)) == pytest.approx(changed.mean(), rel=0.5)
    # turns to both sides
    signs = [cbar_warps.integers(drawn("pinch", k), 0, 2, (3, 3)).mean() for k in range(200)]
    assert np.mean(signs) == pytest.approx(0.5, abs=0.03)


def test_elementary_functions():
    from augmix.jit import outer

    sine, cosine, angle = (
        outer(function.py_func) for function in (cbar.sine, cbar.cosine, cbar._angle)
    )
    draws = np.random.default_rng(0)
    for x in (*draws.uniform(-300, 300, 2000), 0.0, math.pi / 2, -math.pi, 250.0):
        assert sine(x) == pytest.approx(math.sin(x), abs=3e-16)
        assert cosine(x) == pytest.approx(math.cos(x), abs=3e-16)
    for y, x in (*draws.normal(0, 100, (2000, 2)), (0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (3.0, 3.0)):
        assert angle(y, x) == pytest.approx(math.atan2(y, x), abs=1e-15)
