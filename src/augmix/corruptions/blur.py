"""Blur: of the lens, of frosted glass, of motion, of zooming.

The published scripts correlate in double precision and cut the fraction off at the end. The kernels
here do the same sums in an order of their own, so single values may differ by one grey level.
"""

import typing
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from augmix.corruptions.filters import gaussian_filter, motion_trail, sum_of_zooms
from augmix.corruptions.noise import integers
from augmix.corruptions.registry import Draws, Image, Real
from augmix.jit import outer

_SMALL = 2  # kernels reaching at most this far are summed tap by tap
_ROUNDING = 1e-6  # above the float32 rounding of a kernel, far below any real tap


def defocus_blur(image: Image, radius: Real, alias: Real, *, generator: Draws) -> Image:
    """Correlate with a disk whose edge is softened; the border mirrors (corruptions.md 4.4).

    Args:
        image: Grey levels.
        radius: Of the disk, in pixels; below 1 only the softening is left.
        alias: Standard deviation of the softening, in pixels.
        generator: Not used.
    """
    plan = _plan_disk(radius, alias)
    height, width = image.shape[:2]
    padded = image[_mirror(height, plan.margin)[:, None], _mirror(width, plan.margin)]
    if not plan.half_widths.size:
        return _correlate(padded, plan.margin, plan.taps, plan.weights)
    return _correlate_disk(
        padded,
        plan.margin,
        plan.taps,
        plan.weights,
        plan.half_widths,
        plan.softening,
        plan.scale,
    )


def glass_blur(
    image: Image, deviation: Real, reach: int, num_rounds: int, *, generator: Draws
) -> Image:
    """Smooth, copy pixels from their neighbourhood, smooth again (4.5).

    The published script is written as a swap, but its two right hand sides are views of the array,
    so it copies one way.

    Args:
        image: Grey levels.
        deviation: Of both Gaussian filters, in pixels.
        reach: A pixel is copied from ``-reach .. reach - 1`` rows and columns away.
        num_rounds: How often every pixel is replaced.
        generator: Draws column and row offset, pixel by pixel, from the last to the first.
    """
    height, width = image.shape[:2]
    smooth = _cut(gaussian_filter(image / 255.0, deviation))
    shape = (num_rounds, max(height - 2 * reach, 0), max(width - 2 * reach, 0), 2)
    offsets = integers(generator, -reach, reach, shape)
    _copy_neighbours(smooth, offsets, reach)
    return _cut(gaussian_filter(smooth / 255.0, deviation))


def motion_blur(image: Image, radius: Real, deviation: Real, *, generator: Draws) -> Image:
    """Smear to one side, in a direction within 45 degrees of the horizontal (4.6).

    Args:
        image: Grey levels.
        radius: Half the length of the trail, in pixels.
        deviation: Of its weights, in pixels.
        generator: Draws the direction.
    """
    angle = float(generator.uniform(-45, 45, ()))
    return motion_trail(image, radius, deviation, angle)


def zoom_blur(image: Image, stop: Real, step: Real, *, generator: Draws) -> Image:
    """The mean of the image and its enlargements (4.7).

    Args:
        image: Grey levels.
        stop: The factors are ``np.arange(1, stop, step)``, with its rounding at the end.
        step: Between factors.
        generator: Not used.
    """
    factors = tuple(np.arange(1, stop, step).tolist())
    values = (image / 255.0).astype(np.float32)
    mean = (values + sum_of_zooms(values, factors)) / np.float32(len(factors) + 1)
    return (np.clip(mean, 0, 1) * np.float32(255)).astype(np.uint8)


def gaussian_blur(image: Image, deviation: Real, *, generator: Draws) -> Image:
    """Smooth with a Gaussian; the edge goes on for ever (4.17).

    Args:
        image: Grey levels.
        deviation: Standard deviation, in pixels.
        generator: Not used.
    """
    return _cut(gaussian_filter(image / 255.0, deviation))


def disk_kernel(radius: Real, alias: Real) -> Float32[np.ndarray, "row column"]:
    """The disk of 3.2: float32, softened by 3 x 3 or 5 x 5 weights, not normalised again.

    At radius 8 and 10 the disk touches the edge of its grid, where the softening reflects, so the
    kernel sums to 1.0129755 and 1.0107858.
    """
    reach = 8 if radius <= 8 else int(np.ceil(radius))
    disk = _disk(radius, reach).astype(np.float32)
    disk /= disk.sum()
    softening = _softening(radius, alias)
    return _soften(np.pad(disk, len(softening) // 2, mode="reflect"), softening)


@dataclass(frozen=True, slots=True)
class _DiskPlan:
    """A disk kernel as single taps, or as whole rows of a disk, softened, and a few taps more.

    Attributes:
        margin: Pixels needed around the image.
        taps: Row and column from the centre.
        weights: Of the taps.
        half_widths: Of the disk's rows; empty where the taps are everything.
        softening: Weights of one direction.
        scale: Weight of one pixel of the disk.
    """

    margin: int
    taps: Int64[np.ndarray, "tap 2"]
    weights: Float64[np.ndarray, " tap"]
    half_widths: Int64[np.ndarray, " row"]
    softening: Float64[np.ndarray, " weight"]
    scale: float


@lru_cache(maxsize=32)
def _plan_disk(radius: Real, alias: Real) -> _DiskPlan:
    kernel = disk_kernel(radius, alias).astype(np.float64)
    softening = _softening(radius, alias).astype(np.float64)
    none = np.zeros(0, np.int64)
    taps = np.argwhere(kernel) - len(kernel) // 2
    if np.abs(taps).max() <= _SMALL:
        return _DiskPlan(_SMALL, taps, kernel[kernel != 0], none, softening, 0.0)
    # The soft disk on a grid wide enough is a disk, then the softening. What the reflection at the
    # edge of the narrow grid adds and takes is left as single taps at the four poles.
    reach, margin = len(kernel) // 2, len(softening) // 2
    disk = _disk(radius, reach)
    soft = _soften(np.pad(disk, 2 * margin), softening) / disk.sum()
    rest = np.pad(kernel, margin) - soft
    rest[np.abs(rest) < _ROUNDING] = 0
    half_widths = disk[:, : reach + 1].sum(axis=1).astype(np.int64) - 1
    half_widths = half_widths[half_widths >= 0]
    return _DiskPlan(
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


def _softening(radius: Real, alias: Real) -> Float32[np.ndarray, " weight"]:
    """Gaussian weights, rounded to float32 before and after they are normalised."""
    reach = 1 if radius <= 8 else 2
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * alias**2)).astype(np.float32)
    return (weights * (1 / weights.astype(np.float64).sum())).astype(np.float32)


def _soften(
    padded: Float[np.ndarray, "row column"], softening: Float[np.ndarray, " weight"]
) -> Float[np.ndarray, "soft_row soft_column"]:
    """Filter both directions; as many pixels as the weights reach are lost on every side.

    Order and precision are those of the published kernels: whether one sums to a little more or
    less than 1 decides on a whole grey level where the image is flat.
    """
    middle, side = len(softening) // 2, len(padded) - len(softening) + 1
    for _ in range(2):
        rows = softening[middle] * padded[middle : middle + side]
        for k in range(1, middle + 1):
            near, far = padded[middle - k :][:side], padded[middle + k :][:side]
            rows = rows + softening[middle + k] * (near + far)
        padded = rows.T
    return padded


def _mirror(size: int, margin: int) -> Int64[np.ndarray, " padded"]:
    """Indices of a line with a mirrored margin that does not repeat the edge, however wide."""
    if size == 1:
        return np.zeros(1 + 2 * margin, np.int64)
    indices = np.arange(-margin, size + margin) % (2 * size - 2)
    return np.minimum(indices, 2 * size - 2 - indices)


@outer
@typing.no_type_check
def _cut(values):
    """To [0, 1], to 0..255, and the fraction off."""
    result = np.empty(values.shape, np.uint8)
    flat, levels = values.reshape(-1), result.reshape(-1)
    for place in range(flat.size):
        levels[place] = np.uint8(min(max(flat[place], 0.0), 1.0) * 255)
    return result


@outer
@typing.no_type_check
def _copy_neighbours(image, offsets, reach):
    height, width, channels = image.shape
    for turn in range(offsets.shape[0]):
        for i in range(offsets.shape[1]):
            y = height - reach - i
            for j in range(offsets.shape[2]):
                x = width - reach - j
                from_x = np.uintp(x + offsets[turn, i, j, 0])
                from_y = np.uintp(y + offsets[turn, i, j, 1])
                for channel in range(channels):
                    image[np.uintp(y), np.uintp(x), channel] = image[from_y, from_x, channel]


@outer
@typing.no_type_check
def _correlate(padded, margin, taps, weights):
    """Tap by tap in the order and precision of the published scripts."""
    height, width, channels = (
        padded.shape[0] - 2 * margin,
        padded.shape[1] - 2 * margin,
        padded.shape[2],
    )
    values = (padded / 255.0).reshape(padded.shape[0], -1)
    length = width * channels
    result = np.empty((height, length), np.uint8)
    sums = np.empty(length)
    for y in range(height):
        sums[:] = 0.0
        for tap in range(len(weights)):
            row = values[y + margin + taps[tap, 0]][(margin + taps[tap, 1]) * channels :][:length]
            weight = weights[tap]
            for x in range(length):
                sums[x] += weight * row[x]
        target = result[y]
        for x in range(length):
            target[x] = np.uint8(min(max(sums[x], 0.0), 1.0) * 255)
    return result.reshape(height, width, channels)


@outer
@typing.no_type_check
def _correlate_disk(padded, margin, taps, weights, half_widths, softening, scale):
    """Rows of the disk as differences of running sums (whole numbers), then the softening."""
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
    result = np.empty((height, length), np.uint8)
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
        levels = result[y]
        for x in range(length):
            levels[x] = np.uint8(min(max(values[x], 0.0), 255.0))
    return result.reshape(height, width, channels)
