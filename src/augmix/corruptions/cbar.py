"""C-bar: noise, waves, light and occlusion, of Mintun et al. (2021).

The functions are those of "On Interaction between Data Augmentation and Corruptions in Natural
Corruption Robustness", whose set of ten for CIFAR and of ten for ImageNet were chosen to be unlike
the corruptions of the -C benchmarks (`imagenet_c_bar/corrupt.py` of
`facebookresearch/augmentation-corruption`); `cbar_warps` has those that move pixels. The published
script knows square images of 32 and 224 pixels. Here lengths are in proportion to the shorter edge
of an image and positions to its height and width, which is the same for squares.

From a `np.random.RandomState` a function draws what the published script draws from NumPy's global
state, in its order, so the arrays are the same; only the lattice of Perlin's noise is drawn in an
order of its own. Where the script seeds a second generator with a drawn number, an addressed
generator draws on itself.

Sine, cosine and arctangent are series in double precision, since those of the C library are neither
vectorised nor the same on every platform.
"""

import math
from functools import lru_cache
from typing import no_type_check

import numpy as np
from jaxtyping import Float64

from augmix.corruptions.noise import integers
from augmix.corruptions.registry import Image, ImageDraws, Real
from augmix.jit import inner, outer

_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(11))
_ARCTANGENT = tuple((-1) ** k / (2 * k + 1) for k in range(11))
# pi in three parts: up to 2**20 times the first two are exact
_PI_HIGH, _PI_MIDDLE, _PI_LOW = (
    3.1415926218032836914,
    3.1786509424591713469e-08,
    1.2246467864107e-16,
)
_OCTAVES = (1, 2, 4, 8, 16)  # of Perlin noise
_LATTICE = 256  # gradients of Perlin noise


def blue_noise_sample(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Black out the pixels where blue noise of standard deviation 1 is below a threshold.

    Args:
        amount: The threshold is 0.3 of it minus 2.5.
    """
    noise = _spectral_noise(image.shape[:2], 1, _second(generator), is_blue=True)
    return image * (noise > scaled(amount, 3) - 2.5)


def brownish_noise(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Add noise of a spectrum that falls with the square of the frequency to each channel.

    Args:
        amount: Standard deviation of the noise, in 6.4 grey levels.
    """
    height, width, channels = image.shape
    noise = _spectral_noise((height, width), channels, _second(generator), is_blue=False)
    return _add(image, noise, scaled(amount, 64))


def perlin_noise(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Blend with the turbulence of Perlin's lattice noise, in grey.

    Args:
        amount: Weight of the noise, in twentieths.
    """
    second = _second(generator)
    corners = integers(second, 0, 2 * _LATTICE, (_LATTICE, 2)).astype(np.int64)
    swaps = integers(second, 0, _LATTICE, (_LATTICE,)).astype(np.int64)
    scale = 32 * min(image.shape[:2]) / 224
    return _blend_turbulence(image, corners, swaps, scale, scaled(amount, 0.5))


def plasma_noise(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Blend with a coloured plasma, folded four to six times.

    Args:
        amount: Weight of the plasma, in 6.4 grey levels.
    """
    time = generator.uniform(0, 6 * np.pi)
    num_rounds = int(integers(generator, 4, 7))
    sharpness = generator.uniform(0.5, 1)
    scale = generator.uniform(0.075, 0.2) * min(image.shape[:2])
    return _blend_plasma(image, time, num_rounds, sharpness, scale, scaled(amount, 64))


def single_frequency_greyscale(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Add a plane sine wave in grey.

    Args:
        amount: Height of the wave, in 19.6 grey levels.
    """
    high = generator.uniform(-np.pi, np.pi)
    low = generator.uniform(-abs(high), abs(high))
    right, down = np.array([high, low])[generator.permutation(2)]
    phase = generator.uniform(0, 2 * np.pi)
    return _add_wave(image, right, down, phase, scaled(amount, 196))


def cocentric_sine_waves(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Add concentric saw-tooth rings with a wavy outline, in grey.

    Args:
        amount: Height of the teeth, in 12.8 grey levels.
    """
    height, width = image.shape[:2]
    right, down = generator.uniform(0, (width, height))
    num_waves = generator.uniform(0, 10)
    wave_height = generator.uniform(0, min(height, width) / 10)
    ring_width = generator.uniform(0, min(height, width) / 10)
    intensity = scaled(amount, 128)
    return _add_rings(image, right, down, num_waves, wave_height, ring_width, intensity)


def checkerboard_cutout(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Turn the black squares of a rotated checkerboard grey, some of them.

    Args:
        amount: Tenths of the squares.
    """
    size = min(image.shape[:2])
    angle = generator.uniform(0, 2 * np.pi)
    scale = max(generator.uniform(0.1, 0.25) * size, 1.0)
    second = _second(generator)
    num_squares = int(4 * max(image.shape[:2]) // scale)
    grid = second.uniform(0, 1, (num_squares, num_squares)) < scaled(amount, 1)
    return _cut_squares(image, math.cos(angle), math.sin(angle), scale, grid)


def lines(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Draw grey anti-aliased lines in similar directions.

    Args:
        amount: Number of lines, in tenths of the shorter edge.
    """
    height, width = image.shape[:2]
    size = min(height, width)
    angle = generator.uniform(0, 2 * np.pi)
    variation = generator.uniform(0.1, 1)
    drawn = _second(generator).uniform(0, 1, (int(scaled(amount, 1) * size), 3))
    turned = angle + 2 * np.pi * variation * (drawn[:, 2] - 0.5)
    middle = drawn[:, :2] * (height, width)
    half = np.stack([np.cos(turned) * size, np.sin(turned) * size], axis=1)
    ends = np.concatenate([middle - half, middle + half], axis=1).astype(np.int64)
    return _draw_lines(image, ends)


def sparkles(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Add five white stars.

    Args:
        amount: Radius of the stars, in hundredths of the shorter edge.
    """
    height, width = image.shape[:2]
    radius = scaled(amount, 0.1) * min(height, width)
    centres = generator.uniform(0, (height, width), (5, 2))
    second = _second(generator)
    num_rays = integers(generator, 50, 200, (5,)).astype(np.int64)
    lengths = radius + 0.25 * radius * second.standard_normal(int(num_rays.sum()))
    return _add_sparkles(image, centres, num_rays, np.maximum(lengths, 1))


def inverse_sparkles(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Fade to white outside of a star.

    Args:
        amount: How hard the edge of the star is; the exponent of the fall is 0.13 of it.
    """
    height, width = image.shape[:2]
    radius = 0.25 * min(height, width)
    centre = generator.uniform(0.25, 0.75, 2) * (height, width)
    second = _second(generator)
    num_rays = int(integers(generator, 50, 200))
    lengths = radius + 0.25 * radius * second.standard_normal(num_rays)
    exponent = (100 - (100 - scaled(amount, 65))) / 50
    return _fade_outside(image, centre[0], centre[1], lengths, exponent)


def scaled(amount: Real, most: Real) -> float:
    """Return the part of a parameter's value at 10, as the published `float_parameter`."""
    return float(amount) * most / 10


def _second(generator: ImageDraws) -> ImageDraws:
    """The generator that the published script seeds with a number drawn from its first one."""
    if isinstance(generator, np.random.RandomState):
        return np.random.RandomState(generator.randint(0, 2**32))
    return generator


def _spectral_noise(
    size: tuple[int, int], channels: int, generator: ImageDraws, *, is_blue: bool
) -> Float64[np.ndarray, "height width channel"]:
    """Noise of random phases and standard deviation 1.

    The phases are turned by 180 degrees into the other half of the spectrum, and not negated, so
    that the transform is complex, of which the real part is taken.
    """
    from scipy.fft import irfft2  # about twice as fast as NumPy's

    height, width = size
    phases = np.empty((channels, height, width // 2))
    middle = np.zeros((channels, height))  # phases of the column between the halves
    for channel in range(channels):
        phases[channel] = generator.uniform(0, 2 * np.pi, phases.shape[1:])
        if width % 2:
            half = generator.uniform(0, 2 * np.pi, height // 2)
            middle[channel, : len(half)] = half
            middle[channel, height - len(half) :] = half[::-1]
    spectrum = _spectrum(phases, middle, _power(height, width, is_blue))
    return _standardise(irfft2(spectrum, size, overwrite_x=True))


@lru_cache(maxsize=8)
def _power(height: int, width: int, is_blue: bool) -> Float64[np.ndarray, "height width"]:
    """Heights of a spectrum whose frequency 0 is in the middle."""
    size = min(height, width)
    down = (np.arange(height) - height / 2) * (size / height)
    right = (np.arange(width) - width / 2) * (size / width)
    square = down[:, None] ** 2 + right**2
    return np.sqrt(square) if is_blue else 1 / (square + 1)


@inner
@no_type_check
def sine(x):
    """Compute the sine of an angle below 2**20 turns."""
    turns = np.floor(x * (1 / np.pi) + 0.5)
    odd = turns - 2 * np.floor(turns * 0.5)
    r = ((x - turns * _PI_HIGH) - turns * _PI_MIDDLE) - turns * _PI_LOW
    square = r * r
    total = 0.0
    for k in range(10, -1, -1):
        total = total * square + _SINE[k]
    return total * r * (1 - 2 * odd)


@inner
@no_type_check
def cosine(x):
    """Compute the cosine of an angle below 2**20 turns."""
    turns = np.floor(x * (1 / np.pi))
    odd = turns - 2 * np.floor(turns * 0.5)
    turns += 0.5
    r = ((x - turns * _PI_HIGH) - turns * _PI_MIDDLE) - turns * _PI_LOW
    square = r * r
    total = 0.0
    for k in range(10, -1, -1):
        total = total * square + _SINE[k]
    return total * r * (2 * odd - 1)


@inner
@no_type_check
def _angle(y, x):
    """The angle of a vector, -pi to pi, as atan2: half of the half, then the series."""
    long = max(abs(x), abs(y))
    t = min(abs(x), abs(y)) / max(long, 1e-300)
    t = t / (1 + np.sqrt(1 + t * t))
    t = t / (1 + np.sqrt(1 + t * t))
    square = t * t
    total = 0.0
    for k in range(10, -1, -1):
        total = total * square + _ARCTANGENT[k]
    angle = 4 * total * t
    angle = np.pi / 2 - angle if abs(y) > abs(x) else angle
    angle = np.pi - angle if x < 0 else angle
    return -angle if y < 0 else angle


@inner
@no_type_check
def _level(value):
    """Clip to 0..255 and drop the fraction."""
    return np.uint8(min(max(value, 0.0), 255.0))


@outer
@no_type_check
def _spectrum(phases, middle, power):
    """The half of the spectrum whose inverse transform is the real part of the published one."""
    height, width = power.shape
    half_height, half_width = height // 2, width // 2
    split = width - half_width  # column that is rolled to the front
    result = np.empty((len(phases), height, half_width + 1), np.complex128)
    real = np.empty((height, width))
    imaginary = np.empty((height, width))
    row_real = np.empty(width)
    row_imaginary = np.empty(width)
    for channel in range(len(phases)):
        for y in range(height):
            for x in range(half_width):
                row_real[x] = phases[channel, y, x]
                row_real[width - 1 - x] = phases[channel, height - 1 - y, x]
            if width % 2:
                row_real[half_width] = middle[channel, y]
            for x in range(width):
                phase, strength = row_real[x], power[y, x]
                row_real[x] = strength * cosine(phase)
                row_imaginary[x] = strength * sine(phase)
            target = (y + half_height) % height
            real[target, half_width:] = row_real[:split]
            real[target, :half_width] = row_real[split:]
            imaginary[target, half_width:] = row_imaginary[:split]
            imaginary[target, :half_width] = row_imaginary[split:]
        for y in range(height):
            opposite = (height - y) % height
            for x in range(half_width + 1):
                to = width - x if x > 0 else 0
                result[channel, y, x] = complex(
                    0.5 * (real[y, x] + real[opposite, to]),
                    0.5 * (imaginary[y, x] - imaginary[opposite, to]),
                )
    return result


@outer
@no_type_check
def _standardise(noise):
    """Divide each channel by its standard deviation, and move the channels to the last axis."""
    channels, height, width = noise.shape
    result = np.empty((height, width, channels))
    for channel in range(channels):
        total = np.zeros(width)
        for y in range(height):
            total += noise[channel, y]
        mean = total.sum() / (height * width)
        total[:] = 0.0
        for y in range(height):
            for x in range(width):
                total[x] += (noise[channel, y, x] - mean) ** 2
        scale = 1 / np.sqrt(total.sum() / (height * width))
        for y in range(height):
            for x in range(width):
                result[y, x, channel] = noise[channel, y, x] * scale
    return result


@outer
@no_type_check
def _add(image, noise, intensity):
    result = np.empty_like(image)
    flat, levels, values = image.reshape(-1), result.reshape(-1), noise.reshape(-1)
    for i in range(flat.size):
        levels[i] = _level(flat[i] + intensity * values[i])
    return result


@outer
@no_type_check
def _blend_turbulence(image, corners, swaps, scale, alpha):
    gradients = (corners - _LATTICE) / _LATTICE
    for corner in range(_LATTICE):
        down, right = gradients[corner]
        if down != 0 or right != 0:
            gradients[corner] /= np.sqrt(down * down + right * right)
    order = np.arange(_LATTICE)
    for k in range(_LATTICE):
        last, other = _LATTICE - 1 - k, swaps[k]
        order[last], order[other] = order[other], order[last]
    height, width, channels = image.shape
    result = np.empty_like(image)
    rest = np.float32(1 - alpha)
    total = np.empty(width)
    cells = np.empty(width, np.int64)
    parts = np.empty(width)
    for y in range(height):
        total[:] = 0.0
        for frequency in _OCTAVES:
            down = frequency * (y / scale)
            row = int(down)
            down -= row
            smooth_down = down * down * (3 - 2 * down)
            above, below = order[row % _LATTICE], order[(row + 1) % _LATTICE]
            for x in range(width):
                right = frequency * (x / scale)
                cells[x] = int(right)
                parts[x] = right - cells[x]
            for x in range(width):
                column, right = cells[x], parts[x]
                left = gradients[order[(above + column) % _LATTICE]]
                a = left[0] * down + left[1] * right
                left = gradients[order[(below + column) % _LATTICE]]
                b = left[0] * (down - 1) + left[1] * right
                first = a + smooth_down * (b - a)
                left = gradients[order[(above + column + 1) % _LATTICE]]
                a = left[0] * down + left[1] * (right - 1)
                left = gradients[order[(below + column + 1) % _LATTICE]]
                b = left[0] * (down - 1) + left[1] * (right - 1)
                second = a + smooth_down * (b - a)
                smooth = right * right * (3 - 2 * right)
                total[x] += abs(1.5 * (first + smooth * (second - first))) / frequency
        for x in range(width):
            light = 255 * alpha * min(max(0.5 * total[x] + 0.5, 0.0), 1.0)
            for channel in range(channels):
                value = rest * np.float32(image[y, x, channel])
                result[y, x, channel] = _level(value + light)
    return result


@outer
@no_type_check
def _blend_plasma(image, time, num_rounds, sharpness, scale, intensity):
    height, width, channels = image.shape
    result = np.empty_like(image)
    right = np.empty(width)
    down = np.empty(width)
    colour = np.empty((3, width))
    rest = 1 - intensity / 255
    shift = sine(time)
    for y in range(height):
        for x in range(width):
            right[x] = x / scale
            down[x] = y / scale
        fine, slow, damp = 1.0, 1.0, 1.0
        for _ in range(num_rounds):
            turn = time / slow
            for x in range(width):
                across = cosine(down[x] * fine + turn) / damp
                along = sine(right[x] * fine + turn) / damp
                right[x] += across - along * 0.3
                down[x] += along + across * 0.3
            fine *= 1.93
            slow *= 1.15
            damp *= 2.25 - sharpness
        for x in range(width):
            colour[0, x] = sine(right[x] - time)
            colour[1, x] = sine((right[x] + down[x] + shift) * 0.5)
            colour[2, x] = sine(down[x] + time)
        for x in range(width):
            for channel in range(channels):
                value = rest * image[y, x, channel] + intensity * colour[channel, x]
                result[y, x, channel] = _level(value)
    return result


@outer
@no_type_check
def _add_wave(image, right, down, phase, intensity):
    height, width, channels = image.shape
    result = np.empty_like(image)
    wave = np.empty(width)
    for y in range(height):
        for x in range(width):
            wave[x] = intensity * sine(x * right + y * down + phase)
        for x in range(width):
            for channel in range(channels):
                result[y, x, channel] = _level(image[y, x, channel] + wave[x])
    return result


@outer
@no_type_check
def _add_rings(image, right, down, num_waves, wave_height, ring_width, intensity):
    height, width, channels = image.shape
    result = np.empty_like(image)
    wave = np.empty(width)
    for y in range(height):
        for x in range(width):
            across, along = x - right, y - down
            turned = _angle(across, along) * num_waves
            distance = np.sqrt(across * across + along * along) + sine(turned) * wave_height
            rings = distance / ring_width
            wave[x] = intensity * (rings - np.floor(rings) - 0.5)
        for x in range(width):
            for channel in range(channels):
                result[y, x, channel] = _level(image[y, x, channel] + wave[x])
    return result


@outer
@no_type_check
def _cut_squares(image, cosine, sine, scale, grid):
    height, width, channels = image.shape
    result = image.copy()
    for y in range(height):
        for x in range(width):
            row = (cosine * y + sine * x) / scale
            column = (cosine * x - sine * y) / scale
            if int(row % 2) == int(column % 2) and grid[int(row), int(column)]:
                for channel in range(channels):
                    result[y, x, channel] = 128
    return result


@outer
@no_type_check
def _draw_lines(image, ends):
    """Zingl's anti-aliased line, in the single precision of scikit-image's `line_aa`."""
    result = image.copy()
    for line in range(len(ends)):
        y, x, last_y, last_x = ends[line]
        right, down = abs(last_x - x), abs(last_y - y)
        step_x = 1 if x < last_x else -1
        step_y = 1 if y < last_y else -1
        length = np.float32(np.sqrt(np.float64(right * right + down * down)))
        if right + down == 0:
            length = np.float32(1)
        error = np.float32(right - down)
        while True:
            _shade(result, y, x, abs(error - np.float32(right) + np.float32(down)) / length)
            before, before_x = error, x
            if 2 * before >= -right:
                if x == last_x:
                    break
                if before + np.float32(down) < length:
                    _shade(result, y + step_y, x, abs(before + np.float32(down)) / length)
                error -= np.float32(down)
                x += step_x
            if 2 * before <= down:
                if y == last_y:
                    break
                if np.float32(right) - before < length:
                    beside = before_x + step_x
                    _shade(result, y, beside, abs(np.float32(right) - before) / length)
                error += np.float32(right)
                y += step_y
    return result


@inner
@no_type_check
def _shade(image, y, x, distance):
    """Move a pixel towards grey, less with its distance from the line."""
    if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
        weight = 1.0 - np.float64(distance)
        for channel in range(image.shape[2]):
            value = (1.0 - weight) * image[y, x, channel] + weight * 128
            image[y, x, channel] = np.uint8(value)


@inner
@no_type_check
def _ray_fall(y, centre_y, centre_x, lengths, exponent, rays, fall):
    """The weight of a star along a row: of its rays, the wider at the tip the longer they are."""
    width, num_rays = len(rays), len(lengths)
    down = y - centre_y
    for x in range(width):
        rays[x] = (_angle(x - centre_x, down) + np.pi) / (2 * np.pi) * num_rays
    for x in range(width):
        right = x - centre_x
        ray = int(rays[x])
        part = rays[x] - ray
        ray = ray if ray < num_rays else 0
        following = ray + 1 if ray + 1 < num_rays else 0
        length = lengths[ray] + part * (lengths[following] - lengths[ray])
        strength = length * length / (right * right + down * down + 1e-4)
        if exponent != 1.0:
            strength = strength**exponent
        part -= 0.5
        fall[x] = min(max((1 - part * part) * strength, 0.0), 1.0)


@outer
@no_type_check
def _add_sparkles(image, centres, num_rays, lengths):
    height, width, channels = image.shape
    result = np.empty_like(image)
    rays = np.empty(width)
    fall = np.empty(width)
    values = np.empty((width, channels))
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                values[x, channel] = image[y, x, channel]
        first = 0
        for star in range(len(centres)):
            own = lengths[first : first + num_rays[star]]
            first += num_rays[star]
            _ray_fall(y, centres[star, 0], centres[star, 1], own, 1.0, rays, fall)
            for x in range(width):
                for channel in range(channels):
                    value = np.float64(np.float32(values[x, channel]))
                    values[x, channel] = value + fall[x] * (255 - value)
        for x in range(width):
            for channel in range(channels):
                result[y, x, channel] = _level(values[x, channel])
    return result


@outer
@no_type_check
def _fade_outside(image, centre_y, centre_x, lengths, exponent):
    height, width, channels = image.shape
    result = np.empty_like(image)
    rays = np.empty(width)
    fall = np.empty(width)
    for y in range(height):
        _ray_fall(y, centre_y, centre_x, lengths, exponent, rays, fall)
        for x in range(width):
            for channel in range(channels):
                value = 255 + fall[x] * (image[y, x, channel] - 255.0)
                result[y, x, channel] = _level(value)
    return result
