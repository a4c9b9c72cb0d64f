"""Operations that are look-up tables of grey levels, and the two that blend pixels.

Tables compose, and the histogram behind a table follows from the one before it, so a chain touches
no pixel between two of them. All arithmetic is Pillow's, operation by operation: see ``ImageOps``
and ``ImageEnhance`` for the Python, ``Blend.c`` for the float32 blend. ``pixels`` is one channel as
a flat uint8 row, ``table`` its 256 new levels, ``counts`` its histogram; images are planar, uint8
`channel pixel`, rows one after another.

LLVM turns no loop over a table into vector code. On CPUs with AVX-512 VBMI (Intel since Ice Lake,
AMD since Zen 4) two byte permutations look 64 levels up at once, 8 times faster than the loop; that
is what tables cost at 224x224. Every other CPU runs the loop. Both only move bytes.
"""

from typing import Any, no_type_check

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from augmix.jit import inner

_LANES = 64
_BYTES = ir.VectorType(ir.IntType(8), _LANES)
_PERMUTE = "llvm.x86.avx512.vpermi2var.qi.512"


def has_feature(name: str) -> bool:
    """Whether numba compiles for this very CPU, and it has some instructions."""
    chosen = any(getattr(config, name, None) for name in ("CPU_NAME", "CPU_FEATURES"))
    try:
        return not chosen and bool(llvm.get_host_cpu_features().get(name, False))
    except RuntimeError:  # llvmlite does not know the features of this kind of CPU
        return False


@intrinsic
def _look_up_64(typing_context: Any, pixels: Any, table: Any, result: Any, start: Any) -> Any:
    """``result[start : start + 64] = table[pixels[start : start + 64]]`` on contiguous uint8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def address(argument: int, offset: Any) -> Any:
            array = context.make_array(signature.args[argument])(
                context, builder, arguments[argument]
            )
            return builder.bitcast(builder.gep(array.data, [offset]), _BYTES.as_pointer())

        def load(argument: int, offset: Any) -> Any:
            return builder.load(address(argument, offset), align=1)

        permute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_BYTES, [_BYTES] * 3), _PERMUTE
        )
        levels = load(0, arguments[3])
        quarters = [load(1, ir.Constant(ir.IntType(64), _LANES * part)) for part in range(4)]
        low = builder.call(permute, [quarters[0], levels, quarters[1]])
        high = builder.call(permute, [quarters[2], levels, quarters[3]])
        is_high = builder.icmp_signed("<", levels, ir.Constant(_BYTES, [0] * _LANES))
        builder.store(builder.select(is_high, high, low), address(2, arguments[3]), align=1)
        return context.get_dummy_value()

    return types.void(pixels, table, result, start), generate


@inner
@no_type_check
def _look_up_by_vectors(pixels, table, result):
    whole = pixels.size // 64 * 64
    for start in range(0, whole, 64):
        _look_up_64(pixels, table, result, start)
    for index in range(whole, pixels.size):
        result[index] = table[pixels[index]]


@inner
@no_type_check
def _look_up_one_by_one(pixels, table, result):
    for index in range(pixels.size):
        result[index] = table[pixels[index]]


look_up = _look_up_by_vectors if has_feature("avx512vbmi") else _look_up_one_by_one
"""``look_up(pixels, table, result)``: flat contiguous uint8; the result may be the pixels."""


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

    The tables, uint8 `channel 256`, are applied to the pixels, `channel pixel`, on the fly.
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


@inner
@no_type_check
def color(source, factor, result):
    """`ImageEnhance.Color` of an RGB image: a blend with its luma."""
    red, green, blue = source[0], source[1], source[2]
    new_red, new_green, new_blue = result[0], result[1], result[2]
    for index in range(red.size):
        weighted = np.uint32(red[index]) * RED + np.uint32(green[index]) * GREEN
        luma = (weighted + np.uint32(blue[index]) * BLUE + HALF) >> np.uint32(16)
        new_red[index] = blend(luma, red[index], factor)
        new_green[index] = blend(luma, green[index], factor)
        new_blue[index] = blend(luma, blue[index], factor)


@inner
@no_type_check
def sharpness(source, height, width, factor, result):
    """`ImageEnhance.Sharpness` of one channel: a blend with `ImageFilter.SMOOTH`.

    The filter is (1 1 1; 1 5 1; 1 1 1) / 13, rounded. A sum over 13 is never half way between two
    levels, so Pillow's float32 sum and the integers here round alike. The filter leaves the border
    as it is, and with it any image below 3 pixels.
    """
    for index in range(source.size):
        result[index] = source[index]
    for row in range(1, height - 1):
        start = row * width
        above, here = source[start - width : start], source[start : start + width]
        below, new = source[start + width : start + 2 * width], result[start : start + width]
        for x in range(1, width - 1):
            total = np.int32(above[x - 1]) + np.int32(above[x]) + np.int32(above[x + 1])
            total += np.int32(here[x - 1]) + np.int32(5) * np.int32(here[x])
            total += np.int32(here[x + 1])
            total += np.int32(below[x - 1]) + np.int32(below[x]) + np.int32(below[x + 1])
            # (2 * total + 13) // 26 for every total up to 13 * 255
            smooth = ((np.int32(2) * total + np.int32(13)) * np.int32(10083)) >> np.int32(18)
            new[x] = blend(smooth, here[x], factor)
