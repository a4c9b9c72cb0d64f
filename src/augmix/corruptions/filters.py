"""What several corruptions are made of: the Gaussian filter, the motion trail, the clipped zoom.

Each follows the library that the published scripts called (SciPy, ImageMagick, SciPy) down to the
order of its additions, since the cut of the fraction at the end shows the last bit.
"""

import math
import typing
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8, UInt32

from augmix.corruptions.registry import Real
from augmix.jit import outer

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
    # ImageMagick's order of operations: at multiples of 30 degrees half pixels fall to either side.
    angle = math.pi * angle_deg / 180
    sine, cosine = len(steps) * math.sin(angle), len(steps) * math.cos(angle)
    length = math.hypot(sine, cosine)
    down = np.ceil(steps * sine / length - 0.5).astype(np.int64)
    right = np.ceil(steps * cosine / length - 0.5).astype(np.int64)
    return _smear(image, weights, down, right)


def clipped_zoom(
    values: Float[np.ndarray, "height width channel"], factor: Real
) -> Float[np.ndarray, "height width channel"]:
    """Enlarge the middle, linearly between pixel centres, and keep the size (3.3).

    Args:
        values: Each axis is cropped for itself, so the picture need not be square.
        factor: At least 1.
    """
    return sum_of_zooms(values, (float(factor),))


def sum_of_zooms(
    values: Float[np.ndarray, "height width channel"], factors: tuple[float, ...]
) -> Float[np.ndarray, "height width channel"]:
    """The sum of `clipped_zoom` over the factors, added in the precision of the values."""
    height, width, channels = values.shape
    flat = np.ascontiguousarray(values).reshape(height, width * channels)
    result = np.zeros(flat.shape, flat.dtype)
    table = _zoom_table(height, width, channels, factors)
    _add_zooms(flat, result, table.row, table.row_share, table.left, table.right, table.share)
    return result.reshape(values.shape)


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


@dataclass(frozen=True, slots=True)
class _ZoomTable:
    """Between which values every output lies, and how far along; one line a factor.

    Attributes:
        row: The upper row; the other is the next.
        row_share: Weight of the lower row.
        left: Place of the left value in its row, for every column and channel.
        right: Place of the right value.
        share: Weight of the right value.
    """

    row: Int64[np.ndarray, "factor height"]
    row_share: Float64[np.ndarray, "factor height"]
    left: UInt32[np.ndarray, "factor place"]
    right: UInt32[np.ndarray, "factor place"]
    share: Float64[np.ndarray, "factor place"]


@lru_cache(maxsize=64)
def _zoom_table(height: int, width: int, channels: int, factors: tuple[float, ...]) -> _ZoomTable:
    rows = [_zoom_line(height, factor) for factor in factors]
    columns = [_zoom_line(width, factor) for factor in factors]
    left = np.stack([first for first, _ in columns])[:, :, None]
    right = np.minimum(left + 1, width - 1)
    channel = np.arange(channels)
    return _ZoomTable(
        row=np.stack([first for first, _ in rows]),
        row_share=np.stack([share for _, share in rows]),
        left=(left * channels + channel).reshape(len(factors), -1).astype(np.uint32),
        right=(right * channels + channel).reshape(len(factors), -1).astype(np.uint32),
        share=np.repeat(np.stack([share for _, share in columns]), channels, axis=1),
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


@outer
@typing.no_type_check
def _filter(values, weights, rows, columns, channels):
    """Both directions, each sum from the middle, then from outside inwards, as SciPy adds."""
    height, length = values.shape
    reach = len(weights) - 1
    start = reach * channels
    line = np.empty(length)  # an array of its own, so that the loops over it become vector code
    padded = np.empty(len(columns) * channels)
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
        padded[start : start + length] = line
        for k in range(reach):
            for channel in range(channels):
                left, right = columns[k] * channels, columns[k - reach] * channels
                padded[k * channels + channel] = line[left + channel]
                padded[start + length + k * channels + channel] = line[right + channel]
        target = result[y]
        for x in range(length):
            target[x] = line[x] * weights[0]
        for k in range(reach, 0, -1):
            before = padded[start - k * channels :][:length]
            behind = padded[start + k * channels :][:length]
            weight = weights[k]
            for x in range(length):
                target[x] += (before[x] + behind[x]) * weight
    return result


@outer
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


@outer
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
            row = row[(left_margin + right[step]) * channels :][:length]
            weight = weights[step]
            for x in range(length):
                sums[x] += weight * row[x]
        target = result[y]
        for x in range(length):  # 16 bits rounded, then 8 bits cut
            target[x] = np.uint8(np.int32(257.0 * sums[x] + 0.5) // 257)
    return result.reshape(height, width, channels)


@outer
@typing.no_type_check
def _stretch(row, left, right, share, target):
    for place in range(len(target)):
        before = 1.0 - share[place]
        target[place] = row[left[place]] * before + row[right[place]] * (1.0 - before)


@outer
@typing.no_type_check
def _add_zooms(values, result, rows, row_shares, left, right, share):
    """Interpolate in double precision along rows, then along columns, round once, and add."""
    height, length = values.shape
    kind = result.dtype.type
    near = np.empty(length)
    far = np.empty(length)
    for factor in range(rows.shape[0]):
        held = -2  # the row that `near` holds; `far` holds the next
        for y in range(height):
            row = rows[factor, y]
            if row != held:
                if row == held + 1:
                    near, far = far, near
                else:
                    _stretch(values[row], left[factor], right[factor], share[factor], near)
                below = values[min(row + 1, height - 1)]
                _stretch(below, left[factor], right[factor], share[factor], far)
                held = row
            above = 1.0 - row_shares[factor, y]
            under = 1.0 - above
            target = result[y]
            for x in range(length):
                target[x] += kind(near[x] * above + far[x] * under)
