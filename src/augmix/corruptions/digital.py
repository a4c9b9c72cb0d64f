"""Digital corruptions: contrast, elastic transform, pixelation, JPEG.

The affine step of the elastic transform is the fixed-point arithmetic of OpenCV up to version 4,
with which the published sets were made: source coordinates are rounded to 1/32 pixel. OpenCV 5 does
not round them and gives images that differ by up to 6 grey levels, so the step is written out here.
"""

import io
import os
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32, Float64
from PIL import Image as PillowImage

from augmix.arrays import from_pillow, to_pillow
from augmix.corruptions.blur import gaussian_filter
from augmix.corruptions.registry import Draws, Image, Real
from augmix.jit import inner, outer


def contrast(image: Image, factor: Real, *, generator: Draws) -> Image:
    """Pull every channel towards its mean; ``factor`` is the fraction of the distance kept."""
    return _pull_to_mean(image, factor)


def pixelate(image: Image, fraction: Real, *, generator: Draws) -> Image:
    """Shrink with a box filter to a fraction of the size, rounded down, and enlarge again."""
    height, width = image.shape[:2]
    small = (max(int(width * fraction), 1), max(int(height * fraction), 1))
    picture = to_pillow(image).resize(small, PillowImage.Resampling.BOX)
    return from_pillow(picture.resize((width, height), PillowImage.Resampling.BOX))


def jpeg_compression(image: Image, quality: int, *, generator: Draws) -> Image:
    """Encode as JPEG of quality 1..95, with Pillow's other defaults (4:2:0 chroma), and decode."""
    return _decode(_encode(image, quality=quality))


def encode_jpeg(image: Image, *, quality: int) -> bytes:
    """Encode a JPEG file as those of the published sets: optimised tables, 4:2:0 chroma, by Pillow.

    ``quality`` is 1..100; the published sets have 85.
    """
    return _encode(image, quality=quality, optimize=True).getvalue()


def recode(image: Image, quality: int) -> Image:
    """Encode with `encode_jpeg` and decode: what reading a published set gives."""
    return _decode(_encode(image, quality=quality, optimize=True))


def _encode(image: Image, **options: Any) -> io.BytesIO:
    """Encode by Pillow, which holds the GIL while it encodes into memory, but not into a file."""
    picture = to_pillow(image)
    if not hasattr(os, "memfd_create"):  # of Linux: a file in memory
        content = io.BytesIO()
        picture.save(content, "JPEG", **options)
        return content
    with open(os.memfd_create("jpeg"), "w+b") as file:
        picture.save(file, "JPEG", **options)
        file.seek(0)
        return io.BytesIO(file.read())


def _decode(file: io.BytesIO) -> Image:
    return from_pillow(PillowImage.open(file, formats=("JPEG",)))


@outer
@no_type_check
def _pull_to_mean(image, factor):
    """Sum the mean in C order, as NumPy adds rows of three, since its last bit can show."""
    height, width, channels = image.shape
    table = np.empty((channels, 256), np.uint8)
    for channel in range(channels):
        mean = 0.0
        for y in range(height):
            for x in range(width):
                mean += image[y, x, channel] / 255.0
        mean /= height * width
        for level in range(256):
            value = (level / 255.0 - mean) * factor + mean
            table[channel, level] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    result = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                result[y, x, channel] = table[channel, image[y, x, channel]]
    return result


def elastic_transform(
    image: Image, distance: Real, smoothness: Real, jolt: Real, *, generator: Draws
) -> Image:
    """Move three points of the image, then every pixel by a smooth random field.

    Args:
        distance: Factor of the smoothed uniform field of displacements, in pixels.
        smoothness: Standard deviation of the Gaussian that smooths the field, in pixels.
        jolt: Largest shift of the three points in each direction, in pixels.
        generator: Draws the three points, then the displacements to the right, then down.
    """
    size = image.shape[:2]
    backward, right, down = elastic_fields(size, distance, smoothness, jolt, generator=generator)
    return _displace(warp((image / 255.0).astype(np.float32), backward), right, down)


def elastic_fields(
    size: tuple[int, int], distance: Real, smoothness: Real, jolt: Real, *, generator: Draws
) -> tuple[
    Float64[np.ndarray, "xy 3"],
    Float32[np.ndarray, "height width"],
    Float32[np.ndarray, "height width"],
]:
    """Draw what `elastic_transform` moves: the map of the three points, then right and down.

    The map is from the image after the first step to the one before, the displacements are from
    every pixel of the result to where it lies after the first step.
    """
    height, width = size
    moved = generator.uniform(-jolt, jolt, (3, 2)).astype(np.float32)
    right = _displacements(height, width, distance, smoothness, generator)
    down = _displacements(height, width, distance, smoothness, generator)
    return _backward_map(height, width, moved), right, down


def _displacements(
    height: int, width: int, distance: Real, smoothness: Real, generator: Draws
) -> Float32[np.ndarray, "height width"]:
    field = generator.uniform(-1, 1, (height, width))[:, :, None]
    smooth = gaussian_filter(field, smoothness, truncate=3.0, border="mirror with edge")
    return (smooth[:, :, 0] * distance).astype(np.float32)


def _backward_map(
    height: int, width: int, moved: Float32[np.ndarray, "point xy"]
) -> Float64[np.ndarray, "xy 3"]:
    """The affine map from the image after the jolt to the image before.

    The corners (+s, +s), (+s, -s), (-s, -s) around the centre move, where s is a third of the
    shorter of height and width.
    """
    third = np.float32(max(min(height, width) // 3, 1))
    centre = np.array([width // 2, height // 2], np.float32)
    before = centre + third * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    after = (before + moved).astype(np.float64)
    before = before.astype(np.float64)
    y_column = (after[0] - after[1]) / (2.0 * third)
    x_column = (after[1] - after[2]) / (2.0 * third)
    shift = after[0] - x_column * before[0, 0] - y_column * before[0, 1]
    (m0, m3), (m1, m4), (m2, m5) = x_column, y_column, shift
    determinant = m0 * m4 - m1 * m3
    scale = 1.0 / determinant if determinant != 0 else 0.0
    inverse = np.array([[m4 * scale, -m1 * scale], [-m3 * scale, m0 * scale]])
    offset = [-inverse[0, 0] * m2 - inverse[0, 1] * m5, -inverse[1, 0] * m2 - inverse[1, 1] * m5]
    return np.column_stack([inverse, offset])


@inner
@no_type_check
def _mirror(index, size, twice):
    """Mirror a position outside: -1 is 1 where ``twice`` is 0, and 0 where 1 repeats the edge."""
    if 0 <= index < size:
        return index
    if size == 1:
        return 0
    last = 2 * size - 2 + twice
    index = index % (last + twice)
    return min(index, last - index)


@inner
@no_type_check
def _fixed(value):
    """Round to 1/1024, within 32 bits."""
    return np.int64(min(max(np.rint(value * 1024.0), -2147483648.0), 2147483647.0))


@outer
@no_type_check
def warp(image, backward):
    """Bilinear, source coordinates in 1/32 pixel, the border mirrored."""
    height, width, channels = image.shape
    result = np.empty_like(image)
    unit = np.float32(1.0 / 32.0)
    one = np.float32(1.0)
    step_x = np.empty(width, np.int64)
    step_y = np.empty(width, np.int64)
    for x in range(width):
        step_x[x], step_y[x] = _fixed(backward[0, 0] * x), _fixed(backward[1, 0] * x)
    for y in range(height):
        start_x = _fixed(backward[0, 1] * y + backward[0, 2]) + 16
        start_y = _fixed(backward[1, 1] * y + backward[1, 2]) + 16
        for x in range(width):
            at_x = (start_x + step_x[x]) >> 5
            at_y = (start_y + step_y[x]) >> 5
            right, down = np.float32(at_x & 31) * unit, np.float32(at_y & 31) * unit
            left = min(max(at_x >> 5, -32768), 32767)
            top = min(max(at_y >> 5, -32768), 32767)
            x0, x1 = np.uintp(_mirror(left, width, 0)), np.uintp(_mirror(left + 1, width, 0))
            y0, y1 = np.uintp(_mirror(top, height, 0)), np.uintp(_mirror(top + 1, height, 0))
            weight00, weight01 = (one - down) * (one - right), (one - down) * right
            weight10, weight11 = down * (one - right), down * right
            for channel in range(channels):
                result[y, x, channel] = (
                    image[y0, x0, channel] * weight00
                    + image[y0, x1, channel] * weight01
                    + image[y1, x0, channel] * weight10
                    + image[y1, x1, channel] * weight11
                )
    return result


@outer
@no_type_check
def _displace(image, right, down):
    """Bilinear in double precision, rounded to single, the border mirrored with the edge twice."""
    height, width, channels = image.shape
    result = np.empty((height, width, channels), np.uint8)
    for y in range(height):
        for x in range(width):
            at_y, at_x = y + np.float64(down[y, x]), x + np.float64(right[y, x])
            top, left = np.floor(at_y), np.floor(at_x)
            above, before = 1.0 - (at_y - top), 1.0 - (at_x - left)
            below, behind = 1.0 - above, 1.0 - before
            row, column = np.int64(top), np.int64(left)
            y0, y1 = np.uintp(_mirror(row, height, 1)), np.uintp(_mirror(row + 1, height, 1))
            x0, x1 = np.uintp(_mirror(column, width, 1)), np.uintp(_mirror(column + 1, width, 1))
            weight00, weight01 = above * before, above * behind
            weight10, weight11 = below * before, below * behind
            for channel in range(channels):
                value = image[y0, x0, channel] * weight00
                value += image[y0, x1, channel] * weight01
                value += image[y1, x0, channel] * weight10
                value += image[y1, x1, channel] * weight11
                level = min(max(np.float32(value), np.float32(0)), np.float32(1))
                result[y, x, channel] = np.uint8(level * np.float32(255))
    return result
