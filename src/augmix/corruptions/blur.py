"""Blur of the lens, of frosted glass, of motion and of zooming; and the filters it is made of.

Each filter follows the library that the published scripts called (SciPy, ImageMagick, OpenCV) down
to the order of its additions, since the fraction dropped at the end can show the last bit. Where a
function adds in an order of its own, single values differ by at most one grey level.

Functions take one image or a batch.
"""

import math
from functools import lru_cache
from typing import Literal, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt8, UInt32

from augmix.corruptions.noise import integers
from augmix.corruptions.registry import Draws, Images, Real
from augmix.jit import inner, outer

Border = Literal["repeat", "mirror", "mirror with edge"]
Angles = Real | Float64[np.ndarray, "*batch"]

_SMALL = 2  # pixels; kernels that reach no further are summed tap by tap
_ROUNDING = 1e-6  # above the float32 rounding of a kernel, far below any real tap
_NEGLIGIBLE = 1e-15  # a Gaussian of smaller std is left out


def defocus_blur(image: Images, radius: Real, alias_std: Real, *, generator: Draws) -> Images:
    """Correlate with a disk whose edge is softened; the border mirrors.

    Args:
        radius: Of the disk, in pixels; below 1 only the softening is left.
        alias_std: Standard deviation of the softening, in pixels.
    """
    plan = plan_disk(radius, alias_std)
    rows, columns = (padded_indices(size, plan.margin, "mirror") for size in image.shape[-3:-1])
    batch = as_batch(image)
    if not plan.half_widths.size:
        result = _correlate(batch, rows, columns, plan.margin, plan.taps, plan.weights)
    else:
        result = _correlate_disk(batch, rows, columns, *plan)
    return result.reshape(image.shape)


def glass_blur(
    image: Images, std: Real, reach: int, num_rounds: int, *, generator: Draws
) -> Images:
    """Smooth, copy pixels from their neighbourhood, smooth again.

    The published script is written as a swap, but its two right-hand sides are views of the array,
    so it copies one way.

    Args:
        std: Of both Gaussian filters, in pixels.
        reach: A pixel is copied from ``-reach .. reach - 1`` rows and columns away.
        num_rounds: How often every pixel is replaced.
        generator: Draws column and row offset, pixel by pixel, from the last to the first.
    """
    *axes, height, width, _ = image.shape
    shape = (num_rounds, max(height - 2 * reach, 0), max(width - 2 * reach, 0), 2)
    offsets = integers(generator, -reach, reach, (*axes, *shape))
    smooth = _to_levels(gaussian_filter(as_batch(image) / 255.0, std))
    copy_neighbours(smooth, offsets.reshape(math.prod(axes), *shape), reach)
    return _to_levels(gaussian_filter(smooth / 255.0, std)).reshape(image.shape)


def motion_blur(image: Images, radius: Real, std: Real, *, generator: Draws) -> Images:
    """Smear in a drawn direction within 45 degrees of the horizontal; see `motion_trail`."""
    return motion_trail(image, radius, std, generator.uniform(-45, 45, image.shape[:-3]))


def zoom_blur(image: Images, stop: Real, step: Real, *, generator: Draws) -> Images:
    """Average the image and its enlargements by ``np.arange(1, stop, step)``."""
    factors = tuple(np.arange(1, stop, step).tolist())
    values = (image / 255.0).astype(np.float32)
    mean = (values + sum_of_zooms(values, factors)) / np.float32(len(factors) + 1)
    return (np.clip(mean, 0, 1) * np.float32(255)).astype(np.uint8)


def gaussian_blur(image: Images, std: Real, *, generator: Draws) -> Images:
    """Smooth with a Gaussian of ``std`` pixels; the border repeats the edge value."""
    return _to_levels(gaussian_filter(image / 255.0, std))


def as_batch(image: Images) -> UInt8[np.ndarray, "image height width channel"]:
    """A batch as it is, one image as a batch of one."""
    return np.ascontiguousarray(image).reshape(-1, *image.shape[-3:])


def gaussian_filter(
    values: Float64[np.ndarray, "*batch height width channel"],
    std: Real,
    *,
    truncate: float = 4.0,
    border: Border = "repeat",
) -> Float64[np.ndarray, "*batch height width channel"]:
    """Smooth rows, then columns, to the same bits as `scipy.ndimage.gaussian_filter`.

    Args:
        values: The channel axis is not filtered.
        std: In pixels.
        truncate: Reach of the filter, in standard deviations.
        border: ``"mirror with edge"`` is d c b a | a b c d; the other repeats the edge value.
    """
    height, width, channels = values.shape[-3:]
    reach = int(truncate * std + 0.5)
    if std <= _NEGLIGIBLE or reach == 0:
        return values
    weights = _gaussian_weights(float(std), reach)
    if reach > max(height, width):
        return _filter_folded(values, weights, border)
    rows, columns = (padded_indices(size, reach, border) for size in (height, width))
    flat = np.ascontiguousarray(values).reshape(-1, height, width * channels)
    return _filter(flat, weights, rows, columns, channels).reshape(values.shape)


def motion_trail(image: Images, radius: Real, std: Real, angle_deg: Angles) -> Images:
    """Smear every pixel in one direction, as ImageMagick 6.9 with 16 bits does.

    Args:
        radius: In pixels; the trail is ``2 * ceil(radius) + 1`` pixels long.
        std: Of the half Gaussian that weighs the trail, in pixels.
        angle_deg: Where the trail comes from: 0 is the right, 90 is below; of a batch, one for
            each image.
    """
    weights, *offsets = trail(radius, std, angle_deg)
    down, right = (each.reshape(-1, len(weights)) for each in offsets)
    return _smear(as_batch(image), weights, down, right).reshape(image.shape)


def trail(
    radius: Real, std: Real, angle_deg: Angles
) -> tuple[
    Float64[np.ndarray, " step"],
    Int64[np.ndarray, "*batch step"],
    Int64[np.ndarray, "*batch step"],
]:
    """Return weights and offsets, down and to the right, of the pixels that a trail sums."""
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2.0 * std**2))
    weights /= weights.sum()
    # ImageMagick's order of operations: at multiples of 30 degrees half pixels round either way.
    ends = []
    for each in np.ravel(angle_deg).tolist():
        angle = math.pi * each / 180
        sine, cosine = len(steps) * math.sin(angle), len(steps) * math.cos(angle)
        ends.append((sine, cosine, math.hypot(sine, cosine)))
    sine, cosine, length = np.array(ends).T.reshape(3, *np.shape(angle_deg), 1)
    down = np.ceil(steps * sine / length - 0.5).astype(np.int64)
    right = np.ceil(steps * cosine / length - 0.5).astype(np.int64)
    return weights, down, right


def sum_of_zooms(
    values: Float[np.ndarray, "*batch height width channel"], factors: tuple[float, ...]
) -> Float[np.ndarray, "*batch height width channel"]:
    """Enlarge the middle by factors of at least 1, at the same size, and sum the results.

    Values are interpolated linearly between pixel centres, in double precision, and summed in their
    own. Height and width are cropped separately, so the image need not be square.
    """
    height, width, channels = values.shape[-3:]
    flat = np.ascontiguousarray(values).reshape(-1, height, width * channels)
    result = np.zeros(flat.shape, flat.dtype)
    _add_zooms(flat, result, *_zoom_table(height, width, channels, factors))
    return result.reshape(values.shape)


def disk_kernel(radius: Real, alias_std: Real) -> Float32[np.ndarray, "row column"]:
    """Return the published float32 disk, softened by 3 x 3 or 5 x 5 weights.

    It is not normalised again: at radius 8 and 10 the disk touches the edge of its grid, where the
    softening reflects, so that it sums to 1.0129755 and 1.0107858.
    """
    reach = 8 if radius <= 8 else int(np.ceil(radius))
    disk = _disk(radius, reach).astype(np.float32)
    disk /= disk.sum()
    softening = _softening(radius, alias_std)
    return _soften(np.pad(disk, len(softening) // 2, mode="reflect"), softening)


class DiskPlan(NamedTuple):
    """A disk kernel as single taps, or as whole rows of a disk, softened, plus a few taps."""

    margin: int  # pixels needed around the image
    taps: Int64[np.ndarray, "tap 2"]  # row and column from the centre
    weights: Float64[np.ndarray, " tap"]
    half_widths: Int64[np.ndarray, " row"]  # of the disk; empty if the taps are the whole kernel
    softening: Float64[np.ndarray, " weight"]  # along one direction
    scale: float  # weight of one pixel of the disk


@lru_cache(maxsize=32)
def plan_disk(radius: Real, alias_std: Real) -> DiskPlan:
    """Return the kernel of `disk_kernel` as what `defocus_blur` sums."""
    kernel = disk_kernel(radius, alias_std).astype(np.float64)
    softening = _softening(radius, alias_std).astype(np.float64)
    none = np.zeros(0, np.int64)
    taps = np.argwhere(kernel) - len(kernel) // 2
    if np.abs(taps).max() <= _SMALL:
        return DiskPlan(_SMALL, taps, kernel[kernel != 0], none, softening, 0.0)
    # On a grid that is wide enough the soft disk is a disk, then the softening. What the reflection
    # at the edge of the narrow grid adds and removes remains as single taps at the four poles.
    reach, margin = len(kernel) // 2, len(softening) // 2
    disk = _disk(radius, reach)
    soft = _soften(np.pad(disk, 2 * margin), softening) / disk.sum()
    rest = np.pad(kernel, margin) - soft
    rest[np.abs(rest) < _ROUNDING] = 0
    half_widths = disk[:, : reach + 1].sum(axis=1).astype(np.int64) - 1
    half_widths = half_widths[half_widths >= 0]
    return DiskPlan(
        margin=max(len(half_widths) // 2, 1) + margin,
        taps=np.argwhere(rest) - reach - margin,
        weights=rest[rest != 0],
        half_widths=half_widths,
        softening=softening,
        scale=float((kernel.sum() - rest.sum()) / (disk.sum() * softening.sum() ** 2)),
    )


def _disk(radius: Real, reach: int) -> Float64[np.ndarray, "row column"]:
    line = np.arange(-reach, reach + 1)
    return (line[:, None] ** 2 + line[None, :] ** 2 <= radius**2).astype(np.float64)


def _softening(radius: Real, alias_std: Real) -> Float32[np.ndarray, " weight"]:
    """Gaussian weights, rounded to float32 before and after they are normalised."""
    reach = 1 if radius <= 8 else 2
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * alias_std**2)).astype(np.float32)
    return (weights * (1 / weights.astype(np.float64).sum())).astype(np.float32)


def _soften(
    padded: Float[np.ndarray, "row column"], softening: Float[np.ndarray, " weight"]
) -> Float[np.ndarray, "soft_row soft_column"]:
    """Filter both directions; the margin that the weights reach into is lost.

    Order and precision are those of the published kernels: whether a kernel sums to slightly more
    or less than 1 decides about a whole grey level where the image is flat.
    """
    middle, size = len(softening) // 2, len(padded) - len(softening) + 1
    for _ in range(2):
        rows = softening[middle] * padded[middle : middle + size]
        for k in range(1, middle + 1):
            near, far = padded[middle - k :][:size], padded[middle + k :][:size]
            rows = rows + softening[middle + k] * (near + far)
        padded = rows.T
    return padded


@outer
@no_type_check
def _to_levels(values):
    """Clip to [0, 1], scale to 0..255, drop the fraction."""
    result = np.empty(values.shape, np.uint8)
    flat, levels = values.reshape(-1), result.reshape(-1)
    for i in range(flat.size):
        levels[i] = np.uint8(min(max(flat[i], 0.0), 1.0) * 255)
    return result


@outer
@no_type_check
def copy_neighbours(images, offsets, reach):
    """Copy a pixel from its neighbourhood to every pixel in turn, in place."""
    num_images, height, width, channels = images.shape
    for index in range(num_images):
        image, own = images[index], offsets[index]
        for turn in range(own.shape[0]):
            for i in range(own.shape[1]):
                y = height - reach - i
                for j in range(own.shape[2]):
                    x = width - reach - j
                    from_x = np.uintp(x + own[turn, i, j, 0])
                    from_y = np.uintp(y + own[turn, i, j, 1])
                    for channel in range(channels):
                        image[np.uintp(y), np.uintp(x), channel] = image[from_y, from_x, channel]


@inner
@no_type_check
def _pad(image, rows, columns, padded):
    for y in range(len(rows)):
        for x in range(len(columns)):
            for channel in range(image.shape[2]):
                padded[y, x, channel] = image[rows[y], columns[x], channel]


@outer
@no_type_check
def _correlate(images, rows, columns, margin, taps, weights):
    result = np.empty_like(images)
    padded = np.empty((len(rows), len(columns), images.shape[3]), np.uint8)
    for index in range(len(images)):
        _pad(images[index], rows, columns, padded)
        _correlate_one(padded, margin, taps, weights, result[index])
    return result


@outer
@no_type_check
def _correlate_disk(images, rows, columns, margin, taps, weights, half_widths, softening, scale):
    result = np.empty_like(images)
    padded = np.empty((len(rows), len(columns), images.shape[3]), np.uint8)
    for index in range(len(images)):
        _pad(images[index], rows, columns, padded)
        target = result[index]
        _correlate_disk_one(padded, margin, taps, weights, half_widths, softening, scale, target)
    return result


@inner
@no_type_check
def _correlate_one(padded, margin, taps, weights, result):
    """Sum tap by tap in the order and precision of the published scripts."""
    rows, columns, channels = padded.shape
    height, width = rows - 2 * margin, columns - 2 * margin
    values = (padded / 255.0).reshape(rows, -1)
    length = width * channels
    sums = np.empty(length)
    levels = result.reshape(height, length)
    for y in range(height):
        sums[:] = 0.0
        for tap in range(len(weights)):
            row = values[y + margin + taps[tap, 0]][(margin + taps[tap, 1]) * channels :][:length]
            weight = weights[tap]
            for x in range(length):
                sums[x] += weight * row[x]
        target = levels[y]
        for x in range(length):
            target[x] = np.uint8(min(max(sums[x], 0.0), 1.0) * 255)


@inner
@no_type_check
def _correlate_disk_one(padded, margin, taps, weights, half_widths, softening, scale, result):
    """Sum rows of the disk as differences of running sums (integers), then soften."""
    rows, columns, channels = padded.shape
    height, width = rows - 2 * margin, columns - 2 * margin
    length = width * channels
    soft = len(softening) // 2
    radius = len(half_widths) // 2
    sums = np.zeros((rows, (columns + 1) * channels), np.int32)
    flat = padded.reshape(rows, columns * channels)
    for y in range(rows):
        for channel in range(channels):
            total = np.int32(0)
            for x in range(channel, columns * channels, channels):
                total += flat[y, x]
                sums[y, x + channels] = total
    wide = (width + 2 * soft) * channels
    disk = np.zeros((height + 2 * soft, wide), np.int32)
    for y in range(height + 2 * soft):
        target = disk[y]
        for k in range(2 * radius + 1):
            source = sums[y + margin - soft - radius + k]
            first = source[(margin - soft - half_widths[k]) * channels :][:wide]
            last = source[(margin - soft + half_widths[k] + 1) * channels :][:wide]
            for x in range(wide):
                target[x] += last[x] - first[x]
    levels = result.reshape(height, length)
    column = np.empty(wide)
    values = np.empty(length)
    for y in range(height):
        column[:] = 0.0
        for k in range(2 * soft + 1):
            source, weight = disk[y + k], softening[k]
            for x in range(wide):
                column[x] += weight * source[x]
        values[:] = 0.0
        for k in range(2 * soft + 1):
            part, weight = column[k * channels :][:length], softening[k]
            for x in range(length):
                values[x] += weight * part[x]
        for x in range(length):
            values[x] *= scale
        for tap in range(len(weights)):
            row = flat[y + margin + taps[tap, 0]][(margin + taps[tap, 1]) * channels :][:length]
            weight = weights[tap]
            for x in range(length):
                values[x] += weight * row[x]
        target = levels[y]
        for x in range(length):
            target[x] = np.uint8(min(max(values[x], 0.0), 255.0))


def _gaussian_weights(std: float, reach: int) -> Float64[np.ndarray, " weight"]:
    """Weights from the middle outwards."""
    factor = -0.5 / (std * std)
    weights = np.array([math.exp(factor * k * k) for k in range(-reach, reach + 1)])
    return np.ascontiguousarray((weights / weights.sum())[reach:])


def padded_indices(size: int, margin: int, border: Border) -> Int64[np.ndarray, " padded"]:
    """Indices of a line with a margin: a a | a b c, c b | a b c or, with the edge, b a | a b c."""
    indices = np.arange(-margin, size + margin)
    if border == "repeat":
        return np.clip(indices, 0, size - 1)
    last = 2 * size - (1 if border == "mirror with edge" else 2)
    indices %= max(last + last % 2, 1)
    return np.minimum(indices, last - indices)


def _filter_folded(
    values: Float64[np.ndarray, "*batch height width channel"],
    weights: Float64[np.ndarray, " weight"],
    border: Border,
) -> Float64[np.ndarray, "*batch height width channel"]:
    """A filter wider than the image: weights outside are added to the pixel they fall on."""
    height, width, channels = values.shape[-3:]
    down = _fold(height, weights, border)
    right = np.ascontiguousarray(np.kron(_fold(width, weights, border), np.eye(channels)).T)
    flat = np.ascontiguousarray(values).reshape(-1, height, width * channels)
    result = [_multiply(_multiply(down, each), right) for each in flat]
    return np.stack(result).reshape(values.shape)


def _fold(
    size: int, weights: Float64[np.ndarray, " weight"], border: Border
) -> Float64[np.ndarray, "size size"]:
    reach = len(weights) - 1
    both = np.concatenate([weights[:0:-1], weights])
    matrix = np.zeros((size, size))
    indices = padded_indices(size, reach, border)
    for row in range(size):
        np.add.at(matrix[row], indices[row : row + len(both)], both)
    return matrix


class _ZoomTable(NamedTuple):
    """Between which two values every output lies, and how far along; a row for each factor."""

    row: Int64[np.ndarray, "factor height"]  # the upper one
    row_weight: Float64[np.ndarray, "factor height"]  # of the lower one, which is the next
    left: UInt32[np.ndarray, "factor value"]  # index in its row, for every column and channel
    right: UInt32[np.ndarray, "factor value"]
    weight: Float64[np.ndarray, "factor value"]  # of the right value


@lru_cache(maxsize=64)
def _zoom_table(height: int, width: int, channels: int, factors: tuple[float, ...]) -> _ZoomTable:
    rows = [_zoom_line(height, factor) for factor in factors]
    columns = [_zoom_line(width, factor) for factor in factors]
    left = np.stack([first for first, _ in columns])[:, :, None]
    right = np.minimum(left + 1, width - 1)
    channel = np.arange(channels)
    return _ZoomTable(
        row=np.stack([first for first, _ in rows]),
        row_weight=np.stack([weight for _, weight in rows]),
        left=(left * channels + channel).reshape(len(factors), -1).astype(np.uint32),
        right=(right * channels + channel).reshape(len(factors), -1).astype(np.uint32),
        weight=np.repeat(np.stack([weight for _, weight in columns]), channels, axis=1),
    )


def _zoom_line(
    size: int, factor: float
) -> tuple[Int64[np.ndarray, " size"], Float64[np.ndarray, " size"]]:
    crop = math.ceil(size / factor)
    top = (size - crop) // 2
    enlarged = round(crop * factor)  # half to even
    trim = (enlarged - size) // 2
    step = (crop - 1) / (enlarged - 1) if enlarged > 1 else 0.0
    positions = np.minimum(np.arange(trim, trim + size) * step, crop - 1)
    first = np.floor(positions)
    return first.astype(np.int64) + top, positions - first


@outer
@no_type_check
def _filter(values, weights, rows, columns, channels):
    result = np.empty(values.shape)
    for index in range(len(values)):
        _filter_one(values[index], weights, rows, columns, channels, result[index])
    return result


@inner
@no_type_check
def _filter_one(values, weights, rows, columns, channels, result):
    """Filter both directions, adding as SciPy does: the middle, then from outside inwards."""
    height, length = values.shape
    reach = len(weights) - 1
    start = reach * channels
    line = np.empty(length)  # a separate array, so that the loops over it are vectorised
    padded = np.empty(len(columns) * channels)
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


@outer
@no_type_check
def _multiply(left, right):
    """Matrix product whose additions are always in the same order."""
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
@no_type_check
def _smear(images, weights, down, right):
    result = np.empty_like(images)
    for index in range(len(images)):
        _smear_one(images[index], weights, down[index], right[index], result[index])
    return result


@inner
@no_type_check
def _smear_one(image, weights, down, right, result):
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
    sums = np.empty(length)
    levels = result.reshape(height, length)
    for y in range(height):
        sums[:] = 0.0
        for step in range(len(weights)):
            row = padded[min(max(y + down[step], 0), height - 1)]
            row = row[(left_margin + right[step]) * channels :][:length]
            weight = weights[step]
            for x in range(length):
                sums[x] += weight * row[x]
        target = levels[y]
        for x in range(length):  # rounded to 16 bits, then cut to 8
            target[x] = np.uint8(np.int32(257.0 * sums[x] + 0.5) // 257)


@inner
@no_type_check
def _stretch(row, left, right, weight, target):
    for i in range(len(target)):
        before = 1.0 - weight[i]
        target[i] = row[left[i]] * before + row[right[i]] * (1.0 - before)


@outer
@no_type_check
def _add_zooms(values, result, rows, row_weights, left, right, weights):
    for index in range(len(values)):
        _add_zooms_one(values[index], result[index], rows, row_weights, left, right, weights)


@inner
@no_type_check
def _add_zooms_one(values, result, rows, row_weights, left, right, weights):
    """Interpolate in double precision along rows, then along columns, round once, and add."""
    height, length = values.shape
    kind = result.dtype.type
    near = np.empty(length)
    far = np.empty(length)
    for factor in range(rows.shape[0]):
        held = -2  # row in `near`; `far` has the next
        for y in range(height):
            row = rows[factor, y]
            if row != held:
                if row == held + 1:
                    near, far = far, near
                else:
                    _stretch(values[row], left[factor], right[factor], weights[factor], near)
                below = values[min(row + 1, height - 1)]
                _stretch(below, left[factor], right[factor], weights[factor], far)
                held = row
            above = 1.0 - row_weights[factor, y]
            under = 1.0 - above
            target = result[y]
            for x in range(length):
                target[x] += kind(near[x] * above + far[x] * under)
