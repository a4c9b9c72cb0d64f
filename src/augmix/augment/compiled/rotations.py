"""Rotations, and any affine transform with factors in [-1, 1]: Pillow's, bit for bit.

All pixels move as `warps` says. Blends are computed in float32, 16 pixels at a time, together with
the pixels where that could give another level than Pillow's doubles; those are computed again, as
Pillow does. There are two ways to fetch the four neighbours of every pixel: one by one, or, on CPUs
with AVX-512 VBMI and for angles of few degrees, by a byte permutation of a window.
"""

from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from augmix.augment.compiled.tables import has_feature
from augmix.augment.compiled.warps import copy_64
from augmix.jit import inner, vector_at

_HAS_WINDOWS = has_feature("avx512vbmi") and has_feature("fma")
_BYTE = np.uint32(255)
_LANES = 16
_SLACK = 2.0**-12


@intrinsic
def _load_pair(typing_context: Any, packed: Any, index: Any) -> Any:
    """The words at an index and the one behind it, uint32, as one of uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = vector_at(context, builder, signature.args[0], arguments[0], arguments[1], 2)
        return builder.bitcast(builder.load(pointer, align=4), ir.IntType(64))

    return types.uint64(packed, index), generate


@intrinsic
def _blend_block(
    typing_context: Any, upper: Any, lower: Any, dxs: Any, dys: Any, slack: Any,
    red: Any, green: Any, blue: Any, start: Any, target: Any,
) -> Any:  # fmt: skip
    """The bilinear blend of `_LANES` pixels in float32; return the bits of those in doubt.

    A pixel is in doubt where a level is within the slack of a whole number. Of the contiguous
    arrays, pairs of words and float32 fractions are read from ``start`` on, and uint8 levels are
    written from ``target`` on, red last.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(argument: int, offset: int) -> Any:
            array = signature.args[argument]
            return vector_at(
                context, builder, array, arguments[argument], arguments[offset], _LANES
            )

        def split(argument: int) -> list[Any]:
            both = builder.bitcast(builder.load(pointer(argument, 8), align=8), pairs)
            return [
                builder.shuffle_vector(
                    both, both, ir.Constant(words, list(range(side, 2 * _LANES, 2)))
                )
                for side in (0, 1)
            ]

        def between(one: Any, other: Any, part: Any) -> Any:
            return builder.fadd(one, builder.fmul(builder.fsub(other, one), part))

        words, pairs = (ir.VectorType(ir.IntType(32), size) for size in (_LANES, 2 * _LANES))
        floats = ir.VectorType(ir.FloatType(), _LANES)
        corners = [*split(0), *split(1)]
        dx, dy = (builder.load(pointer(argument, 8), align=4) for argument in (2, 3))
        empty = ir.Constant(floats, ir.Undefined)
        first = builder.insert_element(empty, arguments[4], ir.Constant(ir.IntType(32), 0))
        margin = builder.shuffle_vector(first, empty, ir.Constant(words, [0] * _LANES))
        doubts = []
        for channel in (2, 1, 0):
            shift, byte = (ir.Constant(words, [value] * _LANES) for value in (8 * channel, 255))
            one, two, three, four = (
                builder.sitofp(builder.and_(builder.lshr(corner, shift), byte), floats)
                for corner in corners
            )
            top, bottom = between(one, two, dx), between(three, four, dx)
            level = builder.fadd(between(top, bottom, dy), margin)
            whole = builder.fptosi(level, words)
            pixels = builder.trunc(whole, ir.VectorType(ir.IntType(8), _LANES))
            builder.store(pixels, pointer(5 + channel, 9), align=1)
            above = builder.fsub(level, builder.sitofp(whole, floats))
            doubts.append(builder.fcmp_ordered("<", above, builder.fadd(margin, margin)))
        doubt = builder.or_(builder.or_(doubts[0], doubts[1]), doubts[2])
        bits = builder.bitcast(doubt, ir.IntType(_LANES))
        return builder.zext(bits, ir.IntType(32))

    arrays = (upper, lower, dxs, dys, slack, red, green, blue, start, target)
    return types.uint32(*arrays), generate


@intrinsic
def _blend_window(
    typing_context: Any, planes: Any, stride: Any, origin0: Any, origin1: Any, origin2: Any,
    u: Any, v: Any, deltas: Any, result: Any, target0: Any, target1: Any, target2: Any, width: Any,
) -> Any:  # fmt: skip
    """The bilinear blend of 8 pixels of a row and 8 of the next; return the bits of those in doubt.

    All their neighbours lie in 4 rows of 16 pixels from ``origin`` on, one for each channel, with
    ``stride`` between rows. The position in this window is (u, v) plus ``deltas``, int32 `axis 16`,
    in units of 2**-27. Of a pixel the byte permutation of AVX-512 VBMI takes each neighbour as a
    word of 32 bits. In doubt are levels within `_SLACK` of a whole number, except where the four
    neighbours are equal and those beyond them cannot count.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(array: int, offset: Any, lanes: int) -> Any:
            return vector_at(
                context, builder, signature.args[array], arguments[array], offset, lanes
            )

        def whole(value: int) -> Any:
            return ir.Constant(words, [value] * _LANES)

        def splat(value: float) -> Any:
            return ir.Constant(floats, [float(np.float32(value))] * _LANES)

        def joined(first: Any, second: Any) -> Any:
            count = 2 * first.type.count
            order = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count)))
            return builder.shuffle_vector(first, second, order)

        def repeated(value: Any) -> Any:
            empty = ir.Constant(words, ir.Undefined)
            alone = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(alone, empty, whole(0))

        def bits(mask: Any) -> Any:
            return builder.zext(builder.bitcast(mask, ir.IntType(_LANES)), ir.IntType(32))

        words, floats = ir.VectorType(ir.IntType(32), _LANES), ir.VectorType(ir.FloatType(), _LANES)
        wide, long = ir.VectorType(ir.IntType(8), 4 * _LANES), ir.IntType(64)
        permute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(wide, [wide] * 2), "llvm.x86.avx512.permvar.qi.512"
        )
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(floats, [floats] * 3), "llvm.fma.v16f32"
        )
        # bytes 1 to 3 of a word are that at 15, behind all neighbours of the first row, which is 0
        but_last = ir.Constant(ir.VectorType(ir.IntType(8), 16), [255] * 15 + [0])
        zeros = 0x0F0F0F00
        sums, parts = [], []
        for axis in (0, 1):
            delta = builder.load(pointer(7, ir.Constant(long, axis * _LANES), _LANES), align=4)
            sums.append(builder.add(repeated(arguments[5 + axis]), delta))
            parts.append(builder.and_(sums[axis], whole(2**27 - 1)))
        row = builder.and_(builder.lshr(sums[1], whole(23)), whole(0xF0))
        first = builder.or_(row, builder.lshr(sums[0], whole(27)))
        corners = [builder.add(first, whole(zeros + step)) for step in (0, 1, 16, 17)]
        dx, dy = (builder.fmul(builder.sitofp(part, floats), splat(2.0**-27)) for part in parts)
        both = builder.fmul(dx, dy)
        weight1, weight2 = builder.fsub(dx, both), builder.fsub(dy, both)
        weight0 = builder.fsub(builder.fsub(splat(1.0), dx), weight2)
        weights, doubt, neighbours = (weight0, weight1, weight2, both), None, []
        for channel in range(3):
            rows, here = [], arguments[2 + channel]
            for _ in range(4):
                rows.append(builder.load(pointer(0, here, 16), align=1))
                here = builder.add(here, arguments[1])
            rows[0] = builder.and_(rows[0], but_last)
            window = joined(joined(rows[0], rows[1]), joined(rows[2], rows[3]))
            level = splat(256 + _SLACK)
            for corner, weight in zip(corners, weights, strict=True):
                fetched = builder.call(permute, [window, builder.bitcast(corner, wide)])
                pixels = builder.bitcast(fetched, words)
                neighbours.append(pixels)
                level = builder.call(fused, [builder.sitofp(pixels, floats), weight, level])
            level = builder.bitcast(level, words)  # 8 bits behind the exponent, then the fraction
            inside = builder.and_(level, whole(0x7FFF & -int(2 * _SLACK * 2**15)))
            is_near = builder.icmp_unsigned("==", inside, whole(0))
            doubt = is_near if doubt is None else builder.or_(doubt, is_near)
            pixels = builder.trunc(builder.lshr(level, whole(15)), ir.VectorType(ir.IntType(8), 16))
            lines = builder.bitcast(pixels, ir.VectorType(ir.DoubleType(), 2))
            here = arguments[9 + channel]
            for line in (0, 1):
                address = builder.bitcast(pointer(8, here, 8), ir.DoubleType().as_pointer())
                builder.store(
                    builder.extract_element(lines, ir.IntType(32)(line)), address, align=1
                )
                here = builder.add(here, arguments[12])
        found = cgutils.alloca_once_value(builder, bits(doubt))
        with builder.if_then(
            builder.icmp_unsigned("!=", bits(doubt), ir.IntType(32)(0)), likely=False
        ):
            differ = whole(0)
            for index, pixels in enumerate(neighbours):
                differ = builder.or_(differ, builder.xor(pixels, neighbours[index // 4 * 4]))
            for part in parts:
                beyond = builder.sub(part, whole(2**11))
                is_edge = builder.icmp_unsigned(">", beyond, whole(2**27 - 2**12))
                differ = builder.or_(differ, builder.zext(is_edge, words))
            is_mixed = builder.icmp_unsigned("!=", differ, whole(0))
            builder.store(bits(builder.and_(doubt, is_mixed)), found)
        return builder.load(found)

    origins, targets = (origin0, origin1, origin2), (target0, target1, target2)
    arrays = (planes, stride, *origins, u, v, deltas, result, *targets, width)
    return types.uint32(*arrays), generate


@inner
@no_type_check
def _pack(source, height, width, packed):
    """The channels of every pixel in one 32-bit word, so that one load fetches them all.

    A grey channel is there three times. Border pixels are repeated once around the image:
    neighbours need no clamping.
    """
    row_size, channels = width + 2, source.shape[0]
    red, green, blue = source[0], source[channels // 2], source[channels - 1]
    for y in range(height):
        origin, target = np.uint64(y * width), np.uint64((y + 1) * row_size + 1)
        for x in range(width):
            word = np.uint32(red[origin + np.uint64(x)])
            word |= np.uint32(green[origin + np.uint64(x)]) << np.uint32(8)
            word |= np.uint32(blue[origin + np.uint64(x)]) << np.uint32(16)
            packed[target + np.uint64(x)] = word
        start = (y + 1) * row_size
        packed[start] = packed[start + 1]
        packed[start + width + 1] = packed[start + width]
    for x in range(row_size):
        packed[x] = packed[row_size + x]
        packed[(height + 1) * row_size + x] = packed[height * row_size + x]


@inner
@no_type_check
def affine(source, height, width, matrix, scratch, result):
    """Any affine transform with factors in [-1, 1], matrix (a, b, c, d, e, f) output to input."""
    is_wide = 7 * abs(matrix[0]) + abs(matrix[1]) <= 13
    is_flat = 7 * abs(matrix[3]) + abs(matrix[4]) <= 2
    if _HAS_WINDOWS and height >= 2 and width >= 8 and is_wide and is_flat:
        _affine_by_windows(source, height, width, matrix, scratch, result)
    else:
        _affine_by_pairs(source, height, width, matrix, scratch, result)


@inner
@no_type_check
def _affine_by_pairs(source, height, width, matrix, scratch, result):
    """`affine` where the neighbours of a pixel are fetched alone.

    Float32 errors of a level come to less than 2**-14, those of the positions to 2**-23 for each
    pixel of the image's sides; the slack is twice as much.
    """
    a, b, c = matrix[0], matrix[1], matrix[2]
    d, e, f = matrix[3], matrix[4], matrix[5]
    packed, words, channels = scratch.packed, width + 2, source.shape[0]
    red, green, blue = result[0], result[channels // 2], result[channels - 1]
    upper, lower, dxs, dys = scratch.pairs[0], scratch.pairs[1], scratch.dxs, scratch.dys
    slack = np.float32(2.0**-13 + (width + height) * 2.0**-22)
    _pack(source, height, width, packed)
    for y in range(height):
        by, ey = b * (y + 0.5), e * (y + 0.5)
        # the coordinates are monotone along the row, so the pixels inside are one stretch
        first, last = 0, width
        while first < last and not _is_inside(first, a, by, c, d, ey, f, width, height):
            first += 1
        while first < last and not _is_inside(last - 1, a, by, c, d, ey, f, width, height):
            last -= 1
        size, target = last - first, y * width + first
        for channel in range(channels):
            for x in range(first):
                result[channel, y * width + x] = 0
            for x in range(last, width):
                result[channel, y * width + x] = 0
        # of the word of the upper left corner, behind the border
        u = ((a * (first + 0.5) + by) + c) + 0.5
        v = ((d * (first + 0.5) + ey) + f) + 0.5
        _locate(u, v, a, d, words, size, scratch)
        for x in range(size):
            origin = np.uint64(scratch.offsets[x])
            upper[x] = _load_pair(packed, origin)
            lower[x] = _load_pair(packed, origin + np.uint64(words))
        for block in range((size + _LANES - 1) // _LANES):
            start, doubt = min(_LANES * block, size - _LANES), np.uint32(1)
            if start >= 0:
                at = target + start
                doubt = _blend_block(upper, lower, dxs, dys, slack, red, green, blue, start, at)
            if doubt == 0:
                continue
            for x in range(max(start, 0), min(start + _LANES, size) if start >= 0 else size):
                if start >= 0 and (not (doubt >> (x - start)) & 1 or _is_flat(scratch, x)):
                    continue
                middle = float(x + first) + 0.5
                u = ((a * middle + by) + c) - 0.5
                v = ((d * middle + ey) + f) - 0.5
                for channel in range(channels):
                    level = _sample_word(packed, words, u, v, np.uint32(8 * channel))
                    result[channel, target + x] = level


@inner
@no_type_check
def _affine_by_windows(source, height, width, matrix, scratch, result):
    """`affine` where the neighbours of 8 pixels, and of 8 below them, are within 4 rows.

    Positions are in 24.40 fixed point, behind a border of one pixel that repeats those next to it.
    The errors of a level come to less than 2**-12.8: 2**-14 of the weights and of the sums each,
    and those of positions of 2**-25 pixels.
    """
    a, b, c = matrix[0], matrix[1], matrix[2]
    d, e, f = matrix[3], matrix[4], matrix[5]
    planes, channels, stride = scratch.planes, source.shape[0], width + 2
    size = (height + 4) * stride
    for channel in range(channels):
        _surround(source[channel], height, width, planes[channel * size :])
    second, third = size * (channels // 2), size * (channels - 1)
    near_u, near_v = min(0.0, 7 * a) + min(0.0, b), min(0.0, 7 * d) + min(0.0, e)
    for lane in range(_LANES):
        x, y = lane % 8, lane // 8
        scratch.deltas[0, lane] = int((a * x + b * y - near_u) * 2.0**27)
        scratch.deltas[1, lane] = int((d * x + e * y - near_v) * 2.0**27)
    flat, below = result.reshape(-1), height * width
    below1, below2 = below * (channels // 2), below * (channels - 1)
    right, down = np.int64(a * 2.0**40), np.int64(d * 2.0**40)
    first0, last0, first1, last1 = 0, width, 0, width
    for pair in range(0, height, 2):
        y = min(pair, height - 2)
        by, ey, by1, ey1 = b * (y + 0.5), e * (y + 0.5), b * (y + 1.5), e * (y + 1.5)
        first0, last0 = _stretch(first0, last0, a, by, c, d, ey, f, width, height)
        first1, last1 = _stretch(first1, last1, a, by1, c, d, ey1, f, width, height)
        first, last = min(first0, first1), max(last0, last1)
        if first0 == last0 or first1 == last1:
            first, last = max(first0, first1), max(last0, last1)
        start_u = np.int64((((a * 0.5 + by) + c) + 0.5 + near_u) * 2.0**40)
        start_v = np.int64((((d * 0.5 + ey) + f) + 0.5 + near_v) * 2.0**40)
        for start in range(first, last, 8):
            x = min(start, width - 8)
            u, v = start_u + right * x, start_v + down * x
            column, row = min(max(u >> 40, 0), width), min(max(v >> 40, 0), height)
            origin, target = row * stride + column, y * width + x
            doubt = _blend_window(
                planes, stride, origin, origin + second, origin + third,
                np.int32((u - (column << 40)) >> 13), np.int32((v - (row << 40)) >> 13),
                scratch.deltas, flat, target, target + below1, target + below2, width,
            )  # fmt: skip
            if doubt == 0:
                continue
            for lane in range(_LANES):
                at, is_lower = x + lane % 8, lane >= 8
                begin, end = (first1, last1) if is_lower else (first0, last0)
                if not (doubt >> lane) & 1 or not begin <= at < end:
                    continue
                middle = float(at) + 0.5
                u_here = ((a * middle + (by1 if is_lower else by)) + c) - 0.5
                v_here = ((d * middle + (ey1 if is_lower else ey)) + f) - 0.5
                for channel in range(channels):
                    level = _sample(planes, channel * size, stride, u_here, v_here)
                    result[channel, (y + is_lower) * width + at] = level
        for channel in range(channels):
            line = result[channel, y * width : (y + 2) * width]
            for at in range(first0):
                line[at] = 0
            for at in range(last0, width + first1):
                line[at] = 0
            for at in range(width + last1, 2 * width):
                line[at] = 0


@inner
@no_type_check
def _surround(source, height, width, plane):
    """A channel with its border pixels once more around it, so that neighbours need no clamping."""
    stride = width + 2
    for y in range(height):
        start = (y + 1) * stride
        for x in range(0, width, 64):
            copy_64(source, y * width + x, plane, start + 1 + x)
        plane[start], plane[start + width + 1] = source[y * width], source[y * width + width - 1]
    for x in range(stride):
        plane[x] = plane[stride + x]
        plane[(height + 1) * stride + x] = plane[height * stride + x]


@inner
@no_type_check
def _stretch(first, last, a, by, c, d, ey, f, width, height):
    """The stretch of a row that is inside the image, from that of a row beside it."""
    guess = first
    while first < width and not _is_inside(first, a, by, c, d, ey, f, width, height):
        first += 1
    if first == width:  # nothing behind the guess
        last = guess
        while last > 0 and not _is_inside(last - 1, a, by, c, d, ey, f, width, height):
            last -= 1
        first = max(last - 1, 0)
    while first > 0 and _is_inside(first - 1, a, by, c, d, ey, f, width, height):
        first -= 1
    last = max(last, min(first + 1, width))
    while last > first and not _is_inside(last - 1, a, by, c, d, ey, f, width, height):
        last -= 1
    while first < last < width and _is_inside(last, a, by, c, d, ey, f, width, height):
        last += 1
    return first, last


@inner
@no_type_check
def _is_flat(scratch, x):
    """Whether the four pixels are equal, and the position is not at the edge to others."""
    upper, lower, margin = scratch.pairs[0, x], scratch.pairs[1, x], np.float32(2.0**-16)
    if upper != lower or upper >> np.uint64(32) != upper & np.uint64(0xFFFFFFFF):
        return False
    near = min(scratch.dxs[x], scratch.dys[x])
    far = max(scratch.dxs[x], scratch.dys[x])
    return near > margin and far < np.float32(1) - margin


@inner
@no_type_check
def _locate(u, v, a, d, words, size, scratch):
    """Words and fractions of a stretch of a row, which begins at (u, v), in 32.32 fixed point."""
    dxs, dys, offsets = scratch.dxs, scratch.dys, scratch.offsets
    right, down = np.int64(a * 2.0**32), np.int64(d * 2.0**32)
    start_u, start_v = np.int64(u * 2.0**32), np.int64(v * 2.0**32)
    unit, mask = np.float32(2.0**-31), np.int64(0x7FFFFFFF)
    for x in range(size):
        u, v = start_u + right * x, start_v + down * x
        dxs[x] = np.float32(np.int32((u >> 1) & mask)) * unit
        dys[x] = np.float32(np.int32((v >> 1) & mask)) * unit
        row = np.int32(np.int32(v >> 32) * np.int32(words))
        offsets[x] = np.int32(row + np.int32(u >> 32))


@inner
@no_type_check
def _sample(planes, start, stride, u, v):
    """One pixel of a surrounded plane as Pillow computes it, at (u, v) in pixels."""
    left, top = np.floor(u), np.floor(v)
    origin, dx, dy = start + int(top + 1) * stride + int(left + 1), u - left, v - top
    level = np.int32(planes[origin])
    upper = float(level) + float(np.int32(planes[origin + 1]) - level) * dx
    level = np.int32(planes[origin + stride])
    lower = float(level) + float(np.int32(planes[origin + stride + 1]) - level) * dx
    return np.uint8(np.int32(upper + (lower - upper) * dy))


@inner
@no_type_check
def _sample_word(packed, words, u, v, bits):
    """One channel of one pixel as Pillow computes it, at (u, v) in pixels."""
    left, top = np.floor(u), np.floor(v)
    origin, dx, dy = int(top + 1) * words + int(left + 1), u - left, v - top
    level = np.int32((packed[origin] >> bits) & _BYTE)
    change = np.int32((packed[origin + 1] >> bits) & _BYTE) - level
    upper = float(level) + float(change) * dx
    level = np.int32((packed[origin + words] >> bits) & _BYTE)
    change = np.int32((packed[origin + words + 1] >> bits) & _BYTE) - level
    lower = float(level) + float(change) * dx
    return np.uint8(np.int32(upper + (lower - upper) * dy))


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
