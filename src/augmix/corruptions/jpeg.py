"""JPEG compression of batches of images by libjpeg's arithmetic, without writing a file.

Entropy coding is lossless, so the pixels of a decoded file follow from the quantised coefficients
alone. The steps are those of the Independent JPEG Group's
library (release 6b) and of libjpeg-turbo, with their defaults: 4:2:0 chroma, the accurate integer
transforms ("islow"; Loeffler, Ligtenberg and Moschytz 1989), and linearly interpolated chroma
("fancy upsampling"). All arithmetic is on integers, so the pixels equal those that Pillow
decodes, byte by byte.
"""

from functools import lru_cache
from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from augmix.corruptions.registry import Images
from augmix.jit import inner, outer

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


def compress(images: Images, quality: int) -> Images:
    """Compress images as Pillow does when it saves and reopens a JPEG file.

    Args:
        images: RGB or grey; one or a batch.
        quality: 1..100, on the scale of libjpeg.
    """
    batch = np.ascontiguousarray(images).reshape(-1, *images.shape[-3:])
    num_blocks = (images.shape[-2] + 7) // 8
    luma, chroma = (np.tile(each, num_blocks) for each in _tables(quality))
    return _compress(batch, luma, chroma).reshape(images.shape)


@lru_cache(maxsize=100)
def _tables(quality: int) -> tuple[Float32[np.ndarray, "8 8"], Float32[np.ndarray, "8 8"]]:
    """Return the quantisation divisors of luma and chroma."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (
        np.clip((np.reshape(each, (8, 8)) * percent + 50) // 100, 1, 255).astype(np.float32)
        for each in (_LUMA_TABLE, _CHROMA_TABLE)
    )
    return luma, chroma


@outer
@no_type_check
def _compress(images, luma, chroma):
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
                _halve(blue, cb[pair])
                _halve(red, cr[pair])
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
            _double(cb[near], cb[far], sums, cb_line)
            _double(cr[near], cr[far], sums, cr_line)
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
def _halve(pair, target):
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
        _turn(blocks, turned, columns)
        _transform(turned, columns, 0, 11)
        _turn(turned, blocks, columns)
        _transform(blocks, columns, 2, 15)
        for y in range(8):
            line, divisor = blocks[y], divisors[y]
            for x in range(columns):  # the fraction of a quotient of such numbers is never lost
                value, step = np.float32(line[x]), divisor[x]
                size = np.int32((abs(value) + np.float32(4) * step) / (np.float32(8) * step))
                line[x] = size * np.int32(np.copysign(step, value))
        _invert(blocks, columns, 11)
        _turn(blocks, turned, columns)
        _invert(turned, columns, 18)
        _turn(turned, blocks, columns)
        for y in range(8):
            for x in range(columns):
                plane[top + y, x] = min(max(blocks[y, x] + 128, 0), 255)


@inner
@no_type_check
def _turn(blocks, turned, columns):
    """Transpose every block."""
    for left in range(0, columns, 8):
        for y in range(8):
            for x in range(8):
                turned[x, left + y] = blocks[y, left + x]


@inner
@no_type_check
def _transform(blocks, columns, shift, bits):
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
def _invert(blocks, columns, bits):
    """Transform columns of eight back; see `_transform`."""
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
def _double(near, far, sums, line):
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
