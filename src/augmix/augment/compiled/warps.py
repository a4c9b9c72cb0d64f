"""Operations that move pixels: Pillow's affine transforms with bilinear sampling, bit for bit.

For the output pixel (x, y) Pillow computes in double ``u = a * (x + .5) + b * (y + .5) + c`` (and
v from d, e, f), gives black outside [0, width) x [0, height), and otherwise blends the four pixels
around (u - .5, v - .5), coordinates clamped at the border, along the row first, truncating once.

Shear_x and translate_x only move along a row, shear_y and translate_y along a column: one of the
two fractions is exactly 0, and the whole part of the shift is the same for a row (a column). Where
Pillow's rounded coordinate reaches the next whole number although the exact one does not, it lands
on that number, since rounding keeps order; its blend then takes the next pixel with fraction 0, and
the one here takes the same pixel with fraction 1. Fractions are Pillow's own, pixel by pixel.

Blends are first computed with less precision, eight or more pixels at a time, together with the
pixels where that could give another level than Pillow's doubles; those are computed again, as
Pillow does.

Images are planar here, uint8 `channel pixel`.
"""

from typing import Any, NamedTuple, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from augmix.jit import borrowed, inner, vector_at

SPARE = 64  # bytes behind an image that may be read, by vectors that begin inside it


class Scratch(NamedTuple):
    """Space that the kernels of this module work in."""

    packed: np.ndarray
    pairs: np.ndarray
    offsets: np.ndarray
    dxs: np.ndarray
    dys: np.ndarray
    shifts: np.ndarray
    steps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    blocks: np.ndarray
    lines: np.ndarray
    planes: np.ndarray
    deltas: np.ndarray


@inner
@no_type_check
def make_scratch(height, width):
    """Scratch space for images of this size."""
    return Scratch(
        np.empty((height + 2) * (width + 2), np.uint32),
        np.empty((2, width), np.uint64),
        np.empty(width + 1, np.int32),
        np.empty(width, np.float32),
        np.empty(width, np.float32),
        np.empty(width),
        np.empty(width),
        np.empty(width, np.int16),
        np.empty(width, np.int16),
        np.empty(width // 16 + 1, np.int32),
        np.empty(3 * (width + SPARE), np.uint8),
        np.empty(3 * (height + 4) * (width + 2) + SPARE, np.uint8),
        np.empty((2, 16), np.int32),
    )


@inner
@no_type_check
def borrow(scratch):
    """The same space without counts of references."""
    return Scratch(
        borrowed(scratch.packed), borrowed(scratch.pairs), borrowed(scratch.offsets),
        borrowed(scratch.dxs), borrowed(scratch.dys), borrowed(scratch.shifts),
        borrowed(scratch.steps), borrowed(scratch.low), borrowed(scratch.high),
        borrowed(scratch.blocks), borrowed(scratch.lines), borrowed(scratch.planes),
        borrowed(scratch.deltas),
    )  # fmt: skip


def _build_copy(size: int) -> Any:
    """Make the intrinsic that copies some bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (
            vector_at(context, builder, signature.args[of], arguments[of], arguments[of + 1], size)
            for of in (0, 2)
        )
        builder.store(builder.load(source, align=1), target, align=1)
        return context.get_dummy_value()

    return generate


@intrinsic
def copy_64(typing_context: Any, source: Any, origin: Any, result: Any, target: Any) -> Any:
    """``result[target : target + 64] = source[origin : origin + 64]`` on contiguous uint8."""
    return types.void(source, origin, result, target), _build_copy(64)


@intrinsic
def _copy_32(typing_context: Any, source: Any, origin: Any, result: Any, target: Any) -> Any:
    """`copy_64` of 32 bytes."""
    return types.void(source, origin, result, target), _build_copy(32)


def _build_blend(lanes: int) -> Any:
    """Make the intrinsic that blends some pixels of two rows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(array: int, offset: Any) -> Any:
            return vector_at(
                context, builder, signature.args[array], arguments[array], offset, lanes
            )

        words, doubles = (ir.VectorType(ir.IntType(bits), lanes) for bits in (16, 32))
        start, stop = (
            builder.zext(builder.load(pointer(array, arguments[array + 1]), align=1), words)
            for array in (0, 2)
        )
        change = builder.shl(builder.sub(stop, start), ir.Constant(words, [1] * lanes))
        whole = []
        for array in (6, 7):
            factor = builder.load(pointer(array, arguments[8]), align=1)
            product = builder.mul(builder.sext(change, doubles), builder.sext(factor, doubles))
            shifted = builder.ashr(product, ir.Constant(doubles, [16] * lanes))
            whole.append(builder.trunc(shifted, words))
        level = builder.trunc(builder.add(start, whole[0]), ir.VectorType(ir.IntType(8), lanes))
        builder.store(level, pointer(4, arguments[5]), align=1)
        differ = builder.bitcast(builder.icmp_unsigned("!=", *whole), ir.IntType(lanes))
        return builder.icmp_unsigned("!=", differ, ir.Constant(ir.IntType(lanes), 0))

    return generate


@intrinsic
def _blend_32(
    typing_context: Any, first: Any, at_first: Any, second: Any, at_second: Any, result: Any,
    at_result: Any, low: Any, high: Any, start: Any,
) -> Any:  # fmt: skip
    """Blend 32 pixels of two rows from some indices on; return whether a level is in doubt.

    A level is the first plus the whole part of change * ``low`` / 2**15, in doubt where ``high``
    gives another one. Arrays are contiguous, pixels uint8, ``low`` and ``high`` int16, read from
    ``start`` on. LLVM makes no multiplications of 16 bits of such a loop, which are several times
    as fast.
    """
    pixels = (first, at_first, second, at_second, result, at_result)
    return types.boolean(*pixels, low, high, start), _build_blend(32)


@intrinsic
def _blend_16(
    typing_context: Any, first: Any, at_first: Any, second: Any, at_second: Any, result: Any,
    at_result: Any, low: Any, high: Any, start: Any,
) -> Any:  # fmt: skip
    """`_blend_32` of 16 pixels."""
    pixels = (first, at_first, second, at_second, result, at_result)
    return types.boolean(*pixels, low, high, start), _build_blend(16)


@inner
@no_type_check
def move_along_rows(source, height, width, shear, offset, scratch, result):
    """Shear_x or translate_x: row y is sampled ``shear * (y + .5) + offset`` to the right.

    One of the two is 0; adding it last or first changes no bit. Pixels first..last of a row have
    both neighbours; one more on either side may have one of them.
    """
    for y in range(height):
        shift = shear * (y + 0.5) + offset
        shift = min(max(shift, -float(width + 1)), float(width + 1))
        step, start = int(np.floor(shift)), y * width
        first = min(max(-step, 0), width)
        last = max(min(width - 1 - step, width), first)
        size, origin = last - first, start + first + step
        low, high = _bounds(shift - step)
        for x in range(size):
            scratch.low[x], scratch.high[x] = low, high
        for channel in range(source.shape[0]):
            old, new = source[channel], result[channel]
            for x in range(first):
                new[start + x] = 0
            for x in range(last, width):
                new[start + x] = 0
            if first > 0 and step > -width - 1 and (first - 0.5) + shift >= 0:
                new[start + first - 1] = old[start]
            if last < width and step < width and (last + 0.5) + shift < width:
                new[start + last] = old[start + width - 1]
            target = start + first
            count, lanes = _blend_two(old, origin, old, origin + 1, new, target, size, scratch)
            for block in range(count):
                for x in range(scratch.blocks[block], min(scratch.blocks[block] + lanes, size)):
                    middle = float(x + first) + 0.5
                    part = ((middle + shift) - 0.5) - float(x + first + step)
                    new[target + x] = _between(old[origin + x], old[origin + 1 + x], part)


@inner
@no_type_check
def _bounds(part):
    """Whole numbers around a fraction times 2**15, with a distance above all rounding errors."""
    low = int(np.floor(part * 2.0**15 - 2.0**-8))
    high = int(np.floor(part * 2.0**15 + 2.0**-8)) + 1
    if high > 32767:  # beyond 16 bits: these leave every change in doubt
        low, high = -1, 32767
    return np.int16(low), np.int16(high)


@inner
@no_type_check
def _blend_two(first, at_first, second, at_second, result, at_result, size, scratch):
    """Blend two rows; return how many blocks, in ``scratch.blocks``, are in doubt, and their size.

    A row shorter than a block is not blended, and in doubt.
    """
    low, high, blocks, count = scratch.low, scratch.high, scratch.blocks, 0
    if size >= 32:
        for start in range(0, size, 32):
            x = min(start, size - 32)
            if _blend_32(
                first, at_first + x, second, at_second + x, result, at_result + x, low, high, x
            ):
                blocks[count] = x
                count += 1
        return count, 32
    if size < 16:
        blocks[0] = 0
        return 1, 16
    for start in range(0, size, 16):
        x = min(start, size - 16)
        if _blend_16(
            first, at_first + x, second, at_second + x, result, at_result + x, low, high, x
        ):
            blocks[count] = x
            count += 1
    return count, 16


@inner
@no_type_check
def _between(first, second, part):
    """One level between two, as Pillow computes it."""
    change = np.int32(second) - np.int32(first)
    return np.uint8(np.int32(float(first) + float(change) * part))


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
def move_along_columns(source, height, width, shear, offset, scratch, result):
    """Shear_y or translate_y: column x is sampled ``shear * (x + .5) + offset`` further down.

    Neighbouring columns with the same whole step are a run, which is copied row by row. The lower
    neighbours of one output row are the upper neighbours of the next.
    """
    shifts, steps, runs, blocks = scratch.shifts, scratch.steps, scratch.offsets, scratch.blocks
    num_runs, lowest, highest, far = 0, np.inf, -np.inf, float(height + 1)
    lines, line_size = scratch.lines, width + SPARE
    for x in range(width):
        shifts[x] = shear * (x + 0.5) + offset
        lowest, highest = min(lowest, shifts[x]), max(highest, shifts[x])
        near = min(max(shifts[x], -far), far)
        steps[x] = np.floor(near)
        scratch.low[x], scratch.high[x] = _bounds(near - steps[x])
        if x == 0 or steps[x] != steps[x - 1]:
            runs[num_runs] = x
            num_runs += 1
    runs[num_runs] = width
    for channel in range(source.shape[0]):
        old, new = source[channel], result[channel]
        for y in (0, 1):
            _copy_runs(old, height, width, y, steps, runs, num_runs, lines, y * line_size)
        for y in range(height):
            upper, lower = y % 3 * line_size, (y + 1) % 3 * line_size
            behind = (y + 2) % 3 * line_size  # copied now, as a load so soon behind it would wait
            _copy_runs(old, height, width, y + 2, steps, runs, num_runs, lines, behind)
            middle, row, target = y + 0.5, float(y), y * width
            count, lanes = _blend_two(lines, upper, lines, lower, new, target, width, scratch)
            for block in range(count):
                for x in range(blocks[block], min(blocks[block] + lanes, width)):
                    part = ((shifts[x] + middle) - 0.5) - (row + steps[x])
                    if 0 <= part <= 1:
                        new[target + x] = _between(lines[upper + x], lines[lower + x], part)
            if not (lowest + middle >= 0 and highest + middle < height):
                for x in range(width):
                    v = shifts[x] + middle
                    if not (v >= 0 and v < height):
                        new[target + x] = 0


@inner
@no_type_check
def _copy_runs(old, height, width, y, steps, runs, num_runs, lines, target):
    """The pixels of row y + steps[x], or of the nearest row there is.

    Runs are copied in whole vectors: what is too much is overwritten by the next run, or lies in
    the spare space behind lines and images.
    """
    for run in range(num_runs):
        start, stop = np.int64(runs[run]), np.int64(runs[run + 1])
        origin = min(max(y + int(steps[start]), 0), height - 1) * width
        for x in range(start, stop, 32):
            _copy_32(old, origin + x, lines, target + x)
