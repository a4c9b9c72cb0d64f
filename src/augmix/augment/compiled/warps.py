"""Operations that move pixels: Pillow's affine transforms with bilinear sampling, bit for bit.

For the output pixel (x, y) Pillow computes in double ``u = a * (x + .5) + b * (y + .5) + c`` (and
v from d, e, f), gives black outside [0, width) x [0, height), and otherwise blends the four pixels
around (u - .5, v - .5), coordinates clamped at the border, along the row first, truncating once.

Shear_x and translate_x only move along a row, shear_y and translate_y along a column: one of the
two fractions is exactly 0, and the whole part of the shift is the same for a row (a column). Where
Pillow's rounded coordinate reaches the next whole number although the exact one does not, it lands
on that number, since rounding keeps order; its blend then takes the next pixel with fraction 0, and
the one here takes the same pixel with fraction 1. Fractions are Pillow's own, pixel by pixel.

Images are planar here, uint8 `channel pixel`; the scratch space is that of `render_pairs`.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from augmix.jit import inner

_BYTE = np.uint32(255)


@inner
@no_type_check
def move_along_rows(source, height, width, shear, offset, parts, result):
    """Shear_x or translate_x: row y is sampled ``shear * (y + .5) + offset`` to the right.

    One of the two is 0; adding it last or first changes no bit. Pixels first..last of a row have
    both neighbours; one more on either side may have one of them.
    """
    one = np.uint64(1)
    for y in range(height):
        shift = shear * (y + 0.5) + offset
        shift = min(max(shift, -float(width + 1)), float(width + 1))
        step, start = int(np.floor(shift)), y * width
        first = min(max(-step, 0), width)
        last = max(min(width - 1 - step, width), first)
        size, target = last - first, np.uint64(start + first)
        origin = np.uint64(start + first + step)
        for x in range(size):
            middle = float(x + first) + 0.5
            parts[x] = ((middle + shift) - 0.5) - float(x + first + step)
        for channel in range(source.shape[0]):
            for x in range(first):
                result[channel, start + x] = 0
            for x in range(last, width):
                result[channel, start + x] = 0
            if first > 0 and step > -width - 1 and (first - 0.5) + shift >= 0:
                result[channel, start + first - 1] = source[channel, start]
            if last < width and step < width and (last + 0.5) + shift < width:
                result[channel, start + last] = source[channel, start + width - 1]
            for x in range(size):
                at = np.uint64(x)
                level = np.int32(source[channel, origin + at])
                change = np.int32(source[channel, origin + at + one]) - level
                value = float(level) + float(change) * parts[x]
                result[channel, target + at] = np.uint8(np.int32(value))


@inner
@no_type_check
def move_whole(source, height, width, right, down, result):
    """Translate_x or translate_y by whole pixels: copies of rows, black outside."""
    first = min(max(-right, 0), width)
    last = max(min(width - right, width), first)
    for channel in range(source.shape[0]):
        old, new = source[channel], result[channel]
        for y in range(height):
            start, origin = y * width, (y + down) * width
            if not 0 <= y + down < height:
                line = new[start : start + width]
                for x in range(width):
                    line[x] = 0
                continue
            for x in range(first):
                new[start + x] = 0
            for x in range(last, width):
                new[start + x] = 0
            line, pixels = new[start + first : start + last], old[origin + first + right :]
            for x in range(last - first):
                line[x] = pixels[x]


@inner
@no_type_check
def move_along_columns(
    source, height, width, shear, offset, packed, corners, offsets, fractions, result
):
    """Shear_y or translate_y: column x is sampled ``shear * (x + .5) + offset`` further down.

    For every output row the staircase of source pixels is gathered once, and used twice: the lower
    neighbours of one row are the upper neighbours of the next.
    """
    channels = source.shape[0]
    shifts, parts, steps = fractions[0], fractions[1], fractions[2]
    lowest, highest, far = np.inf, -np.inf, float(height + 1)
    for x in range(width):
        shifts[x] = shear * (x + 0.5) + offset
        lowest, highest = min(lowest, shifts[x]), max(highest, shifts[x])
        steps[x] = np.floor(min(max(shifts[x], -far), far))
        offsets[x] = np.int32(steps[x]) * np.int32(width + 2) + np.int32(x + 1)
    _pack(source, height, width, packed)
    _gather_row(packed, height, width, 0, lowest, highest, offsets, steps, corners[0])
    for y in range(height):
        upper, lower = corners[y % 2], corners[(y + 1) % 2]
        _gather_row(packed, height, width, y + 1, lowest, highest, offsets, steps, lower)
        middle, row, start = y + 0.5, float(y), np.uint64(y * width)
        is_inside = lowest + middle >= 0 and highest + middle < height
        for x in range(width):
            parts[x] = ((shifts[x] + middle) - 0.5) - (row + steps[x])
        if not is_inside:
            for x in range(width):
                v = shifts[x] + middle
                if not (v >= 0 and v < height):
                    parts[x] = 0.0
        for channel in range(channels):
            bits = np.uint32(8 * channel)
            for x in range(width):
                level = np.int32((upper[x] >> bits) & _BYTE)
                change = np.int32((lower[x] >> bits) & _BYTE) - level
                value = float(level) + float(change) * parts[x]
                result[channel, start + np.uint64(x)] = np.uint8(np.int32(value))
            if not is_inside:
                for x in range(width):
                    v = shifts[x] + middle
                    if not (v >= 0 and v < height):
                        result[channel, start + np.uint64(x)] = 0


@inner
@no_type_check
def _gather_row(packed, height, width, y, lowest, highest, offsets, steps, row):
    """The pixels of row y + steps[x], or of the nearest row there is."""
    row_size = width + 2
    if y + lowest >= 0 and y + highest < height:
        start = np.int64((y + 1) * row_size)
        for x in range(width):
            row[x] = packed[np.uint64(start + offsets[x])]
    else:
        for x in range(width):
            origin = min(max(y + 1 + int(steps[x]), 0), height)
            row[x] = packed[origin * row_size + x + 1]


@inner
@no_type_check
def _pack(source, height, width, packed):
    """The channels of every pixel in one 32-bit word, so that one load fetches them all.

    Border pixels are repeated once around the image: neighbours need no clamping.
    """
    row_size, channels = width + 2, source.shape[0]
    for y in range(height):
        origin, target = np.uint64(y * width), np.uint64((y + 1) * row_size + 1)
        for x in range(width):
            word = np.uint32(source[0, origin + np.uint64(x)])
            if channels == 3:
                word |= np.uint32(source[1, origin + np.uint64(x)]) << np.uint32(8)
                word |= np.uint32(source[2, origin + np.uint64(x)]) << np.uint32(16)
            packed[target + np.uint64(x)] = word
        start = (y + 1) * row_size
        packed[start] = packed[start + 1]
        packed[start + width + 1] = packed[start + width]
    for x in range(row_size):
        packed[x] = packed[row_size + x]
        packed[(height + 1) * row_size + x] = packed[height * row_size + x]


@inner
@no_type_check
def affine(source, height, width, matrix, packed, corners, offsets, fractions, result):
    """Any affine transform, matrix (a, b, c, d, e, f) from output to input."""
    a, b, c = matrix[0], matrix[1], matrix[2]
    d, e, f = matrix[3], matrix[4], matrix[5]
    row_size = np.uint64(width + 2)
    one, words = np.uint64(1), float(width + 2)
    dxs, dys = fractions[0], fractions[1]
    corner0, corner1, corner2, corner3 = corners[0], corners[1], corners[2], corners[3]
    _pack(source, height, width, packed)
    for y in range(height):
        by, ey = b * (y + 0.5), e * (y + 0.5)
        # the coordinates are monotone along the row, so the pixels inside are one stretch
        first, last = 0, width
        while first < last and not _is_inside(first, a, by, c, d, ey, f, width, height):
            first += 1
        while first < last and not _is_inside(last - 1, a, by, c, d, ey, f, width, height):
            last -= 1
        size = last - first
        for x in range(size):
            middle = float(x + first) + 0.5
            u = ((a * middle + by) + c) - 0.5
            v = ((d * middle + ey) + f) - 0.5
            left, top = np.floor(u), np.floor(v)
            dxs[x] = u - left
            dys[x] = v - top
            offsets[x] = np.int32((top + 1.0) * words + (left + 1.0))
        for x in range(size):
            origin = np.uint64(offsets[x])
            corner0[x] = packed[origin]
            corner1[x] = packed[origin + one]
            corner2[x] = packed[origin + row_size]
            corner3[x] = packed[origin + row_size + one]
        target = np.uint64(y * width + first)
        for channel in range(source.shape[0]):
            for x in range(first):
                result[channel, y * width + x] = 0
            for x in range(last, width):
                result[channel, y * width + x] = 0
        _blend_four(corners, dxs, dys, size, 0, result, target)
        if source.shape[0] == 3:
            _blend_four(corners, dxs, dys, size, 1, result, target)
            _blend_four(corners, dxs, dys, size, 2, result, target)


@njit(nogil=True, error_model="numpy", inline="always")
@no_type_check
def _blend_four(corners, dxs, dys, size, channel, result, target):
    """The bilinear blend of a stretch of a row; inlined, as constant shifts are cheaper."""
    bits = np.uint32(8 * channel)
    for x in range(size):
        level = np.int32((corners[0, x] >> bits) & _BYTE)
        change = np.int32((corners[1, x] >> bits) & _BYTE) - level
        upper = float(level) + float(change) * dxs[x]
        level = np.int32((corners[2, x] >> bits) & _BYTE)
        change = np.int32((corners[3, x] >> bits) & _BYTE) - level
        lower = float(level) + float(change) * dxs[x]
        value = upper + (lower - upper) * dys[x]
        result[channel, target + np.uint64(x)] = np.uint8(np.int32(value))


@inner
@no_type_check
def _is_inside(x, a, by, c, d, ey, f, width, height):
    u = (a * (x + 0.5) + by) + c
    v = (d * (x + 0.5) + ey) + f
    return u >= 0 and u < width and v >= 0 and v < height


@inner
@no_type_check
def turn(source, height, width, quarters, result):
    """Exact quarter turns counter-clockwise: 2 for any image, 1 and 3 for square ones."""
    for channel in range(source.shape[0]):
        old, new = source[channel], result[channel]
        for y in range(height):
            for x in range(width):
                if quarters == 1:
                    origin = x * width + (width - 1 - y)
                elif quarters == 2:
                    origin = (height - 1 - y) * width + (width - 1 - x)
                else:
                    origin = (height - 1 - x) * width + y
                new[y * width + x] = old[origin]
