"""Operations that move pixels: Pillow's affine transforms with bilinear sampling, bit for bit.

For the output pixel (x, y) Pillow computes in double ``u = a * (x + .5) + b * (y + .5) + c`` (and
v from d, e, f), gives black outside [0, width) x [0, height), and otherwise blends the four pixels
around (u - .5, v - .5), coordinates clamped at the border, along the row first, truncating once.

Shear_x and translate_x only move along a row, shear_y and translate_y along a column: one of the
two fractions is exactly 0. All pixels of a row (a column) then share the whole part of their shift,
unless the shift is so close to a whole number that rounding decides; those few rows (columns) take
the general path. Fractions are still computed pixel by pixel with Pillow's own operations.

Images are planar here, uint8 `channel pixel`. ``indices`` (uint32 `4 width`), ``fractions``
(float64 `4 width`) and ``rows`` (uint8 `2 width`) are scratch space.
"""

from typing import no_type_check

import numpy as np

from augmix.augment.jit import inner

_NEAR = 1e-6  # pixels; the rounding errors of a coordinate are below 1e-7 up to 2e8 pixels
_FAR = 1e9


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
        if whole:
            for x in range(first, last):
                new[x] = old[x + step]
        else:
            left, right = old[first + step : last + step], old[first + step + 1 : last + step + 1]
            between, share = new[first:last], fractions[first:last]
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
            start = y * width
            if 0 <= y + step < height:
                origin = (y + step) * width
                for x in range(width):
                    new[start + x] = old[origin + x]
            else:
                for x in range(width):
                    new[start + x] = 0


@inner
@no_type_check
def move_along_columns(source, height, width, shear, offset, fractions, rows, result):
    """Shear_y or translate_y: column x is sampled ``shear * (x + .5) + offset`` further down.

    For every output row the staircase of source pixels is gathered once, and used twice: the lower
    neighbours of one row are the upper neighbours of the next.
    """
    shifts, steps = fractions[0, :width], fractions[1, :width]
    for x in range(width):
        shifts[x] = shear * (x + 0.5) + offset
        steps[x] = np.floor(min(max(shifts[x], -_FAR), _FAR))
    for channel in range(source.shape[0]):
        old, new = source[channel], result[channel]
        _gather_row(old, height, width, 0, steps, rows[0])
        for y in range(height):
            upper, lower = rows[y % 2], rows[(y + 1) % 2]
            _gather_row(old, height, width, y + 1, steps, lower)
            line = new[y * width : (y + 1) * width]
            middle, row = y + 0.5, float(y)
            for x in range(width):
                v = shifts[x] + middle
                level = np.int32(upper[x])
                share = (v - 0.5) - (row + steps[x])
                value = float(level) + float(np.int32(lower[x]) - level) * share
                line[x] = np.uint8(np.int32(value if v >= 0 and v < height else 0.0))
        for x in range(width):
            if not is_plain(shifts[x]):
                for y in range(height):
                    v = shifts[x] + (y + 0.5)
                    new[y * width + x] = sample(old, width, height, x + 0.5, v)


@inner
@no_type_check
def _gather_row(pixels, height, width, y, steps, row):
    """The pixels of row y + steps[x], or of the nearest row there is."""
    for x in range(width):
        origin = min(max(y + int(steps[x]), 0), height - 1)
        row[x] = pixels[origin * width + x]


@inner
@no_type_check
def affine(source, height, width, matrix, indices, fractions, result):
    """Any affine transform, matrix (a, b, c, d, e, f) from output to input."""
    a, b, c = matrix[0], matrix[1], matrix[2]
    d, e, f = matrix[3], matrix[4], matrix[5]
    upper_left, upper_right = indices[0], indices[1]
    lower_left, lower_right = indices[2], indices[3]
    dxs, dys = fractions[0], fractions[1]
    for y in range(height):
        by, ey = b * (y + 0.5), e * (y + 0.5)
        # the coordinates are monotone along the row, so the pixels inside are one stretch
        first, last = 0, width
        while first < last and not _is_inside(first, a, by, c, d, ey, f, width, height):
            first += 1
        while first < last and not _is_inside(last - 1, a, by, c, d, ey, f, width, height):
            last -= 1
        for x in range(first, last):
            u = ((a * (x + 0.5) + by) + c) - 0.5
            v = ((d * (x + 0.5) + ey) + f) - 0.5
            left, top = np.floor(u), np.floor(v)
            dxs[x] = u - left
            dys[x] = v - top
            x0, y0 = np.int32(left), np.int32(top)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1) * width
            x0, y0 = max(x0, 0), max(y0, 0) * width
            upper_left[x] = y0 + x0
            upper_right[x] = y0 + x1
            lower_left[x] = y1 + x0
            lower_right[x] = y1 + x1
        for channel in range(source.shape[0]):
            old, new = source[channel], result[channel, y * width : (y + 1) * width]
            for x in range(first):
                new[x] = 0
            for x in range(first, last):
                level = np.int32(old[upper_left[x]])
                change = np.int32(old[upper_right[x]]) - level
                upper = float(level) + float(change) * dxs[x]
                level = np.int32(old[lower_left[x]])
                change = np.int32(old[lower_right[x]]) - level
                lower = float(level) + float(change) * dxs[x]
                new[x] = np.uint8(np.int32(upper + (lower - upper) * dys[x]))
            for x in range(last, width):
                new[x] = 0


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
