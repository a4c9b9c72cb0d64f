"""C-bar: the corruptions that move pixels, of Mintun et al. (2021); see `cbar`.

Cubic splines are those of `scipy.ndimage`: recursive prefilters that mirror at the border, weights
of four neighbours along each axis.
"""

import math
from functools import lru_cache
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int64
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from augmix.corruptions.blur import gaussian_filter
from augmix.corruptions.cbar import cosine, scaled, sine
from augmix.corruptions.noise import integers
from augmix.corruptions.registry import Image, ImageDraws, Real
from augmix.jit import inner, outer, vector_at

_NUM_ROTATIONS = 21
_ETA = 4.0  # refractive index of water in `caustic_refraction`
_LARGE = 224  # shorter edge in pixels from which five cells of a pinch lie along it, and not three
_SIXTH = np.float32(1 / 6)
_POLE = math.sqrt(3) - 2  # of the prefilter of cubic splines


def circular_motion_blur(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Average 21 rotations about the middle, black outside.

    Args:
        amount: Largest angle, in 1.5 degrees.
    """
    steps = 2 * np.arange(_NUM_ROTATIONS) / (_NUM_ROTATIONS - 1) - 1
    angles = np.deg2rad(steps * (1.5 * amount))
    weights = np.exp(-2 * steps**2)
    values = image.astype(np.float32) / np.float32(255)
    total = np.float32(sum(weights))
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _average_rotations(_spline(values), turns, weights.astype(np.float32), total)


def pinch_and_twirl(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Pinch and turn the image in square cells, one after the other.

    Args:
        amount: Tenths of the largest turn, of 90 degrees; 0.04 of it is added to the pinch of 0.1.
    """
    return _twirl_cells(image, *draw_twirls(image.shape[:2], amount, generator=generator))


def draw_twirls(
    size: tuple[int, int], amount: Real, *, generator: ImageDraws
) -> tuple[int, Float64[np.ndarray, "column row"], float]:
    """Draw the edge of the cells of `pinch_and_twirl`, the turn of each, and the pinch."""
    height, width = size
    shorter = min(height, width)
    cell = max(shorter // (5 if shorter >= _LARGE else 3), 1)
    signs = 1 - 2 * integers(generator, 0, 2, (width // cell, height // cell))
    turn = float(amount) * (np.pi / 2) / 10
    pinch = float(amount) * 0.4 / 10 + 0.1
    return cell, signs * turn, pinch


def ripple(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Shift rows and columns by sine waves, black outside.

    Args:
        amount: Height of the waves, in 0.0025 of the shorter edge.
    """
    down, right = ripple_positions(image.shape[:2], amount, generator=generator)
    return _read(image, down, right)


def ripple_positions(
    size: tuple[int, int], amount: Real, *, generator: ImageDraws
) -> tuple[Float64[np.ndarray, " height"], Float64[np.ndarray, " width"]]:
    """Draw from which position of the image `ripple` reads each row and each column."""
    shorter = min(size)
    wavelength = generator.uniform(0.1, 0.3, 2) * shorter
    phase = generator.uniform(0, 2 * np.pi, 2)
    wave_height = float(amount) * 0.025 / 10 * shorter
    down, right = (
        np.array([q + wave_height * math.sin(2 * np.pi * q / length + start) for q in range(edge)])
        for edge, length, start in zip(size, wavelength, phase, strict=True)
    )
    return down, right


def transverse_chromatic_abberation(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Zoom the channels by different factors about the middle; spelt as published.

    Args:
        amount: The channels are enlarged by 0, 0.025 and 0.05 of it, in random order.
    """
    zoom = float(amount) * 0.5 / 10
    factors = np.array([1, 1 + zoom / 2, 1 + zoom])[generator.permutation(3)]
    result = np.empty_like(image)
    for channel in range(image.shape[2]):
        rows, columns = (_zoomed(edge, factors[channel]) for edge in image.shape[:2])
        _interpolate(image, channel, *rows, *columns, result)
    return result


def caustic_refraction(image: Image, amount: Real, *, generator: ImageDraws) -> Image:
    """Refract and light the image by the caustics of a rippled water surface.

    Args:
        amount: Strength of lens and light; the lens is 0.05 of it times the shorter edge, in px.
    """
    field, lens = draw_water(image.shape[:2], amount, generator=generator)
    return _refract(image, field, lens, scaled(amount, 2))


def draw_water(
    size: tuple[int, int], amount: Real, *, generator: ImageDraws
) -> tuple[Float64[np.ndarray, "height width"], float]:
    """Draw the light of `caustic_refraction`, which is its surface too, and the lens, in pixels."""
    shorter = min(size)
    time = generator.uniform(0.5, 2)
    extent = generator.uniform(0.75, 1.25) * shorter
    field = _caustics(size[0], size[1], time, extent)
    field = gaussian_filter(field[:, :, None], 1, border="mirror with edge")[:, :, 0]
    return field, scaled(amount, 0.5 * shorter)


@lru_cache(maxsize=64)
def _zoomed(
    size: int, factor: float
) -> tuple[Int64[np.ndarray, "size 4"], Float64[np.ndarray, "size 4"]]:
    """The four neighbours of each pixel of the middle of a zoomed line, and their weights."""
    enlarged = round(size * factor)
    first = (enlarged - size) // 2
    at = np.arange(first, first + size) * ((size - 1) / max(enlarged - 1, 1))
    start = np.floor(at)
    neighbours = start[:, None].astype(np.int64) + np.arange(-1, 3)
    neighbours = np.abs(neighbours)
    neighbours = np.minimum(neighbours, 2 * (size - 1) - neighbours) % size  # 1 or 2 mirror twice
    return neighbours, _weights(at - start)


def _weights(part: Float64[np.ndarray, " size"]) -> Float64[np.ndarray, "size 4"]:
    rest = 1 - part
    second = (part * part * (part - 2) * 3 + 4) / 6
    third = (rest * rest * (rest - 2) * 3 + 4) / 6
    first = rest * rest * rest / 6
    return np.stack([first, second, third, 1 - first - second - third], axis=1)


def _spline(
    values: Float32[np.ndarray, "height width channel"],
) -> Float64[np.ndarray, "padded_height padded_width channel"]:
    """Coefficients of the cubic spline through the values, with a mirrored margin of two pixels."""
    coefficients = values.astype(np.float64)
    _prefilter(coefficients.reshape(len(values), -1))
    turned = np.ascontiguousarray(coefficients.transpose(1, 0, 2))
    _prefilter(turned.reshape(len(turned), -1))
    margin = ((2, 2), (2, 2), (0, 0))
    return np.pad(np.ascontiguousarray(turned.transpose(1, 0, 2)), margin, mode="reflect")


@outer
@no_type_check
def _prefilter(values):
    """Filter along the first axis, in place; a single line stays as it is."""
    size, length = values.shape
    if size == 1:
        return
    gain = (1 - _POLE) * (1 - 1 / _POLE)
    last = _POLE ** (size - 1)
    for y in range(size):
        for x in range(length):
            values[y, x] *= gain
    for x in range(length):
        values[0, x] += last * values[size - 1, x]
    power = _POLE
    for y in range(1, size - 1):
        for x in range(length):
            values[0, x] += power * (values[y, x] + last * values[size - 1 - y, x])
        power *= _POLE
    for x in range(length):
        values[0, x] /= 1 - last * last
    for y in range(1, size):
        for x in range(length):
            values[y, x] += _POLE * values[y - 1, x]
    for x in range(length):
        edge = _POLE * values[size - 2, x] + values[size - 1, x]
        values[size - 1, x] = edge * _POLE / (_POLE * _POLE - 1)
    for y in range(size - 2, -1, -1):
        for x in range(length):
            values[y, x] = _POLE * (values[y + 1, x] - values[y, x])


@inner
@no_type_check
def _fill_weights(parts, scale, weights):
    """Spline weights ``place neighbour`` of places between two pixels, times a factor."""
    for x in range(len(weights)):
        part = parts[x]
        rest = np.float32(1) - part
        first = rest * rest * rest * _SIXTH
        second = (part * part * (part - np.float32(2)) * np.float32(3) + np.float32(4)) * _SIXTH
        third = (rest * rest * (rest - np.float32(2)) * np.float32(3) + np.float32(4)) * _SIXTH
        weights[x, 0] = scale * first
        weights[x, 1] = scale * second
        weights[x, 2] = scale * third
        weights[x, 3] = scale * (np.float32(1) - first - second - third)


@intrinsic
def _add_neighbours(
    typing_context: Any, pixels: Any, upper: Any, stride: Any, down: Any, right: Any, place: Any,
    sums: Any, target: Any,
) -> Any:  # fmt: skip
    """Add the weighed neighbours of one place to ``sums``, 16 float32 from ``target`` on.

    The lanes are the four columns times four channels, which stay apart: the four rows of
    neighbours begin at ``upper`` and follow each other at ``stride``. The weights of rows and
    columns are the four float32 of ``down`` and ``right`` from ``place`` on.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def load(argument: int, offset: Any, lanes: int) -> Any:
            array = signature.args[argument]
            at = vector_at(context, builder, array, arguments[argument], offset, lanes)
            return builder.load(at, align=4)

        def spread(four: Any, lanes: list[int]) -> Any:
            return builder.shuffle_vector(four, four, ir.Constant(words, lanes))

        words, row, total = ir.VectorType(ir.IntType(32), 16), arguments[1], None
        rows = load(3, arguments[5], 4)
        for k in range(4):
            part = builder.fmul(spread(rows, [k] * 16), load(0, row, 16))
            total = part if total is None else builder.fadd(total, part)
            row = builder.add(row, arguments[2])
        columns = spread(load(4, arguments[5], 4), [lane // 4 for lane in range(16)])
        result = builder.fadd(load(6, arguments[7], 16), builder.fmul(columns, total))
        place = vector_at(context, builder, signature.args[6], arguments[6], arguments[7], 16)
        builder.store(result, place, align=4)
        return context.get_dummy_value()

    return types.void(pixels, upper, stride, down, right, place, sums, target), generate


@inner
@no_type_check
def _turn_back(y, x, turn, middle_y, middle_x):
    """Where a pixel comes from under a rotation (cosine, sine) about the middle."""
    offset_y = middle_y - (turn[0] * middle_y + turn[1] * middle_x)
    offset_x = middle_x - (turn[0] * middle_x - turn[1] * middle_y)
    return turn[0] * y + turn[1] * x + offset_y, turn[0] * x - turn[1] * y + offset_x


@inner
@no_type_check
def _is_inside(y, x, turn, last_y, last_x):
    at_y, at_x = _turn_back(y, x, turn, last_y / 2, last_x / 2)
    return 0 <= at_y <= last_y and 0 <= at_x <= last_x


@inner
@no_type_check
def _average_of_pixel(spline, turns, weights, y, x, first, part, four, mean):
    """The weighed sum, in single precision where the published script keeps it in that.

    ``first``, of a turn, ``part``, `axis turn`, and ``four``, `axis neighbour turn`, are scratch.
    """
    last_y, last_x, channels = spline.shape[0] - 5, spline.shape[1] - 5, spline.shape[2]
    flat, stride = spline.reshape(-1), np.uintp((last_x + 5) * channels)
    num_turns, length = len(turns), 4 * channels
    for k in range(num_turns):
        at_y, at_x = _turn_back(y, x, turns[k], last_y / 2, last_x / 2)
        top, left = int(at_y), int(at_x)
        is_inside = 0 <= at_y <= last_y and 0 <= at_x <= last_x
        first[k] = ((top + 1) * (last_x + 5) + left + 1) * channels if is_inside else -1
        part[0, k], part[1, k] = at_y - top, at_x - left
    for axis in range(2):
        for k in range(num_turns):
            near = part[axis, k]
            rest = 1 - near
            first_weight = rest * rest * rest / 6
            second = (near * near * (near - 2) * 3 + 4) / 6
            third = (rest * rest * (rest - 2) * 3 + 4) / 6
            four[axis, 0, k], four[axis, 1, k], four[axis, 2, k] = first_weight, second, third
            four[axis, 3, k] = 1 - first_weight - second - third
    line = four[2].reshape(-1)
    mean[:] = 0
    for k in range(num_turns):
        if first[k] < 0:
            continue
        row0 = np.uintp(first[k])
        row1 = row0 + stride
        row2, row3 = row1 + stride, row1 + stride + stride
        w0, w1, w2, w3 = four[0, 0, k], four[0, 1, k], four[0, 2, k], four[0, 3, k]
        for j in range(length):
            i = np.uintp(j)
            value = w0 * flat[row0 + i] + w1 * flat[row1 + i]
            line[i] = value + w2 * flat[row2 + i] + w3 * flat[row3 + i]
        w0, w1, w2, w3 = four[1, 0, k], four[1, 1, k], four[1, 2, k], four[1, 3, k]
        for channel in range(channels):
            value = w0 * line[channel] + w1 * line[channels + channel]
            value += w2 * line[2 * channels + channel]
            value += w3 * line[3 * channels + channel]
            mean[channel] += weights[k] * np.float32(value)


@outer
@no_type_check
def _average_rotations(spline, turns, weights, total):
    """In single precision, and again by `_average_of_pixel` where that decides about a level.

    With coefficients of at most ``largest``, which bounds the interpolated values too, the rounding
    errors of both ways come to less than ``60 * 2**-24`` of it, and those of the positions, in
    32.32 fixed point, to less than ``(width + 1) * 2**-30``.
    """
    height, width, channels = spline.shape[0] - 4, spline.shape[1] - 4, spline.shape[2]
    stride = (width + 4) * 4
    packed = np.zeros((height + 4) * stride, np.float32)
    largest = 0.0
    for y in range(height + 4):
        for x in range(width + 4):
            for channel in range(channels):
                value = spline[y, x, channel]
                packed[y * stride + 4 * x + channel] = np.float32(value)
                largest = max(largest, abs(value))
    slack = np.float32((64 * 2.0**-24 + (width + 1) * 2.0**-30) * 255 * largest)
    scale, half = np.float32(255) / total, np.float32(0.5)
    result = np.empty((height, width, channels), np.uint8)
    sums = np.empty(16 * width, np.float32)
    part_y, part_x = np.empty(width, np.float32), np.empty(width, np.float32)
    down, right = np.empty((width, 4), np.float32), np.empty((width, 4), np.float32)
    flat_down, flat_right = down.reshape(-1), right.reshape(-1)
    first_of, part = np.empty(len(turns), np.int64), np.empty((2, len(turns)))
    four, mean = np.empty((3, 4, len(turns))), np.empty(channels, np.float32)
    upper = np.empty(width, np.int32)  # of the 16 neighbours of a pixel
    unit, mask = np.float32(2.0**-31), np.int64(0x7FFFFFFF)
    for y in range(height):
        sums[:] = 0
        for k in range(len(turns)):
            turn = turns[k]
            first, last = 0, width  # pixels that come from inside are one stretch of the row
            while first < last and not _is_inside(y, first, turn, height - 1, width - 1):
                first += 1
            while first < last and not _is_inside(y, last - 1, turn, height - 1, width - 1):
                last -= 1
            size = last - first
            at_y, at_x = _turn_back(y, first, turn, (height - 1) / 2, (width - 1) / 2)
            start_v, start_u = np.int64(at_y * 2.0**32), np.int64(at_x * 2.0**32)
            step_v, step_u = np.int64(turn[1] * 2.0**32), np.int64(turn[0] * 2.0**32)
            for x in range(size):
                v, u = start_v + step_v * x, start_u + step_u * x
                part_y[x] = np.float32(np.int32((v >> 1) & mask)) * unit
                part_x[x] = np.float32(np.int32((u >> 1) & mask)) * unit
                row = np.int32(np.int32(v >> 32) + np.int32(1)) * np.int32(stride)
                upper[x] = np.int32(row + np.int32(4) * np.int32(np.int32(u >> 32) + np.int32(1)))
            _fill_weights(part_y, np.float32(1), down[:size])
            _fill_weights(part_x, weights[k], right[:size])
            for x in range(size):
                _add_neighbours(
                    packed, np.int64(upper[x]), np.int64(stride), flat_down, flat_right,
                    np.int64(4 * x), sums, np.int64(16 * (first + x)),
                )  # fmt: skip
        for x in range(width):
            is_sure = True
            for channel in range(channels):
                value = sums[16 * x + channel] + sums[16 * x + 4 + channel]
                value += sums[16 * x + 8 + channel] + sums[16 * x + 12 + channel]
                # 0.5 and 255.5 are clipped levels without doubt
                level = min(max(value * scale, half), np.float32(255.5))
                above = level - np.floor(level)
                is_sure = is_sure and slack <= above <= np.float32(1) - slack
                result[y, x, channel] = np.uint8(level)
            if not is_sure:
                _average_of_pixel(spline, turns, weights, y, x, first_of, part, four, mean)
                for channel in range(channels):
                    level = mean[channel] / total * np.float32(255)
                    result[y, x, channel] = np.uint8(
                        min(max(level, np.float32(0)), np.float32(255))
                    )
    return result


@inner
@no_type_check
def _read_pixel(image, y, x, pixel):
    """Interpolate linearly between four pixels, black outside, in the order of the script."""
    height, width, channels = image.shape
    row, column = int(np.floor(y)), int(np.floor(x))
    near_x, far_x = 1.0 - x + column, 1.0 - (column + 1) + x
    near_y, far_y = 1.0 - y + row, 1.0 - (row + 1) + y
    for channel in range(channels):
        corners = (0.0, 0.0, 0.0, 0.0)
        for k in range(4):
            at_y, at_x = row + k // 2, column + k % 2
            value = 0.0
            if 0 <= at_y < height and 0 <= at_x < width:
                value = np.float64(image[at_y, at_x, channel])
            corners = (corners[1], corners[2], corners[3], value)
        above = corners[0] * near_x + corners[1] * far_x
        below = corners[2] * near_x + corners[3] * far_x
        pixel[channel] = above * near_y + below * far_y


@inner
@no_type_check
def _twirl(y, x, middle_y, middle_x, radius, angle, pinch):
    """From where a pixel of a cell is read."""
    at_y, at_x = float(y), float(x)
    down, right = at_y - middle_y, at_x - middle_x
    distance = np.sqrt(down * down + right * right)
    if distance <= radius and distance >= 0.0005:
        d = distance / radius
        stretch = math.sin(np.pi * 0.5 * d) ** -pinch
        down *= stretch
        right *= stretch
        turn = angle * (1 - d) ** 2
        cosine, sine = math.cos(turn), math.sin(turn)
        at_y = middle_y + (down * cosine - right * sine)
        at_x = middle_x + (down * sine + right * cosine)
    return at_y, at_x


@outer
@no_type_check
def twirl_positions(height, width, cell, angles, pinch):
    """Return from which row and column `pinch_and_twirl` reads each pixel."""
    positions = np.empty((2, height, width))
    radius = cell / 2
    for y in range(height):
        for x in range(width):
            row, column = y // cell, x // cell
            positions[0, y, x], positions[1, y, x] = y, x
            if column < angles.shape[0] and row < angles.shape[1]:
                middle_y, middle_x = row * cell + radius, column * cell + radius
                angle = angles[column, row]
                at_y, at_x = _twirl(y, x, middle_y, middle_x, radius, angle, pinch)
                positions[0, y, x], positions[1, y, x] = at_y, at_x
    return positions


@outer
@no_type_check
def _twirl_cells(image, cell, angles, pinch):
    values = image.astype(np.float32)
    changed = np.empty((cell, cell, image.shape[2]), np.float32)
    pixel = np.empty(image.shape[2])
    radius = cell / 2
    for column in range(angles.shape[0]):
        for row in range(angles.shape[1]):
            top, left = row * cell, column * cell
            middle_y, middle_x = top + radius, left + radius
            for y in range(cell):
                for x in range(cell):
                    angle = angles[column, row]
                    at_y, at_x = _twirl(top + y, left + x, middle_y, middle_x, radius, angle, pinch)
                    _read_pixel(values, at_y, at_x, pixel)
                    for channel in range(len(pixel)):
                        changed[y, x, channel] = pixel[channel]
            values[top : top + cell, left : left + cell] = changed
    result = np.empty_like(image)
    flat, levels = values.reshape(-1), result.reshape(-1)
    for i in range(flat.size):
        levels[i] = np.uint8(min(max(flat[i], np.float32(0)), np.float32(255)))
    return result


@outer
@no_type_check
def _read(image, down, right):
    result = np.empty_like(image)
    pixel = np.empty(image.shape[2])
    for y in range(len(down)):
        for x in range(len(right)):
            _read_pixel(image, down[y], right[x], pixel)
            for channel in range(len(pixel)):
                result[y, x, channel] = np.uint8(min(max(pixel[channel], 0.0), 255.0))
    return result


@outer
@no_type_check
def _interpolate(image, channel, rows, down, columns, right, result):
    """One channel by cubic splines of the values themselves, rounded, in the order of SciPy."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = 0.0
            for k in range(4):
                for j in range(4):
                    pixel = image[rows[y, k], columns[x, j], channel]
                    value += pixel * down[y, k] * right[x, j]
            result[y, x, channel] = np.uint8(min(max(value + 0.5, 0.0), 255.0))


@outer
@no_type_check
def _caustics(height, width, time, extent):
    """The light at the bottom of a pool; sums of angles are expanded into products."""
    field = np.empty((height, width))
    p1 = np.empty(width)
    state = np.empty((4, width))  # sine and cosine of both angles
    light = np.empty(width)
    for x in range(width):
        p1[x] = (x / extent) % 1 * 6.28318530718 - 250
    for y in range(height):
        p0 = (y / extent) % 1 * 6.28318530718 - 250
        for x in range(width):
            state[0, x], state[1, x] = sine(p0), cosine(p0)
            state[2, x], state[3, x] = sine(p1[x]), cosine(p1[x])
            light[x] = 1.0
        for n in range(5):
            t = time * (1 - 3.5 / (n + 1))
            sine_t, cosine_t = sine(t), cosine(t)
            for x in range(width):
                first_s, first_c = state[0, x], state[1, x]
                other_s, other_c = state[2, x], state[3, x]
                first = cosine_t * first_c + sine_t * first_s
                first += sine_t * other_c + cosine_t * other_s
                other = sine_t * other_c - cosine_t * other_s
                other += cosine_t * first_c - sine_t * first_s
                first_s, first_c = sine(p0 + first), cosine(p0 + first)
                other_s, other_c = sine(p1[x] + other), cosine(p1[x] + other)
                state[0, x], state[1, x] = first_s, first_c
                state[2, x], state[3, x] = other_s, other_c
                turned_s = first_s * cosine_t + first_c * sine_t
                turned_c = other_c * cosine_t - other_s * sine_t
                a, b = p0 * turned_c, p1[x] * turned_s
                light[x] += abs(turned_s * turned_c) / (np.sqrt(a * a + b * b) * 0.005)
        row = field[y]
        for x in range(width):
            value = abs(1.17 - (light[x] / 5) ** 1.4)
            value *= value
            value *= value
            row[x] = min(value * value, 1.0)
    return field


@inner
@no_type_check
def _bend(field, y, x, lens):
    """Slopes of the surface, down and right, and how far it moves the ray through a pixel."""
    height, width = field.shape
    above = field[y - 1, x] if y > 0 else 0.0
    below = field[y + 1, x] if y + 1 < height else 0.0
    left = field[y, x - 1] if x > 0 else 0.0
    right = field[y, x + 1] if x + 1 < width else 0.0
    slope_y, slope_x = below - above, right - left
    norm = np.sqrt(slope_y * slope_y + slope_x * slope_x + 1)
    normal_y, normal_x, normal_z = slope_y / norm, slope_x / norm, 1 / norm
    move_y = move_x = 0.0
    if normal_z < 1 - 1e-3:
        square = (normal_y * normal_y + normal_x * normal_x) / (_ETA * _ETA)
        bend = (np.sqrt(1 - square) - normal_z / _ETA) * lens
        move_y = np.rint(bend * normal_y * 1000) / 1000
        move_x = np.rint(bend * normal_x * 1000) / 1000
    return slope_y, slope_x, move_y, move_x


@outer
@no_type_check
def refraction(field, lens):
    """Return how far `caustic_refraction` moves what is read for each pixel, down and right."""
    height, width = field.shape
    moves = np.empty((2, height, width))
    for y in range(height):
        for x in range(width):
            _, _, moves[0, y, x], moves[1, y, x] = _bend(field, y, x, lens)
    return moves


@outer
@no_type_check
def _refract(image, field, lens, lighting):
    """Read each pixel where the ray through it goes, and light it from the sides."""
    height, width, channels = image.shape
    result = np.empty_like(image)
    values = (image / np.float32(255)).astype(np.float32)
    corner = np.empty(4)
    for y in range(height):
        for x in range(width):
            slope_y, slope_x, move_y, move_x = _bend(field, y, x, lens)
            top, start = np.floor(y + move_y), np.floor(x + move_x)
            part_y, part_x = y + move_y - top, x + move_x - start
            light = -slope_x * lighting + slope_y * lighting
            corner[0] = (1 - part_y) * (1 - part_x)
            corner[1] = (1 - part_y) * part_x
            corner[2] = part_y * (1 - part_x)
            corner[3] = part_y * part_x
            row, column = int(top), int(start)
            for channel in range(channels):
                value = 0.0
                for k in range(4):
                    at_y, at_x = row + k // 2, column + k % 2
                    if 0 <= at_y < height and 0 <= at_x < width:
                        value += corner[k] * values[at_y, at_x, channel]
                value = min(max(value + light, 0.0), 1.0)
                result[y, x, channel] = np.uint8(np.float32(value) * np.float32(255))
    return result
