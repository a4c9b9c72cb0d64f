"""What several corruptions are made of: the Gaussian filter, the motion trail, the clipped zoom.

Each follows the library that the published scripts called (SciPy, ImageMagick, SciPy) down to the
order of its additions, since the cut of the fraction at the end shows the last bit.
"""

import math
import typing
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from augmix.corrupt.draws import Real
from augmix.corrupt.jit import compiled

_NEGLIGIBLE = 1e-15  # a Gaussian of smaller deviation is left out


def gaussian_filter(
    values: Float64[np.ndarray, "height width channel"],
    deviation: Real,
    *,
    truncate: float = 4.0,
    is_mirrored: bool = False,
) -> Float64[np.ndarray, "height width channel"]:
    """Smooth rows, then columns, as `scipy.ndimage.gaussian_filter` does (corruptions.md 3.1).

    Args:
        values: The channel axis is not filtered.
        deviation: Standard deviation, in pixels.
        truncate: Reach of the filter, in deviations.
        is_mirrored: The border mirrors, repeating the edge (d c b a | a b c d); otherwise the edge
            value goes on for ever.
    """
    height, width, channels = values.shape
    reach = int(truncate * deviation + 0.5)
    if deviation <= _NEGLIGIBLE or reach == 0:
        return values
    weights = _gaussian_weights(float(deviation), reach)
    if reach > max(height, width):
        return _fold_filter(values, weights, is_mirrored)
    rows = _outside(height, reach, is_mirrored)
    columns = _outside(width, reach, is_mirrored)
    flat = np.ascontiguousarray(values).reshape(height, width * channels)
    return _filter(flat, weights, rows, columns, channels).reshape(values.shape)


def motion_trail(
    image: UInt8[np.ndarray, "height width channel"], radius: Real, deviation: Real, angle_deg: Real
) -> UInt8[np.ndarray, "height width channel"]:
    """Smear every pixel to one side, as ImageMagick 6.9 with 16 bits does (3.4).

    Args:
        image: Grey levels.
        radius: The trail is ``2 * ceil(radius) + 1`` pixels long.
        deviation: Of the half Gaussian that weighs the trail, in pixels.
        angle_deg: Where the trail comes from: 0 is the right, 90 is below.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2.0 * deviation**2))
    weights /= weights.sum()
    angle = math.radians(angle_deg)
    down = np.ceil(steps * math.sin(angle) - 0.5).astype(np.int64)
    right = np.ceil(steps * math.cos(angle) - 0.5).astype(np.int64)
    return _smear(image, weights, down, right)


def clipped_zoom(
    values: Float[np.ndarray, "height width channel"], factor: Real
) -> Float[np.ndarray, "height width channel"]:
    """Enlarge the middle, linearly between pixel centres, and keep the size (3.3).

    Args:
        values: Each axis is cropped for itself, so the picture need not be square.
        factor: At least 1.
    """
    height, width, _ = values.shape
    table = _zoom_table(height, width, (float(factor),))
    result = np.zeros(values.shape, values.dtype)
    _add_zooms(np.ascontiguousarray(values), result, *table)
    return result


def sum_of_zooms(
    values: Float[np.ndarray, "height width channel"], factors: tuple[float, ...]
) -> Float[np.ndarray, "height width channel"]:
    """The sum of `clipped_zoom` over the factors, added in the precision of the values."""
    height, width, _ = values.shape
    result = np.zeros(values.shape, values.dtype)
    _add_zooms(np.ascontiguousarray(values), result, *_zoom_table(height, width, factors))
    return result


def _gaussian_weights(deviation: float, reach: int) -> Float64[np.ndarray, " weight"]:
    """From the middle outwards."""
    factor = -0.5 / (deviation * deviation)
    weights = np.array([math.exp(factor * k * k) for k in range(-reach, reach + 1)])
    return np.ascontiguousarray((weights / weights.sum())[reach:])


def _outside(size: int, reach: int, is_mirrored: bool) -> Int64[np.ndarray, " padded"]:
    """Which pixel stands at every place of a line with a margin."""
    places = np.arange(-reach, size + reach)
    if is_mirrored:
        places = places % (2 * size)
        return np.minimum(places, 2 * size - 1 - places)
    return np.clip(places, 0, size - 1)


def _fold_filter(
    values: Float64[np.ndarray, "height width channel"],
    weights: Float64[np.ndarray, " weight"],
    is_mirrored: bool,
) -> Float64[np.ndarray, "height width channel"]:
    """A filter wider than the picture: what falls outside is added to the pixel found there."""
    height, width, channels = values.shape
    down = _fold(height, weights, is_mirrored)
    right = np.kron(_fold(width, weights, is_mirrored), np.eye(channels))
    flat = np.ascontiguousarray(values).reshape(height, width * channels)
    result = _multiply(_multiply(down, flat), np.ascontiguousarray(right.T))
    return result.reshape(values.shape)


def _fold(
    size: int, weights: Float64[np.ndarray, " weight"], is_mirrored: bool
) -> Float64[np.ndarray, "size size"]:
    reach = len(weights) - 1
    both = np.concatenate([weights[:0:-1], weights])
    matrix = np.zeros((size, size))
    places = _outside(size, reach, is_mirrored)
    for row in range(size):
        np.add.at(matrix[row], places[row : row + len(both)], both)
    return matrix


@lru_cache(maxsize=64)
def _zoom_table(
    height: int, width: int, factors: tuple[float, ...]
) -> tuple[
    Int64[np.ndarray, "factor height"],
    Float64[np.ndarray, "factor height"],
    Int64[np.ndarray, "factor width"],
    Float64[np.ndarray, "factor width"],
]:
    """First pixel and weight of the second, for every output row and column of every factor."""
    down = [_zoom_line(height, factor) for factor in factors]
    right = [_zoom_line(width, factor) for factor in factors]
    return (
        np.stack([first for first, _ in down]),
        np.stack([share for _, share in down]),
        np.stack([first for first, _ in right]),
        np.stack([share for _, share in right]),
    )


def _zoom_line(
    size: int, factor: float
) -> tuple[Int64[np.ndarray, " size"], Float64[np.ndarray, " size"]]:
    crop = math.ceil(size / factor)
    top = (size - crop) // 2
    enlarged = round(crop * factor)  # half to even
    trim = (enlarged - size) // 2
    step = (crop - 1) / (enlarged - 1) if enlarged > 1 else 0.0
    places = np.minimum(np.arange(trim, trim + size) * step, crop - 1)
    first = np.floor(places)
    return first.astype(np.int64) + top, places - first


@compiled
@typing.no_type_check
def _filter(values, weights, rows, columns, channels):
    """Both directions, each sum from the middle, then from outside inwards, as SciPy adds."""
    height, length = values.shape
    reach = len(weights) - 1
    padded = np.empty(len(columns) * channels)
    line = np.empty(length)
    result = np.empty((height, length))
    for y in range(height):
        middle = values[rows[y + reach]]
        for x in range(length):
            line[x] = middle[x] * weights[0]
        for k in range(reach, 0, -1):
            above, below = values[rows[y + reach - k]], values[rows[y + reach + k]]
            weight = weights[k]
            for x in range(length):
                line[x] += (above[x] + below[x]) * weight
        for x in range(len(columns)):
            for channel in range(channels):
                padded[x * channels + channel] = line[columns[x] * channels + channel]
        target = result[y]
        start = reach * channels
        for x in range(length):
            target[x] = padded[start + x] * weights[0]
        for k in range(reach, 0, -1):
            left, right = start - k * channels, start + k * channels
            weight = weights[k]
            for x in range(length):
                target[x] += (padded[left + x] + padded[right + x]) * weight
    return result


@compiled
@typing.no_type_check
def _multiply(left, right):
    """A matrix product whose additions are always in the same order."""
    result = np.zeros((left.shape[0], right.shape[1]))
    for row in range(left.shape[0]):
        target = result[row]
        for k in range(left.shape[1]):
            factor = left[row, k]
            source = right[k]
            for column in range(right.shape[1]):
                target[column] += factor * source[column]
    return result


@compiled
@typing.no_type_check
def _smear(image, weights, down, right):
    height, width, channels = image.shape
    left_margin = max(0, -right.min())
    right_margin = max(0, right.max())
    wide = (left_margin + width + right_margin) * channels
    padded = np.empty((height, wide), np.uint8)
    for y in range(height):
        for x in range(left_margin + width + right_margin):
            source = min(max(x - left_margin, 0), width - 1)
            for channel in range(channels):
                padded[y, x * channels + channel] = image[y, source, channel]
    length = width * channels
    result = np.empty((height, length), np.uint8)
    sums = np.empty(length)
    for y in range(height):
        sums[:] = 0.0
        for step in range(len(weights)):
            row = padded[min(max(y + down[step], 0), height - 1)]
            start = (left_margin + right[step]) * channels
            weight = weights[step]
            for x in range(length):
                sums[x] += weight * row[start + x]
        for x in range(length):  # 16 bits rounded, then 8 bits cut
            result[y, x] = np.uint8(np.int32(257.0 * sums[x] + 0.5) // 257)
    return result.reshape(height, width, channels)


@compiled
@typing.no_type_check
def _stretch(row, first, share, target):
    width, channels = row.shape
    for x in range(width):
        left, right = first[x], min(first[x] + 1, width - 1)
        for channel in range(channels):
            target[x * channels + channel] = row[left, channel] * (1.0 - share[x]) + row[
                right, channel
            ] * (1.0 - (1.0 - share[x]))


@compiled
@typing.no_type_check
def _add_zooms(values, result, row_first, row_share, column_first, column_share):
    """Interpolate in double precision along rows, then along columns, round once, and add."""
    height, width, channels = values.shape
    length = width * channels
    kind = result.dtype.type
    near = np.empty(length)
    far = np.empty(length)
    for factor in range(row_first.shape[0]):
        first = column_first[factor]
        share = column_share[factor]
        held = -2  # the row that `near` holds; `far` holds the next
        for y in range(height):
            row = row_first[factor, y]
            if row != held:
                if row == held + 1:
                    near, far = far, near
                else:
                    _stretch(values[row], first, share, near)
                _stretch(values[min(row + 1, height - 1)], first, share, far)
                held = row
            below = 1.0 - (1.0 - row_share[factor, y])
            above = 1.0 - row_share[factor, y]
            target = result[y].reshape(length)
            for x in range(length):
                target[x] += kind(near[x] * above + far[x] * below)
