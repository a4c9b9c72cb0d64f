"""Operations that are look-up tables: what Pillow does to a channel's 256 grey levels.

Autocontrast, equalize, posterize, solarize, brightness and contrast give every level of a channel
a new one. Tables compose, and the histogram behind a table follows from the one before it, so a
chain touches no pixel between two of them. All arithmetic is Pillow's, operation by operation:
see ``ImageOps`` and ``ImageEnhance`` for the Python, ``Blend.c`` for the float32 blend.

Below, ``pixels`` is one channel as a flat uint8 row, ``table`` its 256 new levels, ``counts`` its
histogram.
"""

from typing import no_type_check

import numpy as np

from augmix.jit import inner

RED, GREEN, BLUE = np.uint32(19595), np.uint32(38470), np.uint32(7471)  # luma in 1 / 65536
HALF = np.uint32(0x8000)


@inner
@no_type_check
def reset(table):
    """Make a table that changes nothing."""
    for level in range(256):
        table[level] = level


@inner
@no_type_check
def count(pixels, counts):
    """Histogram, by four partial ones, so that equal neighbours do not wait for each other."""
    partial = np.zeros((4, 256), np.int32)
    first, second, third, fourth = partial[0], partial[1], partial[2], partial[3]
    whole = pixels.size // 4 * 4
    for index in range(0, whole, 4):
        first[pixels[index]] += 1
        second[pixels[index + 1]] += 1
        third[pixels[index + 2]] += 1
        fourth[pixels[index + 3]] += 1
    for index in range(whole, pixels.size):
        first[pixels[index]] += 1
    for level in range(256):
        counts[level] = first[level] + second[level] + third[level] + fourth[level]


@inner
@no_type_check
def count_behind(counts, table, result):
    """The histogram behind a table from the one before it."""
    for level in range(256):
        result[level] = 0
    for level in range(256):
        result[table[level]] += counts[level]


@inner
@no_type_check
def stretch_between(low, high, table):
    """`ImageOps.autocontrast` for a channel whose levels run from low to high."""
    if high <= low:
        reset(table)
        return
    scale = 255.0 / (high - low)
    offset = -low * scale
    for level in range(256):
        value = int(level * scale + offset)
        table[level] = min(max(value, 0), 255)


@inner
@no_type_check
def autocontrast(counts, table):
    """`ImageOps.autocontrast` without cutoff."""
    low, high = 0, 255
    while low < 255 and counts[low] == 0:
        low += 1
    while high > 0 and counts[high] == 0:
        high -= 1
    stretch_between(low, high, table)


@inner
@no_type_check
def autocontrast_of(pixels, table):
    """`ImageOps.autocontrast` from the pixels themselves, where no histogram is at hand."""
    low, high = np.uint8(255), np.uint8(0)
    for index in range(pixels.size):
        low = min(low, pixels[index])
        high = max(high, pixels[index])
    stretch_between(np.int64(low), np.int64(high), table)


@inner
@no_type_check
def equalize(counts, table):
    """`ImageOps.equalize`; Pillow clips what its table holds above 255."""
    occupied, highest, total = 0, 0, 0
    for level in range(256):
        total += counts[level]
        if counts[level]:
            occupied += 1
            highest = level
    step = (total - counts[highest]) // 255
    if occupied <= 1 or step == 0:
        reset(table)
        return
    below = step // 2
    for level in range(256):
        # a quotient of integers below 2**53 is never rounded up to the next integer
        table[level] = min(int(float(below) / float(step)), 255)
        below += counts[level]


@inner
@no_type_check
def posterize(bits, table):
    """`ImageOps.posterize`: keep the highest bits."""
    mask = ~((1 << (8 - bits)) - 1)
    for level in range(256):
        table[level] = level & mask


@inner
@no_type_check
def solarize(threshold, table):
    """`ImageOps.solarize`: invert from the threshold on."""
    for level in range(256):
        table[level] = level if level < threshold else 255 - level


@inner
@no_type_check
def blend(first, second, factor):
    """One pixel of `Image.blend`, which computes in float32 and truncates."""
    start = np.float32(first)
    value = start + factor * (np.float32(second) - start)
    if value <= np.float32(0):
        return np.uint8(0)
    if value >= np.float32(255):
        return np.uint8(255)
    return np.uint8(np.int32(value))


@inner
@no_type_check
def enhance(level_at_zero, factor, table):
    """`ImageEnhance.Brightness` (0) and `.Contrast` (the mean): a blend with one level."""
    for level in range(256):
        table[level] = blend(level_at_zero, level, factor)


@inner
@no_type_check
def mean_luma(pixels, tables):
    """The level `ImageEnhance.Contrast` blends with: the rounded mean of the L conversion.

    Args:
        pixels: uint8 `channel pixel`, before the tables.
        tables: uint8 `channel 256`, applied on the fly.
    """
    channels, size = pixels.shape
    total = np.uint64(0)
    if channels == 1:
        only, table = pixels[0], tables[0]
        for index in range(size):
            total += np.uint64(table[only[index]])
    else:
        parts = np.empty((3, 256), np.uint32)
        for level in range(256):
            parts[0, level] = np.uint32(tables[0, level]) * RED
            parts[1, level] = np.uint32(tables[1, level]) * GREEN
            parts[2, level] = np.uint32(tables[2, level]) * BLUE + HALF
        red, green, blue = pixels[0], pixels[1], pixels[2]
        for index in range(size):
            luma = parts[0, red[index]] + parts[1, green[index]] + parts[2, blue[index]]
            total += np.uint64(luma >> np.uint32(16))
    return int(float(total) / float(size) + 0.5)
