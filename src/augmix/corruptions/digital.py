"""Digital corruptions: contrast, elastic transform, pixelation, JPEG.

The affine step of the elastic transform is the fixed-point arithmetic of OpenCV up to version 4,
with which the published sets were made: source coordinates are rounded to 1/32 pixel. OpenCV 5 does
not round them and gives images that differ by up to 6 grey levels, so the step is written out here.
Pixelation is the arithmetic of Pillow, byte by byte; of an image that is not square, that of Pillow
up to version 12, which shrinks columns before rows. Functions take one image or a batch.

JPEG is computed without writing a file. Entropy coding is lossless, so the pixels of a decoded file
follow from the quantised coefficients alone. The steps are those of the Independent JPEG Group's
library (release 6b) and of libjpeg-turbo, with their defaults: 4:2:0 chroma, the accurate integer
transforms ("islow"; Loeffler, Ligtenberg and Moschytz 1989), and linearly interpolated chroma
("fancy upsampling"). All arithmetic is on integers, so the pixels equal those that Pillow decodes,
byte by byte.
"""

import io
import os
from functools import lru_cache
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int32

from augmix.arrays import to_pillow
from augmix.corruptions.blur import as_batch, gaussian_filter
from augmix.corruptions.registry import Draws, Image, Images, Real
from augmix.jit import inner, outer

_BITS = 22  # of fraction in the weights of a resizing
_LUMA_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
"""Of ITU-T T.81, Annex K, at quality 50."""


def contrast(image: Images, factor: Real, *, generator: Draws) -> Images:
    """Move every channel towards its mean; ``factor`` is the fraction of the distance kept."""
    return _pull_to_mean(as_batch(image), factor).reshape(image.shape)


def pixelate(image: Images, fraction: Real, *, generator: Draws) -> Images:
    """Shrink with a box filter to a fraction of the size, rounded down, and enlarge again."""
    height, width = image.shape[-3:-1]
    small = max(int(height * fraction), 1), max(int(width * fraction), 1)
    shrink = (_box_weights(old, new) for old, new in zip((height, width), small, strict=True))
    enlarge = (_box_weights(old, new) for old, new in zip(small, (height, width), strict=True))
    return _resize_twice(as_batch(image), *shrink, *enlarge).reshape(image.shape)


def jpeg_compression(image: Images, quality: int, *, generator: Draws) -> Images:
    """Encode as JPEG of quality 1..95, with Pillow's other defaults (4:2:0 chroma), and decode."""
    return compress_jpeg(image, quality)


def encode_jpeg(image: Image, *, quality: int) -> bytes:
    """Encode a JPEG file like those of the published sets: optimised tables, 4:2:0 chroma.

    ``quality`` is 1..100; the published sets have 85. `compress_jpeg` gives the pixels of the file.
    """
    picture = to_pillow(image)
    options: dict[str, Any] = {"quality": quality, "optimize": True}
    if not hasattr(os, "memfd_create"):  # of Linux: a file in memory
        content = io.BytesIO()
        picture.save(content, "JPEG", **options)
        return content.getvalue()
    with open(os.memfd_create("jpeg"), "w+b") as file:  # Pillow releases the GIL for a file only
        picture.save(file, "JPEG", **options)
        file.seek(0)
        return file.read()


@lru_cache(maxsize=256)
def _box_weights(old: int, new: int) -> Int32[np.ndarray, "new weight"]:
    """Return the first input pixel of Pillow's box filter for each output pixel, and its weights.

    A box is as wide as a new pixel and at least as an old one; the weights are rounded to `_BITS`
    bits. Those after the end of a box are 0.
    """
    scale = old / new
    width = max(scale, 1.0)
    radius, inverse = 0.5 * width, 1.0 / width  # Pillow multiplies, which decides at edges of boxes
    rows = []
    for index in range(new):
        centre = (index + 0.5) * scale
        first = max(int(centre - radius + 0.5), 0)
        last = min(int(centre + radius + 0.5), old)
        positions = ((k - centre + 0.5) * inverse for k in range(first, last))
        inside = [-0.5 < position <= 0.5 for position in positions]
        total = float(sum(inside)) or 1.0
        rows.append([first, *(int(0.5 + each / total * 2**_BITS) for each in inside)])
    table = np.zeros((new, max(map(len, rows))), np.int32)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table


@outer
@no_type_check
def _resize_twice(images, rows, columns, rows_back, columns_back):
    """Shrink and enlarge as Pillow does: columns before rows, each pass rounded to integers."""
    num_images, height, width, channels = images.shape
    result = np.empty_like(images)
    across = np.empty((height, len(columns) * channels), np.uint8)
    small = np.empty((len(rows), len(columns) * channels), np.uint8)
    across_back = np.empty((len(rows), width * channels), np.uint8)
    sums = np.empty(max(width, len(columns)) * channels, np.int32)
    for index in range(num_images):
        image = images[index].reshape(height, width * channels)
        _resize_columns(image, columns, channels, across)
        _resize_rows(across, rows, sums, small)
        _resize_columns(small, columns_back, channels, across_back)
        _resize_rows(across_back, rows_back, sums, result[index].reshape(height, width * channels))
    return result


@inner
@no_type_check
def _resize_columns(values, table, channels, result):
    for y in range(len(values)):
        for x in range(len(table)):
            first = table[x, 0]
            for channel in range(channels):
                total = np.int32(1 << (_BITS - 1))
                for k in range(1, table.shape[1]):
                    if table[x, k] != 0:
                        total += table[x, k] * values[y, (first + k - 1) * channels + channel]
                result[y, x * channels + channel] = min(total >> _BITS, 255)


@inner
@no_type_check
def _resize_rows(values, table, sums, result):
    length = values.shape[1]
    for y in range(len(table)):
        first = table[y, 0]
        sums[:] = 1 << (_BITS - 1)
        for k in range(1, table.shape[1]):
            weight = table[y, k]
            if weight != 0:
                row = values[first + k - 1]
                for x in range(length):
                    sums[x] += weight * row[x]
        for x in range(length):
            result[y, x] = min(sums[x] >> _BITS, 255)


@outer
@no_type_check
def _pull_to_mean(images, factor):
    result = np.empty_like(images)
    for index in range(len(images)):
        _pull_to_mean_one(images[index], factor, result[index])
    return result


@inner
@no_type_check
def _pull_to_mean_one(image, factor, result):
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
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                result[y, x, channel] = table[channel, image[y, x, channel]]


def elastic_transform(
    image: Images, distance: Real, smoothness: Real, jolt: Real, *, generator: Draws
) -> Images:
    """Move three points of the image, then every pixel by a smooth random field.

    Args:
        distance: Factor of the smoothed uniform field of displacements, in pixels.
        smoothness: Standard deviation of the Gaussian that smooths the field, in pixels.
        jolt: Largest shift of the three points in each direction, in pixels.
        generator: Draws the three points, then the displacements to the right, then down.
    """
    size = image.shape[:-1]
    fields = elastic_fields(size, distance, smoothness, jolt, generator=generator)
    backward, right, down = (each.reshape(-1, *each.shape[-2:]) for each in fields)
    moved = warp((as_batch(image) / 255.0).astype(np.float32), backward)
    return _displace(moved, right, down).reshape(image.shape)


def elastic_fields(
    size: tuple[int, ...], distance: Real, smoothness: Real, jolt: Real, *, generator: Draws
) -> tuple[
    Float64[np.ndarray, "*batch xy 3"],
    Float32[np.ndarray, "*batch height width"],
    Float32[np.ndarray, "*batch height width"],
]:
    """Draw the fields of `elastic_transform`: the affine map, then shifts to the right and down.

    The size may have a leading batch axis. The map leads from the image after the first step to the
    one before, the displacements from every pixel of the result to its position after that step.
    """
    *axes, height, width = size
    moved = generator.uniform(-jolt, jolt, (*axes, 3, 2)).astype(np.float32)
    right = _displacements(size, distance, smoothness, generator)
    down = _displacements(size, distance, smoothness, generator)
    return _backward_map(height, width, moved), right, down


def _displacements(
    size: tuple[int, ...], distance: Real, smoothness: Real, generator: Draws
) -> Float32[np.ndarray, "*batch height width"]:
    field = generator.uniform(-1, 1, size)[..., None]
    smooth = gaussian_filter(field, smoothness, truncate=3.0, border="mirror with edge")
    return (smooth[..., 0] * distance).astype(np.float32)


def _backward_map(
    height: int, width: int, moved: Float32[np.ndarray, "*batch point xy"]
) -> Float64[np.ndarray, "*batch xy 3"]:
    """The affine map from the image after the jolt to the image before.

    The corners (+s, +s), (+s, -s), (-s, -s) around the centre move, where s is a third of the
    shorter of height and width.
    """
    third = np.float32(max(min(height, width) // 3, 1))
    centre = np.array([width // 2, height // 2], np.float32)
    before = centre + third * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    after = (before + moved).astype(np.float64)
    before = before.astype(np.float64)
    first, second, last = np.moveaxis(after, -2, 0)
    y_column = (first - second) / (2.0 * third)
    x_column = (second - last) / (2.0 * third)
    shift = first - x_column * before[0, 0] - y_column * before[0, 1]
    (m0, m3), (m1, m4), (m2, m5) = (each.T for each in (x_column, y_column, shift))
    determinant = m0 * m4 - m1 * m3
    with np.errstate(divide="ignore"):
        scale = np.where(determinant != 0, 1.0 / determinant, 0.0)
    i0, i1, i3, i4 = m4 * scale, -m1 * scale, -m3 * scale, m0 * scale
    inverse = np.array([[i0, i1, -i0 * m2 - i1 * m5], [i3, i4, -i3 * m2 - i4 * m5]])
    return np.moveaxis(inverse, (0, 1), (-2, -1))


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
def warp(images, backward):
    """Sample bilinearly at multiples of 1/32 pixel, mirroring at the border."""
    result = np.empty_like(images)
    for index in range(len(images)):
        _warp_one(images[index], backward[index], result[index])
    return result


@inner
@no_type_check
def _warp_one(image, backward, result):
    height, width, channels = image.shape
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


@outer
@no_type_check
def _displace(images, right, down):
    result = np.empty(images.shape, np.uint8)
    for index in range(len(images)):
        _displace_one(images[index], right[index], down[index], result[index])
    return result


@inner
@no_type_check
def _displace_one(image, right, down, result):
    """Bilinear in double precision, rounded to single, the border mirrored with the edge twice."""
    height, width, channels = image.shape
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


def compress_jpeg(images: Images, quality: int) -> Images:
    """Compress images as Pillow does when it saves and reopens a JPEG file.

    Args:
        images: RGB or grey; one or a batch.
        quality: 1..100, on the scale of libjpeg.
    """
    batch = np.ascontiguousarray(images).reshape(-1, *images.shape[-3:])
    num_blocks = (images.shape[-2] + 7) // 8
    luma, chroma = (np.tile(each, num_blocks) for each in _quantisation_tables(quality))
    return _compress_all(batch, luma, chroma).reshape(images.shape)


@lru_cache(maxsize=100)
def _quantisation_tables(
    quality: int,
) -> tuple[Float32[np.ndarray, "8 8"], Float32[np.ndarray, "8 8"]]:
    """Return the quantisation divisors of luma and chroma."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (
        np.clip((np.reshape(each, (8, 8)) * percent + 50) // 100, 1, 255).astype(np.float32)
        for each in (_LUMA_TABLE, _CHROMA_TABLE)
    )
    return luma, chroma


@outer
@no_type_check
def _compress_all(images, luma, chroma):
    num_images, height, width, channels = images.shape
    result = np.empty_like(images)
    rows, columns = (height + 7) // 8 * 8, (width + 7) // 8 * 8
    y_plane = np.empty((rows, columns), np.int32)
    half, wide = (height + 1) // 2, (width + 1) // 2  # of the chroma
    half_rows, half_columns = (half + 7) // 8 * 8, (wide + 7) // 8 * 8
    blue, red = np.empty((2, half_columns * 2), np.int32), np.empty((2, half_columns * 2), np.int32)
    cb = np.empty((half_rows, half_columns), np.int32)
    cr = np.empty((half_rows, half_columns), np.int32)
    blocks = np.empty((8, max(columns, half_columns)), np.int32)
    turned = np.empty((8, max(columns, half_columns)), np.int32)
    cb_line, cr_line = np.empty(2 * wide, np.int32), np.empty(2 * wide, np.int32)
    sums = np.empty(wide, np.int32)
    for index in range(num_images):
        image, target = images[index], result[index]
        if channels == 1:
            for y in range(height):
                for x in range(width):
                    y_plane[y, x] = image[y, x, 0]
        else:
            for pair in range(half):
                for k in range(2):
                    y = min(2 * pair + k, height - 1)
                    _to_ycc(image[y], y_plane[y], blue[k], red[k])
                _halve_chroma(blue, cb[pair])
                _halve_chroma(red, cr[pair])
        _extend(y_plane, height, width)
        _quantise(y_plane, luma, blocks, turned)
        if channels == 1:
            for y in range(height):
                for x in range(width):
                    target[y, x, 0] = y_plane[y, x]
            continue
        for plane in (cb, cr):
            _extend(plane, half, half_columns)
            _quantise(plane, chroma, blocks, turned)
        for y in range(height):
            near = y // 2
            if wide <= 2:  # libjpeg repeats chroma this narrow and interpolates neither axis
                cb_line[::2] = cb_line[1::2] = cb[near, :wide]
                cr_line[::2] = cr_line[1::2] = cr[near, :wide]
                _to_rgb(y_plane[y], cb_line, cr_line, target[y])
                continue
            far = min(max(near + (1 if y % 2 else -1), 0), half - 1)
            _double_chroma(cb[near], cb[far], sums, cb_line)
            _double_chroma(cr[near], cr[far], sums, cr_line)
            _to_rgb(y_plane[y], cb_line, cr_line, target[y])
    return result


@inner
@no_type_check
def _to_ycc(pixels, luma, blue, red):
    """Convert a row to YCbCr with 16 fractional bits; repeat the last chroma to the block's end."""
    width = len(pixels)
    for x in range(width):
        r, g, b = np.int32(pixels[x, 0]), np.int32(pixels[x, 1]), np.int32(pixels[x, 2])
        luma[x] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
        blue[x] = (-11059 * r - 21709 * g + 32768 * b + 8421375) >> 16
        red[x] = (32768 * r - 27439 * g - 5329 * b + 8421375) >> 16
    blue[width:] = blue[width - 1]
    red[width:] = red[width - 1]


@inner
@no_type_check
def _halve_chroma(pair, target):
    """Average 2x2 pixels, rounding halves down in even columns and up in odd ones."""
    for x in range(len(target)):
        total = pair[0, 2 * x] + pair[0, 2 * x + 1] + pair[1, 2 * x] + pair[1, 2 * x + 1]
        target[x] = (total + 1 + x % 2) >> 2


@inner
@no_type_check
def _extend(plane, height, width):
    """Repeat the last column and row to the end of the blocks."""
    for y in range(height):
        plane[y, width:] = plane[y, width - 1]
    for y in range(height, plane.shape[0]):
        plane[y] = plane[height - 1]


@inner
@no_type_check
def _quantise(plane, divisors, blocks, turned):
    """Transform rows of blocks, quantise, and transform back, in place."""
    columns = plane.shape[1]
    for top in range(0, plane.shape[0], 8):
        for y in range(8):
            for x in range(columns):
                blocks[y, x] = plane[top + y, x] - 128
        _turn_blocks(blocks, turned, columns)
        _transform_blocks(turned, columns, 0, 11)
        _turn_blocks(turned, blocks, columns)
        _transform_blocks(blocks, columns, 2, 15)
        for y in range(8):
            line, divisor = blocks[y], divisors[y]
            for x in range(columns):  # the fraction of a quotient of such numbers is never lost
                value, step = np.float32(line[x]), divisor[x]
                size = np.int32((abs(value) + np.float32(4) * step) / (np.float32(8) * step))
                line[x] = size * np.int32(np.copysign(step, value))
        _invert_blocks(blocks, columns, 11)
        _turn_blocks(blocks, turned, columns)
        _invert_blocks(turned, columns, 18)
        _turn_blocks(turned, blocks, columns)
        for y in range(8):
            for x in range(columns):
                plane[top + y, x] = min(max(blocks[y, x] + 128, 0), 255)


@inner
@no_type_check
def _turn_blocks(blocks, turned, columns):
    """Transpose every block."""
    for left in range(0, columns, 8):
        for y in range(8):
            for x in range(8):
                turned[x, left + y] = blocks[y, left + x]


@inner
@no_type_check
def _transform_blocks(blocks, columns, shift, bits):
    """Transform columns of eight; constants have 13 bits of fraction, of which ``bits`` are cut.

    Of the two coefficients without a constant ``shift`` bits are cut; in the first pass, where
    nothing is, they are multiplied by 4.
    """
    scale = np.int32(4) if shift == 0 else np.int32(1)
    low = np.int32(1 << shift >> 1)
    half = np.int32(1 << (bits - 1))
    for x in range(columns):
        v0, v1, v2, v3 = blocks[0, x], blocks[1, x], blocks[2, x], blocks[3, x]
        v7, v6, v5, v4 = blocks[7, x], blocks[6, x], blocks[5, x], blocks[4, x]
        a0, a1, a2, a3 = v0 + v7, v1 + v6, v2 + v5, v3 + v4
        b4, b5, b6, b7 = v3 - v4, v2 - v5, v1 - v6, v0 - v7
        e0, e1, e2, e3 = a0 + a3, a1 + a2, a1 - a2, a0 - a3
        blocks[0, x] = ((e0 + e1) * scale + low) >> shift
        blocks[4, x] = ((e0 - e1) * scale + low) >> shift
        z = (e2 + e3) * np.int32(4433)
        blocks[2, x] = (z + e3 * np.int32(6270) + half) >> bits
        blocks[6, x] = (z - e2 * np.int32(15137) + half) >> bits
        z1, z2, z3, z4 = b4 + b7, b5 + b6, b4 + b6, b5 + b7
        z5 = (z3 + z4) * np.int32(9633)
        z1, z2 = z1 * np.int32(-7373), z2 * np.int32(-20995)
        z3, z4 = z3 * np.int32(-16069) + z5, z4 * np.int32(-3196) + z5
        blocks[7, x] = (b4 * np.int32(2446) + z1 + z3 + half) >> bits
        blocks[5, x] = (b5 * np.int32(16819) + z2 + z4 + half) >> bits
        blocks[3, x] = (b6 * np.int32(25172) + z2 + z3 + half) >> bits
        blocks[1, x] = (b7 * np.int32(12299) + z1 + z4 + half) >> bits


@inner
@no_type_check
def _invert_blocks(blocks, columns, bits):
    """Transform columns of eight back; see `_transform_blocks`."""
    half = np.int32(1 << (bits - 1))
    for x in range(columns):
        v0, v1, v2, v3 = blocks[0, x], blocks[1, x], blocks[2, x], blocks[3, x]
        v4, v5, v6, v7 = blocks[4, x], blocks[5, x], blocks[6, x], blocks[7, x]
        z = (v2 + v6) * np.int32(4433)
        c2, c3 = z - v6 * np.int32(15137), z + v2 * np.int32(6270)
        c0, c1 = (v0 + v4) * np.int32(8192), (v0 - v4) * np.int32(8192)
        e0, e1, e2, e3 = c0 + c3 + half, c1 + c2 + half, c1 - c2 + half, c0 - c3 + half
        z1, z2, z3, z4 = v7 + v1, v5 + v3, v7 + v3, v5 + v1
        z5 = (z3 + z4) * np.int32(9633)
        z1, z2 = z1 * np.int32(-7373), z2 * np.int32(-20995)
        z3, z4 = z3 * np.int32(-16069) + z5, z4 * np.int32(-3196) + z5
        o0 = v7 * np.int32(2446) + z1 + z3
        o1 = v5 * np.int32(16819) + z2 + z4
        o2 = v3 * np.int32(25172) + z2 + z3
        o3 = v1 * np.int32(12299) + z1 + z4
        blocks[0, x], blocks[7, x] = (e0 + o3) >> bits, (e0 - o3) >> bits
        blocks[1, x], blocks[6, x] = (e1 + o2) >> bits, (e1 - o2) >> bits
        blocks[2, x], blocks[5, x] = (e2 + o1) >> bits, (e2 - o1) >> bits
        blocks[3, x], blocks[4, x] = (e3 + o0) >> bits, (e3 - o0) >> bits


@inner
@no_type_check
def _double_chroma(near, far, sums, line):
    """Interpolate a row of chroma at double size: 3/4 of the nearer, 1/4 of the farther."""
    wide = len(sums)
    for x in range(wide):
        sums[x] = 3 * near[x] + far[x]
    for x in range(wide):
        left, right = sums[max(x - 1, 0)], sums[min(x + 1, wide - 1)]
        line[2 * x] = (3 * sums[x] + left + 8) >> 4
        line[2 * x + 1] = (3 * sums[x] + right + 7) >> 4


@inner
@no_type_check
def _to_rgb(luma, cb, cr, target):
    for x in range(len(target)):
        level, blue, red = luma[x], cb[x] - 128, cr[x] - 128
        r = level + ((91881 * red + 32768) >> 16)
        g = level + ((-22554 * blue - 46802 * red + 32768) >> 16)
        b = level + ((116130 * blue + 32768) >> 16)
        target[x, 0] = min(max(r, 0), 255)
        target[x, 1] = min(max(g, 0), 255)
        target[x, 2] = min(max(b, 0), 255)
