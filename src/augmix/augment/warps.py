"""Operations that move pixels: Pillow's affine transforms with bilinear sampling, bit for bit.

For the output pixel (x, y) Pillow computes in double ``u = a * (x + .5) + b * (y + .5) + c`` (and
v from d, e, f), gives black outside [0, width) x [0, height), and otherwise blends the four pixels
around (u - .5, v - .5), coordinates clamped at the border, along the row first, truncating once.

Shear_x and translate_x only move along a row, shear_y and translate_y along a column: one of the
two fractions is exactly 0. All pixels of a row (a column) then share the whole part of their shift,
unless the shift is so close to a whole number that rounding decides; those few rows (columns) take
the general path. Fractions are still computed pixel by pixel with Pillow's own operations.

Images are planar here, uint8 `channel pixel`. ``packed`` (uint32 `pixel`), ``indices`` and
``corners`` (uint32 `4 width`) and ``fractions`` (float64 `3 width`) are scratch space.
"""

from typing import no_type_check

import numpy as np

from augmix.augment.jit import inner

_NEAR = 1e-6  # pixels; the rounding errors of a coordinate are below 1e-7 up to 2e8 pixels
_FAR = 1e9
_BYTE = np.uint32(255)


@inner
@no_type_check
def is_plain(shift):
    """Whether floor(x + shift) - x is the same for every pixel x, rounding errors or not."""
    distance = shift - np.floor(shift)
    return distance == 0 or _NEAR < distance < 1 - _NEAR


@inner
@no_type_check
def sample(source, width, height, u, v):
    """One pixel of one channel, as Pillow's ``bilinear_filter8`` does it."""
    if not (u >= 0 and u < width and v >= 0 and v < height):
        return np.uint8(0)
    u -= 0.5
    v -= 0.5
    x, y = int(np.floor(u)), int(np.floor(v))
    dx, dy = u - x, v - y
    left, right = max(x, 0), min(x + 1, width - 1)
    top, bottom = max(y, 0) * width, min(y + 1, height - 1) * width
    first = float(source[top + left])
    upper = first + (float(source[top + right]) - first) * dx
    first = float(source[bottom + left])
    lower = first + (float(source[bottom + right]) - first) * dx
    return np.uint8(np.int32(upper + (lower - upper) * dy))


@inner
@no_type_check
def move_row(source, start, width, shift, fractions, result):
    """One row of every channel, sampled at (x + .5) + shift.

    Args:
        source: uint8 `channel pixel`.
        start: Index of the row's first pixel.
        width: Pixels in the row.
        shift: Pixels to the right of where the sample is taken.
        fractions: Scratch, float64 `width` or more.
        result: uint8 `channel pixel`.
    """
    channels = source.shape[0]
    if not (-width < shift < width) or not is_plain(shift):
        for channel in range(channels):
            old, new = source[channel, start : start + width], result[channel, start : start + width]
            for x in range(width):
                new[x] = sample(old, width, 1, (x + 0.5) + shift, 0.5)
        return
    step = int(np.floor(shift))
    first, last = max(-step, 0), min(width - 1 - step, width)  # pixels with both neighbours
    first = min(first, width)
    last = max(last, first)
    whole = shift == step
    if not whole:
        for x in range(first, last):
            fractions[x] = (((x + 0.5) + shift) - 0.5) - float(x + step)
    for channel in range(channels):
        old, new = source[channel, start : start + width], result[channel, start : start + width]
        for x in range(first):
            new[x] = sample(old, width, 1, (x + 0.5) + shift, 0.5)
        left, between = old[first + step : last + step], new[first:last]
        if whole:
            for x in range(between.size):
                between[x] = left[x]
        else:
            right, share = old[first + step + 1 : last + step + 1], fractions[first:last]
            for x in range(between.size):
                level = np.int32(left[x])
                value = float(level) + float(np.int32(right[x]) - level) * share[x]
                between[x] = np.uint8(np.int32(value))
        for x in range(last, width):
            new[x] = sample(old, width, 1, (x + 0.5) + shift, 0.5)


@inner
@no_type_check
def move_along_rows(source, height, width, shear, offset, fractions, result):
    """Shear_x or translate_x: row y is sampled ``shear * (y + .5) + offset`` to the right.

    One of the two is 0; adding it last or first changes no bit.
    """
    for y in range(height):
        move_row(source, y * width, width, shear * (y + 0.5) + offset, fractions, result)


@inner
@no_type_check
def move_whole_rows(source, height, width, step, result):
    """Translate_y by whole pixels: copies of rows, black outside."""
    for channel in range(source.shape[0]):
        old, new = source[channel], result[channel]
        for y in range(height):
            line = new[y * width : (y + 1) * width]
            if 0 <= y + step < height:
                origin = old[(y + step) * width : (y + step + 1) * width]
                for x in range(width):
                    line[x] = origin[x]
            else:
                for x in range(width):
                    line[x] = 0


@inner
@no_type_check
def move_along_columns(source, height, width, shear, offset, packed, corners, fractions, result):
    """Shear_y or translate_y: column x is sampled ``shear * (x + .5) + offset`` further down.

    For every output row the staircase of source pixels is gathered once, and used twice: the lower
    neighbours of one row are the upper neighbours of the next.
    """
    channels = source.shape[0]
    shifts, shares, steps = fractions[0], fractions[1], fractions[2]
    lowest, highest = np.inf, -np.inf
    for x in range(width):
        shifts[x] = shear * (x + 0.5) + offset
        lowest, highest = min(lowest, shifts[x]), max(highest, shifts[x])
        steps[x] = np.floor(min(max(shifts[x], -_FAR), _FAR))
    pack(source, packed)
    _gather_row(packed, height, width, 0, steps, corners[0])
    for y in range(height):
        upper, lower = corners[y % 2], corners[(y + 1) % 2]
        _gather_row(packed, height, width, y + 1, steps, lower)
        middle, row = y + 0.5, float(y)
        is_inside = lowest + middle >= 0 and highest + middle < height
        for x in range(width):
            shares[x] = ((shifts[x] + middle) - 0.5) - (row + steps[x])
        if not is_inside:
            for x in range(width):
                v = shifts[x] + middle
                if not (v >= 0 and v < height):
                    shares[x] = 0.0
        for channel in range(channels):
            line = result[channel, y * width : (y + 1) * width]
            bits = np.uint32(8 * channel)
            for x in range(width):
                level = np.int32((upper[x] >> bits) & _BYTE)
                change = np.int32((lower[x] >> bits) & _BYTE) - level
                line[x] = np.uint8(np.int32(float(level) + float(change) * shares[x]))
            if not is_inside:
                for x in range(width):
                    v = shifts[x] + middle
                    if not (v >= 0 and v < height):
                        line[x] = 0
    for x in range(width):
        if not is_plain(shifts[x]):
            for channel in range(channels):
                old, new = source[channel], result[channel]
                for y in range(height):
                    v = shifts[x] + (y + 0.5)
                    new[y * width + x] = sample(old, width, height, x + 0.5, v)


@inner
@no_type_check
def _gather_row(packed, height, width, y, steps, row):
    """The pixels of row y + steps[x], or of the nearest row there is."""
    highest = float(height - 1)
    for x in range(width):
        origin = min(max(y + steps[x], 0.0), highest)
        row[x] = packed[np.uint64(origin) * np.uint64(width) + np.uint64(x)]


@inner
@no_type_check
def pack(source, packed):
    """The channels of every pixel in one 32-bit word, so that one load fetches them all."""
    if source.shape[0] == 1:
        only = source[0]
        for index in range(only.size):
            packed[index] = only[index]
    else:
        red, green, blue = source[0], source[1], source[2]
        for index in range(red.size):
            word = np.uint32(red[index]) | np.uint32(green[index]) << np.uint32(8)
            packed[index] = word | np.uint32(blue[index]) << np.uint32(16)


@inner
@no_type_check
def affine(source, height, width, matrix, packed, indices, corners, fractions, result):
    """Any affine transform, matrix (a, b, c, d, e, f) from output to input."""
    a, b, c = matrix[0], matrix[1], matrix[2]
    d, e, f = matrix[3], matrix[4], matrix[5]
    dxs, dys = fractions[0], fractions[1]
    upper_left, upper_right, lower_left, lower_right = (
        indices[0], indices[1], indices[2], indices[3],
    )  # fmt: skip
    corner0, corner1, corner2, corner3 = corners[0], corners[1], corners[2], corners[3]
    right_most, lower_most, row_size = float(width - 1), float(height - 1), float(width)
    pack(source, packed)
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
            x0, x1 = max(left, 0.0), min(left + 1.0, right_most)
            y0, y1 = max(top, 0.0) * row_size, min(top + 1.0, lower_most) * row_size
            upper_left[x] = np.int32(y0 + x0)
            upper_right[x] = np.int32(y0 + x1)
            lower_left[x] = np.int32(y1 + x0)
            lower_right[x] = np.int32(y1 + x1)
        for x in range(size):
            corner0[x] = packed[np.uint64(upper_left[x])]
            corner1[x] = packed[np.uint64(upper_right[x])]
            corner2[x] = packed[np.uint64(lower_left[x])]
            corner3[x] = packed[np.uint64(lower_right[x])]
        for channel in range(source.shape[0]):
            line = result[channel, y * width : (y + 1) * width]
            line[:first] = 0
            _blend_corners(corners, dxs, dys, 8 * channel, line[first:last])
            line[last:] = 0


@inner
@no_type_check
def _blend_corners(corners, dxs, dys, bits, line):
    """The bilinear blend of a stretch of a row, for the channel at these bits of the words."""
    bits = np.uint32(bits)
    upper_left, upper_right, lower_left, lower_right = (
        corners[0], corners[1], corners[2], corners[3],
    )  # fmt: skip
    for x in range(line.size):
        level = np.int32((upper_left[x] >> bits) & _BYTE)
        change = np.int32((upper_right[x] >> bits) & _BYTE) - level
        upper = float(level) + float(change) * dxs[x]
        level = np.int32((lower_left[x] >> bits) & _BYTE)
        change = np.int32((lower_right[x] >> bits) & _BYTE) - level
        lower = float(level) + float(change) * dxs[x]
        line[x] = np.uint8(np.int32(upper + (lower - upper) * dys[x]))


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
